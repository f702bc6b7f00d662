package msgauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// dnsServer answers on loopback, over UDP and TCP on one port.
type dnsServer struct {
	addr    string
	queries atomic.Int64
	tcp     atomic.Int64
	edns    atomic.Int64
}

// serveDNS starts a server with a handler; nil for the reply means no answer.
func serveDNS(t testing.TB, answer func(q *dns.Msg, tcp bool) *dns.Msg) *dnsServer {
	t.Helper()
	pc, l := listenBoth(t)
	s := &dnsServer{addr: pc.LocalAddr().String()}
	handle := func(tcp bool) dns.HandlerFunc {
		return func(w dns.ResponseWriter, q *dns.Msg) {
			s.queries.Add(1)
			if tcp {
				s.tcp.Add(1)
			}
			if q.IsEdns0() != nil {
				s.edns.Add(1)
			}
			if r := answer(q, tcp); r != nil {
				_ = w.WriteMsg(r)
			}
		}
	}
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: handle(false)}, {Listener: l, Handler: handle(true)}} {
		var wg sync.WaitGroup
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() { _ = srv.ActivateAndServe() })
		<-started
		t.Cleanup(func() {
			_ = srv.Shutdown()
			wg.Wait()
		})
	}
	return s
}

func listenBoth(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l
		}
		pc.Close()
	}
	t.Fatal("no port that is free for UDP and TCP")
	return nil, nil
}

// zoneHandler answers from records in zone file form.
func zoneHandler(t testing.TB, records ...string) func(*dns.Msg, bool) *dns.Msg {
	t.Helper()
	var rrs []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	return func(q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		known := false
		for range 4 { // a few aliases in one answer, as recursive servers do
			target := ""
			for _, rr := range rrs {
				if !strings.EqualFold(rr.Header().Name, name) {
					continue
				}
				known = true
				if rr.Header().Rrtype == q.Question[0].Qtype || rr.Header().Rrtype == dns.TypeCNAME {
					m.Answer = append(m.Answer, rr)
				}
				if c, ok := rr.(*dns.CNAME); ok {
					target = c.Target
				}
			}
			if target == "" {
				break
			}
			name = target
		}
		if !known {
			m.Rcode = dns.RcodeNameError
		}
		return m
	}
}

func rcode(code int) func(*dns.Msg, bool) *dns.Msg {
	return func(q *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetRcode(q, code) }
}

func silent(*dns.Msg, bool) *dns.Msg { return nil }

