package msgauth

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

var dmarcRecords = []struct {
	txt  string
	want *dmarcRecord // nil: no record
}{
	{"v=DMARC1; p=reject", &dmarcRecord{p: "reject", psd: 'u'}},
	{"v = DMARC1 ;p = Reject ; ", &dmarcRecord{p: "reject", psd: 'u'}},
	{"v=DMARC1;p=none;sp=quarantine;np=reject;adkim=s;aspf=S;psd=y;t=y;rua=mailto:a@example.org", &dmarcRecord{
		p: "none", sp: "quarantine", np: "reject", strictDKIM: true, strictSPF: true, psd: 'y', testing: true, reports: true,
	}},
	{"v=DMARC1", &dmarcRecord{psd: 'u'}},
	{"v=DMARC1; rua=mailto:a@example.org!10m, https://example.org/r", &dmarcRecord{psd: 'u', reports: true}},
	{"v=DMARC1; rua=nonsense", &dmarcRecord{psd: 'u'}},
	{"v=DMARC1; p=rejected; rf=iodef; ri=abc; pct=200; fo=1:x; x", &dmarcRecord{p: "invalid", psd: 'u'}},
	{"v=DMARC1; p=none; p=reject", &dmarcRecord{p: "invalid", psd: 'u'}},
	{"v=DMARC1; psd=n; psd=y; adkim=r; adkim=s", &dmarcRecord{psd: 'n'}},
	{"v=dmarc1; p=reject", nil},
	{"v=DMARC2; p=reject", nil},
	{"p=reject; v=DMARC1", nil},
	{"", nil},
	{"v=spf1 -all", nil},
}

func TestParseDMARC(t *testing.T) {
	t.Parallel()
	for _, c := range dmarcRecords {
		got, ok := parseDMARC(c.txt)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(dmarcRecord{})); diff != "" || ok != (c.want != nil) {
			t.Errorf("%q: %v %s", c.txt, ok, diff)
		}
	}
}

func FuzzParseDMARC(f *testing.F) {
	for _, c := range dmarcRecords {
		f.Add(c.txt)
	}
	valid := []string{"", policyNone, policyQuarantine, policyReject, policyInvalid}
	f.Fuzz(func(t *testing.T, txt string) {
		rec, ok := parseDMARC(txt)
		if !ok {
			return
		}
		if !slices.Contains(valid, rec.p) || !slices.Contains(valid, rec.sp) || !slices.Contains(valid, rec.np) {
			t.Fatalf("%q: %+v", txt, rec)
		}
		for _, sub := range []bool{false, true} {
			if p, _ := rec.policy(sub, false); p != policyNone && p != policyQuarantine && p != policyReject {
				t.Fatalf("%q: policy %q", txt, p)
			}
		}
	})
}

func TestWalkNames(t *testing.T) {
	t.Parallel()
	for domain, want := range map[string]string{
		"org":               "org",
		"example.org":       "example.org org",
		"a.b.example.org":   "a.b.example.org b.example.org example.org org",
		"a.b.c.d.e.f.g.org": "a.b.c.d.e.f.g.org b.c.d.e.f.g.org c.d.e.f.g.org d.e.f.g.org e.f.g.org f.g.org g.org org",
		"1.2.3.a.b.c.d.e.mail.example.com": "1.2.3.a.b.c.d.e.mail.example.com b.c.d.e.mail.example.com c.d.e.mail.example.com " +
			"d.e.mail.example.com e.mail.example.com mail.example.com example.com com",
	} {
		got := walkNames(domain)
		if strings.Join(got, " ") != want || len(got) > maxWalk {
			t.Errorf("%s: %q", domain, got)
		}
	}
}

