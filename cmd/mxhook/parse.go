package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mxhook/pipeline"
	"mxhook/pipeline/parse"
	"mxhook/sinks/webhook"
)

func parseCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "parse [--json] [MAIL.eml | -]",
		Short: "Show what a webhook would say of a mail: data.message and the problems",
		Args:  arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := messageFrom(cmd.Context(), args)
			if err != nil {
				return err
			}
			if asJSON {
				return writeMessageJSON(cmd.OutOrStdout(), m)
			}
			showContent(newScreen(cmd.OutOrStdout()), m)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print kind, its object, message and problems as they stand in the payload's data")
	return cmd
}

// messageFrom reads a mail from the file that args name, or from standard input, and parses it.
func messageFrom(ctx context.Context, args []string) (*pipeline.Message, error) {
	name := "-"
	if len(args) > 0 {
		name = args[0]
	}
	raw, err := readMail(name)
	if err != nil {
		return nil, err
	}
	raw = withCRLF(raw)
	m := &pipeline.Message{
		Envelope: pipeline.Envelope{ReceivedAt: time.Now().UTC(), Size: int64(len(raw))},
		Raw:      raw, SHA256: sha256.Sum256(raw),
	}
	stage, err := parse.New(parse.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if err := stage.Run(ctx, m); err != nil {
		return nil, err
	}
	return m, nil
}

// writeMessageJSON prints exactly what the payload has of the content: data.kind with its object, data.message and
// data.problems.
func writeMessageJSON(w io.Writer, m *pipeline.Message) error {
	var b strings.Builder
	if err := webhook.EncodePayload(&b, &pipeline.Delivery{Message: m}, webhook.PayloadOptions{Reply: true}); err != nil {
		return err
	}
	var p struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal([]byte(b.String()), &p); err != nil {
		return fmt.Errorf("read our own payload: %w", err)
	}
	for _, of := range []string{"version", "id", "delivery", "envelope", "auth", "raw"} {
		delete(p.Data, of)
	}
	return writeJSON(w, p.Data)
}

func showContent(s *screen, m *pipeline.Message) {
	if c := m.Content; c != nil {
		s.line("kind", "%s", c.Kind)
		for _, a := range c.From {
			s.line("from", "%s <%s>", oneLine(a.Name, 60), oneLine(a.Address, 80))
		}
		for _, a := range append(append([]pipeline.Address{}, c.To...), c.Cc...) {
			s.line("to", "%s <%s>", oneLine(a.Name, 60), oneLine(a.Address, 80))
		}
		s.line("subject", "%s", oneLine(c.Subject, 200))
		if !c.Date.IsZero() {
			s.line("date", "%s", c.Date.Format(time.RFC3339))
		}
		for _, a := range c.Attachments {
			s.line("attachment", "%s %s (%s, %s)", a.ID, oneLine(a.Filename, 80), a.ContentType, size(a.Size))
		}
		showReport(s, c)
		for _, e := range c.Calendar {
			s.line("calendar", "%s %s %s", e.Method, e.Component, oneLine(e.Summary, 80))
		}
		s.line("html", "%s", size(int64(len(c.HTML))))
		s.line("text", "%s", size(int64(len(c.Text))))
		for l := range strings.Lines(c.Text) {
			fmt.Fprintf(s, "    %s\n", oneLine(strings.TrimRight(l, "\n"), 200))
		}
	}
	for _, p := range m.Problems {
		s.line("problem", "%s %s %s", p.Code, oneLine(p.Where, 40), oneLine(p.Detail, 200))
	}
}

// showReport prints what a bounce or a complaint is about.
func showReport(s *screen, c *pipeline.Content) {
	if b := c.Bounce; b != nil {
		for _, r := range b.Recipients {
			s.line("bounce", "%s %s %s %s", oneLine(r.Action, 20), oneLine(r.Address, 80), oneLine(r.Status, 20), oneLine(r.Diagnostic, 200))
		}
	}
	if r := c.Complaint; r != nil {
		s.line("complaint", "%s about %s from %s", oneLine(r.FeedbackType, 40), oneLine(r.MailFrom, 80), oneLine(r.SourceIP, 60))
	}
	if r := c.DMARCReport; r != nil {
		s.line("report", "DMARC of %s by %s, %d records", oneLine(r.Domain, 80), oneLine(r.Organization, 80), len(r.Records)+r.Omitted)
	}
	if r := c.TLSReport; r != nil {
		s.line("report", "TLS by %s, %d policies", oneLine(r.Organization, 80), len(r.Policies))
	}
}
