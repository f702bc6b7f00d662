package msgauth

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

func TestReadReceived(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, helo, ip string }{
		{"from mail.example.org (mail.example.org [192.0.2.1])\r\n\tby mx.example.com (Postfix) with ESMTPS id 1", "mail.example.org", "192.0.2.1"},
		{"from x (unknown [IPv6:2001:db8::1]) by mx", "x", "2001:db8::1"},
		{"from [10.0.0.9] (helo.example [192.0.2.1]) by mx", "[10.0.0.9]", "192.0.2.1"},
		{"from mail.example.org ([192.0.2.1] helo=evil.example) by mx with esmtp (Exim 4.96)", "evil.example", "192.0.2.1"},
		{"from mail.example.org ([192.0.2.1] helo=[10.0.0.9]) by mx", "[10.0.0.9]", "192.0.2.1"},
		{"from unknown (HELO evil.example) (192.0.2.1)\r\n  by mx with SMTP", "evil.example", "192.0.2.1"},
		{"from unknown (HELO 10.0.0.9) (192.0.2.1) by mx", "10.0.0.9", "192.0.2.1"},
		{"from A.example (192.0.2.1) by B.example (10.0.0.2) with Microsoft SMTP Server", "A.example", "192.0.2.1"},
		{"from mail.example.org ([192.0.2.1])\r\n\tby mx.example.com with ESMTP id X\r\n\tfor <a@b>; Sat, 21 Nov 2026 19:17:03 +0000", "mail.example.org", "192.0.2.1"},
	} {
		got, ok := readReceived(" " + c.body)
		if !ok || got.Helo != c.helo || got.IP.String() != c.ip {
			t.Errorf("%q: %+v %v", c.body, got, ok)
		}
	}
	for _, bad := range []string{
		"", "by mx.example.com with HTTP", "from x by mx (192.0.2.1)", "from x (y [192.0.2.1] [192.0.2.2]) by mx", "from x (y [192.0.2.1", "from",
		"from x (" + strings.Repeat("(", 5000),
	} {
		if got, ok := readReceived(bad); ok {
			t.Errorf("%.60q: %+v", bad, got)
		}
	}
}

func FuzzReadReceived(f *testing.F) {
	f.Add(" from mail.example.org (mail.example.org [192.0.2.1])\r\n\tby mx.example.com")
	f.Add("from unknown (HELO 10.0.0.9) (192.0.2.1) by mx")
	f.Add("from mail.example.org ([192.0.2.1] helo=[10.0.0.9]) by mx (a (b) \\")
	f.Fuzz(func(t *testing.T, body string) {
		c, ok := readReceived(body)
		if ok && (!c.IP.IsValid() || c.IP.Is4In6() || c.IP.Zone() != "") {
			t.Fatalf("%q: %v", body, c.IP)
		}
	})
}

func TestTrustedUpstreams(t *testing.T) {
	t.Parallel()
	const (
		relay   = "Received: from outside.example (outside.example [198.51.100.7])\r\n\tby relay.example with ESMTP id 2\r\n"
		inner   = "Received: from relay.example (relay.example [192.0.2.8]) by inner.example with ESMTP id 3\r\n"
		amavis  = "Received: from localhost (localhost [127.0.0.1]) by relay.example with ESMTP id 4\r\n"
		forged  = "Received: from good.example (good.example [203.0.113.5]) by relay.example with ESMTP id 1\r\n"
		passed  = "Authentication-Results: relay.example; dmarc=pass header.from=example.org\r\n"
		spf     = "Authentication-Results: relay.example; spf=pass smtp.mailfrom=alice@example.org\r\n"
		dkim    = "Authentication-Results: relay.example; dkim=pass header.d=example.org header.s=s1\r\n"
		failed  = "Authentication-Results: relay.example; dmarc=fail header.from=example.org; spf=fail smtp.mailfrom=example.org\r\n"
		another = "Authentication-Results: another.example; dmarc=pass header.from=example.org\r\n"
	)
	up := []Upstream{
		{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.8/32")}, AuthservID: "Relay.Example"},
		{Networks: []netip.Prefix{netip.MustParsePrefix("2001:db8::/64"), netip.MustParsePrefix("192.0.2.9/32")}},
	}
	for _, c := range []struct {
		name, from, trace string
		client            string
		verified          bool
	}{
		{"not an upstream", "192.0.2.1", passed + relay, "192.0.2.1", false},
		{"spf of the client before it", "192.0.2.8", strings.ReplaceAll(relay, "198.51.100.7", "198.51.100.1"), "198.51.100.1", true},
		{"spf of a bad client before it", "192.0.2.8", relay, "198.51.100.7", false},
		{"an older good client", "192.0.2.8", relay + strings.ReplaceAll(forged, "203.0.113.5", "198.51.100.1"), "198.51.100.7", false},
		{"two hops", "192.0.2.9", inner + relay, "198.51.100.7", false},
		{"two hops and results", "192.0.2.9", inner + passed + relay, "198.51.100.7", true},
		{"a filter on the same host", "192.0.2.8", amavis + passed + relay, "198.51.100.7", true},
		{"its results", "192.0.2.8", passed + relay, "198.51.100.7", true},
		{"its results for spf", "192.0.2.8", spf + relay, "198.51.100.7", true},
		{"its results for dkim", "192.0.2.8", dkim + relay, "198.51.100.7", true},
		{"its results that say no", "192.0.2.8", failed + relay, "198.51.100.7", false},
		{"results below its trace field", "192.0.2.8", relay + passed, "198.51.100.7", false},
		{"results of another name", "192.0.2.8", another + relay, "198.51.100.7", false},
		{"results of an upstream without a name", "192.0.2.9", strings.Replace(passed, "relay.example", "", 1) + relay, "198.51.100.7", false},
		{"a trace field that cannot be read", "192.0.2.8", "Received: by relay.example\r\n" + relay + passed, "", false},
		{"its own mail", "192.0.2.8", "", "192.0.2.8", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			zone := zoneOf("example.org TXT v=spf1 ip4:198.51.100.1 -all", "_dmarc.example.org TXT v=DMARC1; p=reject")
			s := New(Options{Resolver: zone, Log: quiet(), TrustedUpstreams: up})
			m := message(c.from, "relay.example", "alice@example.org", c.trace+plainMail)
			if o := s.originOf(m); c.client != "" && o.client.IP.String() != c.client || c.client == "" && o.client.IP.IsValid() {
				t.Errorf("client %v, want %s", o.client.IP, c.client)
			}
			a := authenticate(t, s, m)
			if a.Sender.Verified != c.verified || a.Upstream != (c.from != "192.0.2.1") {
				t.Errorf("sender %+v, spf %+v, dmarc %+v, upstream %v", a.Sender, a.SPF, a.DMARC, a.Upstream)
			}
			if c.client != "" && !strings.Contains(a.Field, "policy.iprev="+c.client) {
				t.Errorf("field %q", a.Field)
			}
		})
	}
}

