package msgauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

// testKeys are made once: an Ed25519 and an RSA key with their records.
var testKeys = sync.OnceValue(func() (k struct {
	ed, rsa             crypto.Signer
	edRecord, rsaRecord string
},
) {
	pub, priv, _ := ed25519.GenerateKey(rand.Reader)
	k.ed, k.edRecord = priv, "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(pub)
	r, _ := rsa.GenerateKey(rand.Reader, 2048)
	der, _ := x509.MarshalPKIXPublicKey(r.Public())
	k.rsa, k.rsaRecord = r, "v=DKIM1; p="+base64.StdEncoding.EncodeToString(der)
	return k
})

const plainMail = "From: Alice <alice@example.org>\r\nTo: bob@example.com\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\n\r\nHello Bob,\r\n\r\nhow are you?\r\n"

// sign puts a DKIM-Signature field above a mail, made by an implementation that is not ours.
func sign(t testing.TB, raw string, o dkim.SignOptions) string {
	t.Helper()
	if o.Signer == nil {
		o.Signer = testKeys().ed
	}
	if o.Domain == "" {
		o.Domain = "example.org"
	}
	if o.Selector == "" {
		o.Selector = "s1"
	}
	o.HeaderCanonicalization, o.BodyCanonicalization = dkim.CanonicalizationRelaxed, dkim.CanonicalizationRelaxed
	if o.HeaderKeys == nil {
		o.HeaderKeys = []string{"From", "To", "Subject", "Message-ID"}
	}
	var b bytes.Buffer
	if err := dkim.Sign(&b, strings.NewReader(raw), &o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func keyZone(lines ...string) *fakeZone {
	z := zoneOf(lines...)
	z.add("s1._domainkey.example.org", "TXT", testKeys().edRecord)
	z.add("rsa._domainkey.example.org", "TXT", testKeys().rsaRecord)
	return z
}

func TestDKIMResults(t *testing.T) {
	t.Parallel()
	signed := sign(t, plainMail, dkim.SignOptions{})
	for _, c := range []struct {
		name   string
		raw    string
		zone   *fakeZone
		want   string
		reason string
	}{
		{"good", signed, keyZone(), "pass", ""},
		{"good with rsa", sign(t, plainMail, dkim.SignOptions{Signer: testKeys().rsa, Selector: "rsa"}), keyZone(), "pass", ""},
		{"another body", signed + "PS: pay here\r\n", keyZone(), "fail", "body hash did not verify"},
		{"another subject", strings.Replace(signed, "hello", "hullo", 1), keyZone(), "fail", "signature did not verify"},
		{"another author", strings.Replace(signed, "alice@", "mallory@", 1), keyZone(), "fail", "signature did not verify"},
		{"refolded header", strings.Replace(signed, "Subject: hello", "subject:\r\n\thello ", 1), keyZone(), "pass", ""},
		{"field that is not signed", "X-New: 1\r\n" + signed, keyZone(), "pass", ""},
		{"body length", strings.Replace(signed, "DKIM-Signature: ", "DKIM-Signature: l=10; ", 1), keyZone(), "fail", "body length"},
		{"no key", signed, zoneOf(), "permerror", "no key"},
		{"key revoked", signed, zoneOf("s1._domainkey.example.org TXT v=DKIM1; k=ed25519; p="), "permerror", "revoked"},
		{"key of another kind", signed, zoneOf("s1._domainkey.example.org TXT " + testKeys().rsaRecord), "permerror", "algorithm"},
		{"two keys", signed, keyZone("s1._domainkey.example.org TXT v=DKIM1; p=AAAA"), "permerror", "multiple"},
		{"dns times out", signed, zoneOf("s1._domainkey.example.org TIMEOUT"), "temperror", "timed out"},
		{"dns fails", signed, zoneOf("s1._domainkey.example.org SERVFAIL"), "temperror", "SERVFAIL"},
		{"tag twice", strings.Replace(signed, "DKIM-Signature: ", "DKIM-Signature: d=example.com; ", 1), keyZone(), "permerror", ""},
		{"not a tag list", strings.Replace(signed, "DKIM-Signature: ", "DKIM-Signature: nonsense; ", 1), keyZone(), "permerror", ""},
		{"no empty line", strings.TrimSuffix(sign(t, "From: alice@example.org\r\n\r\n", dkim.SignOptions{HeaderKeys: []string{"From"}}), "\r\n"), keyZone(), "pass", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := authenticate(t, newStage(c.zone), message("192.0.2.1", "mail.example.org", "", c.raw))
			if len(a.DKIM) != 1 {
				t.Fatalf("%d results: %+v", len(a.DKIM), a.DKIM)
			}
			got := a.DKIM[0]
			if got.Result != c.want || !strings.Contains(got.Reason, c.reason) {
				t.Errorf("got %+v, want %s %q", got, c.want, c.reason)
			}
			if got.Domain == "" || got.Selector == "" || got.Algorithm == "" {
				t.Errorf("signature is not described: %+v", got)
			}
			if wantVerified := c.want == "pass"; a.Sender.Verified != wantVerified {
				t.Errorf("sender %+v", a.Sender)
			}
		})
	}
}

// TestDKIMMutations holds the verdict against the signer: any change to a signed octet that relaxed canonicalization
// does not forgive must not pass.
func TestDKIMMutations(t *testing.T) {
	t.Parallel()
	signed := sign(t, plainMail, dkim.SignOptions{})
	s := newStage(keyZone())
	start := strings.Index(signed, "From: ")
	changed := 0
	for i := start; i < len(signed); i++ {
		c := signed[i]
		if c == '\r' || c == '\n' || c == ' ' || c == ':' {
			continue
		}
		mutated := signed[:i] + string(rune(c^1)) + signed[i+1:]
		if strings.EqualFold(mutated, signed) { // a letter of a field name in the other case
			continue
		}
		rs, _ := s.checkDKIM(t.Context(), []byte(mutated), time.Now())
		if len(rs) != 1 || rs[0].result == pipeline.ResultPass {
			t.Errorf("octet %d: %q passes", i, mutated[max(start, i-5):i+5])
		}
		changed++
	}
	if changed < 80 {
		t.Fatalf("only %d octets changed", changed)
	}
}

func TestDKIMExpiry(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(24 * time.Hour)
	signed := sign(t, plainMail, dkim.SignOptions{Expiration: at})
	for _, c := range []struct {
		now  time.Time
		want string
	}{
		{at.Add(-time.Hour), "pass"},
		{at.Add(time.Hour), "permerror"},
		{time.Now().Add(-maxAhead / 2), "pass"},
		{time.Now().Add(-2 * maxAhead), "permerror"}, // not yet made
	} {
		s := New(Options{Resolver: keyZone(), Log: quiet(), Now: func() time.Time { return c.now }})
		a := authenticate(t, s, message("", "", "", signed))
		if got := a.DKIM[0]; got.Result != c.want {
			t.Errorf("at %v: %s %s, want %s", c.now, got.Result, got.Reason, c.want)
		}
	}
}

func TestDKIMKeyForOneDomainOnly(t *testing.T) {
	t.Parallel()
	signed := sign(t, plainMail, dkim.SignOptions{Identifier: "alice@mail.example.org"})
	for flags, want := range map[string]string{"": "pass", "; t=y": "pass", "; t=s": "permerror", "; t=y:s": "permerror"} {
		rs, _ := newStage(zoneOf("s1._domainkey.example.org TXT "+testKeys().edRecord+flags)).checkDKIM(t.Context(), []byte(signed), time.Now())
		if rs[0].result != want {
			t.Errorf("key with %q: %s %s, want %s", flags, rs[0].result, rs[0].reason, want)
		}
	}
}

func TestDKIMDomainCase(t *testing.T) {
	t.Parallel()
	a := authenticate(t, newStage(keyZone()), message("", "", "", sign(t, plainMail, dkim.SignOptions{Domain: "Example.ORG"})))
	if a.DKIM[0].Result != "pass" || a.DKIM[0].Domain != "example.org" || !a.Sender.Verified {
		t.Errorf("got %+v, sender %+v", a.DKIM, a.Sender)
	}
}

func TestDKIMSignaturesBeyondTheBoundAreReported(t *testing.T) {
	t.Parallel()
	signed := sign(t, plainMail, dkim.SignOptions{})
	sig := signed[:strings.Index(signed, "From: ")]
	m := message("", "", "", strings.Repeat(sig, 30)+plainMail)
	a := authenticate(t, New(Options{Resolver: keyZone(), Log: quiet(), MaxSignatures: 3}), m)
	var got []string
	for _, r := range a.DKIM {
		got = append(got, r.Result)
	}
	if diff := cmp.Diff([]string{"pass", "pass", "pass", "policy", "policy", "policy"}, got); diff != "" {
		t.Error(diff)
	}
	if !slices.ContainsFunc(m.Problems, func(p pipeline.Problem) bool { return p.Code == "dkim-signatures-limited" }) {
		t.Errorf("problems %+v", m.Problems)
	}
}

// TestDKIMHeaderMadeToKeepUsBusy would run for minutes if each name in h= were looked for in each field.
func TestDKIMHeaderMadeToKeepUsBusy(t *testing.T) {
	t.Parallel()
	signed := sign(t, plainMail, dkim.SignOptions{})
	many := strings.Replace(signed, " h=", " h="+strings.Repeat("x:", 20000), 1)
	for name, raw := range map[string]string{
		"names":  strings.Repeat("x:\r\n", 100000) + many,
		"octets": "X: " + strings.Repeat("x", 2<<20) + "\r\n" + signed,
	} {
		start := time.Now()
		rs, _ := newStage(keyZone()).checkDKIM(t.Context(), []byte(raw), time.Now())
		if rs[0].result == pipeline.ResultPass {
			t.Errorf("%s: %+v", name, rs[0])
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

func TestDKIMEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	sig := sign(t, plainMail, dkim.SignOptions{})
	two := sig[:strings.Index(sig, "From: ")] + sig
	rs, _ := newStage(keyZone()).checkDKIM(ctx, []byte(two), time.Now())
	for _, r := range rs {
		if r.result != pipeline.ResultTempError {
			t.Errorf("got %+v", r)
		}
	}
}

// sigField is a DKIM-Signature field with that body.
func sigField(body string) pipeline.RawField {
	raw := []byte("DKIM-Signature:" + body)
	return pipeline.RawField{Raw: raw, Name: raw[:14], Body: raw[15:]}
}

func TestParseSignature(t *testing.T) {
	t.Parallel()
	f := sigField(" v=1; a=RSA-SHA256; d=Example.Org;\r\n\ts=s 1; i=@Mail.example.org; h=From : to;\r\n\tc=relaxed; t=1600000000; x=1700000000; bh=AA==; b=abcd\r\n efgh\r\n ijkl;\r\n")
	got := parseSignature(f)
	want := signature{
		field: f, domain: "example.org", selector: "s1", algorithm: "rsa-sha256", auid: "mail.example.org", b: "abcdefgh",
		names: []string{"from", "to"}, relaxedHeader: true, bodyHash: []byte{0}, value: got.value,
		made: time.Unix(1600000000, 0), expires: time.Unix(1700000000, 0),
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(signature{})); diff != "" || len(got.value) != 9 {
		t.Error(diff)
	}
	const good = "v=1; a=rsa-sha256; d=example.org; s=s1; h=from; bh=AA==; b=AAAA"
	if sig := parseSignature(sigField(good)); sig.err != nil {
		t.Fatal(sig.err)
	}
	for _, bad := range []string{
		"v", "=1", "1x=2", good + "; s=s2", "a b=1", strings.Replace(good, "v=1; ", "", 1), strings.Replace(good, "v=1", "v=2", 1),
		good + "; x=soon", good + "; t=-1", good + "; t=20; x=10", good + "; c=relaxed/nofws", good + "; q=http",
		good + "; i=@example.com", good + "; i=@xexample.org", strings.Replace(good, "h=from", "h=to", 1),
		strings.Replace(good, "example.org", "exa mple..org", 1), strings.Replace(good, "bh=AA==", "bh=A", 1), strings.Replace(good, "b=AAAA", "b=A", 1),
	} {
		if sig := parseSignature(sigField(bad)); sig.err == nil {
			t.Errorf("%q has no error", bad)
		}
	}
}

func FuzzParseSignature(f *testing.F) {
	for _, s := range []string{"v=1; a=rsa-sha256; d=example.org; s=s1; h=from:to; b=abc=; bh=x", "a=1;a=2", ";;=;", "d=\xff; i=@@", "x=99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sig := parseSignature(sigField(s))
		if sig.domain != "" {
			if again, ok := normalDomain(sig.domain); !ok || again != sig.domain {
				t.Errorf("domain %q is not normal", sig.domain)
			}
		}
		tags, err := parseTags(s)
		for name, value := range tags {
			if !validTagName(name) || strings.Contains(value, ";") {
				t.Errorf("tag %q = %q", name, value)
			}
		}
		if err != nil {
			return
		}
		var again []string
		for name, value := range tags {
			again = append(again, name+"="+value)
		}
		twice, err := parseTags(strings.Join(again, ";"))
		if diff := cmp.Diff(tags, twice); diff != "" || err != nil {
			t.Errorf("not stable: %v %s", err, diff)
		}
	})
}