func newResolver(t testing.TB, cfg ResolverConfig, servers ...*dnsServer) *StubResolver {
	t.Helper()
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.addr)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	cfg.Log = quiet()
	r, err := NewResolver(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestResolverLookups(t *testing.T) {
	t.Parallel()
	r := newResolver(t, ResolverConfig{}, serveDNS(t, zoneHandler(t,
		`example.org. 300 TXT "v=spf1 " "-all"`,
		`example.org. 300 TXT "back\\slash \"quoted\" \195\164;"`,
		`example.org. 300 MX 10 mail.example.org.`,
		`example.org. 300 MX 5 backup.example.org.`,
		`mail.example.org. 300 A 192.0.2.1`,
		`mail.example.org. 300 AAAA 2001:db8::1`,
		`alias.example.org. 300 CNAME www.example.org.`,
		`www.example.org. 300 CNAME mail.example.org.`,
		`1.2.0.192.in-addr.arpa. 300 PTR Mail.Example.org.`,
		`a\@b.example.org. 300 TXT odd`,
	)))
	ctx := t.Context()
	check := func(what string, got any, err error, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
			t.Errorf("%s: %v %s", what, err, diff)
		}
	}
	txts, err := r.LookupTXT(ctx, "Example.ORG")
	check("txt", txts, err, []string{"v=spf1 -all", "back\\slash \"quoted\" ä;"})
	mxs, err := r.LookupMX(ctx, "example.org.")
	check("mx", mxs, err, []*net.MX{{Host: "mail.example.org.", Pref: 10}, {Host: "backup.example.org.", Pref: 5}})
	addrs, err := r.LookupNetIP(ctx, "ip", "alias.example.org")
	check("ip", addrs, err, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")})
	addrs, err = r.LookupNetIP(ctx, "ip6", "mail.example.org")
	check("ip6", addrs, err, []netip.Addr{netip.MustParseAddr("2001:db8::1")})
	names, err := r.LookupAddr(ctx, "192.0.2.1")
	check("ptr", names, err, []string{"Mail.Example.org."})
	txts, err = r.LookupTXT(ctx, "a@b.example.org")
	check("odd name", txts, err, []string{"odd"})

	for _, name := range []string{"nx.example.org", "mail.example.org", "", "a..b", strings.Repeat("a", 64) + ".org", strings.Repeat("a.", 200) + "org"} {
		if txts, err := r.LookupTXT(ctx, name); !isNotFound(err) {
			t.Errorf("%q: %q, %v", name, txts, err)
		}
	}
	if _, err := r.LookupAddr(ctx, "mail"); !isNotFound(err) {
		t.Errorf("reverse of no address: %v", err)
	}
}

// TestResolverFailures: every way in which DNS fails is temporary, takes bounded time and asks as often as configured.
func TestResolverFailures(t *testing.T) {
	t.Parallel()
	wrongQuestion := func(q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Question[0].Name = "other.example."
		return m
	}
	wrongID := func(q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Id++
		return m
	}
	truncated := func(q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Truncated = true
		return m
	}
	loop := zoneHandler(t, "example.org. 300 CNAME a.example.org.", "a.example.org. 300 CNAME example.org.")
	for _, c := range []struct {
		name    string
		answer  func(*dns.Msg, bool) *dns.Msg
		timeout bool
	}{
		{"silence", silent, true},
		{"SERVFAIL", rcode(dns.RcodeServerFailure), false},
		{"REFUSED", rcode(dns.RcodeRefused), false},
		{"answer to another question", wrongQuestion, false},
		{"answer with another id", wrongID, true},
		{"silence over tcp", func(q *dns.Msg, tcp bool) *dns.Msg {
			if tcp {
				return nil
			}
			return truncated(q, false)
		}, true},
		{"alias loop", loop, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serveDNS(t, c.answer)
			r := newResolver(t, ResolverConfig{Timeout: 100 * time.Millisecond}, s)
			start := time.Now()
			_, err := r.LookupTXT(t.Context(), "example.org")
			var d *net.DNSError
			if !errors.As(err, &d) || d.IsNotFound || !d.IsTemporary || d.IsTimeout != c.timeout {
				t.Errorf("error %#v", err)
			} else if strings.Contains(reason(err), "127.0.0.1") {
				t.Errorf("reason names our server: %s", reason(err))
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if n := s.queries.Load(); n > 20 {
				t.Errorf("%d queries", n)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		pc, l := listenBoth(t)
		addr := pc.LocalAddr().String()
		pc.Close()
		l.Close()
		r := newResolver(t, ResolverConfig{Servers: []string{addr}, Timeout: 100 * time.Millisecond})
		var d *net.DNSError
		if _, err := r.LookupTXT(t.Context(), "example.org"); !errors.As(err, &d) || !d.IsTemporary || d.IsNotFound {
			t.Errorf("error %#v", err)
		}
	})
}

func TestResolverFallsBackToTCP(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	full := zoneHandler(t, "example.org. 300 TXT "+strings.Repeat(`"`+long+`" `, 30))
	s := serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		m := full(q, tcp)
		if !tcp {
			m.Answer = nil
			m.Truncated = true
		}
		return m
	})
	txts, err := newResolver(t, ResolverConfig{}, s).LookupTXT(t.Context(), "example.org")
	if err != nil || len(txts) != 1 || len(txts[0]) != 6000 || s.tcp.Load() != 1 {
		t.Errorf("%d records, %v, %d over tcp", len(txts), err, s.tcp.Load())
	}
}

func TestResolverDoesWithoutEDNS(t *testing.T) {
	t.Parallel()
	zone := zoneHandler(t, "example.org. 300 TXT ok")
	s := serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		if q.IsEdns0() != nil {
			return new(dns.Msg).SetRcodeFormatError(q)
		}
		return zone(q, tcp)
	})
	txts, err := newResolver(t, ResolverConfig{}, s).LookupTXT(t.Context(), "example.org")
	if err != nil || !slices.Equal(txts, []string{"ok"}) || s.edns.Load() != 1 {
		t.Errorf("%q, %v, %d with edns", txts, err, s.edns.Load())
	}
}

