package msgauth

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"

	"mxhook/pipeline"
)

// Identities that SPF checks (RFC 7208 2.3, 2.4).
const (
	identityMailFrom = "mailfrom"
	identityHelo     = "helo"
)

// spfResults is what SPF says about one transaction. main is the MAIL FROM identity, or with a null reverse-path the
// HELO identity, and the only one that DMARC looks at (RFC 9989 4.4). helo is the HELO identity as well beside a MAIL
// FROM, for the record; its Result is "" when it was not checked.
type spfResults struct {
	main, helo pipeline.SPFResult
}

// checkSPF checks both identities. A HELO argument that is no domain name of several labels (an address literal, a
// bare host name) is not checked (RFC 7208 2.3).
func (s *Stage) checkSPF(ctx context.Context, env *pipeline.Envelope) spfResults {
	helo, heloOK := multiLabel(env.Client.Helo)
	ip := env.Client.IP.Unmap().WithZone("")
	if env.ReversePath == "" {
		return spfResults{main: s.checkIdentity(ctx, ip, env.Client.Helo, "", helo, identityHelo)}
	}
	local, domain := pipeline.SplitPath(env.ReversePath)
	domain, _ = multiLabel(domain)
	r := spfResults{main: s.checkIdentity(ctx, ip, env.Client.Helo, local, domain, identityMailFrom)}
	if heloOK && helo != domain && ip.IsValid() {
		r.helo = s.checkIdentity(ctx, ip, env.Client.Helo, "", helo, identityHelo)
	}
	return r
}

// checkIdentity runs check_host() (RFC 7208 4). domain "" means that the identity has none that could be checked.
func (s *Stage) checkIdentity(ctx context.Context, ip netip.Addr, helo, local, domain, identity string) pipeline.SPFResult {
	r := pipeline.SPFResult{Result: pipeline.ResultNone, Domain: domain, Identity: identity}
	switch {
	case !ip.IsValid():
		r.Reason = "client address is not known"
		return r
	case domain == "":
		r.Reason = "no domain name to check"
		return r
	}
	res := &spfResolver{resolver: s.resolver, ip: ip}
	result, err := spf.CheckHostWithSender(ip.AsSlice(), helo, spfLocal(local)+"@"+domain, spf.WithContext(ctx), spf.WithResolver(res))
	r.Result = string(result)
	if err != nil {
		r.Reason = reason(err)
	}
	return r
}

// spfLocal returns a local part for the library, which splits at the first @: one that has an @ cannot be given as it
// is. Only the macros %{l} and %{s} look at it. An empty one is postmaster (RFC 7208 4.3).
func spfLocal(local string) string {
	if local == "" {
		return "postmaster"
	}
	return strings.ReplaceAll(local, "@", "=")
}

// multiLabel returns s as a domain name of at least two labels (RFC 7208 4.3), or false.
func multiLabel(s string) (string, bool) {
	d, ok := normalDomain(s)
	if !ok || !strings.Contains(d, ".") {
		return "", false
	}
	return d, true
}

// spfResolver is our Resolver for the SPF library. It asks only for addresses of the client's family where that is
// enough: exists looks at IPv4 addresses whatever the client's (RFC 7208 5.7). It refuses records that are not well
// formed as a whole, which the library would evaluate up to the first match (RFC 7208 4.6).
type spfResolver struct {
	resolver Resolver
	ip       netip.Addr
}

// errSPFSyntax is no *net.DNSError, so that the library says permerror.
var errSPFSyntax = errors.New("record is not well formed")

// international is the error of a name that a local part in UTF-8 was expanded into: it never matches, whatever a
// wildcard has (RFC 8616 4).
func international(name string) error {
	if isASCII(name) {
		return nil
	}
	return &net.DNSError{Err: noSuchName, Name: name, IsNotFound: true}
}

func (r *spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := international(name); err != nil {
		return nil, err
	}
	txts, err := r.resolver.LookupTXT(ctx, name)
	if err != nil {
		return nil, dnsError(name, err)
	}
	var records []string
	for _, txt := range txts {
		if isSPFRecord(txt) {
			records = append(records, txt)
		}
	}
	if len(records) != 1 {
		return records, nil
	}
	if !validSPF(records[0]) {
		return nil, errSPFSyntax
	}
	return []string{r.rewrite(ctx, records[0], name)}, nil
}

func (r *spfResolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	network := "ip"
	if r.ip.Is4() {
		network = "ip4"
	}
	host = strings.ReplaceAll(host, slashMark, "/")
	if err := international(host); err != nil {
		return nil, err
	}
	ips, err := r.resolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return nil, dnsError(host, err)
	}
	addrs := make([]net.IPAddr, len(ips))
	for i, ip := range ips {
		addrs[i] = net.IPAddr{IP: ip.AsSlice()}
	}
	return addrs, nil
}

func (r *spfResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	name = strings.ReplaceAll(name, slashMark, "/")
	if err := international(name); err != nil {
		return nil, err
	}
	mxs, err := r.resolver.LookupMX(ctx, name)
	if len(mxs) > 0 {
		return mxs, nil // *net.Resolver gives what it understood beside an error
	}
	return nil, dnsError(name, err)
}

func (r *spfResolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	names, err := r.resolver.LookupAddr(ctx, addr)
	return names, dnsError(addr, err)
}
