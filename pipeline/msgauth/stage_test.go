package msgauth

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/mail"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/foxcpp/go-mockdns"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

func dkimDefaults() dkim.SignOptions { return dkim.SignOptions{} }

// hanging answers nothing until the context ends.
type hanging struct{}

func (hanging) LookupTXT(ctx context.Context, _ string) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hanging) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hanging) LookupMX(ctx context.Context, _ string) ([]*net.MX, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hanging) LookupAddr(ctx context.Context, _ string) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

var _ Resolver = (*net.Resolver)(nil)

func TestStageFillsAuthResults(t *testing.T) {
	t.Parallel()
	z := keyZone(
		"example.org TXT v=spf1 ip4:192.0.2.1 -all",
		"_dmarc.example.org TXT v=DMARC1; p=reject",
		"1.2.0.192.in-addr.arpa PTR mail.example.org.",
		"mail.example.org A 192.0.2.1",
	)
	m := message("192.0.2.1", "mail.example.org", "alice@example.org", sign(t, plainMail, dkimDefaults()))
	got := authenticate(t, newStage(z), m)
	want := &pipeline.AuthResults{
		Sender: pipeline.SenderResult{Verified: true, Domain: "example.org", By: "dmarc"},
		SPF:    pipeline.SPFResult{Result: "pass", Domain: "example.org", Identity: "mailfrom", Reason: "matched ip"},
		DKIM:   []pipeline.DKIMResult{{Result: "pass", Domain: "example.org", Selector: "s1", Algorithm: "ed25519-sha256", Aligned: true}},
		DMARC:  pipeline.DMARCResult{Result: "pass", Domain: "example.org", Policy: "reject", SPFAligned: true, DKIMAligned: true},
		ARC:    pipeline.ARCResult{Result: "none", Sealers: []string{}},
		IPRev:  pipeline.IPRevResult{Result: "pass", Name: "mail.example.org"},
		Field:  got.Field,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wantField := "Authentication-Results: mx.example.com;\r\n" +
		"\tspf=pass reason=\"matched ip\" smtp.mailfrom=alice@example.org;\r\n" +
		"\tspf=none reason=\"no DNS record found\" smtp.helo=mail.example.org;\r\n" +
		"\tdkim=pass header.d=example.org header.s=s1 header.a=ed25519-sha256 header.b=B;\r\n" +
		"\tdmarc=pass header.from=example.org policy.dmarc=reject;\r\n" +
		"\tarc=none;\r\n" +
		"\tiprev=pass policy.iprev=192.0.2.1\r\n"
	b := strings.Index(got.Field, "header.b=")
	field := got.Field
	if b > 0 {
		end := b + strings.Index(field[b:], ";\r\n")
		field = field[:b] + "header.b=B" + field[end:]
	}
	if diff := cmp.Diff(wantField, field); diff != "" {
		t.Error(diff)
	}
	if len(m.Problems) != 0 {
		t.Errorf("problems %+v", m.Problems)
	}
}

func TestStageOnAMessageWithNothing(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "\r\n", "no header at all", "\r\r\n", "Subject: x\r\n"} {
		got := authenticate(t, newStage(zoneOf()), message("", "", "", raw))
		want := &pipeline.AuthResults{
			SPF:   pipeline.SPFResult{Result: "none", Identity: "helo", Reason: "client address is not known"},
			DKIM:  []pipeline.DKIMResult{},
			DMARC: pipeline.DMARCResult{Result: "permerror", Reason: "no From field"},
			ARC:   pipeline.ARCResult{Result: "none", Sealers: []string{}},
			IPRev: pipeline.IPRevResult{Result: "none"},
			Field: "Authentication-Results: mx.example.com;\r\n\tspf=none reason=\"client address is not known\";\r\n\tdkim=none;\r\n" +
				"\tdmarc=permerror reason=\"no From field\";\r\n\tarc=none\r\n",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", raw, diff)
		}
	}
}

