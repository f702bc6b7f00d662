package msgauth

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"
)

// faultyDNS answers for NAME.FAULT.example by FAULT, from the same records for all.
func faultyDNS(t testing.TB) *dnsServer {
	return serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		name := strings.ToLower(q.Question[0].Name)
		fault := ""
		if labels := dns.SplitDomainName(name); len(labels) >= 2 {
			fault = labels[len(labels)-2]
		}
		r := new(dns.Msg).SetReply(q)
		switch fault {
		case "dead":
			return nil
		case "broken":
			return r.SetRcode(q, dns.RcodeServerFailure)
		case "gone":
			return r.SetRcode(q, dns.RcodeNameError)
		case "loop":
			r.Answer = append(r.Answer, &dns.CNAME{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}, Target: "x" + name})
			return r
		case "late":
			time.Sleep(50 * time.Millisecond)
		case "cut":
			if r.Truncated = !tcp; r.Truncated {
				return r
			}
		}
		txt := ""
		switch {
		case strings.HasPrefix(name, "_dmarc.mail."):
			txt = "v=DMARC1; p=reject"
		case strings.HasPrefix(name, "s1._domainkey."):
			txt = testKeys().edRecord
		case strings.HasPrefix(name, "mail."):
			txt = "v=spf1 ip4:192.0.2.1 -all"
		}
		if txt != "" && q.Question[0].Qtype == dns.TypeTXT {
			r.Answer = append(r.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{txt}})
		}
		return r
	})
}

// TestFaultyDNSOfOneDomainIsItsOwn: each mail gets the verdict that fits its own domain's DNS in bounded time, and the
// mails of others do not wait for it.
func TestFaultyDNSOfOneDomainIsItsOwn(t *testing.T) {
	t.Parallel()
	const timeout = 400 * time.Millisecond
	r := newResolver(t, ResolverConfig{Timeout: timeout, Attempts: 1}, faultyDNS(t))
	s := New(Options{Resolver: r, Log: quiet()})
	var wg sync.WaitGroup
	for fault, want := range map[string]string{
		"good":   "spf=pass dkim=pass dmarc=pass true",
		"late":   "spf=pass dkim=pass dmarc=pass true",
		"cut":    "spf=pass dkim=pass dmarc=pass true",
		"gone":   "spf=none dkim=permerror dmarc=none false",
		"broken": "spf=temperror dkim=temperror dmarc=temperror false",
		"dead":   "spf=temperror dkim=temperror dmarc=temperror false",
		"loop":   "spf=temperror dkim=temperror dmarc=temperror false",
	} {
		domain := "mail." + fault + ".example"
		raw := sign(t, strings.ReplaceAll(plainMail, "example.org", domain), dkim.SignOptions{Domain: domain})
		for n := range 20 {
			wg.Go(func() {
				start := time.Now()
				m := message("192.0.2.1", domain, "alice@"+domain, raw)
				if err := s.Run(t.Context(), m); err != nil {
					t.Error(err)
					return
				}
				a := m.Auth
				if got := fmt.Sprintf("spf=%s dkim=%s dmarc=%s %v", a.SPF.Result, a.DKIM[0].Result, a.DMARC.Result, a.Sender.Verified); got != want {
					t.Errorf("%s %d: %s, want %s", fault, n, got, want)
				}
				most := 20 * time.Second
				if fault == "good" {
					most = 5 * time.Second // however many wait for the dead; they take all of the timeout several times
				}
				if took := time.Since(start); took > most {
					t.Errorf("%s %d took %v", fault, n, took)
				}
			})
		}
	}
	wg.Wait()
}

// TestResolverRemembersFailuresForAWhile: a dead server holds up one mail, not each.
func TestResolverRemembersFailuresForAWhile(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	server := serveDNS(t, rcode(dns.RcodeServerFailure))
	r := newResolver(t, ResolverConfig{Attempts: 1, Now: func() time.Time { return now }}, server)
	for range 3 {
		if _, err := r.LookupTXT(t.Context(), "example.org"); err == nil || isNotFound(err) {
			t.Fatal(err)
		}
	}
	if n := server.queries.Load(); n != 1 {
		t.Errorf("%d queries within a second", n)
	}
	now = now.Add(failureTTL)
	if _, err := r.LookupTXT(t.Context(), "example.org"); err == nil {
		t.Fatal("no error")
	}
	if n := server.queries.Load(); n != 2 {
		t.Errorf("%d queries after the failure has been forgotten", n)
	}
}

// TestManySilentServersAreNotAllWaitedFor: the lookup fails within its message's time, and so is remembered.
func TestManySilentServersAreNotAllWaitedFor(t *testing.T) {
	t.Parallel()
	servers := make([]*dnsServer, 5)
	for i := range servers {
		servers[i] = serveDNS(t, silent)
	}
	r := newResolver(t, ResolverConfig{Timeout: 100 * time.Millisecond}, servers...)
	start := time.Now()
	for range 3 {
		if _, err := r.LookupTXT(t.Context(), "example.org"); err == nil || isNotFound(err) {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took > 900*time.Millisecond { // all five twice would be a second, three lookups of that three
		t.Errorf("took %v", took)
	}
	asked := 0
	for _, s := range servers {
		asked += int(s.queries.Load())
	}
	if asked > maxTurns+1 {
		t.Errorf("%d queries", asked)
	}
}
