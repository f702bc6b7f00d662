package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// What becomes of a message with a CR or LF that is not part of a CRLF.
const (
	// LinesReject refuses it with 554 5.6.0.
	LinesReject = "reject"
	// LinesKeep takes it, octets unchanged.
	LinesKeep = "keep"
)

// Policy is what the server holds against clients beyond the limits. The zero value refuses messages with a bare LF and
// holds nothing else against anyone.
type Policy struct {
	// Allow are networks that everything here, the limits by client and the greeting delay do not apply to; it wins over
	// Deny.
	Allow []netip.Prefix
	// Deny are networks that get 554 5.7.1 instead of a greeting.
	Deny []netip.Prefix
	// BareLF and BareCR are LinesReject or LinesKeep; "" is LinesReject for BareLF and LinesKeep for BareCR. Neither
	// applies to a BINARYMIME message.
	BareLF, BareCR string
	// Rates bound what one client (an IPv4 address or IPv6 /64) may do in a minute.
	Rates Rates
	// Tarpit is waited before each reply that refuses a command with 5xx, from the third in a row on; 0: no wait.
	Tarpit time.Duration
	// UnknownPause is waited before the 421 that Limits.UnknownRecipients causes; 0: no wait.
	UnknownPause time.Duration
	// DNSLists are asked for the client's address, all at once, before its first recipient is accepted. When the scores
	// of those that list it sum up to RefuseAt or more (0: 1), every recipient but postmaster gets 550 5.7.1. A list that
	// does not answer in time counts as not listing.
	DNSLists []DNSList
	RefuseAt int
	// ReverseDNS refuses clients whose address has no name that leads back to it (550 5.7.25). When DNS fails, the
	// client is accepted.
	ReverseDNS bool
	// DNSTimeout bounds all these lookups together. Default 5 s.
	DNSTimeout time.Duration
	// Resolver is required when there are DNSLists, or with ReverseDNS.
	Resolver Resolver
	Greylist Greylist
}

// Rates are numbers a minute and a client; 0 is no limit. As many may come at once.
type Rates struct {
	// Connections above it get 421 4.7.0.
	Connections int
	// Messages (MAIL) above it get 450 4.7.1.
	Messages int
	// Recipients (RCPT) above it get 450 4.7.1.
	Recipients int
}

// Resolver is the part of a DNS resolver that policies need. Names that do not exist are a *net.DNSError with
// IsNotFound.
type Resolver interface {
	// LookupNetIP takes the networks "ip", "ip4" and "ip6".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

func (p *Policy) check() error {
	if p.Resolver == nil && (p.ReverseDNS || len(p.DNSLists) > 0) {
		return errors.New("smtp policy: DNS lists and reverse DNS need a Resolver")
	}
	for what, value := range map[string]string{"bare LF": p.BareLF, "bare CR": p.BareCR} {
		if value != "" && value != LinesReject && value != LinesKeep {
			return fmt.Errorf("smtp policy: %s %q is unknown; use %s or %s", what, value, LinesReject, LinesKeep)
		}
	}
	for _, l := range p.DNSLists {
		if _, err := parseDomain(l.Zone); err != nil {
			return fmt.Errorf("DNS list %q: %w; use the zone's name, like zen.example.org", l.Zone, err)
		}
	}
	if p.Greylist.Delay > 0 && p.Greylist.Memory == nil {
		return errors.New("smtp policy: greylisting needs a Memory")
	}
	return nil
}

// admission is the state behind a Policy.
type admission struct {
	Policy
	connections, messages, recipients *limiter[netip.Prefix]
}

func newAdmission(p Policy) *admission {
	if p.DNSTimeout == 0 {
		p.DNSTimeout = 5 * time.Second
	}
	p.RefuseAt = max(p.RefuseAt, 1)
	p.Greylist = p.Greylist.withDefaults()
	return &admission{
		Policy:      p,
		connections: newLimiter[netip.Prefix](p.Rates.Connections, time.Minute),
		messages:    newLimiter[netip.Prefix](p.Rates.Messages, time.Minute),
		recipients:  newLimiter[netip.Prefix](p.Rates.Recipients, time.Minute),
	}
}

// admitClient decides by the client's address alone. It returns false when the session is over.
func (s *session) admitClient() bool {
	a := s.srv.admission
	if s.exempt = contains(a.Allow, s.client.IP); s.exempt {
		return true
	}
	var refusal *Reply
	switch {
	case contains(a.Deny, s.client.IP):
		refusal = replyDenied
	default:
		if refusal = s.srv.registry.identify(s.wire, s.client.IP); refusal == nil && !a.connections.allow(s.clientKey(), time.Now()) {
			refusal = replyConnectionRate
		}
	}
	if refusal != nil {
		s.refuse(refusal, nil)
		return false
	}
	return true
}

// clientKey is what the client is counted by.
func (s *session) clientKey() netip.Prefix { return keysOf(s.client.IP).address }

// mailPolicy returns why no transaction may begin, or nil.
func (s *session) mailPolicy() *Reply {
	if limit := s.srv.opts.Limits.Transactions; limit > 0 && s.transactions >= limit {
		return replyTooManyMails
	}
	if !s.exempt && !s.srv.admission.messages.allow(s.clientKey(), time.Now()) {
		return replyMessageRate
	}
	return nil
}

// rcptPolicy returns why a recipient may not be named by this client, or nil. Whoever is refused by what is said of the
// client can still reach a postmaster.
func (s *session) rcptPolicy(ctx context.Context, rcpt Address) *Reply {
	switch {
	case s.exempt:
		return nil
	case !s.srv.admission.recipients.allow(s.clientKey(), time.Now()):
		return replyRecipientRate
	case IsPostmaster(rcpt.Local):
		return nil
	}
	return s.judge(ctx)
}