// TestSpoofedAuthors: mails that are validly signed or sent by somebody, but not by the author that a reader may see.
func TestSpoofedAuthors(t *testing.T) {
	t.Parallel()
	z := keyZone("example.org TXT v=spf1 ip4:192.0.2.1 -all", "_dmarc.example.org TXT v=DMARC1; p=reject", "_dmarc.bank.example TXT v=DMARC1; p=none")
	signed := sign(t, plainMail, dkimDefaults())
	for name, raw := range map[string]string{
		"second From above":             "From: ceo@bank.example\r\n" + signed,
		"second From of the domain":     "From: ceo@example.org\r\n" + signed,
		"disguised second From":         "From: ceo@example.org\r\n" + strings.Replace(signed, "From:", "From\v:", 1),
		"first From hides in a fold":    " From: ceo@example.org\r\n" + signed,
		"From of another domain":        strings.Replace(signed, "From: Alice <alice@example.org>", "From: ceo@bank.example", 1),
		"two authors":                   sign(t, strings.Replace(plainMail, "<alice@example.org>", "<alice@example.org>, ceo@bank.example", 1), dkimDefaults()),
		"route":                         sign(t, strings.Replace(plainMail, "<alice@example.org>", "<@bank.example:alice@example.org>", 1), dkimDefaults()),
		"no From signed":                strings.Replace(signed, "From: Alice <alice@example.org>\r\n", "", 1),
		"header goes on after CR CR LF": "From: ceo@example.org\r\n\r\r\n" + signed,
	} {
		m := message("192.0.2.1", "mail.example.org", "alice@example.org", raw)
		a := authenticate(t, newStage(z), m)
		if a.Sender.Verified {
			t.Errorf("%s: verified as %q (%+v)", name, a.Sender.Domain, a.DMARC)
		}
	}
}

func TestStageTellsOfForgedResults(t *testing.T) {
	t.Parallel()
	m := message("", "", "", "Authentication-Results: mx.example.com; dmarc=pass\r\nAuthentication-Results: other.example; none\r\nFrom: a@b.example\r\n\r\n")
	authenticate(t, newStage(zoneOf()), m)
	want := []pipeline.Problem{{Code: "authentication-results-forged", Where: "Authentication-Results", Detail: "1 fields in our name"}}
	if diff := cmp.Diff(want, m.Problems); diff != "" {
		t.Error(diff)
	}
}

func TestStageReturnsAnErrorOnlyWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := message("192.0.2.1", "mail.example.org", "alice@example.org", plainMail)
	if err := newStage(hanging{}).Run(ctx, m); !errors.Is(err, context.Canceled) || m.Auth != nil {
		t.Errorf("err %v, auth %+v", err, m.Auth)
	}
}

func TestStageKeepsResultsThatAreThere(t *testing.T) {
	t.Parallel()
	z := keyZone()
	s := newStage(z)
	m := message("", "", "", sign(t, plainMail, dkimDefaults()))
	first := authenticate(t, s, m)
	z.records = nil // the key is gone by the time the message is looked at again
	if again := authenticate(t, s, m); again != first || !again.Sender.Verified || len(m.Problems) != 0 {
		t.Errorf("got %+v", again)
	}
}

type panicking struct{ *fakeZone }

func (panicking) LookupTXT(context.Context, string) ([]string, error) { panic("boom") }

func TestStageContainsAPanic(t *testing.T) {
	t.Parallel()
	m := message("192.0.2.1", "mail.example.org", "alice@example.org", plainMail)
	a := authenticate(t, newStage(panicking{zoneOf()}), m)
	if a.SPF.Result != "temperror" || a.DMARC.Result != "temperror" || a.IPRev.Result != "permerror" || a.Sender.Verified {
		t.Errorf("got %+v", a)
	}
}

func TestStageCountsResults(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s := New(Options{Resolver: zoneOf(), Log: quiet(), Registerer: reg})
	authenticate(t, s, message("192.0.2.1", "mail.example.org", "alice@example.org", plainMail))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	if want := []string{"mxhook_auth_results_total", "mxhook_auth_seconds"}; !slices.Equal(names, want) {
		t.Errorf("metrics %q", names)
	}
}

// mockDNS adapts go-mockdns, which has all of Resolver but the newer address lookup.
type mockDNS struct{ *mockdns.Resolver }

func (m mockDNS) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	ips, err := m.LookupIP(ctx, network, host)
	var addrs []netip.Addr
	for _, ip := range ips {
		a, _ := netip.AddrFromSlice(ip)
		addrs = append(addrs, a.Unmap())
	}
	return addrs, err
}

func TestStageOnAnotherResolver(t *testing.T) {
	t.Parallel()
	r := mockDNS{&mockdns.Resolver{Zones: map[string]mockdns.Zone{
		"example.org.":               {TXT: []string{"v=spf1 mx -all"}, MX: []net.MX{{Host: "mail.example.org."}}},
		"_dmarc.example.org.":        {TXT: []string{"v=DMARC1; p=reject"}},
		"mail.example.org.":          {A: []string{"192.0.2.1"}},
		"1.2.0.192.in-addr.arpa.":    {PTR: []string{"mail.example.org."}},
		"s1._domainkey.example.org.": {TXT: []string{testKeys().edRecord}},
	}}}
	a := authenticate(t, newStage(r), message("192.0.2.1", "mail.example.org", "alice@example.org", sign(t, plainMail, dkimDefaults())))
	if !a.Sender.Verified || a.SPF.Result != "pass" || a.DKIM[0].Result != "pass" || a.IPRev.Name != "mail.example.org" {
		t.Errorf("got %+v", a)
	}
}

