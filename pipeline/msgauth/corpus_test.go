package msgauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"mxhook/pipeline"
)

var corpora = filepath.Join("..", "..", "..", "shared", "testdata")

type spfSuite struct {
	Description string
	Tests       map[string]struct {
		Helo, Host, MailFrom string
		Result               any
	}
	ZoneData map[string][]yaml.Node
}

// TestSPFSuites plays the published suites. The score is for people; what must hold is that nothing passes that the
// suite wants to see refused.
func TestSPFSuites(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob(filepath.Join(corpora, "spf", "*.yml"))
	for _, file := range files {
		good, bad := 0, []string{}
		for _, suite := range readSPFSuites(t, file) {
			s := newStage(suiteZone(t, suite.ZoneData))
			for name, c := range suite.Tests {
				m := message(c.Host, c.Helo, c.MailFrom, "")
				got := s.checkSPF(t.Context(), &m.Envelope).main
				want := anyOf(c.Result)
				if slices.Contains(want, got.Result) {
					good++
					continue
				}
				bad = append(bad, name+": got "+got.Result+" want "+strings.Join(want, "|")+" ("+got.Reason+")")
				if got.Result == pipeline.ResultPass {
					t.Errorf("%s: %s passes, want %v", filepath.Base(file), name, want)
				}
			}
		}
		slices.Sort(bad)
		t.Logf("%s: %d of %d\n%s", filepath.Base(file), good, good+len(bad), strings.Join(bad, "\n"))
	}
	t.Logf("%d suites in %s", len(files), corpora)
}

func anyOf(result any) []string {
	if s, ok := result.(string); ok {
		return []string{s}
	}
	var out []string
	for _, v := range result.([]any) {
		out = append(out, v.(string))
	}
	return out
}

func readSPFSuites(t *testing.T, file string) []spfSuite {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var suites []spfSuite
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var s spfSuite
		err := dec.Decode(&s)
		if errors.Is(err, io.EOF) {
			return suites
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		suites = append(suites, s)
	}
}

// suiteZone follows the suite's conventions: a record of type SPF stands for TXT unless the name has TXT itself.
func suiteZone(t *testing.T, data map[string][]yaml.Node) *fakeZone {
	t.Helper()
	z := newZone()
	for name, nodes := range data {
		hasTXT := false
		var spf []string
		for _, n := range nodes {
			if n.Kind == yaml.ScalarNode {
				z.failing[strings.ToLower(name)] = errFakeTimeout
				continue
			}
			typ, v := n.Content[0].Value, n.Content[1]
			switch typ {
			case "TIMEOUT":
				z.failing[strings.ToLower(name)] = errFakeTimeout
			case "SERVFAIL", "CNAMELOOP":
				z.failing[strings.ToLower(name)] = errFakeServfail
			case "SPF":
				spf = append(spf, joined(v))
			case "TXT":
				hasTXT = true
				if joined(v) != "NONE" {
					z.add(name, "TXT", joined(v))
				}
			case "MX":
				z.add(name, "MX", v.Content[1].Value)
			case "A", "AAAA":
				for _, a := range scalars(v) {
					z.add(name, typ, a)
				}
			default:
				for _, a := range scalars(v) {
					z.add(name, typ, a)
				}
			}
		}
		if !hasTXT {
			for _, s := range spf {
				z.add(name, "TXT", s)
			}
		}
	}
	return z
}

func scalars(n *yaml.Node) []string {
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}
	}
	var out []string
	for _, c := range n.Content {
		out = append(out, c.Value)
	}
	return out
}

func joined(n *yaml.Node) string { return strings.Join(scalars(n), "") }

type jsonZone map[string][]map[string]any

