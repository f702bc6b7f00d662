// Package relay is the sink that hands the original mail on to another mail server, by SMTP or LMTP.
package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"mxhook/pipeline"
)

// Policies of TLS.
const (
	// TLSNone never encrypts.
	TLSNone = "none"
	// TLSOpportunistic encrypts when the server offers it, whatever its certificate (RFC 7435).
	TLSOpportunistic = "opportunistic"
	// TLSRequired encrypts or fails, whatever the certificate.
	TLSRequired = "required"
	// TLSVerify encrypts or fails, and the certificate has to be one of the server's name.
	TLSVerify = "verify"
)

// DefaultMaxHops is the number of Received fields from which on a mail is taken to go round in circles (RFC 5321 6.3).
const DefaultMaxHops = 50

// Resolver is what is asked for mail servers; its errors are *net.DNSError.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options configures one relay sink. Exactly one of Address and MX is set.
type Options struct {
	// Address is "host:port", or "unix:" and the path of a socket.
	Address string
	// MX sends to the mail servers of each recipient's domain, at port 25 or Port; it needs Resolver.
	MX       bool
	Port     int
	Resolver Resolver
	// LMTP speaks LMTP (RFC 2033), which is for the mailbox at the end.
	LMTP bool
	// To are the forward-paths that mail goes to instead of its recipients; none: the recipients themselves.
	To []string
	// Hostname is what we say in EHLO.
	Hostname string
	// TLS is one of the policies; "" is opportunistic. Implicit begins with TLS (RFC 8314 3.3).
	TLS      string
	Implicit bool
	// RootCAs are what TLSVerify trusts; nil means those of the system.
	RootCAs *x509.CertPool
	// Username and Password are for AUTH, which is used on encrypted and local connections only.
	Username, Password string
	// MaxHops bounds the Received fields of a mail; 0 is DefaultMaxHops.
	MaxHops int
	// SRS rewrites reverse-paths and turns what comes back; nil leaves them as they are.
	SRS *SRS
	// Seal returns the fields of an ARC set to put on top of a mail; nil seals nothing.
	Seal func(raw []byte, results *pipeline.AuthResults) ([]byte, error)
	// Control is asked before each connection over a network; nil allows every address.
	Control func(network, address string, c syscall.RawConn) error
	// Idle bounds the connections to one server that are kept for the next mail; 0 keeps none.
	Idle int
}

// Relay is a pipeline.Sink. Safe for concurrent use.
type Relay struct {
	o    Options
	pool pool
}

// New checks the options and returns the sink; it connects to nothing.
func New(o Options) (*Relay, error) {
	switch {
	case o.MX && o.Address != "":
		return nil, errors.New("address and mx are both set: remove one")
	case o.MX && o.LMTP:
		return nil, errors.New("LMTP is for the mailbox at the end, not for the mail servers of domains: remove mx, or protocol: lmtp")
	case !o.MX && o.Address == "":
		return nil, errors.New("address is missing: set it to the mail server, like mail.example.net:25, or set mx: true")
	case o.Implicit && o.TLS == TLSNone:
		return nil, errors.New("implicit_tls and tls: none exclude each other")
	case o.Username != "" && o.MX:
		return nil, errors.New("a username is for one server: remove it, or mx")
	}
	if !o.MX {
		if err := checkAddress(o.Address); err != nil {
			return nil, err
		}
	}
	switch o.TLS {
	case "":
		o.TLS = TLSOpportunistic
	case TLSNone, TLSOpportunistic, TLSRequired, TLSVerify:
	default:
		return nil, fmt.Errorf("tls %q is unknown: use none, opportunistic, required or verify", o.TLS)
	}
	for _, to := range o.To {
		if local, domain := pipeline.SplitPath(to); local == "" || domain == "" || strings.ContainsAny(to, " <>\r\n") {
			return nil, fmt.Errorf("to: %q is not a mail address", to)
		}
	}
	if o.MaxHops == 0 {
		o.MaxHops = DefaultMaxHops
	}
	if o.Port == 0 {
		o.Port = 25
	}
	return &Relay{o: o, pool: pool{most: o.Idle}}, nil
}

