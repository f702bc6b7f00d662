package msgauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// ednsSize is the UDP payload that we announce: what passes everywhere without fragments.
const ednsSize = 1232

// maxAliases bounds the CNAME records followed for one question.
const maxAliases = 8

// Bounds of how long an answer is kept.
const (
	minTTL         = 30 * time.Second
	maxTTL         = time.Hour
	maxNegativeTTL = 5 * time.Minute
	failureTTL     = 10 * time.Second
)

// maxTurns bounds how many servers that do not answer are waited for.
const maxTurns = 3

var (
	errAliasLoop    = errors.New("too many aliases")
	errNotOurAnswer = errors.New("answer to another question")
)

// resolve asks until the question is answered, following aliases that the server did not follow for us.
func (r *StubResolver) resolve(ctx context.Context, q question) (answer, error) {
	name, ttl, authentic := q.name, uint32(maxTTL/time.Second), r.validating
	for aliases := 0; ; {
		msg, err := r.ask(ctx, question{name, q.qtype})
		if err != nil {
			return answer{}, err
		}
		authentic = authentic && msg.AuthenticatedData
		before := name
		var rrs []dns.RR
		if name, rrs, ttl, err = followAliases(msg.Answer, name, q.qtype, ttl, &aliases); err != nil {
			return answer{}, err
		}
		if len(rrs) > 0 {
			return answer{rrs: rrs, authentic: authentic, expires: r.now().Add(clampTTL(ttl, maxTTL))}, nil
		}
		if name == before || msg.Rcode == dns.RcodeNameError {
			return answer{
				noName: msg.Rcode == dns.RcodeNameError && aliases == 0, authentic: authentic,
				expires: r.now().Add(clampTTL(min(ttl, negativeTTL(msg)), maxNegativeTTL)),
			}, nil
		}
	}
}

// followAliases walks the CNAME records of an answer from name on. It returns the name at the end, that name's records
// of the type and the smallest TTL on the way.
func followAliases(rrs []dns.RR, name string, qtype uint16, ttl uint32, aliases *int) (string, []dns.RR, uint32, error) {
	for {
		var found []dns.RR
		target := ""
		for _, rr := range rrs {
			h := rr.Header()
			if dns.CanonicalName(h.Name) != name || h.Class != dns.ClassINET {
				continue
			}
			if h.Rrtype == qtype {
				found = append(found, rr)
				ttl = min(ttl, h.Ttl)
			} else if cname, ok := rr.(*dns.CNAME); ok {
				target = dns.CanonicalName(cname.Target)
				ttl = min(ttl, h.Ttl)
			}
		}
		if len(found) > 0 || target == "" {
			return name, found, ttl, nil
		}
		if *aliases++; *aliases > maxAliases {
			return "", nil, 0, errAliasLoop
		}
		name = target
	}
}

// negativeTTL is RFC 2308 5: the lesser of the SOA record's own TTL and its MINIMUM.
func negativeTTL(msg *dns.Msg) uint32 {
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(soa.Hdr.Ttl, soa.Minttl)
		}
	}
	return 0
}

func clampTTL(seconds uint32, most time.Duration) time.Duration {
	return min(max(time.Duration(seconds)*time.Second, minTTL), most)
}

// ask puts one question to the servers in turn until one gives an answer: no error, or no such name. With many servers that
// are all silent it ends before each has been asked as often as it might: a lookup has to fail, and be remembered,
// before the message that it is for runs out of time.
func (r *StubResolver) ask(ctx context.Context, q question) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout*time.Duration(max(r.attempts, min(len(r.servers), maxTurns))))
	defer cancel()
	var last error
	for range r.attempts {
		for range r.servers {
			first := r.first.Load()
			server := r.servers[int(first)%len(r.servers)]
			msg, err := r.exchange(ctx, server, q)
			if err == nil {
				return msg, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			last = err
			r.log.Debug("dns exchange went wrong", "server", server, "type", dns.TypeToString[q.qtype], "error", err)
			r.first.CompareAndSwap(first, first+1)
		}
	}
	return nil, last
}

// exchange asks one server: over UDP with EDNS0 (RFC 6891), again without it when the server does not know it, and over
// TCP when the answer was cut off (RFC 7766 5).
func (r *StubResolver) exchange(ctx context.Context, server string, q question) (*dns.Msg, error) {
	msg, err := r.roundTrip(ctx, "udp", server, q, true)
	edns := true
	if err == nil && (msg.Rcode == dns.RcodeFormatError || msg.Rcode == dns.RcodeNotImplemented) {
		edns = false
		msg, err = r.roundTrip(ctx, "udp", server, q, edns)
	}
	if err == nil && msg.Truncated {
		msg, err = r.roundTrip(ctx, "tcp", server, q, edns)
	}
	if err != nil {
		return nil, err
	}
	if msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError {
		return nil, &net.DNSError{Err: "server answered " + dns.RcodeToString[msg.Rcode], Name: q.name, IsTemporary: true}
	}
	return msg, nil
}

// roundTrip sends one query from a socket of its own, so that port and id are fresh (RFC 5452), and reads its answer.
func (r *StubResolver) roundTrip(ctx context.Context, network, server string, q question, edns bool) (*dns.Msg, error) {
	start := time.Now()
	defer func() { r.metrics.exchanges.Observe(time.Since(start).Seconds()) }()
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()

	client := &dns.Client{Net: network, Timeout: r.timeout}
	conn, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // the client watches deadlines only
	defer stop()

	query := new(dns.Msg).SetQuestion(q.name, q.qtype)
	query.AuthenticatedData = r.validating // RFC 6840 5.7: asks for the bit, and not for the signatures
	if edns {
		query.SetEdns0(ednsSize, false)
	}
	msg, _, err := client.ExchangeWithConnContext(ctx, query, conn)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil && (msg == nil || !msg.Truncated) {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	if !msg.Response || (len(msg.Question) != 1 && msg.Rcode != dns.RcodeFormatError) {
		return nil, errNotOurAnswer
	}
	if len(msg.Question) == 1 && (dns.CanonicalName(msg.Question[0].Name) != q.name || msg.Question[0].Qtype != q.qtype) {
		return nil, errNotOurAnswer
	}
	return msg, nil
}

// escapeName returns a name in the one escaped form that miekg/dns gives names in answers; ok is false when it cannot
// be a name in DNS (RFC 1035 2.3.4).
func escapeName(name string) (escaped string, ok bool) {
	if name == "" || len(name) > 254 {
		return "", false
	}
	if isPlainName(name) {
		return dns.Fqdn(name), true
	}
	var wire [256]byte
	if _, err := dns.PackDomainName(dns.Fqdn(strings.ReplaceAll(name, `\`, `\\`)), wire[:], 0, nil, false); err != nil {
		return "", false
	}
	escaped, _, err := dns.UnpackDomainName(wire[:], 0)
	return dns.CanonicalName(escaped), err == nil
}

// isPlainName reports whether a name is its own escaped form but for the final dot: labels of 1 to 63 lower case letters,
// digits, hyphens and underscores, 253 octets together.
func isPlainName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	label := 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.' && label > 0:
			label = 0
			continue
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			label++
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return label > 0 && len(name) <= 253
}

// unescape undoes the escapes of miekg/dns: \DDD and \X.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i++; i+2 < len(s) && isDigits(s[i:i+3]) {
			b.WriteByte((s[i]-'0')*100 + (s[i+1]-'0')*10 + s[i+2] - '0')
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}
