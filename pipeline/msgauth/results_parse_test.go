package msgauth

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

func TestParseResults(t *testing.T) {
	t.Parallel()
	type props = map[string]string
	for _, c := range []struct {
		body string
		want parsedResults
	}{
		{"mx.example.com; none", parsedResults{authservID: "mx.example.com"}},
		{" MX.Example.com. 1;\r\n none\r\n", parsedResults{authservID: "mx.example.com"}},
		{"mx.example.com", parsedResults{authservID: "mx.example.com"}},
		{"mx;\r\n\tspf=pass (a; b) smtp.mailfrom=a@b.example;", parsedResults{"mx", []parsedResult{{"spf", "pass", props{"smtp.mailfrom": "a@b.example"}}}}},
		{`mx; dkim=FAIL reason="a; dmarc=pass \" x" Header.D=b.example header.b=ab/c=`, parsedResults{"mx", []parsedResult{
			{"dkim", "fail", props{"reason": `a; dmarc=pass " x`, "header.d": "b.example", "header.b": "ab/c="}},
		}}},
		{"mx; dmarc/1 = pass header.from=a.example header.from=b.example", parsedResults{"mx", []parsedResult{{"dmarc", "pass", props{"header.from": "a.example"}}}}},
		{"(c) mx (d); iprev=pass (e (f)) policy.iprev=192.0.2.1; spf=none", parsedResults{"mx", []parsedResult{
			{"iprev", "pass", props{"policy.iprev": "192.0.2.1"}}, {"spf", "none", props{}},
		}}},
	} {
		got, err := parseResults(c.body)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(parsedResults{}, parsedResult{})); err != nil || diff != "" {
			t.Errorf("%q: %v %s", c.body, err, diff)
		}
	}
	for _, bad := range []string{
		"", ";", "; dmarc=pass", "mx; dmarc", "mx; dmarc=", "mx; =pass", "mx; spf=pass smtp.mailfrom", "mx 2; none", "mx x y; none",
		"mx; spf=pass (", "mx; 0)=0", "mx; a=b)", `mx; spf=pass reason="`, "mx; a=b;; c=d", "mx; spf=pass\x00", "mx; none; dmarc=pass", strings.Repeat("x", maxResultsField+1),
		"mx" + strings.Repeat("; a=b", maxResults+1),
	} {
		if got, err := parseResults(bad); err == nil {
			t.Errorf("%.40q: %+v", bad, got)
		}
	}
}

// TestOurOwnFieldIsReadBack: what we write is what we read, whatever the mail puts in.
func TestOurOwnFieldIsReadBack(t *testing.T) {
	t.Parallel()
	field := resultsField("mx.example.com", []methodResult{
		{"spf", "fail", `x"; dmarc=pass header.from=bank.example (`, []property{{"smtp.mailfrom", `a"b@c.example`}}},
		{"dmarc", "fail", "", []property{{"header.from", "example.org"}}},
	})
	p, err := parseResults(strings.TrimPrefix(field, "Authentication-Results:"))
	if err != nil || len(p.results) != 2 || p.dmarcPassed("bank.example") || p.results[1].result != "fail" {
		t.Errorf("%v %+v from %q", err, p, field)
	}
}

// FuzzAuthenticationResults: nothing that is read may come from inside of quotes or comments, and what we read we can
// write and read again.
func FuzzAuthenticationResults(f *testing.F) {
	for _, s := range []string{
		"mx.example.com; none", "mx; spf=pass (a; b) smtp.mailfrom=a@b.example", `mx; dkim=fail reason="a; dmarc=pass \" x" header.b=ab/c=`, "mx 1; a/1 = b", "(;) mx",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		p, err := parseResults(body)
		if err != nil {
			return
		}
		if len(p.results) > 0 && !strings.Contains(body, ";") {
			t.Fatalf("results without a semicolon: %+v", p)
		}
		for _, r := range p.results {
			if r.method == "" || r.result == "" || strings.ContainsAny(r.method, "\";=() \r\n") {
				t.Fatalf("result %+v", r)
			}
		}
		raw := pipeline.RawField{Name: []byte("Authentication-Results"), Body: []byte(body)}
		if p.authservID == "mx.example.com" && !pipeline.ForgedResults(raw, "mx.example.com") {
			t.Fatalf("we read our name in %q, and it does not count as forged", body)
		}
	})
}
