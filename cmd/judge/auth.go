package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"

	"mxhook/pipeline"
	"mxhook/pipeline/msgauth"
)

// authSuites are the suites of message authentication.
func authSuites() []suite {
	return []suite{
		{"spf", "suites of check_host() (RFC 7208)", playSPF},
		{"dkim", "signed messages with the keys of their time", playMails("dkim")},
		{"arc", "chains of seals", playARC},
		{"dmarc", "author domains, the identifiers that passed, and policies", playDMARC},
		{"auth", "whole messages: SPF, DKIM and DMARC together", playMails("auth")},
	}
}

// authenticate takes one message through the stage as it runs in the pipeline.
func authenticate(r msgauth.Resolver, now time.Time, env pipeline.Envelope, raw []byte) (*pipeline.AuthResults, error) {
	env.Hostname = "judge.example"
	m := &pipeline.Message{Envelope: env, Raw: raw}
	s := msgauth.New(msgauth.Options{Resolver: r, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)})
	if err := s.Run(context.Background(), m); err != nil {
		return nil, err
	}
	return m.Auth, nil
}

func client(ip, helo string) pipeline.Client {
	addr, _ := netip.ParseAddr(ip) // a case without one has no address
	return pipeline.Client{IP: addr, Helo: helo}
}

// jsonZone is a zone.json: names to records, {"ERR": ..., "ERR_TYPE": ...} among them.
type jsonZone map[string][]map[string]any

func (jz jsonZone) zone() *zone {
	z := newZone()
	for name, records := range jz {
		for _, r := range records {
			switch r["ERR"] {
			case "timeout":
				z.fail(name, silent)
			case "servfail":
				z.fail(name, dns.RcodeServerFailure)
			}
			for typ, v := range r {
				switch v := v.(type) {
				case string:
					if typ != "ERR" && typ != "ERR_TYPE" {
						z.add(name, typ, v)
					}
				case []any:
					z.add(name, typ, fmt.Sprint(v[len(v)-1])) // of an MX the host
				}
			}
		}
	}
	return z
}

// mailCase is one case of a cases.json.
type mailCase struct {
	ID, File, IP, Helo string
	MailFrom           string `json:"mail_from"`
	Now                int64
	Expect             struct{ DKIM, SPF, DMARC, ARC string }
}

// playMails judges the folders of one kind that hold messages with a zone and cases.
func playMails(kind string) func(dir string, b *board) error {
	return func(dir string, b *board) error {
		files, err := filepath.Glob(filepath.Join(dir, kind, "*", "cases.json"))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := playCases(b, kind, filepath.Dir(file)); err != nil {
				return err
			}
		}
		return nil
	}
}

func playCases(b *board, kind, folder string) error {
	var cases []mailCase
	var jz jsonZone
	for name, into := range map[string]any{"cases.json": &cases, "zone.json": &jz} {
		if _, err := readJSON(filepath.Join(folder, name), into); err != nil {
			return err
		}
	}
	resolver, stop, err := jz.zone().serve()
	if err != nil {
		return err
	}
	defer stop()
	for _, c := range cases {
		raw, err := os.ReadFile(filepath.Join(folder, c.File))
		if err != nil {
			return err
		}
		now := time.Now()
		if c.Now != 0 {
			now = time.Unix(c.Now, 0)
		}
		a, err := authenticate(resolver, now, pipeline.Envelope{Client: client(c.IP, c.Helo), ReversePath: c.MailFrom}, toCRLF(raw))
		if err != nil {
			return err
		}
		for _, f := range []struct{ field, got, want string }{
			{"dkim", bestDKIM(a.DKIM), c.Expect.DKIM},
			{"spf", a.SPF.Result, c.Expect.SPF},
			{"dmarc", withPolicy(a.DMARC), c.Expect.DMARC},
			{"arc", a.ARC.Result, c.Expect.ARC},
		} {
			if f.want != "" {
				b.judge(kind, kind+"/"+filepath.Base(folder), c.ID, f.field, meets(f.field, f.got, f.want), "got %s, want %s", f.got, f.want)
			}
		}
	}
	return nil
}

// meets compares results. "invalid" is any but pass; a signature that cannot be judged for its own faults is a fail in
// the words of some corpora and a permerror in RFC 8601's.
func meets(field, got, want string) bool {
	if field == "dkim" && (want == "invalid" || want == pipeline.ResultFail) {
		return got == pipeline.ResultFail || got == pipeline.ResultPermError || want == "invalid" && got != pipeline.ResultPass
	}
	return got == want
}

// bestDKIM is the best result of all signatures.
func bestDKIM(rs []pipeline.DKIMResult) string {
	for _, result := range []string{pipeline.ResultPass, pipeline.ResultTempError, pipeline.ResultFail, pipeline.ResultPermError} {
		if slices.ContainsFunc(rs, func(r pipeline.DKIMResult) bool { return r.Result == result }) {
			return result
		}
	}
	return pipeline.ResultNone
}

func withPolicy(r pipeline.DMARCResult) string {
	if r.Result == pipeline.ResultFail {
		return r.Result + ":" + r.Policy
	}
	return r.Result
}

// playDMARC judges author domains with the identifiers that passed: a mail is made that passes for exactly those.
func playDMARC(dir string, b *board) error {
	var cases []struct {
		ID, From  string
		DKIM, SPF []string
		Expect    struct{ Policy, Result string }
		Zone      jsonZone
	}
	if _, err := readJSON(filepath.Join(dir, "dmarc", "mailauth.json"), &cases); err != nil {
		return err
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	for _, c := range cases {
		z := c.Zone.zone()
		env := pipeline.Envelope{Client: client("192.0.2.1", "")}
		if len(c.SPF) > 0 {
			env.ReversePath = "x@" + c.SPF[0]
			z.add(c.SPF[0], "TXT", "v=spf1 ip4:192.0.2.1 -all")
		}
		raw := "From: " + c.From + "\r\n\r\nbody\r\n"
		for _, domain := range c.DKIM {
			z.add("judge._domainkey."+domain, "TXT", "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public))
			var signed strings.Builder
			o := &dkim.SignOptions{Domain: domain, Selector: "judge", Signer: private, HeaderKeys: []string{"From"}}
			if err := dkim.Sign(&signed, strings.NewReader(raw), o); err != nil {
				return fmt.Errorf("sign %s: %w", c.ID, err)
			}
			raw = signed.String()
		}
		a, err := playIn(z, env, raw)
		if err != nil {
			return err
		}
		got, want := a.DMARC.Result+" "+a.DMARC.Policy, c.Expect.Result+" "+c.Expect.Policy
		b.judge("dmarc", "dmarc", c.ID, "dmarc", got == want, "got %s, want %s (%s)", got, want, a.DMARC.Reason)
	}
	return nil
}

// playIn authenticates one message with a zone of its own.
func playIn(z *zone, env pipeline.Envelope, raw string) (*pipeline.AuthResults, error) {
	resolver, stop, err := z.serve()
	if err != nil {
		return nil, err
	}
	defer stop()
	return authenticate(resolver, time.Now(), env, []byte(raw))
}
