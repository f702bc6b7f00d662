package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// hostname looks at our own name: its addresses, and their names.
func (e *examination) hostname(ctx context.Context) {
	ctx, cancel := e.within(ctx)
	defer cancel()
	addrs, err := e.Resolver.LookupNetIP(ctx, "ip", e.host)
	if err != nil || len(addrs) == 0 {
		e.wrong("hostname", "publish an A record (and AAAA) for it, or set smtp.hostname to the name that the MX records point to",
			"%s has no address: %s", e.host, cause(err))
		return
	}
	e.addrs = addrs
	for _, a := range addrs {
		e.reverse(ctx, a.Unmap())
	}
}

// reverse looks for a name of the address that leads back to it.
func (e *examination) reverse(ctx context.Context, a netip.Addr) {
	names, err := e.Resolver.LookupAddr(ctx, a.String())
	if err != nil || len(names) == 0 {
		e.note("reverse", "ask whoever gave you the address to point its PTR record to "+e.host,
			"%s (of %s) has no reverse name: %s", a, e.host, cause(err))
		return
	}
	for _, name := range names {
		if strings.EqualFold(strings.TrimSuffix(name, "."), e.host) {
			e.fine("reverse", "%s is %s, and back", e.host, a)
			return
		}
	}
	e.note("reverse", "ask whoever gave you the address to point its PTR record to "+e.host,
		"%s (of %s) is named %s", a, e.host, strings.TrimSuffix(names[0], "."))
}

// domain looks at what a domain says about its mail.
func (e *examination) domain(ctx context.Context, domain string) {
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(domain, "."))
	if err != nil {
		e.wrong("mx", "write a domain like example.com", "%q is not a domain", domain)
		return
	}
	ctx, cancel := e.within(ctx)
	defer cancel()
	e.mx(ctx, ascii)
	e.sts(ctx, ascii)
	e.tlsReports(ctx, ascii)
}

func (e *examination) mx(ctx context.Context, domain string) {
	e.record("%s. IN MX 10 %s.", domain, e.host)
	mxs, err := e.Resolver.LookupMX(ctx, domain)
	publish := fmt.Sprintf("publish: %s. IN MX 10 %s.", domain, e.host)
	if err != nil || len(mxs) == 0 {
		e.wrong("mx", publish, "%s has no MX record: %s", domain, cause(err))
		return
	}
	var others []string
	found := false
	for _, mx := range mxs {
		name := strings.ToLower(strings.TrimSuffix(mx.Host, "."))
		switch {
		case name == e.host:
			found = true
		case name == "":
			e.wrong("mx", publish, "%s says that it takes no mail at all (null MX, RFC 7505)", domain)
			return
		case net.ParseIP(name) != nil:
			e.wrong("mx", publish, "the MX of %s is an IP address, %s; it must be a name (RFC 5321 5.1)", domain, name)
		default:
			others = append(others, name)
		}
	}
	switch {
	case !found:
		e.wrong("mx", publish, "mail for %s goes to %s, not to %s", domain, strings.Join(others, ", "), e.host)
	case len(others) > 0:
		e.note("mx", "make sure that they take mail for the domain too: senders use them when we are not there",
			"mail for %s goes to %s and to %s", domain, e.host, strings.Join(others, ", "))
	default:
		e.fine("mx", "mail for %s goes to %s", domain, e.host)
	}
}

// sts looks at the record that announces the policy, RFC 8461 3.1.
func (e *examination) sts(ctx context.Context, domain string) {
	sum := sha256.Sum256([]byte(e.Config.SMTP.MTASTS.Policy(e.host)))
	id := hex.EncodeToString(sum[:10])
	record := fmt.Sprintf(`_mta-sts.%s. IN TXT "v=STSv1; id=%s"`, domain, id)
	e.report.Records = append(e.report.Records, record)
	found := e.texts(ctx, "_mta-sts."+domain, "v=STSv1")
	switch {
	case len(found) == 0:
		e.note("mta-sts", "publish the record and the policy below; then senders insist on TLS", "%s has no MTA-STS record", domain)
	case len(found) > 1:
		e.wrong("mta-sts", "leave one", "%s has %d MTA-STS records, and senders ignore them all (RFC 8461 3.1)", domain, len(found))
	case !strings.Contains(found[0], id):
		e.note("mta-sts", "when the policy is the one below, publish: "+record,
			"the record of %s says %q, which is not the id of the policy that is configured here", domain, found[0])
	default:
		e.fine("mta-sts", "the record of %s names the policy that is configured here", domain)
	}
	if len(found) > 0 {
		e.policy(ctx, domain)
	}
}

// tlsReports looks for the address that senders report trouble with TLS to, RFC 8460 3.
func (e *examination) tlsReports(ctx context.Context, domain string) {
	record := fmt.Sprintf(`_smtp._tls.%s. IN TXT "v=TLSRPTv1; rua=mailto:tls-reports@%s"`, domain, domain)
	e.report.Records = append(e.report.Records, record)
	if found := e.texts(ctx, "_smtp._tls."+domain, "v=TLSRPTv1"); len(found) > 0 {
		e.fine("tls-rpt", "%s: %s", domain, found[0])
		return
	}
	e.note("tls-rpt", "publish: "+record, "%s asks nobody to report when TLS fails", domain)
}

// texts returns the TXT records of a name that begin with the version.
func (e *examination) texts(ctx context.Context, name, version string) []string {
	txts, err := e.Resolver.LookupTXT(ctx, name)
	var d *net.DNSError
	if err != nil && !(errors.As(err, &d) && d.IsNotFound) {
		e.note("dns", "try again", "%s cannot be asked for: %s", name, cause(err))
	}
	var found []string
	for _, t := range txts {
		if strings.HasPrefix(t, version) {
			found = append(found, t)
		}
	}
	return found
}

// cause words an error of DNS.
func cause(err error) string {
	var d *net.DNSError
	switch {
	case err == nil:
		return "there is no such record"
	case errors.As(err, &d):
		return d.Err
	}
	return err.Error()
}
