package msgauth

import (
	"net/netip"
	"strings"

	"mxhook/pipeline"
)

// Upstream is hosts that hand on mail for us: a provider's filter, our own relay.
type Upstream struct {
	// Networks are the addresses they connect from. The client whose mail it is comes from the Received fields that
	// they add.
	Networks []netip.Prefix
	// AuthservID is the name in the Authentication-Results fields they add; "" believes none.
	AuthservID string
}

// origin is where a message came from before it reached hosts that we trust.
type origin struct {
	// client is the one that the methods look at; its IP is not valid when it cannot be told.
	client pipeline.Client
	// upstream is set when a trusted upstream connected, and results are what such hosts said.
	upstream bool
	results  []parsedResults
}

// maxHops bounds the Received fields of trusted hosts that we follow.
const maxHops = 30

// originOf follows the trace fields of trusted hosts from the top down to the first client that is not one of them.
// Only what stands above that Received field was added by hosts that we trust; below it anybody may have written.
func (s *Stage) originOf(m *pipeline.Message) origin {
	at := s.upstreamAt(m.Envelope.Client.IP)
	o := origin{client: m.Envelope.Client, upstream: at != nil}
	if at == nil {
		return o
	}
	var seen []parsedResults // since the last Received field
	hops := 0
	for f := range pipeline.Fields(m.Raw) {
		if f.Is("Authentication-Results") && at.AuthservID != "" && len(seen) < maxHops {
			if p, err := parseResults(string(f.Body)); err == nil && p.authservID == strings.ToLower(strings.TrimSuffix(at.AuthservID, ".")) {
				seen = append(seen, p)
			}
		}
		if !f.Is("Received") {
			continue
		}
		o.results = append(o.results, seen...)
		seen = nil
		hop, ok := readReceived(string(f.Body))
		if hops++; !ok || hops > maxHops {
			o.client = pipeline.Client{}
			return o
		}
		next := s.upstreamAt(hop.IP)
		switch {
		case next != nil:
			at = next
		case !hop.IP.IsLoopback():
			o.client = hop
			return o
		}
	}
	// Trusted hosts wrote the mail themselves, or nothing that could be followed.
	return o
}

func (s *Stage) upstreamAt(ip netip.Addr) *Upstream {
	ip = ip.Unmap().WithZone("")
	for i, u := range s.upstreams {
		for _, n := range u.Networks {
			if n.Contains(ip) {
				return &s.upstreams[i]
			}
		}
	}
	return nil
}

// readReceived reads the client of a Received field: its address from the comments of the from clause, where servers
// put it, and its HELO. Two different addresses there, or none, are not ok: one of them may be the client's own words.
func readReceived(body string) (pipeline.Client, bool) {
	words, comments, ok := fromClause(body)
	if !ok || len(words) < 2 || !strings.EqualFold(words[0], "from") {
		return pipeline.Client{}, false
	}
	c := pipeline.Client{Helo: words[1]}
	saidHelo := false
	for _, w := range strings.Fields(comments) {
		lower := strings.ToLower(w)
		switch {
		case saidHelo:
			c.Helo, saidHelo = w, false
		case lower == "helo" || lower == "ehlo": // qmail
			saidHelo = true
		case strings.HasPrefix(lower, "helo="): // Exim
			c.Helo = w[len("helo="):]
		case strings.HasPrefix(lower, "ident="):
		default:
			ip, isIP := literalIP(w)
			if isIP && c.IP.IsValid() && c.IP != ip {
				return pipeline.Client{}, false
			}
			if isIP {
				c.IP = ip
			}
		}
	}
	return c, c.IP.IsValid()
}

// literalIP reads "[192.0.2.1]", "[IPv6:2001:db8::1]" or a bare address.
func literalIP(s string) (netip.Addr, bool) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	return ip.Unmap().WithZone(""), err == nil
}

// fromClause returns the words of a Received field up to "by", and the text of the comments among them, apart. ok is
// false when a comment does not end.
func fromClause(body string) (words []string, comments string, ok bool) {
	var outside, inside strings.Builder
	for i := 0; i < len(body); {
		if body[i] == '(' {
			n := commentLen(body[i:])
			if n == 0 {
				return nil, "", false
			}
			if by := strings.Fields(outside.String()); len(by) > 2 && strings.EqualFold(by[len(by)-1], "by") {
				break
			}
			inside.WriteString(strings.Map(spaceForParens, body[i:i+n]) + " ")
			outside.WriteByte(' ')
			i += n
			continue
		}
		outside.WriteByte(body[i])
		i++
		if w := strings.Fields(outside.String()); len(w) > 2 && strings.EqualFold(w[len(w)-1], "by") && i < len(body) && isTagSpace(body[i]) {
			break
		}
		if outside.Len() > 2000 {
			return nil, "", false
		}
	}
	return strings.Fields(outside.String()), inside.String(), true
}

func spaceForParens(r rune) rune {
	if r == '(' || r == ')' {
		return ' '
	}
	return r
}

// believe takes up what trusted hosts said where we could not see it ourselves: what passed there.
func (c *checks) believe(results []parsedResults) {
	for _, p := range results {
		says := p.authservID + " says so"
		for _, r := range p.results {
			if r.result != pipeline.ResultPass {
				continue
			}
			switch r.method {
			case "spf":
				domain, ok := normalDomain(domainOf(r.properties["smtp.mailfrom"]))
				if ok && c.spf.main.Result != pipeline.ResultPass {
					c.spf.main = pipeline.SPFResult{Result: pipeline.ResultPass, Domain: domain, Identity: identityMailFrom, Reason: says}
				}
			case "dkim":
				c.believeDKIM(r, says)
			}
		}
		c.dmarcSaid = c.dmarcSaid || c.author != "" && p.dmarcPassed(c.author)
	}
}

func (c *checks) believeDKIM(r parsedResult, says string) {
	domain, ok := normalDomain(r.properties["header.d"])
	if !ok || len(c.dkim) >= maxResults {
		return
	}
	for _, d := range c.dkim {
		if d.domain == domain && d.result == pipeline.ResultPass {
			return
		}
	}
	sig := signature{domain: domain, selector: r.properties["header.s"], algorithm: strings.ToLower(r.properties["header.a"])}
	c.dkim = append(c.dkim, dkimResult{signature: sig, result: pipeline.ResultPass, reason: says})
}