// TestDMARCDiscovery: policy and organizational domain for an author domain, by RFC 9989 4.10 and its examples.
func TestDMARCDiscovery(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, domain, org, policy, at string
		zone                          []string
	}{
		{"own record", "example.org", "example.org", "reject", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=reject"}},
		{"organizational", "a.example.org", "example.org", "quarantine", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=quarantine"}},
		{"sp for a subdomain", "a.example.org", "example.org", "reject", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=none; sp=reject", "a.example.org A 192.0.2.1"}},
		{"sp when it is there by MX", "a.example.org", "example.org", "reject", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=none; sp=reject; np=none", "a.example.org MX mail.example.org"}},
		{"sp when it is there without addresses", "a.example.org", "example.org", "reject", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=none; sp=reject; np=none", "a.example.org TXT hello"}},
		{"np for one that is not there", "a.example.org", "example.org", "reject", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=none; sp=quarantine; np=reject"}},
		{"sp when dns does not say", "a.example.org", "example.org", "quarantine", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=none; sp=quarantine; np=reject", "a.example.org SERVFAIL"}},
		{"sp does not bind the domain itself", "example.org", "example.org", "none", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=none; sp=reject"}},
		{"shortest name wins", "a.b.example.org", "example.org", "none", "example.org", []string{"_dmarc.b.example.org TXT v=DMARC1; p=reject", "_dmarc.example.org TXT v=DMARC1; p=none"}},
		{"own record before organizational", "b.example.org", "example.org", "reject", "b.example.org", []string{"_dmarc.b.example.org TXT v=DMARC1; p=reject", "_dmarc.example.org TXT v=DMARC1; p=none"}},
		{"psd=n stops", "a.b.example.org", "b.example.org", "reject", "b.example.org", []string{"_dmarc.b.example.org TXT v=DMARC1; p=reject; psd=n", "_dmarc.example.org TXT v=DMARC1; p=none"}},
		{"psd=n of its own", "b.example.org", "b.example.org", "reject", "b.example.org", []string{"_dmarc.b.example.org TXT v=DMARC1; p=reject; psd=n", "_dmarc.example.org TXT v=DMARC1; p=none"}},
		{"psd=y: one below", "a.example.bank", "example.bank", "reject", "bank", []string{"_dmarc.bank TXT v=DMARC1; p=reject; psd=y"}},
		{"psd=y under a record", "a.example.bank", "example.bank", "none", "example.bank", []string{"_dmarc.bank TXT v=DMARC1; p=reject; psd=y", "_dmarc.example.bank TXT v=DMARC1; p=none"}},
		{"psd=y and a deeper record", "a.b.example.bank", "example.bank", "reject", "bank", []string{"_dmarc.bank TXT v=DMARC1; p=reject; psd=y", "_dmarc.b.example.bank TXT v=DMARC1; p=none"}},
		{"psd=y of its own", "bank", "bank", "reject", "bank", []string{"_dmarc.bank TXT v=DMARC1; p=reject; psd=y"}},
		{"psd=y of its own stops", "co.bank", "co.bank", "reject", "co.bank", []string{"_dmarc.co.bank TXT v=DMARC1; p=reject; psd=y", "_dmarc.bank TXT v=DMARC1; p=none"}},
		{"testing", "example.org", "example.org", "quarantine", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=reject; t=y"}},
		{"no policy", "example.org", "example.org", "", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; adkim=s"}},
		{"no policy with reports", "example.org", "example.org", "none", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; rua=mailto:a@example.org"}},
		{"broken sp takes p down", "example.org", "example.org", "none", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=reject; sp=bogus; rua=mailto:a@example.org"}},
		{"broken policy", "example.org", "example.org", "", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=refuse"}},
		{"broken policy with reports", "example.org", "example.org", "none", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=refuse; rua=mailto:a@example.org"}},
		{"two records", "example.org", "example.org", "", "", []string{"_dmarc.example.org TXT v=DMARC1; p=none", "_dmarc.example.org TXT v=DMARC1; p=reject"}},
		{"other records beside", "example.org", "example.org", "reject", "example.org", []string{"_dmarc.example.org TXT hello", "_dmarc.example.org TXT v=DMARC1; p=reject"}},
		{"alias", "example.org", "example.org", "reject", "example.org", []string{"_dmarc.example.org CNAME d.example.net", "d.example.net TXT v=DMARC1; p=reject"}},
		{"none", "a.example.org", "a.example.org", "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			z := zoneOf(c.zone...)
			w := &walker{ctx: t.Context(), resolver: z, seen: map[string]lookedUp{}}
			d := newStage(z).discover(w, c.domain)
			if d.org != c.org || d.policy != c.policy || d.at != c.at || d.err != nil {
				t.Errorf("got org %q policy %q at %q, %v", d.org, d.policy, d.at, d.err)
			}
		})
	}
}

func TestDMARCVerdicts(t *testing.T) {
	t.Parallel()
	const relaxed = "_dmarc.example.org TXT v=DMARC1; p=reject"
	const strict = "_dmarc.example.org TXT v=DMARC1; p=reject; adkim=s; aspf=s"
	pass := func(domain string) pipeline.SPFResult {
		return pipeline.SPFResult{Result: pipeline.ResultPass, Domain: domain}
	}
	temp := pipeline.SPFResult{Result: pipeline.ResultTempError, Domain: "example.org", Reason: "timed out"}
	fail := pipeline.SPFResult{Result: pipeline.ResultFail, Domain: "example.org"}
	sig := func(result string, domains ...string) (rs []dkimResult) {
		for _, d := range domains {
			rs = append(rs, dkimResult{signature: signature{domain: d}, result: result, reason: "x"})
		}
		return rs
	}
	for _, c := range []struct {
		name, author string
		zone         []string
		spf          pipeline.SPFResult
		dkim         []dkimResult
		want         string
		verified     bool
	}{
		{"spf", "example.org", []string{relaxed}, pass("example.org"), nil, "pass", true},
		{"spf of a subdomain", "example.org", []string{relaxed}, pass("bounce.example.org"), nil, "pass", true},
		{"spf of a subdomain, strict", "example.org", []string{strict}, pass("bounce.example.org"), nil, "fail", false},
		{"spf strict", "example.org", []string{strict}, pass("example.org"), nil, "pass", true},
		{"spf of the parent", "mail.example.org", []string{relaxed}, pass("example.org"), nil, "pass", true},
		{"spf of a sibling", "a.example.org", []string{relaxed}, pass("b.example.org"), nil, "pass", true},
		{"spf of another", "example.org", []string{relaxed}, pass("example.net"), nil, "fail", false},
		{"suffix that is no subdomain", "example.org", []string{relaxed}, pass("badexample.org"), nil, "fail", false},
		{"dkim", "example.org", []string{relaxed}, fail, sig("pass", "example.net", "example.org"), "pass", true},
		{"dkim of a subdomain, strict", "example.org", []string{strict}, fail, sig("pass", "a.example.org"), "fail", false},
		{"dkim of the top level", "example.org", []string{relaxed}, fail, sig("pass", "org"), "fail", false},
		{"dkim failed", "example.org", []string{relaxed}, fail, sig("fail", "example.org"), "fail", false},
		{"dkim not verified", "example.org", []string{relaxed}, fail, sig("policy", "example.org"), "fail", false},
		{"under a public suffix", "a.bank", []string{"_dmarc.bank TXT v=DMARC1; p=reject; psd=y"}, pass("b.bank"), nil, "fail", false},
		{"own organization below", "example.org", []string{relaxed, "_dmarc.lab.example.org TXT v=DMARC1; p=none; psd=n"}, pass("lab.example.org"), nil, "fail", false},
		{"spf temporary", "example.org", []string{relaxed}, temp, nil, "temperror", false},
		{"spf temporary, dkim good", "example.org", []string{relaxed}, temp, sig("pass", "example.org"), "pass", true},
		{"dkim temporary", "example.org", []string{relaxed}, fail, sig("temperror", "example.org"), "temperror", false},
		{"dkim of another temporary", "example.org", []string{relaxed}, fail, sig("temperror", "example.net"), "fail", false},
		{"no record, same domain", "example.org", nil, pass("example.org"), nil, "none", true},
		{"no record, same domain by dkim", "example.org", nil, fail, sig("pass", "example.org"), "none", true},
		{"no record, subdomain", "example.org", nil, pass("bounce.example.org"), nil, "none", false},
		{"no record, nothing", "example.org", nil, fail, nil, "none", false},
		{"record without a policy, subdomain", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=x"}, pass("a.example.org"), nil, "none", false},
		{"record without a policy, same domain", "example.org", []string{"_dmarc.example.org TXT v=DMARC1; p=x"}, pass("example.org"), nil, "none", true},
		{"public suffix itself", "bank", []string{"_dmarc.bank TXT v=DMARC1; p=reject; psd=y"}, pass("a.bank"), nil, "fail", false},
		{"record not known", "example.org", []string{"_dmarc.example.org TIMEOUT"}, fail, nil, "temperror", false},
		{"record not known, same domain", "example.org", []string{"_dmarc.example.org SERVFAIL"}, pass("example.org"), nil, "temperror", true},
		{"record not known, subdomain", "example.org", []string{"_dmarc.example.org SERVFAIL"}, pass("a.example.org"), nil, "temperror", false},
		{"organization not known", "example.org", []string{relaxed, "_dmarc.org TIMEOUT"}, pass("a.example.org"), nil, "temperror", false},
		{"organization not known, another", "example.org", []string{relaxed, "_dmarc.org TIMEOUT"}, pass("a.example.net"), nil, "fail", false},
		{"organization of the signer not known", "example.org", []string{relaxed, "_dmarc.a.example.org TIMEOUT"}, fail, sig("pass", "a.example.org"), "temperror", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			z := zoneOf(c.zone...)
			w := &walker{ctx: t.Context(), resolver: z, seen: map[string]lookedUp{}}
			d := newStage(z).discover(w, c.author)
			got, _ := d.evaluate(w, nil, c.spf, c.dkim)
			if got.Result != c.want {
				t.Errorf("got %+v, want %s", got, c.want)
			}
			if sender := senderOf(got, false); sender.Verified != c.verified || sender.Domain != c.author || (sender.By == "dmarc") != c.verified {
				t.Errorf("sender %+v, want verified %v", sender, c.verified)
			}
		})
	}
}

func TestDMARCWithoutOneAuthorDomainNeverVerifies(t *testing.T) {
	t.Parallel()
	d := discovery{}
	got, _ := d.evaluate(nil, errSeveralFrom, pipeline.SPFResult{Result: pipeline.ResultPass, Domain: ""},
		[]dkimResult{{result: pipeline.ResultPass}})
	want := pipeline.DMARCResult{Result: pipeline.ResultPermError, Reason: errSeveralFrom.Error()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s := senderOf(got, false); s != (pipeline.SenderResult{}) {
		t.Errorf("sender %+v", s)
	}
}

func TestDMARCQueriesAreBounded(t *testing.T) {
	t.Parallel()
	labels := strings.Repeat("a.", 100)
	z := zoneOf("_dmarc.example.org TXT v=DMARC1; p=reject")
	w := &walker{ctx: t.Context(), resolver: z, seen: map[string]lookedUp{}}
	d := newStage(z).discover(w, labels+"example.org")
	var sigs []dkimResult
	for i := range 8 {
		sigs = append(sigs, dkimResult{signature: signature{domain: fmt.Sprintf("x%d.%sexample.org", i, labels)}, result: pipeline.ResultPass})
	}
	got, _ := d.evaluate(w, nil, pipeline.SPFResult{}, sigs)
	if got.Result != pipeline.ResultPass {
		t.Errorf("got %+v", got)
	}
	// One walk of 8; the others share all but their first name.
	if n := z.queries.Load(); n > 8+8 {
		t.Errorf("%d queries", n)
	}
}
