package ingest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	t.Parallel()
	long64, long65 := strings.Repeat("l", 64), strings.Repeat("l", 65)
	label63 := strings.Repeat("d", 63)
	for _, c := range []struct {
		path        string
		kind        pathKind
		local, addr string // addr "" means refused
		rest        string
	}{
		{"<alice@example.org>", forwardPath, "alice", "alice@example.org", ""},
		{"<Alice@EXAMPLE.org> SIZE=3", reversePath, "Alice", "Alice@example.org", " SIZE=3"},
		{"<a.b.c@example.org>", forwardPath, "a.b.c", "a.b.c@example.org", ""},
		{"<!#$%&'*+-/=?^_`{|}~@x>", forwardPath, "!#$%&'*+-/=?^_`{|}~", "!#$%&'*+-/=?^_`{|}~@x", ""},
		{`<"a b"@example.org>`, forwardPath, "a b", `"a b"@example.org`, ""},
		{`<"a@b>c"@example.org>`, forwardPath, "a@b>c", `"a@b>c"@example.org`, ""},
		{`<"a\"\\\b"@example.org>`, forwardPath, `a"\b`, `"a\"\\\b"@example.org`, ""},
		{`<"alice"@example.org>`, forwardPath, "alice", `"alice"@example.org`, ""},
		{"<a@[192.0.2.1]>", forwardPath, "a", "a@[192.0.2.1]", ""},
		{"<a@[ipv6:2001:DB8::1]>", forwardPath, "a", "a@[IPv6:2001:db8::1]", ""},
		{"<a@[IPv6:::ffff:192.0.2.1]>", forwardPath, "a", "a@[IPv6:::ffff:192.0.2.1]", ""},
		{"<@one.example,@two.example:a@example.org>", forwardPath, "a", "a@example.org", ""},
		{"<@one.example:a@example.org>", reversePath, "a", "a@example.org", ""},
		{"<jörg@bücher.example>", forwardPath, "jörg", "jörg@xn--bcher-kva.example", ""},
		{"<jörg@BÜCHER.example>", reversePath, "jörg", "jörg@xn--bcher-kva.example", ""},
		{"<用户@例子.广告>", forwardPath, "用户", "用户@xn--fsqu00a.xn--4rr70v", ""},
		{"<a@my_host.example>", forwardPath, "a", "a@my_host.example", ""},
		{"<" + long64 + "@example.org>", forwardPath, long64, long64 + "@example.org", ""},
		{"<a@" + label63 + ".org>", forwardPath, "a", "a@" + label63 + ".org", ""},
		// A reverse-path is taken as it comes: VERP and SRS are long, and some carriers give out such names.
		{"<" + long65 + "@example.org>", reversePath, long65, long65 + "@example.org", ""},
		{"<a..b.@example.org>", reversePath, "a..b.", "a..b.@example.org", ""},
		{"<>", reversePath, "", "", ""},
		{"<postmaster>", forwardPath, "postmaster", "postmaster", ""},
		{"<POSTMASTER> X", forwardPath, "POSTMASTER", "POSTMASTER", " X"},

		{"<>", forwardPath, "", "", "refused"},
		{"<postmaster>", reversePath, "", "", "refused"},
		{"<abuse>", forwardPath, "", "", "refused"},
		{"", forwardPath, "", "", "refused"},
		{"alice@example.org", forwardPath, "", "", "refused"},
		{"<alice@example.org", forwardPath, "", "", "refused"},
		{"<alice>", reversePath, "", "", "refused"},
		{"<alice@>", forwardPath, "", "", "refused"},
		{"<@example.org>", forwardPath, "", "", "refused"},
		{"<@one.example:>", forwardPath, "", "", "refused"},
		{"<@one.example,two.example:a@b>", forwardPath, "", "", "refused"},
		{"<@:a@b>", forwardPath, "", "", "refused"},
		{`<""@example.org>`, forwardPath, "", "", "refused"},
		{`<"a"b@example.org>`, forwardPath, "", "", "refused"},
		{`<"a@example.org>`, forwardPath, "", "", "refused"},
		{`<"a\`, forwardPath, "", "", "refused"},
		{"<a..b@example.org>", forwardPath, "", "", "refused"},
		{"<.a@example.org>", forwardPath, "", "", "refused"},
		{"<a.@example.org>", forwardPath, "", "", "refused"},
		{"<a@b@example.org>", reversePath, "", "", "refused"},
		{"<a\x00@example.org>", reversePath, "", "", "refused"},
		{"<a\xff@example.org>", reversePath, "", "", "refused"},
		{"<\"a\xff\"@example.org>", reversePath, "", "", "refused"},
		{"<\"a\u009f\"@example.org>", reversePath, "", "", "refused"},
		{"<a@b\xff.example>", reversePath, "", "", "refused"},
		{"<a@.>", reversePath, "", "", "refused"},
		{"<a@x.>", reversePath, "", "", "refused"},
		{"<a@-x>", reversePath, "", "", "refused"},
		{"<a@x-.org>", reversePath, "", "", "refused"},
		{"<a@x y>", reversePath, "", "", "refused"},
		{"<a@" + label63 + "d.org>", reversePath, "", "", "refused"},
		{"<a@\u200d.example>", reversePath, "", "", "refused"},
		{"<a@" + strings.Repeat(label63+".", 4) + "org>", reversePath, "", "", "refused"},
		{"<" + long65 + "@example.org>", forwardPath, "", "", "refused"},
		{"<" + strings.Repeat("l", 243) + "@example.org>", reversePath, "", "", "refused"},
		{"<a@[192.0.2.1>", reversePath, "", "", "refused"},
		{"<a@[2001:db8::1]>", reversePath, "", "", "refused"},
		{"<a@[IPv6:192.0.2.1]>", reversePath, "", "", "refused"},
		{"<a@[IPv6:fe80::1%eth0]>", reversePath, "", "", "refused"},
		{"<a@[x-tag:content]>", reversePath, "", "", "refused"},
	} {
		got, err := parsePath(c.path, c.kind)
		if c.rest == "refused" {
			if err == nil {
				t.Errorf("%.80q: accepted as %q", c.path, got.address)
			}
			continue
		}
		if err != nil {
			t.Errorf("%.80q: %v", c.path, err)
			continue
		}
		if a := got.address; a.Local != c.local || a.String() != c.addr || got.rest != c.rest {
			t.Errorf("%.80q: local %q, address %q, rest %q", c.path, a.Local, a, got.rest)
		}
	}
}

func TestPathLimitIsExact(t *testing.T) {
	t.Parallel()
	local := strings.Repeat("l", maxPath-len("<@example.org>"))
	if _, err := parsePath("<"+local+"@example.org>", reversePath); err != nil {
		t.Errorf("%d octets: %v", maxPath, err)
	}
	if _, err := parsePath("<l"+local+"@example.org>", reversePath); err == nil {
		t.Errorf("%d octets are accepted", maxPath+1)
	}
}

func TestDomainLimitIsExact(t *testing.T) {
	t.Parallel()
	domain := strings.Repeat("abcdefg.", 32)[:maxDomain]
	if got, err := parseDomain(domain); got != domain || err != nil {
		t.Errorf("%d octets: %v", maxDomain, err)
	}
	if _, err := parseDomain(domain + "x"); err == nil {
		t.Errorf("%d octets are accepted", maxDomain+1)
	}
}

// TestParseAddressAgreesWithIsemail plays the addresses of a well-known suite: what it calls valid for SMTP must be
// taken, what it calls an error must not. Its other categories are about headers, DNS and taste.
func TestParseAddressAgreesWithIsemail(t *testing.T) {
	t.Parallel()
	octets, err := os.ReadFile(filepath.Join("..", "..", "shared", "testdata", "address", "isemail.json"))
	if err != nil {
		t.Logf("not played: %v", err)
	}
	var cases []struct{ Address, Category, Diagnosis string }
	if err == nil {
		if err := json.Unmarshal(octets, &cases); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range cases {
		_, err := ParseAddress(c.Address)
		switch c.Category {
		case "ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN":
			if err != nil {
				t.Errorf("%q (%s): %v", c.Address, c.Diagnosis, err)
			}
		case "ISEMAIL_ERR":
			if err == nil {
				t.Errorf("%q (%s): accepted", c.Address, c.Diagnosis)
			}
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"<>", "<a@b>", "<postmaster>", `<"a\"@b"@c.d> SIZE=1`, "<@a,@b:c@d>", "<a@[IPv6:::1]>", "<jörg@bücher.example>", "<a..b@c>", "<a@b@c>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, kind := range []pathKind{forwardPath, reversePath} {
			got, err := parsePath(s, kind)
			if err != nil {
				continue
			}
			a := got.address
			if len(a.String())+2 > maxPath || strings.ContainsAny(a.String(), "\r\n\x00") {
				t.Errorf("%q: accepted as %q", s, a)
			}
			if a.Domain != strings.ToLower(a.Domain) && !strings.HasPrefix(a.Domain, "[") || !isASCII(a.Domain) {
				t.Errorf("%q: domain %q", s, a.Domain)
			}
			again, err := parsePath("<"+a.String()+">", kind)
			if err != nil || again.address.String() != a.String() || again.address.Local != a.Local {
				t.Errorf("%q: %q parses as %q, %v", s, a, again.address, err)
			}
		}
	})
}
