package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"mxhook/pipeline/msgauth"
)

// zone is the records of a corpus by name: lower case, absolute, in the escaped form of miekg/dns.
type zone struct {
	records map[string][]dns.RR
	// above are names that exist because others below them do.
	above map[string]bool
	// broken names are not answered (-1) or with this code, for types that they have no record of.
	broken map[string]int
}

// silent is the broken answer of a server that gives none.
const silent = -1

func newZone() *zone {
	return &zone{records: map[string][]dns.RR{}, above: map[string]bool{}, broken: map[string]int{}}
}

// absolute gives a name of a corpus the form that names have in queries; "" when it cannot be one.
func absolute(name string) string {
	name = strings.NewReplacer(`\`, `\\`, `"`, `\"`, ";", `\;`, "(", `\(`, ")", `\)`, "@", `\@`, "$", `\$`).Replace(name)
	var wire [256]byte
	if _, err := dns.PackDomainName(dns.Fqdn(name), wire[:], 0, nil, false); err != nil {
		return ""
	}
	name, _, err := dns.UnpackDomainName(wire[:], 0)
	if err != nil {
		return ""
	}
	return dns.CanonicalName(name)
}

// add puts in a record; what cannot be one is left out, as a name server would refuse it.
func (z *zone) add(name, typ, value string) {
	name = absolute(name)
	h := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: 3600, Rrtype: dns.StringToType[typ]}
	var rr dns.RR
	switch typ {
	case "TXT":
		rr = &dns.TXT{Hdr: h, Txt: strings256(strings.ReplaceAll(value, `\`, `\\`))}
	case "A", "AAAA":
		ip, err := netip.ParseAddr(value)
		if err != nil {
			return
		}
		if rr = dns.RR(&dns.AAAA{Hdr: h, AAAA: ip.AsSlice()}); typ == "A" {
			rr = &dns.A{Hdr: h, A: ip.AsSlice()}
		}
	case "MX":
		rr = &dns.MX{Hdr: h, Mx: absolute(value), Preference: uint16(len(z.records[name]))}
	case "PTR":
		rr = &dns.PTR{Hdr: h, Ptr: absolute(value)}
	case "CNAME":
		rr = &dns.CNAME{Hdr: h, Target: absolute(value)}
	}
	if name != "" && rr != nil {
		z.records[name] = append(z.records[name], rr)
		for next, end := dns.NextLabel(name, 0); !end; next, end = dns.NextLabel(name, next) {
			z.above[name[next:]] = true
		}
	}
}

// strings256 cuts a text into the character-strings of a TXT record.
func strings256(s string) []string {
	var parts []string
	for len(s) > 200 {
		n := 200
		for s[n-1] == '\\' { // not between an escape and what it escapes
			n--
		}
		parts = append(parts, s[:n])
		s = s[n:]
	}
	return append(parts, s)
}

// fail makes a name broken.
func (z *zone) fail(name string, rcode int) { z.broken[absolute(name)] = rcode }

// answer is what an authoritative server with all the zones of the corpus would say; nil for nothing.
func (z *zone) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	name, qtype := dns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype
	for range 10 {
		target := ""
		for _, rr := range z.records[name] {
			if rr.Header().Rrtype == qtype {
				m.Answer = append(m.Answer, rr)
			} else if c, ok := rr.(*dns.CNAME); ok {
				m.Answer = append(m.Answer, rr)
				target = c.Target
			}
		}
		if code, ok := z.broken[name]; ok && len(m.Answer) == 0 {
			if code == silent {
				return nil
			}
			return m.SetRcode(q, code)
		}
		if len(z.records[name]) == 0 && len(m.Answer) == 0 && !z.above[name] {
			m.Rcode = dns.RcodeNameError
		}
		if target == "" {
			return m
		}
		name = target
	}
	return m.SetRcode(q, dns.RcodeServerFailure)
}

// serve answers queries on loopback until stop is called, and returns a resolver that asks there.
func (z *zone) serve() (r *msgauth.StubResolver, stop func(), err error) {
	pc, l, err := listen()
	if err != nil {
		return nil, nil, err
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := z.answer(q)
		if m == nil {
			return
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			m.Truncate(1232)
		}
		_ = w.WriteMsg(m) // a client that has gone away asks again
	})
	var wg sync.WaitGroup
	servers := []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: l, Handler: handler}}
	for _, s := range servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() { _ = s.ActivateAndServe() })
		<-started
	}
	stop = func() {
		for _, s := range servers {
			_ = s.ShutdownContext(context.Background())
		}
		wg.Wait()
	}
	r, err = msgauth.NewResolver(msgauth.ResolverConfig{
		Servers: []string{pc.LocalAddr().String()}, Timeout: 300 * time.Millisecond, Attempts: 1, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		stop()
	}
	return r, stop, err
}

func listen() (net.PacketConn, net.Listener, error) {
	var last error
	for range 20 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, fmt.Errorf("listen for queries: %w", err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l, nil
		}
		pc.Close()
		last = err
	}
	return nil, nil, fmt.Errorf("find a port for queries: %w", last)
}
