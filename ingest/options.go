package ingest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Protocols of a Listener.
const (
	ProtocolSMTP = "smtp"
	ProtocolLMTP = "lmtp"
)

// Modes of TLS of a Listener.
const (
	TLSNone     = "none"
	TLSStartTLS = "starttls"
	TLSImplicit = "implicit"
)

// Listener is one address that the server listens on.
type Listener struct {
	// Name is unique; it is in the envelope, the logs and the metrics.
	Name string
	// Address is as for net.Listen ("tcp"); ignored when Open is set.
	Address string
	// Protocol is "smtp" ("" means the same) or "lmtp" (RFC 2033).
	Protocol string
	// TLS is "none" ("" means the same), "starttls" (offered when Options.TLSConfig is set) or "implicit" (needs it).
	TLS string
	// Proxy are the networks of load balancers. When there is one, every connection must come from them and begin with
	// a header of the PROXY protocol, version 1 or 2.
	Proxy []netip.Prefix
	// Xclient are the networks of relays that may say with XCLIENT whose connection they pass on.
	Xclient []netip.Prefix
	// Open is an already open listener, for tests and socket activation. New takes it over and closes it when it fails.
	Open net.Listener
}

// Options are what a Server is made of. Hostname, Listeners, Recipients, Spool and Log are required.
type Options struct {
	// Hostname is our own name in the greeting, the EHLO reply and the trace field.
	Hostname  string
	Listeners []Listener
	// TLSConfig serves STARTTLS and implicit TLS; nil means no TLS. Use GetCertificate to change certificates later.
	TLSConfig  *tls.Config
	Limits     Limits
	Timeouts   Timeouts
	Policy     Policy
	Recipients Recipients
	Spool      Spool
	Log        *slog.Logger
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer
	// Now is the clock of envelopes, message ids and logs; nil means time.Now. Network deadlines always use real time.
	Now func() time.Time
}

// check reports the first thing that is missing or wrong.
func (o *Options) check() error {
	switch {
	case o.Recipients == nil || o.Spool == nil || o.Log == nil:
		return errors.New("smtp server: Recipients, Spool and Log are required")
	case len(o.Listeners) == 0:
		return errors.New("smtp server: no listeners; configure at least one")
	}
	if _, err := parseDomain(o.Hostname); err != nil {
		return fmt.Errorf("smtp hostname %q: %w; use the full name of this host, like mx.example.com", o.Hostname, err)
	}
	if err := o.Policy.check(); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, l := range o.Listeners {
		if err := l.check(o.TLSConfig != nil); err != nil {
			return err
		}
		if seen[l.Name] {
			return fmt.Errorf("listener %q: the name is used twice; names must differ", l.Name)
		}
		seen[l.Name] = true
	}
	return nil
}

func (l *Listener) check(haveTLS bool) error {
	switch {
	case l.Name == "":
		return fmt.Errorf("listener on %q: it has no name", l.Address)
	case l.Protocol != "" && l.Protocol != ProtocolSMTP && l.Protocol != ProtocolLMTP:
		return fmt.Errorf("listener %q: unknown protocol %q; use smtp or lmtp", l.Name, l.Protocol)
	}
	switch l.TLS {
	case "", TLSNone, TLSStartTLS:
	case TLSImplicit:
		if !haveTLS {
			return fmt.Errorf("listener %q: tls implicit needs a certificate; configure one or use none", l.Name)
		}
	default:
		return fmt.Errorf("listener %q: unknown tls mode %q; use none, starttls or implicit", l.Name, l.TLS)
	}
	return nil
}