func (jz jsonZone) zone() *fakeZone {
	z := newZone()
	for name, records := range jz {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		for _, r := range records {
			switch r["ERR"] {
			case "timeout":
				z.failing[name] = errFakeTimeout
			case "servfail":
				z.failing[name] = errFakeServfail
			}
			for typ, v := range r {
				switch v := v.(type) {
				case string:
					if typ != "ERR" && typ != "ERR_TYPE" {
						z.add(name, typ, v)
					}
				case []any:
					z.add(name, typ, v[1].(string))
				}
			}
		}
	}
	return z
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

type mailCase struct {
	ID, File, IP, Helo string
	MailFrom           string `json:"mail_from"`
	Now                int64
	Obsolete           string
	Expect             struct {
		DKIM, SPF, DMARC string
		DKIMAll          []string `json:"dkim_all"`
	}
}

// TestMailCorpora plays whole mails with their zones. Again: nothing may pass that is expected not to.
func TestMailCorpora(t *testing.T) {
	t.Parallel()
	dirs, _ := filepath.Glob(filepath.Join(corpora, "*", "*", "cases.json"))
	for _, file := range dirs {
		dir := filepath.Dir(file)
		var cases []mailCase
		var zone jsonZone
		readJSON(t, file, &cases)
		readJSON(t, filepath.Join(dir, "zone.json"), &zone)
		good, bad := 0, []string{}
		for _, c := range cases {
			raw, err := os.ReadFile(filepath.Join(dir, c.File))
			if err != nil {
				t.Fatal(err)
			}
			s := New(Options{Resolver: zone.zone(), Log: quiet(), Now: func() time.Time {
				if c.Now != 0 {
					return time.Unix(c.Now, 0)
				}
				return time.Now()
			}})
			a := authenticate(t, s, message(c.IP, c.Helo, c.MailFrom, crlf(raw)))
			for method, pair := range map[string][2]string{
				"dkim": {c.Expect.DKIM, overallDKIM(a.DKIM)}, "spf": {c.Expect.SPF, a.SPF.Result}, "dmarc": {c.Expect.DMARC, overallDMARC(a.DMARC)},
			} {
				want, got := pair[0], pair[1]
				switch {
				case want == "":
				case want == got, want == "invalid" && got != pipeline.ResultPass, want == "fail" && got == pipeline.ResultPermError:
					good++
				default:
					bad = append(bad, c.ID+": "+method+" got "+got+" want "+want+" "+c.Obsolete)
					if got == pipeline.ResultPass {
						t.Errorf("%s: %s passes, want %s", c.ID, method, want)
					}
				}
			}
		}
		t.Logf("%s: %d of %d\n%s", dir, good, good+len(bad), strings.Join(bad, "\n"))
	}
	t.Logf("%d corpora in %s", len(dirs), corpora)
}

// overallDKIM is the best result of all signatures.
func overallDKIM(rs []pipeline.DKIMResult) string {
	for _, result := range []string{pipeline.ResultPass, pipeline.ResultTempError, pipeline.ResultFail, pipeline.ResultPermError} {
		if slices.ContainsFunc(rs, func(r pipeline.DKIMResult) bool { return r.Result == result }) {
			return result
		}
	}
	return pipeline.ResultNone
}

func overallDMARC(r pipeline.DMARCResult) string {
	if r.Result == pipeline.ResultFail {
		return r.Result + ":" + r.Policy
	}
	return r.Result
}

func TestDMARCCorpus(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob(filepath.Join(corpora, "dmarc", "mailauth.json"))
	for _, file := range files {
		var cases []struct {
			ID, From  string
			DKIM, SPF []string
			Expect    struct{ Policy, Result string }
			Zone      jsonZone
		}
		readJSON(t, file, &cases)
		good := 0
		for _, c := range cases {
			s := newStage(c.Zone.zone())
			w := &walker{ctx: t.Context(), resolver: s.resolver, seen: map[string]lookedUp{}}
			author, err := authorDomain([]byte("From: " + c.From + "\r\n\r\n"))
			d := discovery{}
			if err == nil {
				d = s.discover(w, author)
			}
			var spf pipeline.SPFResult
			if len(c.SPF) > 0 {
				spf = pipeline.SPFResult{Result: pipeline.ResultPass, Domain: c.SPF[0]}
			}
			var dkim []dkimResult
			for _, domain := range c.DKIM {
				dkim = append(dkim, dkimResult{signature: signature{domain: domain}, result: pipeline.ResultPass})
			}
			got, _ := d.evaluate(w, err, spf, dkim)
			if got.Result == c.Expect.Result && got.Policy == c.Expect.Policy {
				good++
			} else {
				t.Logf("%s: got %s %q, want %s %q (%s)", c.ID, got.Result, got.Policy, c.Expect.Result, c.Expect.Policy, got.Reason)
				if got.Result == pipeline.ResultPass {
					t.Errorf("%s passes", c.ID)
				}
			}
		}
		t.Logf("%s: %d of %d", file, good, len(cases))
	}
	t.Logf("%d files in %s", len(files), corpora)
}
