package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"go.yaml.in/yaml/v3"

	"mxhook/pipeline"
	"mxhook/pipeline/msgauth"
)

// readYAML reads all documents of a file; none when there is no such file.
func readYAML[T any](path string) ([]T, error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var docs []T
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc T
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		docs = append(docs, doc)
	}
}

type spfSuite struct {
	Tests map[string]struct {
		Helo, Host, MailFrom string
		Result               any
	}
	ZoneData map[string][]yaml.Node
}

// playSPF judges the suites of check_host().
func playSPF(dir string, b *board) error {
	files, err := filepath.Glob(filepath.Join(dir, "spf", "*.yml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		suites, err := readYAML[spfSuite](file)
		if err != nil {
			return err
		}
		for _, s := range suites {
			if err := s.play(b, "spf/"+strings.TrimSuffix(filepath.Base(file), ".yml")); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *spfSuite) play(b *board, corpus string) error {
	resolver, stop, err := spfZone(s.ZoneData).serve()
	if err != nil {
		return err
	}
	defer stop()
	for name, c := range s.Tests {
		env := pipeline.Envelope{Client: client(c.Host, c.Helo), ReversePath: c.MailFrom}
		a, err := authenticate(resolver, time.Now(), env, []byte("From: x@judge.example\r\n\r\n"))
		if err != nil {
			return err
		}
		want := listOf(c.Result)
		b.judge("spf", corpus, name, "spf", slices.Contains(want, a.SPF.Result), "got %s, want %q (%s)", a.SPF.Result, want, a.SPF.Reason)
	}
	return nil
}

// listOf returns a result or a list of them.
func listOf(result any) []string {
	members, ok := result.([]any)
	if !ok {
		members = []any{result}
	}
	var out []string
	for _, m := range members {
		out = append(out, fmt.Sprint(m))
	}
	return out
}

// spfZone follows the suites' conventions: a record of type SPF stands for TXT unless the name has TXT itself.
func spfZone(data map[string][]yaml.Node) *zone {
	z := newZone()
	for name, nodes := range data {
		hasTXT := false
		var spf []string
		for _, n := range nodes {
			typ, values := n.Value, []string(nil)
			if n.Kind == yaml.MappingNode {
				typ, values = n.Content[0].Value, scalars(n.Content[1])
			}
			switch typ {
			case "TIMEOUT":
				z.fail(name, silent)
			case "SERVFAIL", "CNAMELOOP":
				z.fail(name, dns.RcodeServerFailure)
			case "SPF":
				spf = append(spf, strings.Join(values, ""))
			case "TXT":
				hasTXT = true
				if txt := strings.Join(values, ""); txt != "NONE" {
					z.add(name, "TXT", txt)
				}
			case "MX":
				z.add(name, "MX", values[1])
			default:
				for _, v := range values {
					z.add(name, typ, v)
				}
			}
		}
		for _, txt := range spf {
			if !hasTXT {
				z.add(name, "TXT", txt)
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

type arcSuite struct {
	Tests   map[string]struct{ Message, CV string }
	Records map[string]string `yaml:"txt-records"`
}

// playARC judges chains: those of the validation suite, and those that come with cases.
func playARC(dir string, b *board) error {
	suites, err := readYAML[arcSuite](filepath.Join(dir, "arc", "arc-validation-tests.yml"))
	if err != nil {
		return err
	}
	for _, s := range suites {
		if err := s.play(b); err != nil {
			return err
		}
	}
	if err := playSeals(dir, b); err != nil {
		return err
	}
	return playMails("arc")(dir, b)
}

func (s *arcSuite) play(b *board) error {
	z := newZone()
	for name, txt := range s.Records {
		z.add(name, "TXT", strings.ReplaceAll(txt, "\n", ""))
	}
	resolver, stop, err := z.serve()
	if err != nil {
		return err
	}
	defer stop()
	for name, c := range s.Tests {
		a, err := authenticate(resolver, time.Now(), pipeline.Envelope{}, toCRLF([]byte(c.Message)))
		if err != nil {
			return err
		}
		want := strings.ToLower(c.CV)
		if want == "" { // a chain that says itself that it has failed
			want = pipeline.ResultFail
		}
		b.judge("arc", "arc/arc-validation-tests", name, "arc", a.ARC.Result == want, "got %s, want %s", a.ARC.Result, want)
	}
	return nil
}

type sealSuite struct {
	Domain  string
	Sel     string
	Key     string            `yaml:"privatekey"`
	Records map[string]string `yaml:"txt-records"`
	Tests   map[string]struct {
		Message string
		AAR     string `yaml:"AAR"`
		AMS     string `yaml:"AMS"`
		AS      string `yaml:"AS"`
		T       int64
		Headers string `yaml:"sig-headers"`
	}
}

// playSeals judges seals octet by octet: RSA signs the same text with the same value.
func playSeals(dir string, b *board) error {
	suites, err := readYAML[sealSuite](filepath.Join(dir, "arc", "arc-sign-tests.yml"))
	if err != nil {
		return err
	}
	for _, s := range suites {
		if err := s.play(b); err != nil {
			return err
		}
	}
	return nil
}

func (s *sealSuite) play(b *board) error {
	block, _ := pem.Decode([]byte(strings.ReplaceAll(s.Key, "\n\n", "\n")))
	if block == nil {
		return errors.New("the suite's key is no PEM block")
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("read the suite's key: %w", err)
	}
	for name, c := range s.Tests {
		_, results, _ := strings.Cut(c.AAR, ";")
		chain := pipeline.ResultNone
		if _, said, ok := strings.Cut(c.AS, "cv="); ok {
			chain, _, _ = strings.Cut(said, ";")
		}
		sealer := msgauth.Sealer{
			Domain: s.Domain, Selector: s.Sel, Key: key, Headers: strings.Split(c.Headers, ":"),
			Now: func() time.Time { return time.Unix(c.T, 0) },
		}
		set, err := sealer.Seal(toCRLF([]byte(c.Message)), &pipeline.AuthResults{
			Field: "Authentication-Results:" + results, ARC: pipeline.ARCResult{Result: chain},
		})
		got, want := valuesOf(string(set)), valuesOf(c.AS+";"+c.AMS)
		b.judge("arc", "arc/arc-sign-tests", name, "seal", slices.Equal(got, want), "got %q, want %q (%v)", got, want, err)
	}
	return nil
}

// valuesOf returns the signatures in fields, without blanks.
func valuesOf(fields string) []string {
	var values []string
	for tag := range strings.SplitSeq(squash(fields), ";") {
		if i := strings.Index(tag, "b="); i >= 0 && !strings.HasPrefix(tag, "bh=") {
			values = append(values, tag[i:])
		}
	}
	return values
}
