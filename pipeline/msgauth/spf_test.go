package msgauth

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

func TestSPFIdentities(t *testing.T) {
	t.Parallel()
	z := zoneOf(
		"example.org TXT v=spf1 ip4:192.0.2.1 -all",
		"mail.example.org TXT v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all",
		"local.example TXT v=spf1 exists:%{l}.ok.example -all",
		"alice.ok.example A 127.0.0.2",
		"jörg.ok.example A 127.0.0.2",
		"postmaster.ok.example A 127.0.0.2",
		"six.example TXT v=spf1 exists:alice.ok.example -all",
		"slow.example TIMEOUT",
		"inc.example TXT v=spf1 include:slow.example -all",
		"slowa.example TXT v=spf1 a:slow.example -all",
		"xn--bcher-kva.example TXT v=spf1 +all",
		"loop.example TXT v=spf1 include:loop.example -all",
		"two.example TXT v=spf1 -all",
		"two.example TXT v=spf1 +all",
		"broken.example TXT v=spf1 +all ip4:1.2.3",
		"brokeninc.example TXT v=spf1 include:broken.example -all",
	)
	type want struct{ Result, Domain, Identity string }
	for _, c := range []struct {
		name, ip, helo, from string
		want                 want
	}{
		{"pass", "192.0.2.1", "mail.example.org", "alice@example.org", want{"pass", "example.org", "mailfrom"}},
		{"mapped address", "::ffff:192.0.2.1", "mail.example.org", "alice@example.org", want{"pass", "example.org", "mailfrom"}},
		{"fail", "192.0.2.2", "mail.example.org", "alice@Example.ORG", want{"fail", "example.org", "mailfrom"}},
		{"null reverse-path", "192.0.2.1", "mail.example.org", "", want{"pass", "mail.example.org", "helo"}},
		{"null reverse-path, ipv6", "2001:db8::1", "mail.example.org", "", want{"pass", "mail.example.org", "helo"}},
		{"null reverse-path, address literal", "192.0.2.1", "[192.0.2.1]", "", want{"none", "", "helo"}},
		{"null reverse-path, bare host", "192.0.2.1", "localhost", "", want{"none", "", "helo"}},
		{"no record", "192.0.2.1", "mail.example.org", "alice@none.example", want{"none", "none.example", "mailfrom"}},
		{"no client address", "", "mail.example.org", "alice@example.org", want{"none", "example.org", "mailfrom"}},
		{"no domain", "192.0.2.1", "mail.example.org", "alice", want{"none", "", "mailfrom"}},
		{"malformed domain", "192.0.2.1", "mail.example.org", "alice@exa mple.org", want{"none", "", "mailfrom"}},
		{"U-labels", "192.0.2.1", "mail.example.org", "alice@bücher.example", want{"pass", "xn--bcher-kva.example", "mailfrom"}},
		{"local part", "192.0.2.1", "mail.example.org", "alice@local.example", want{"pass", "local.example", "mailfrom"}},
		{"local part in UTF-8", "192.0.2.1", "mail.example.org", "jörg@local.example", want{"fail", "local.example", "mailfrom"}},
		{"another local part", "192.0.2.1", "mail.example.org", "bob@local.example", want{"fail", "local.example", "mailfrom"}},
		{"quoted local part", "192.0.2.1", "mail.example.org", `"alice"@local.example`, want{"pass", "local.example", "mailfrom"}},
		{"quoted @", "192.0.2.1", "mail.example.org", `"a@b"@example.org`, want{"pass", "example.org", "mailfrom"}},
		{"quoted @ borrows no other domain", "192.0.2.2", "mail.example.org", `"a@plusall.example"@example.org`, want{"fail", "example.org", "mailfrom"}},
		{"quoted @ and local part macro", "192.0.2.1", "mail.example.org", `"alice@x"@local.example`, want{"fail", "local.example", "mailfrom"}},
		{"exists with ipv6", "2001:db8::1", "mail.example.org", "alice@six.example", want{"pass", "six.example", "mailfrom"}},
		{"timeout", "192.0.2.1", "mail.example.org", "alice@slow.example", want{"temperror", "slow.example", "mailfrom"}},
		{"timeout in include", "192.0.2.1", "mail.example.org", "alice@inc.example", want{"temperror", "inc.example", "mailfrom"}},
		{"timeout in a", "192.0.2.1", "mail.example.org", "alice@slowa.example", want{"temperror", "slowa.example", "mailfrom"}},
		{"loop", "192.0.2.1", "mail.example.org", "alice@loop.example", want{"permerror", "loop.example", "mailfrom"}},
		{"two records", "192.0.2.1", "mail.example.org", "alice@two.example", want{"permerror", "two.example", "mailfrom"}},
		{"broken behind a match", "192.0.2.1", "mail.example.org", "alice@broken.example", want{"permerror", "broken.example", "mailfrom"}},
		{"broken in include", "192.0.2.1", "mail.example.org", "alice@brokeninc.example", want{"permerror", "brokeninc.example", "mailfrom"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := message(c.ip, c.helo, c.from, "From: alice@example.org\r\n\r\n")
			r := authenticate(t, newStage(z), m).SPF
			if diff := cmp.Diff(c.want, want{r.Result, r.Domain, r.Identity}); diff != "" {
				t.Errorf("%s reason %q", diff, r.Reason)
			}
		})
	}
}