func checkAddress(address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("address %q: name the socket by its whole path, like unix:/run/dovecot/lmtp", address)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("address %q: write host and port, like mail.example.net:25", address)
	}
	return nil
}

// Close closes the connections that are kept. Attempts under way are not disturbed.
func (r *Relay) Close() error {
	r.pool.close()
	return nil
}

// Deliver implements pipeline.Sink: one transaction with each server. When only some recipients have the mail, the error
// says which have not (pipeline.Undelivered).
func (r *Relay) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Response{}, fmt.Errorf("relay: %w", err)
	}
	mail, err := r.compose(d)
	if err != nil {
		return pipeline.Response{}, err
	}
	said := ""
	for _, hop := range r.hops(mail.rcpts) {
		if err := ctx.Err(); err != nil {
			hop.fail(err)
		} else if text := r.send(ctx, hop, mail); text != "" {
			said = text
		}
	}
	return r.outcome(ctx, mail, said)
}

// undelivered counts the recipients that have not got the mail.
func undelivered(rcpts []*rcpt) int {
	n := 0
	for _, rc := range rcpts {
		if rc.err != nil {
			n++
		}
	}
	return n
}

// outcome puts the results of all recipients together. The failure is permanent when it is for all who failed: those
// who were refused for good beside others who may yet get the mail are tried again with them.
func (r *Relay) outcome(ctx context.Context, mail *mail, said string) (pipeline.Response, error) {
	var left []pipeline.Recipient
	var reasons []string
	permanent := true
	for _, rc := range mail.rcpts {
		if rc.err == nil {
			continue
		}
		for _, recipient := range rc.recipients {
			// Several forward-paths stand for the same recipients.
			if !slices.ContainsFunc(left, func(l pipeline.Recipient) bool { return l.Address == recipient.Address }) {
				left = append(left, recipient)
			}
		}
		permanent = permanent && pipeline.IsPermanent(rc.err)
		if reason := rc.err.Error(); len(reasons) < 5 && !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	if len(left) == 0 {
		resp := pipeline.Response{Status: cut(said, 200)}
		if mail.unsealed != nil {
			resp.Detail = cut("not sealed: "+mail.unsealed.Error(), 1<<10)
		}
		return resp, nil
	}
	reason := r.cutSecret(strings.Join(reasons, "; "))
	if n := len(mail.rcpts) - undelivered(mail.rcpts); n > 0 {
		reason = fmt.Sprintf("%d of %d recipients have it; the others: %s", n, len(mail.rcpts), reason)
	}
	err := errors.New(cut(reason, 2<<10))
	if ctx.Err() != nil {
		err = fmt.Errorf("relay: %w", ctx.Err())
	}
	err = pipeline.Undelivered(err, left)
	if permanent && ctx.Err() == nil {
		err = pipeline.Permanent(err)
	}
	return pipeline.Response{Status: cut(r.cutSecret(reasons[0]), 200)}, err
}

// cutSecret keeps the password out of what a server says about it.
func (r *Relay) cutSecret(s string) string {
	if r.o.Password == "" {
		return s
	}
	return strings.ReplaceAll(s, r.o.Password, "[password]")
}

// cut shortens a server's text to one line of valid UTF-8.
func cut(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// dialTimeout bounds a connection attempt to one address, stepTimeout the greeting and each handshake.
const (
	dialTimeout = 30 * time.Second
	stepTimeout = time.Minute
)

func (r *Relay) tlsConfig(host string) *tls.Config {
	return &tls.Config{
		ServerName: host, RootCAs: r.o.RootCAs, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: r.o.TLS != TLSVerify, //nolint:gosec // that is what the other policies say
	}
}