func TestBudgetOfLookups(t *testing.T) {
	t.Parallel()
	zone := newZone()
	for i := range 60 {
		zone.add(fmt.Sprintf("s%d._domainkey.example.org", i), "TXT", "v=DKIM1; p=")
	}
	m := message("192.0.2.1", "mail.example.org", "alice@example.org", plainMail)
	s := New(Options{Resolver: zone, Log: quiet(), MaxLookups: 3})
	a := authenticate(t, s, m)
	if got := zone.queries.Load(); got > 6 { // a lookup of addresses asks for both types
		t.Errorf("%d queries", got)
	}
	got := []string{a.SPF.Result, a.DMARC.Result, a.IPRev.Result}
	if !slices.Contains(got, pipeline.ResultTempError) || a.Sender.Verified {
		t.Errorf("results %q", got)
	}
}

func TestAuthorProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from string
		want []string
	}{
		{"Alice <alice@example.org>", nil},
		{"alice@example.org", nil},
		{`"Alice, of Example" <alice@example.org>`, nil},
		{`"alice@example.org" <alice@example.org>`, nil},
		{"=?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <j@example.org>", nil},
		{"=?utf-8?b?5bGx55SwIFlhbWFkYQ==?= <y@example.jp>", nil},
		{"=?utf-8?b?0JjQstCw0L0=?= <ivan@example.ru>", nil},
		{"a@xn--mller-kva.example", nil},
		{"Alice <alice@example.org>, Bob <bob@example.org>", []string{"from-several-addresses"}},
		{"Team: a@example.org, b@example.org;", []string{"from-several-addresses"}},
		{`"ceo@bank.example" <x@evil.example>`, []string{"from-address-in-name"}},
		{`ceo@bank.example <x@evil.example>`, []string{"from-address-in-name"}},
		{`"CEO (ceo@Bank.Example)" <x@evil.example>`, []string{"from-address-in-name"}},
		{"=?utf-8?q?ceo=40bank=2Eexample?= <x@evil.example>", []string{"from-address-in-name"}},
		{"=?utf-8?b?UNCweXBhbA==?= <x@evil.example>", []string{"from-mixed-scripts"}}, // P, Cyrillic a, ypal
		{"x@xn--pypal-4ve.example", []string{"from-mixed-scripts"}},
		{"x@xn--80ak6aa92e.com", []string{"from-lookalike-domain"}},
		{"=?utf-8?b?4oCubGFwWWFQ?= <x@evil.example>", []string{"from-hidden-characters"}},
		{"", nil},
		{"<<@@,", nil},
	} {
		var got []string
		for _, p := range authorProblems([]byte("From: " + c.from + "\r\n\r\n")) {
			got = append(got, p.Code)
			if p.Where != "From" || p.Detail == "" {
				t.Errorf("%+v", p)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.from, diff)
		}
	}
	if got := authorProblems([]byte("From: a@example.org\r\nFROM\x00: b@example.org\r\n\r\n")); len(got) != 1 || got[0].Code != "from-several-fields" {
		t.Errorf("two fields: %+v", got)
	}
}

func FuzzAuthorProblems(f *testing.F) {
	f.Add(`"ceo@bank.example" <x@evil.example>`)
	f.Add("=?utf-8?b?UNCweXBhbA==?= <x@xn--80ak6aa92e.com>, a: b@c;")
	f.Fuzz(func(t *testing.T, from string) {
		for _, p := range authorProblems([]byte("From: " + from)) {
			if len(p.Detail) > maxText || strings.ContainsAny(p.Detail, "\r\n\x00") {
				t.Fatalf("%+v", p)
			}
		}
	})
}