func TestSPFHeloStandsInTheFieldBesideMailFrom(t *testing.T) {
	t.Parallel()
	z := zoneOf("example.org TXT v=spf1 -all", "mail.example.net TXT v=spf1 ip4:192.0.2.1 -all")
	a := authenticate(t, newStage(z), message("192.0.2.1", "mail.example.net", "alice@example.org", "From: a@mail.example.net\r\n\r\n"))
	if a.SPF.Result != "fail" || a.SPF.Identity != "mailfrom" {
		t.Errorf("spf %+v", a.SPF)
	}
	if !strings.Contains(a.Field, "spf=pass") || !strings.Contains(a.Field, "smtp.helo=mail.example.net") {
		t.Errorf("field %q", a.Field)
	}
	if a.DMARC.SPFAligned || a.Sender.Verified {
		t.Errorf("helo aligned beside a MAIL FROM: %+v", a.DMARC)
	}
}

func TestSPFTimeLimitIsTemporary(t *testing.T) {
	t.Parallel()
	s := New(Options{Resolver: hanging{}, Log: quiet(), Timeout: 50 * time.Millisecond})
	start := time.Now()
	a := authenticate(t, s, message("192.0.2.1", "mail.example.org", "alice@example.org", sign(t, plainMail, dkimDefaults())))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	got := []string{a.SPF.Result, a.DKIM[0].Result, a.DMARC.Result, a.IPRev.Result}
	want := []string{pipeline.ResultTempError, pipeline.ResultTempError, pipeline.ResultTempError, pipeline.ResultTempError}
	if diff := cmp.Diff(want, got); diff != "" || a.Sender.Verified {
		t.Errorf("%s sender %+v", diff, a.Sender)
	}
}

var spfRecords = []struct {
	record string
	valid  bool
}{
	{"v=spf1", true},
	{"v=spf1  a   mx -all ", true},
	{"V=SPF1 +A:example.org/24//64 MX//64 PTR:example.org ~ALL", true},
	{"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?all", true},
	{"v=spf1 include:%{i}._spf.%{d2r.-}.example.org exists:%{l1r-}.%{ir}.%{v}.example.org -all", true},
	{"v=spf1 a:%{d}", true},
	{"v=spf1 a:example.org.", true},
	{"v=spf1 a:ex%%am%_p%-le.org", true},
	{"v=spf1 redirect=example.org exp=ex.example.org moo.cow-far_out=man:dog/cat", true},
	{"v=spf1 a:foo/bar.example.org/24", true},
	{"v=spf1 -all ip4:1.2.3", false},
	{"v=spf1 ip4:192.0.2.1/33", false},
	{"v=spf1 ip4:192.0.2.1/032", false},
	{"v=spf1 ip4:192.0.2.1/", false},
	{"v=spf1 ip4:2001:db8::1", false},
	{"v=spf1 ip6:192.0.2.1", false},
	{"v=spf1 ip6:fe80::1%eth0", false},
	{"v=spf1 ip4", false},
	{"v=spf1 a:", false},
	{"v=spf1 a/33", false},
	{"v=spf1 a//129", false},
	{"v=spf1 a:localhost", false},
	{"v=spf1 a:192.0.2.1", false},
	{"v=spf1 a:example.org:8080", false},
	{"v=spf1 a:example.-org", false},
	{"v=spf1 mx:%{x}.example.org", false},
	{"v=spf1 mx:%{d0}.example.org", false},
	{"v=spf1 mx:%{d", false},
	{"v=spf1 mx:%d.example.org", false},
	{"v=spf1 mx:%", false},
	{"v=spf1 exists:%{c}.example.org", false},
	{"v=spf1 include", false},
	{"v=spf1 include:", false},
	{"v=spf1 all:example.org", false},
	{"v=spf1 +redirect=example.org", false},
	{"v=spf1 redirect=a.example redirect=b.example", false},
	{"v=spf1 redirect=", false},
	{"v=spf1 exp=%{d}x", false},
	{"v=spf1 moo", false},
	{"v=spf1 1moo=x", false},
	{"v=spf1 + all", false},
	{"v=spf1 a:exa\tmple.org", false},
	{"v=spf1 a:ex\xc3\xa4mple.org", false},
	{"v=spf1 unknown=ex\xc3\xa4mple", false},
}

func TestValidSPF(t *testing.T) {
	t.Parallel()
	for _, c := range spfRecords {
		if !isSPFRecord(c.record) {
			t.Errorf("%q is no SPF record", c.record)
		} else if got := validSPF(c.record); got != c.valid {
			t.Errorf("validSPF(%q) = %v", c.record, got)
		}
	}
	for _, other := range []string{"", "v=spf", "v=spf10", "v=spf1\ta", " v=spf1 a", "v=spf2.0/pra a"} {
		if isSPFRecord(other) {
			t.Errorf("%q is an SPF record", other)
		}
	}
}

func FuzzValidSPF(f *testing.F) {
	for _, c := range spfRecords {
		f.Add(c.record)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !isSPFRecord(s) || !validSPF(s) {
			return
		}
		for i := range len(s) {
			if s[i] < ' ' || s[i] > '~' {
				t.Fatalf("%q is valid", s)
			}
		}
	})
}