func TestResolverAsksTheNextServerAndStaysWithIt(t *testing.T) {
	t.Parallel()
	bad := serveDNS(t, rcode(dns.RcodeServerFailure))
	good := serveDNS(t, zoneHandler(t, "a.example.org. 300 TXT ok", "b.example.org. 300 TXT ok"))
	r := newResolver(t, ResolverConfig{}, bad, good)
	for _, name := range []string{"a.example.org", "b.example.org"} {
		if _, err := r.LookupTXT(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if bad.queries.Load() != 1 || good.queries.Load() != 2 {
		t.Errorf("bad was asked %d times, good %d", bad.queries.Load(), good.queries.Load())
	}
}

// TestResolverFollowsAliases that the server did not follow.
func TestResolverFollowsAliases(t *testing.T) {
	t.Parallel()
	s := serveDNS(t, func(q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		line := q.Question[0].Name + " 300 CNAME b.example.org."
		if q.Question[0].Name == "b.example.org." {
			line = "b.example.org. 300 TXT ok"
		}
		rr, _ := dns.NewRR(line)
		m.Answer = []dns.RR{rr}
		return m
	})
	txts, err := newResolver(t, ResolverConfig{}, s).LookupTXT(t.Context(), "a.example.org")
	if err != nil || !slices.Equal(txts, []string{"ok"}) {
		t.Errorf("%q, %v", txts, err)
	}
}

func TestResolverCacheKeepsWithinTTL(t *testing.T) {
	t.Parallel()
	const soa = "example.org. 3600 SOA ns. root. 1 2 3 4 "
	for _, c := range []struct {
		name  string
		reply func(*dns.Msg) // puts records into the reply
		keeps time.Duration  // how long the answer is kept
	}{
		{"ttl", addRR(t, "example.org. 100 TXT ok", false), 100 * time.Second},
		{"short ttl", addRR(t, "example.org. 0 TXT ok", false), minTTL},
		{"long ttl", addRR(t, "example.org. 86400 TXT ok", false), maxTTL},
		{"negative", addRR(t, soa+"120", true), 120 * time.Second},
		{"negative short", addRR(t, soa+"1", true), minTTL},
		{"negative long", addRR(t, soa+"3600", true), maxNegativeTTL},
		{"negative without soa", func(*dns.Msg) {}, minTTL},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serveDNS(t, func(q *dns.Msg, _ bool) *dns.Msg {
				m := new(dns.Msg).SetReply(q)
				c.reply(m)
				return m
			})
			var offset atomic.Int64
			base := time.Now()
			r := newResolver(t, ResolverConfig{Now: func() time.Time { return base.Add(time.Duration(offset.Load())) }}, s)
			for i, at := range []time.Duration{0, c.keeps - time.Second, c.keeps + time.Second} {
				offset.Store(int64(at))
				_, _ = r.LookupTXT(t.Context(), "example.org")
				if want := []int64{1, 1, 2}[i]; s.queries.Load() != want {
					t.Errorf("after %v: %d queries, want %d", at, s.queries.Load(), want)
				}
			}
		})
	}
}

