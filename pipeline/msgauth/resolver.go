package msgauth

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// Resolver is the part of *net.Resolver that we use; StubResolver is ours. It is safe for concurrent use. Errors are
// *net.DNSError: IsNotFound when there is no such record, IsTemporary or IsTimeout when a later try may do better. Any
// other error counts as temporary, so that a resolver's fault never becomes a verdict on the mail.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	// LookupNetIP takes the networks "ip", "ip4" and "ip6".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// dnsError returns err as what the SPF and DKIM libraries understand: a *net.DNSError that is either not-found or
// temporary. A context that ended is a timeout; without that the libraries call it a permanent error. The text names
// no server: it ends up in results that other people read.
func dnsError(name string, err error) error {
	if err == nil {
		return nil
	}
	var d *net.DNSError
	if errors.As(err, &d) && (d.IsNotFound || d.Temporary()) {
		return d
	}
	d = &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
	var op *net.OpError
	if errors.As(err, &op) {
		d.Err = op.Err.Error()
	}
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &ne) && ne.Timeout() {
		d.Err, d.IsTimeout = "timed out", true
	}
	return d
}

func isNotFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}

// reason words an error for a result: what happened and to which name, but not which server of ours was asked.
func reason(err error) string {
	var d *net.DNSError
	if errors.As(err, &d) {
		if d.Name != "" {
			return "dns: " + d.Name + ": " + d.Err
		}
		return "dns: " + d.Err
	}
	return err.Error()
}

// normalDomain returns a domain as we compare, look up and report it: A-labels in lower case without a final dot. ok is
// false when it is no domain name: RFC 1035 2.3.4 lengths, letters, digits, hyphen and underscore only. ASCII is taken
// as it is, since idna refuses underscores.
func normalDomain(s string) (domain string, ok bool) {
	s = strings.TrimSuffix(s, ".")
	if !isASCII(s) {
		a, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", false
		}
		s = a
	}
	s = strings.ToLower(s)
	if s == "" || len(s) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.IndexFunc(label, notHostRune) >= 0 {
			return "", false
		}
	}
	return s, true
}

func notHostRune(r rune) bool {
	return r != '-' && r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// maxText bounds a string from the mail or from DNS that goes into a result.
const maxText = 253

// clean returns other people's text as a result may hold it: valid UTF-8 without controls, at most maxText octets.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s[:min(len(s), maxText)])
	return strings.ToValidUTF8(s, "")
}
