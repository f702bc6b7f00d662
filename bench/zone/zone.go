// Package zone is a name server on loopback with what a domain publishes that sends signed mail: SPF, DKIM and DMARC.
package zone

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"
)

// Server answers for some names, and says of all others that they do not exist. It may be used concurrently.
type Server struct {
	records map[string][]dns.RR // by absolute name
	udp     *dns.Server
	tcp     *dns.Server
	addr    string
	queries atomic.Int64
}

// Sender returns the records of a domain whose mail comes from 127.0.0.1 and is signed by a key.
func Sender(domain, selector, key string) []string {
	return []string{
		domain + ` 3600 IN TXT "v=spf1 ip4:127.0.0.0/8 -all"`,
		domain + " 3600 IN MX 10 mail." + domain,
		"mail." + domain + " 3600 IN A 127.0.0.1",
		"1.0.0.127.in-addr.arpa. 3600 IN PTR mail." + domain,
		"_dmarc." + domain + ` 3600 IN TXT "v=DMARC1; p=reject; rua=mailto:dmarc@` + strings.TrimSuffix(domain, ".") + `"`,
		selector + "._domainkey." + domain + " 3600 IN TXT " + quoted(key),
	}
}

// quoted cuts a text into strings of at most 255 octets (RFC 1035 3.3).
func quoted(s string) string {
	var b strings.Builder
	for len(s) > 200 {
		b.WriteString(`"` + s[:200] + `" `)
		s = s[200:]
	}
	return b.String() + `"` + s + `"`
}

// Listen serves records, in the notation of zone files, on a free port of 127.0.0.1.
func Listen(records []string) (*Server, error) {
	s := &Server{records: map[string][]dns.RR{}}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			return nil, fmt.Errorf("record %q: %w", text, err)
		}
		name := strings.ToLower(rr.Header().Name)
		s.records[name] = append(s.records[name], rr)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.addr = pc.LocalAddr().String()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		_ = pc.Close()
		return nil, err
	}
	s.udp, s.tcp = &dns.Server{PacketConn: pc, Handler: s}, &dns.Server{Listener: l, Handler: s}
	go func() { _ = s.udp.ActivateAndServe() }() // end with Close
	go func() { _ = s.tcp.ActivateAndServe() }()
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.addr }

// Queries is how often it was asked: with a warm cache it is not.
func (s *Server) Queries() int64 { return s.queries.Load() }

// Close ends it.
func (s *Server) Close() {
	_ = s.udp.Shutdown()
	_ = s.tcp.Shutdown()
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.queries.Add(1)
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	if len(q.Question) == 1 {
		name := strings.ToLower(q.Question[0].Name)
		rrs, has := s.records[name]
		for _, rr := range rrs {
			if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if !has {
			m.Rcode = dns.RcodeNameError
		}
	}
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(1232, false)
	}
	_ = w.WriteMsg(m) // who asked has gone
}