func addRR(t *testing.T, record string, authority bool) func(*dns.Msg) {
	t.Helper()
	rr, err := dns.NewRR(record)
	if err != nil {
		t.Fatal(err)
	}
	return func(m *dns.Msg) {
		if authority {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
}

func TestResolverCacheIsBounded(t *testing.T) {
	t.Parallel()
	s := serveDNS(t, func(q *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetReply(q) })
	r := newResolver(t, ResolverConfig{CacheEntries: 10}, s)
	for i := range 50 {
		_, _ = r.LookupTXT(t.Context(), fmt.Sprintf("n%d.example.org", i))
	}
	if n := r.cache.Len(); n != 10 {
		t.Errorf("%d entries", n)
	}
}

func TestResolverSharesOneExchange(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	zone := zoneHandler(t, "example.org. 300 TXT ok")
	s := serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		<-release
		return zone(q, tcp)
	})
	r := newResolver(t, ResolverConfig{}, s)
	var wg sync.WaitGroup
	var good atomic.Int64
	for range 20 {
		wg.Go(func() {
			if txts, err := r.LookupTXT(t.Context(), "example.org"); err == nil && len(txts) == 1 {
				good.Add(1)
			}
		})
	}
	waitFor(t, func() bool { return s.queries.Load() == 1 })
	close(release)
	wg.Wait()
	if good.Load() != 20 || s.queries.Load() != 1 {
		t.Errorf("%d good, %d queries", good.Load(), s.queries.Load())
	}
}

// TestResolverWaiterTakesOver when the caller that asked first gives up.
func TestResolverWaiterTakesOver(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	zone := zoneHandler(t, "example.org. 300 TXT ok")
	s := serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		if asked.Add(1) == 1 {
			return nil
		}
		return zone(q, tcp)
	})
	r := newResolver(t, ResolverConfig{Timeout: time.Minute}, s)
	first, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var firstErr, secondErr error
	wg.Go(func() { _, firstErr = r.LookupTXT(first, "example.org") })
	waitFor(t, func() bool { return asked.Load() == 1 })
	wg.Go(func() { _, secondErr = r.LookupTXT(t.Context(), "example.org") })
	cancel()
	wg.Wait()
	var d *net.DNSError
	if !errors.As(firstErr, &d) || !d.IsTimeout || secondErr != nil {
		t.Errorf("first %v, second %v", firstErr, secondErr)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("condition did not come true")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestResolverConfig(t *testing.T) {
	t.Parallel()
	if _, err := NewResolver(ResolverConfig{Servers: []string{"192.0.2.1"}, Log: quiet()}); err == nil {
		t.Error("a server without a port is accepted")
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("search x\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		conf:             {"192.0.2.1:53", "[2001:db8::1]:53"},
		conf + ".absent": {"127.0.0.1:53"},
	} {
		got, err := systemServers(path)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
	}
}

func TestResolverMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	r := newResolver(t, ResolverConfig{Registerer: reg, Validating: true}, serveDNS(t, signedZone(t)))
	for _, name := range []string{"example.org", "example.org", "nx.example.org"} {
		_, _ = r.LookupTXT(t.Context(), name)
	}
	got := map[string]float64{}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			if h := m.GetHistogram(); h != nil {
				got[name] = float64(h.GetSampleCount())
			} else {
				got[name] = m.GetCounter().GetValue()
			}
		}
	}
	want := map[string]float64{
		"mxhook_dns_lookups_total found": 2, "mxhook_dns_lookups_total not_found": 1,
		"mxhook_dns_cache_hits_total": 1, "mxhook_dns_exchange_seconds": 2, "mxhook_dns_authentic_total": 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// signedZone answers authentically for example.org and its alias in another zone, when it is asked to say so.
func signedZone(t testing.TB) func(*dns.Msg, bool) *dns.Msg {
	zone := zoneHandler(t, "example.org. 300 TXT ok", "alias.example.org. 300 CNAME plain.example.", "plain.example. 300 TXT ok")
	return func(q *dns.Msg, tcp bool) *dns.Msg {
		m := zone(q, tcp)
		m.AuthenticatedData = q.AuthenticatedData && q.Question[0].Name == "example.org."
		return m
	}
}

// The word of a server about DNSSEC counts only when the operator says so, and stays with the answer in the cache.
func TestResolverKeepsWhatAValidatingServerSays(t *testing.T) {
	t.Parallel()
	for _, validating := range []bool{true, false} {
		server := serveDNS(t, signedZone(t))
		r := newResolver(t, ResolverConfig{Validating: validating}, server)
		for _, name := range []string{"example.org", "alias.example.org", "nx.example.org"} {
			for range 2 {
				_, _ = r.LookupTXT(t.Context(), name)
				a, ok := r.cache.Get(question{name + ".", dns.TypeTXT})
				if want := validating && name == "example.org"; !ok || a.authentic != want {
					t.Errorf("validating %v: %s in the cache %v, authentic %v", validating, name, ok, a.authentic)
				}
			}
		}
	}
}

// A name that has no records of a type is told from one that does not exist; an alias to nowhere exists.
func TestResolverTellsMissingNamesFromMissingRecords(t *testing.T) {
	t.Parallel()
	r := newResolver(t, ResolverConfig{}, serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		m := zoneHandler(t, "example.org. 300 TXT ok", "alias.example.org. 300 CNAME nx.example.org.")(q, tcp)
		if len(m.Answer) > 0 && q.Question[0].Name == "alias.example.org." {
			m.Rcode = dns.RcodeNameError // RFC 6604 3
		}
		return m
	}))
	for name, want := range map[string]bool{"example.org": true, "alias.example.org": true, "nx.example.org": false} {
		for range 2 { // the second from the cache
			if got := newStage(r).exists(t.Context(), name); got != want {
				t.Errorf("%s exists: %v", name, got)
			}
		}
	}
}