// TestStageWhenDNSIsDown: every way to be down is a temperror, in bounded time, and verifies nobody.
func TestStageWhenDNSIsDown(t *testing.T) {
	t.Parallel()
	signed := sign(t, plainMail, dkimDefaults())
	for name, answer := range map[string]func(*dns.Msg, bool) *dns.Msg{"silent": silent, "failing": rcode(dns.RcodeServerFailure)} {
		r := newResolver(t, ResolverConfig{Timeout: 50 * time.Millisecond, Attempts: 1}, serveDNS(t, answer))
		s := New(Options{Resolver: r, Log: quiet(), Timeout: 2 * time.Second})
		start := time.Now()
		a := authenticate(t, s, message("192.0.2.1", "mail.example.org", "alice@example.org", signed))
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		got := []string{a.SPF.Result, a.DKIM[0].Result, a.DMARC.Result, a.IPRev.Result}
		if diff := cmp.Diff([]string{"temperror", "temperror", "temperror", "temperror"}, got); diff != "" || a.Sender.Verified {
			t.Errorf("%s: %s sender %+v", name, diff, a.Sender)
		}
		if strings.Contains(a.Field, "127.0.0.1") {
			t.Errorf("field names our server: %q", a.Field)
		}
	}
}

// FuzzStage changes a signed mail in every way it likes. Whatever is verified must be the mail that was signed, as
// net/mail reads its author; and all text must fit the payload.
func FuzzStage(f *testing.F) {
	signed := sign(f, plainMail, dkimDefaults())
	for _, raw := range []string{
		signed, signed + "x", "From: ceo@example.org\r\n" + signed, " From: ceo@example.org\r\n" + signed,
		strings.Replace(signed, "From:", "From\v:", 1), "\r\r\n" + signed, "DKIM-Signature: s=\xff\x00; d=x\r\n" + signed, plainMail,
	} {
		f.Add([]byte(raw))
	}
	s := newStage(keyZone("_dmarc.example.org TXT v=DMARC1; p=reject"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := message("", "", "", string(raw))
		a := authenticate(t, s, m)
		for _, r := range a.DKIM {
			if !utf8.ValidString(r.Selector+r.Algorithm+r.Reason+r.Domain) || len(r.Selector) > maxText {
				t.Fatalf("result %+v", r)
			}
		}
		if strings.Count(a.Field, "\n") != strings.Count(a.Field, "\r\n") || !isASCII(a.Field) {
			t.Fatalf("field %q", a.Field)
		}
		if !a.Sender.Verified {
			return
		}
		read, err := mail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			return
		}
		from := read.Header["From"]
		if a.Sender.Domain != "example.org" || len(from) != 1 || strings.Join(strings.Fields(from[0]), " ") != "Alice <alice@example.org>" {
			t.Fatalf("verified %+v with From %q", a.Sender, from)
		}
	})
}

func TestIPRev(t *testing.T) {
	t.Parallel()
	const arpa = "1.2.0.192.in-addr.arpa"
	for _, c := range []struct {
		name, ip string
		zone     []string
		want     pipeline.IPRevResult
	}{
		{"pass", "192.0.2.1", []string{arpa + " PTR Mail.Example.Org.", "mail.example.org A 192.0.2.1"}, pipeline.IPRevResult{Result: "pass", Name: "mail.example.org"}},
		{"second name", "192.0.2.1", []string{arpa + " PTR a.example.org.", arpa + " PTR b.example.org.", "b.example.org A 192.0.2.1"}, pipeline.IPRevResult{Result: "pass", Name: "b.example.org"}},
		{"another address", "192.0.2.1", []string{arpa + " PTR mail.example.org.", "mail.example.org A 192.0.2.9"}, pipeline.IPRevResult{Result: "fail"}},
		{"no address", "192.0.2.1", []string{arpa + " PTR mail.example.org."}, pipeline.IPRevResult{Result: "fail"}},
		{"no name", "192.0.2.1", nil, pipeline.IPRevResult{Result: "permerror"}},
		{"reverse times out", "192.0.2.1", []string{arpa + " TIMEOUT"}, pipeline.IPRevResult{Result: "temperror"}},
		{"forward fails", "192.0.2.1", []string{arpa + " PTR mail.example.org.", "mail.example.org SERVFAIL"}, pipeline.IPRevResult{Result: "temperror"}},
		{"name that is no host name", "192.0.2.1", []string{arpa + " PTR a\r\nb.example.org.", "a\r\nb.example.org A 192.0.2.1"}, pipeline.IPRevResult{Result: "fail"}},
		{"no client", "", nil, pipeline.IPRevResult{Result: "none"}},
	} {
		addr, _ := netip.ParseAddr(c.ip)
		got := newStage(zoneOf(c.zone...)).checkIPRev(t.Context(), addr)
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}
