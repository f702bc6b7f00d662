package msgauth

import (
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

// sealed is a mail after each of the hosts has taken it, found what it found, and sealed it. A host is "domain" or
// "domain=what its results say".
func sealed(t testing.TB, zone *fakeZone, raw string, hosts ...string) string {
	t.Helper()
	for _, host := range hosts {
		domain, says, _ := strings.Cut(host, "=")
		if says == "" {
			says = "dmarc=pass header.from=example.org"
		}
		if _, ok := zone.records["a._domainkey."+domain]; !ok {
			zone.add("a._domainkey."+domain, "TXT", testKeys().rsaRecord)
		}
		s := Sealer{Domain: domain, Selector: "a", Key: testKeys().rsa}
		chain := newStage(zone).checkARC(t.Context(), []byte(raw), time.Now()).result
		set, err := s.Seal([]byte(raw), &pipeline.AuthResults{
			Field: "Authentication-Results: mx." + domain + ";\r\n\t" + says + "\r\n", ARC: pipeline.ARCResult{Result: chain},
		})
		if err != nil {
			t.Fatal(err)
		}
		raw = string(set) + raw
	}
	return raw
}

func TestARCChains(t *testing.T) {
	t.Parallel()
	zone := zoneOf()
	one := sealed(t, zone, plainMail, "a.example")
	three := sealed(t, zone, plainMail, "a.example", "b.example", "c.example")
	changed := strings.Replace(one, "Hello Bob", "Hullo Bob", 1)
	for _, c := range []struct {
		name, raw string
		want      string
		reason    string
	}{
		{"no chain", plainMail, "none", ""},
		{"one set", one, "pass", ""},
		{"three sets", three, "pass", ""},
		{"a field on top", "X-New: 1\r\n" + three, "pass", ""},
		{"another body", changed, "fail", "body hash"},
		{"another subject", strings.Replace(three, "Subject: hello", "Subject: hullo", 1), "fail", "message signature 3"},
		{"other results", strings.Replace(three, "mx.a.example;", "mx.z.example;", 1), "fail", "seal 3"},
		{"a set is gone", strings.TrimPrefix(three, newestSet(three)), "pass", ""},
		{"a field is gone", strings.Replace(one, "ARC-Authentication-Results: i=1", "X: i=1", 1), "fail", "not complete"},
		{"a field twice", "ARC-Authentication-Results: i=1; x\r\n" + one, "fail", "does not fit"},
		{"a hole", strings.ReplaceAll(one, "i=1", "i=2"), "fail", "does not fit"},
		{"instance 0", strings.ReplaceAll(one, "i=1", "i=0"), "fail", "instance"},
		{"first says pass", strings.Replace(one, "cv=none", "cv=pass", 1), "fail", "cv=pass"},
		{"sealed after a failure", sealed(t, zone, changed, "d.example"), "fail", "failed before"},
		{"seal with h", strings.Replace(one, "cv=none;", "cv=none; h=from;", 1), "fail", "tag h"},
		{"fifty-one sets", strings.Repeat("ARC-Authentication-Results: i=1; x\r\n", 51) + plainMail, "fail", "50"},
	} {
		got := newStage(zone).checkARC(t.Context(), []byte(c.raw), time.Now())
		if got.result != c.want || !strings.Contains(got.reason, c.reason) {
			t.Errorf("%s: %s (%s), want %s (%s)", c.name, got.result, got.reason, c.want, c.reason)
		}
	}
	lost := zoneOf("a._domainkey.a.example TIMEOUT")
	if got := newStage(lost).checkARC(t.Context(), []byte(one), time.Now()); got.result != pipeline.ResultTempError {
		t.Errorf("with a key that cannot be had now: %+v", got)
	}
}

// newestSet returns the newest set of a mail that starts with one.
func newestSet(raw string) string {
	i := strings.Index(raw, "ARC-Authentication-Results:")
	n := strings.Index(raw[i:], "\r\nARC-Seal:")
	return raw[:i+n+2]
}

func TestARCSealCoversAllOfTheChain(t *testing.T) {
	t.Parallel()
	zone := zoneOf()
	raw := sealed(t, zone, "From: alice@example.org\r\n\r\nHi\r\n", "a.example", "b.example")
	changed := 0
	for i := range raw[:strings.Index(raw, "From: ")] {
		c := raw[i]
		if strings.IndexByte("\r\n\t ", c) >= 0 {
			continue
		}
		mutated := raw[:i] + string(rune(c^1)) + raw[i+1:]
		if strings.EqualFold(mutated, raw) {
			continue
		}
		if got := newStage(zone).checkARC(t.Context(), []byte(mutated), time.Now()); got.result == pipeline.ResultPass {
			if raw[i+1] != '=' { // base64 has bits at its end that mean nothing
				t.Errorf("octet %d, %q: passes", i, mutated[max(0, i-20):i+5])
			}
		}
		changed++
	}
	if changed < 500 {
		t.Fatalf("only %d octets changed", changed)
	}
}

func TestSenderByARC(t *testing.T) {
	t.Parallel()
	const passed, failed = "dmarc=pass header.from=example.org", "dmarc=fail header.from=example.org"
	for _, c := range []struct {
		name     string
		hosts    []string
		trusted  []string
		verified bool
	}{
		{"trusted sealer saw it pass", []string{"a.example=" + passed}, []string{"a.example"}, true},
		{"case and dot of the list", []string{"a.example=" + passed}, []string{"A.Example."}, true},
		{"nobody is trusted", []string{"a.example=" + passed}, nil, false},
		{"another is trusted", []string{"a.example=" + passed}, []string{"example", "b.example"}, false},
		{"trusted sealer saw it fail", []string{"a.example=" + failed}, []string{"a.example"}, false},
		{"another author", []string{"a.example=dmarc=pass header.from=bank.example"}, []string{"a.example"}, false},
		{"no author", []string{"a.example=dmarc=pass"}, []string{"a.example"}, false},
		{"pass and fail", []string{"a.example=" + passed + "; " + failed}, []string{"a.example"}, false},
		{"only spf", []string{"a.example=spf=pass smtp.mailfrom=example.org"}, []string{"a.example"}, false},
		{"pass in a comment", []string{"a.example=" + failed + " (; " + passed + ")"}, []string{"a.example"}, false},
		{"pass in quotes", []string{`a.example=` + failed + ` reason="; ` + passed + `"`}, []string{"a.example"}, false},
		{"first of two, both trusted", []string{"a.example=" + passed, "b.example=" + failed}, []string{"a.example", "b.example"}, true},
		{"first of two, the second not trusted", []string{"a.example=" + passed, "b.example=" + failed}, []string{"a.example"}, false},
		{"first of two, the first not trusted", []string{"a.example=" + passed, "b.example=" + failed}, []string{"b.example"}, false},
		{"second of two, the first not trusted", []string{"a.example=" + failed, "b.example=" + passed}, []string{"b.example"}, true},
		{"gap in the trust", []string{"a.example=" + passed, "x.example=" + passed, "b.example=" + failed}, []string{"a.example", "b.example"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			zone := zoneOf("_dmarc.example.org TXT v=DMARC1; p=reject")
			s := New(Options{Resolver: zone, Log: quiet(), TrustedSealers: c.trusted})
			a := authenticate(t, s, message("192.0.2.9", "list.example", "x@list.example", sealed(t, zone, plainMail, c.hosts...)))
			want := pipeline.SenderResult{Domain: "example.org"}
			if c.verified {
				want.Verified, want.By = true, "arc"
			}
			if diff := cmp.Diff(want, a.Sender); diff != "" {
				t.Error(diff)
			}
			if a.DMARC.Result != "fail" || a.ARC.Result != "pass" || len(a.ARC.Sealers) != len(c.hosts) || !strings.Contains(a.Field, "\tarc=pass smtp.remote-ip=192.0.2.9") {
				t.Errorf("dmarc %+v, arc %+v, field %q", a.DMARC, a.ARC, a.Field)
			}
		})
	}
}

func TestARCOfAChangedMailVouchesForNobody(t *testing.T) {
	t.Parallel()
	zone := zoneOf()
	raw := sealed(t, zone, plainMail, "a.example")
	unsignedFrom, err := (&Sealer{Domain: "a.example", Selector: "a", Key: testKeys().rsa, Headers: []string{"Subject"}}).Seal(
		[]byte(plainMail), &pipeline.AuthResults{Field: "Authentication-Results: a; dmarc=pass header.from=example.org", ARC: pipeline.ARCResult{Result: "none"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, mail := range map[string]string{
		"another author":  strings.Replace(raw, "alice@example.org", "alice@example.net", 1),
		"second author":   "From: ceo@example.org\r\n" + raw,
		"another body":    raw + "pay here\r\n",
		"another verdict": strings.Replace(string(unsignedFrom)+plainMail, "header.from=example.org", "header.from=example.net", 1),
	} {
		a := authenticate(t, New(Options{Resolver: zone, Log: quiet(), TrustedSealers: []string{"a.example"}}), message("", "", "", mail))
		if a.Sender.Verified || a.ARC.Trusted && name != "second author" {
			t.Errorf("%s: %+v %+v", name, a.Sender, a.ARC)
		}
	}
}

func TestSealerRefuses(t *testing.T) {
	t.Parallel()
	zone := zoneOf()
	ended := sealed(t, zone, strings.Replace(sealed(t, zone, plainMail, "a.example"), "Hello", "Hullo", 1), "b.example")
	s := Sealer{Domain: "c.example", Selector: "a", Key: testKeys().rsa}
	field := "Authentication-Results: c.example; none\r\n"
	if _, err := s.Seal([]byte(ended), &pipeline.AuthResults{Field: field, ARC: pipeline.ARCResult{Result: "fail"}}); !errors.Is(err, ErrChainEnded) {
		t.Errorf("a chain that has ended: %v", err)
	}
	for name, a := range map[string]*pipeline.AuthResults{
		"no results":        {ARC: pipeline.ARCResult{Result: "none"}},
		"chain not judged":  {Field: field, ARC: pipeline.ARCResult{Result: "temperror"}},
		"a chain, not here": {Field: field, ARC: pipeline.ARCResult{Result: "pass"}},
	} {
		if set, err := s.Seal([]byte(plainMail), a); err == nil {
			t.Errorf("%s: %q", name, set)
		}
	}
}

func TestSealsOfEveryKey(t *testing.T) {
	t.Parallel()
	for kind, key := range map[string]struct {
		signer crypto.Signer
		record string
	}{"rsa-sha256": {testKeys().rsa, testKeys().rsaRecord}, "ed25519-sha256": {testKeys().ed, testKeys().edRecord}} {
		zone := zoneOf("k._domainkey.a.example TXT " + key.record)
		s := Sealer{Domain: "a.example", Selector: "k", Key: key.signer}
		set, err := s.Seal([]byte(plainMail), &pipeline.AuthResults{Field: "Authentication-Results: a.example; none\r\n", ARC: pipeline.ARCResult{Result: "none"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := newStage(zone).checkARC(t.Context(), append(set, plainMail...), time.Now()); got.result != "pass" || got.sets[0].seal.algorithm != kind {
			t.Errorf("%s: %+v", kind, got)
		}
		for line := range strings.SplitSeq(string(set), "\r\n") {
			if len(line) > 998 {
				t.Errorf("%s: line of %d octets", kind, len(line))
			}
		}
	}
}

// FuzzARC: whatever becomes of a sealed mail, a chain that passes must have the sealer's own words.
func FuzzARC(f *testing.F) {
	zone := zoneOf()
	for _, raw := range []string{sealed(f, zone, plainMail, "a.example"), sealed(f, zone, plainMail, "a.example", "b.example"), plainMail, "ARC-Seal: i=1\r\n\r\n"} {
		f.Add(raw)
	}
	s := New(Options{Resolver: zone, Log: quiet(), TrustedSealers: []string{"a.example", "b.example"}})
	f.Fuzz(func(t *testing.T, raw string) {
		r := s.checkARC(t.Context(), []byte(raw), time.Now())
		if r.result != pipeline.ResultPass {
			if r.trusted(s.sealers) {
				t.Fatal("trusted without a pass")
			}
			return
		}
		for _, set := range r.sets {
			p, err := parseResults(set.results)
			if err != nil || !p.dmarcPassed("example.org") {
				t.Fatalf("results %q: %v", set.results, err)
			}
		}
	})
}