func FuzzEscapeName(f *testing.F) {
	for _, s := range []string{"example.org", "a@b.example", `a\.b`, "a\x00b.org", "a..b", ".", strings.Repeat("a.", 130), "ä.org", `\123.org`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := escapeName(s)
		if !ok {
			return
		}
		query := new(dns.Msg).SetQuestion(name, dns.TypeTXT)
		wire, err := query.Pack()
		if err != nil {
			t.Fatalf("%q as %q: %v", s, name, err)
		}
		var back dns.Msg
		if err := back.Unpack(wire); err != nil || dns.CanonicalName(back.Question[0].Name) != name {
			t.Fatalf("%q as %q comes back as %q, %v", s, name, back.Question[0].Name, err)
		}
		if strings.TrimSuffix(unescape(name), ".") != strings.ToLower(strings.TrimSuffix(s, ".")) && isASCII(s) {
			t.Fatalf("%q as %q", s, name)
		}
	})
}

// TestPlainNamesAreEscapedAsTheLibraryDoes holds the short way to escape a name against the long one.
func TestPlainNamesAreEscapedAsTheLibraryDoes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	names := []string{
		"example.org", "example.org.", "_dmarc.x-y.example", "1.2.0.192.in-addr.arpa", "a", "a.", ".", "a..b", ".a", "a.b..", "Example.org", `a\.b`, "a b.c", "ü.example",
		long + ".org", long + "a.org", strings.Join([]string{long, long, long, long[:61]}, "."), strings.Join([]string{long, long, long, long[:62]}, "."),
		strings.Join([]string{long, long, long, long[:61], ""}, "."), strings.Join([]string{long, long, long, long}, "."), "",
	}
	plain := 0
	for _, name := range names {
		if !isPlainName(name) {
			continue
		}
		plain++
		var wire [256]byte
		if _, err := dns.PackDomainName(dns.Fqdn(name), wire[:], 0, nil, false); err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		want, _, err := dns.UnpackDomainName(wire[:], 0)
		if got, ok := escapeName(name); !ok || err != nil || got != dns.CanonicalName(want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if plain != 9 {
		t.Errorf("%d names are plain, want 9", plain)
	}
}
