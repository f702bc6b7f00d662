package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"mxhook/configs"
	"mxhook/ingest"
	"mxhook/pipeline"
	"mxhook/rules"
)

// TestFailure is a test of a configuration that failed. It is an error.
type TestFailure struct {
	Name string
	Err  error
	// Explanation says why the mail goes where it goes; it has no recipients when the mail was refused or not read.
	Explanation rules.Explanation
}

// Error implements error.
func (f *TestFailure) Error() string { return fmt.Sprintf("test %q: %v", f.Name, f.Err) }

// Unwrap returns what went wrong.
func (f *TestFailure) Unwrap() error { return f.Err }

// RunTests runs the tests of a configuration. They ask no DNS: what is proven of a sender is what the test says.
func RunTests(ctx context.Context, cfg *configs.Config) ([]*TestFailure, error) {
	if len(cfg.Tests) == 0 {
		return nil, nil
	}
	trial, err := newOfflineTrial(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	var failed []*TestFailure
	for i := range cfg.Tests {
		test := &cfg.Tests[i]
		e, err := trial.runTest(ctx, test)
		if err != nil {
			failed = append(failed, &TestFailure{test.Name, err, e})
		}
		if ctx.Err() != nil {
			return failed, ctx.Err()
		}
	}
	return failed, nil
}

func (t *Trial) runTest(ctx context.Context, test *configs.Test) (rules.Explanation, error) {
	mail := TrialMail{
		Recipients: []string{test.Recipient}, From: test.From, IP: test.IP, Helo: test.Helo, At: t.now(), Verified: test.Verified,
	}
	if at, ok := test.ReceivedAt(); ok {
		mail.At = at
	}
	if mail.IP == "" {
		mail.IP = "127.0.0.1"
	}
	var err error
	if mail.Octets, err = testOctets(test); err != nil {
		return rules.Explanation{}, err
	}
	if test.Reply == "" { // else the bare address may be what is refused
		if mail.Recipients[0], err = t.signTestRecipient(test.Recipient, mail.At); err != nil {
			return rules.Explanation{}, err
		}
	}
	e, err := t.Explain(ctx, mail)
	var reply *ingest.Reply
	switch {
	case errors.As(err, &reply):
		return e, compareReply(test, reply.Error())
	case err != nil:
		return e, err
	case test.Reply != "":
		return e, fmt.Errorf("is taken, expected the reply %q", test.Reply)
	}
	return e, compareTargets(test, &e.Recipients[0])
}

func compareReply(test *configs.Test, got string) error {
	switch {
	case test.Reply != "" && strings.HasPrefix(got, test.Reply):
		return nil
	case test.Reply != "":
		return fmt.Errorf("is refused with %q, expected %q", got, test.Reply)
	case len(test.Expect) > 0:
		return fmt.Errorf("is refused with %q, expected [%s]", got, strings.Join(test.Expect, ", "))
	}
	return nil
}

func compareTargets(test *configs.Test, r *rules.RecipientExplanation) error {
	var got []string
	for _, target := range r.Targets {
		if !slices.Contains(got, target.Sink) {
			got = append(got, target.Sink)
		}
	}
	want := slices.Sorted(slices.Values(test.Expect))
	if slices.Sort(got); !slices.Equal(got, want) {
		return fmt.Errorf("goes to [%s], expected [%s]", strings.Join(got, ", "), strings.Join(want, ", "))
	}
	tags := slices.Sorted(slices.Values(r.Tags))
	if want := slices.Sorted(slices.Values(test.Tags)); len(want) > 0 && !slices.Equal(tags, want) {
		return fmt.Errorf("has the tags [%s], expected [%s]", strings.Join(tags, ", "), strings.Join(want, ", "))
	}
	return nil
}

// signTestRecipient puts a valid token behind the bare address of a signed address.
func (t *Trial) signTestRecipient(address string, at time.Time) (string, error) {
	for _, s := range t.generation.signed {
		if strings.EqualFold(address, s.Local+"@"+s.Domain) {
			return s.Make("test", at.Add(time.Hour))
		}
	}
	return address, nil
}

// maxTestMail bounds the mail of a test, in bytes.
const maxTestMail = 64 << 20

func testOctets(test *configs.Test) ([]byte, error) {
	if test.Mail == "" {
		return test.Octets(), nil
	}
	f, err := os.Open(test.Mail)
	if err != nil {
		return nil, fmt.Errorf("read the mail: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxTestMail+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the mail: %w", err)
	case len(raw) > maxTestMail:
		return nil, fmt.Errorf("read the mail: %s is larger than %d MiB", test.Mail, maxTestMail>>20)
	}
	// Files are often written with bare line feeds; on the wire there are none.
	return []byte(strings.ReplaceAll(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\n", "\r\n")), nil
}

// proven is what the authentication of a message from that domain finds; "" is one of which nothing is proven.
func proven(domain string) *pipeline.AuthResults {
	if domain == "" {
		return &pipeline.AuthResults{}
	}
	return &pipeline.AuthResults{
		Sender: pipeline.SenderResult{Verified: true, Domain: domain, By: "dmarc"},
		SPF:    pipeline.SPFResult{Result: pipeline.ResultPass, Domain: domain, Identity: "mailfrom"},
		DKIM:   []pipeline.DKIMResult{{Result: pipeline.ResultPass, Domain: domain, Selector: "test", Algorithm: "rsa-sha256", Aligned: true}},
		DMARC:  pipeline.DMARCResult{Result: pipeline.ResultPass, Domain: domain, SPFAligned: true, DKIMAligned: true},
	}
}
