package msgauth

import (
	"strings"

	"mxhook/pipeline"
)

// maxReason and maxValue bound what other people's text may add to a line of the field (RFC 5322 2.1.1: 998 octets).
const (
	maxReason = 160
	maxValue  = 254
)

// methodResult is one resinfo of an Authentication-Results field (RFC 8601 2.2). Properties without a value are left out.
type methodResult struct {
	method, result, reason string
	properties             []property
}

// property is ptype "." property and its value; anybody may have written the value.
type property struct{ name, value string }

// resultsField writes an Authentication-Results field, one method a line, ending in CRLF; "" without an authserv-id.
// Whatever the values hold, nothing in the field but our own CRLF breaks a line, and nothing but our own semicolon ends
// a result.
func resultsField(authservID string, results []methodResult) string {
	if authservID == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString("Authentication-Results: ")
	writeValue(&b, authservID)
	if len(results) == 0 {
		b.WriteString("; none")
	}
	for _, r := range results {
		b.WriteString(";\r\n\t" + r.method + "=" + r.result)
		if r.reason != "" {
			b.WriteString(" reason=")
			writeQuoted(&b, r.reason, maxReason)
		}
		for _, p := range r.properties {
			if p.value != "" {
				b.WriteString(" " + p.name + "=")
				writeValue(&b, p.value)
			}
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

// writeValue writes a pvalue: as it is when it is a domain name, an address or a token, otherwise quoted.
func writeValue(b *strings.Builder, s string) {
	local, domain, isAddress := strings.Cut(s, "@")
	if len(s) <= maxValue && (onlyTokens(s) || isAddress && onlyTokens(local) && onlyTokens(domain)) {
		b.WriteString(s)
		return
	}
	writeQuoted(b, s, maxValue)
}

// onlyTokens reports whether s is a token (RFC 2045 5.1), which a domain name and a dot-atom without specials are too.
func onlyTokens(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// writeQuoted writes a quoted-string of at most limit octets of s; what is not printable ASCII becomes a question mark.
func writeQuoted(b *strings.Builder, s string, limit int) {
	b.WriteByte('"')
	for i := range min(len(s), limit) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			b.WriteByte('?')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}

// field writes our Authentication-Results field for a message. env names the client that the methods looked at.
func field(env *pipeline.Envelope, auth *pipeline.AuthResults, c *checks) string {
	return resultsField(env.Hostname, methodResults(env, auth, c))
}

func methodResults(env *pipeline.Envelope, auth *pipeline.AuthResults, c *checks) []methodResult {
	rs := []methodResult{spfMethod(env, auth.SPF)}
	if c.spf.helo.Result != "" {
		rs = append(rs, spfMethod(env, c.spf.helo))
	}
	for _, d := range c.dkim {
		rs = append(rs, methodResult{"dkim", d.result, d.reason, []property{
			{"header.d", d.domain}, {"header.s", d.selector}, {"header.a", d.algorithm}, {"header.b", d.b},
		}})
	}
	if len(c.dkim) == 0 {
		rs = append(rs, methodResult{method: "dkim", result: pipeline.ResultNone})
	}
	rs = append(rs, methodResult{"dmarc", auth.DMARC.Result, auth.DMARC.Reason, []property{
		{"header.from", auth.DMARC.Domain}, {"policy.dmarc", auth.DMARC.Policy},
	}})
	rs = append(rs, arcMethod(env, c))
	if env.Client.IP.IsValid() {
		rs = append(rs, methodResult{"iprev", auth.IPRev.Result, "", []property{{"policy.iprev", ipText(env.Client.IP)}}})
	}
	return rs
}

// arcMethod names the client of a chain, as its next sealer should (RFC 8617 4.1.1, 6.4).
func arcMethod(env *pipeline.Envelope, c *checks) methodResult {
	r := methodResult{method: "arc", result: c.arc.result, reason: c.arc.reason}
	if n := len(c.arc.sets); n > 0 {
		r.properties = []property{{"smtp.remote-ip", ipText(env.Client.IP)}}
	}
	return r
}

// spfMethod names the identity that was checked. A local part that cannot stand in the field as it is is left out; the
// domain is what counts.
func spfMethod(env *pipeline.Envelope, r pipeline.SPFResult) methodResult {
	p := property{"smtp.mailfrom", r.Domain}
	if r.Identity == identityHelo {
		p.name = "smtp.helo"
	} else if local, _ := pipeline.SplitPath(env.ReversePath); r.Domain != "" && onlyTokens(local) {
		p.value = local + "@" + r.Domain
	}
	return methodResult{"spf", r.Result, r.Reason, []property{p}}
}
