package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// screen writes for people: with colours when the output is a terminal and NO_COLOR is not set.
type screen struct {
	io.Writer
	colour bool
}

func newScreen(w io.Writer) *screen {
	s := &screen{Writer: w}
	if f, ok := w.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		if info, err := f.Stat(); err == nil {
			s.colour = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return s
}

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) bold(t string) string  { return s.paint("1", t) }
func (s *screen) dim(t string) string   { return s.paint("2", t) }
func (s *screen) green(t string) string { return s.paint("32", t) }
func (s *screen) red(t string) string   { return s.paint("31", t) }

func (s *screen) line(label, format string, args ...any) {
	fmt.Fprintf(s, "  %s %s\n", s.dim(fmt.Sprintf("%-10s", label)), fmt.Sprintf(format, args...))
}

// webhook shows one webhook that arrived.
func (s *screen) webhook(title string, w received) {
	d := w.Payload.Data
	fmt.Fprintf(s, "\n%s\n", s.bold(title))
	s.line("envelope", "%s → %s", orAngle(d.Envelope.MailFrom), oneLine(recipientsOf(w), 100))
	s.message(w)
	s.line("verdict", "%s", s.verdict(w))
	s.line("route", "rule %s → sink %s", strings.Join(d.Delivery.Rules, ", "), d.Delivery.Sink)
	for _, p := range d.Problems {
		s.line("problem", "%s: %s", p.Code, oneLine(p.Detail, 100))
	}
	s.line("request", "POST %s, %s of JSON, attempt %d, %v after receipt", w.Path, size(int64(len(w.Body))), d.Delivery.Attempt,
		w.At.Sub(d.Envelope.ReceivedAt).Round(time.Millisecond))
	s.line("", "webhook-id: %s", w.Header.Get("webhook-id"))
	s.line("", "webhook-signature: %s  %s", shorten(w.Header.Get("webhook-signature"), 30), s.signature(w))
}

func (s *screen) message(w received) {
	m := w.Payload.Data.Message
	if m == nil {
		s.line("message", "%s", s.red("not readable; the raw mail is in the payload"))
		return
	}
	for _, f := range m.From {
		name := ""
		if f.Name != nil {
			name = *f.Name + " "
		}
		s.line("from", "%s<%s>", oneLine(name, 60), oneLine(f.Address, 80))
	}
	if m.Subject != nil {
		s.line("subject", "%s", oneLine(*m.Subject, 100))
	}
	if m.Text != nil {
		s.line("text", "%s", oneLine(strings.Join(strings.Fields(*m.Text), " "), 100))
	}
	if m.HTML != nil {
		s.line("html", "%s", size(int64(len(*m.HTML))))
	}
	for _, a := range m.Attachments {
		s.line("attachment", "%s (%s, %s)", oneLine(a.Filename, 80), a.ContentType, size(a.Size))
	}
}

func (s *screen) verdict(w received) string {
	auth := w.Payload.Data.Auth
	dkim := "none"
	for _, d := range auth.DKIM {
		dkim = d.Result
	}
	methods := s.dim(fmt.Sprintf("(spf=%s dkim=%s dmarc=%s)", auth.SPF.Result, dkim, auth.DMARC.Result))
	if auth.Sender.Verified && auth.Sender.Domain != nil {
		return s.green("✔ the sender is "+*auth.Sender.Domain) + " " + methods
	}
	return s.red("✘ the sender is not verified") + " " + methods
}

func (s *screen) signature(w received) string {
	switch {
	case !w.Checked:
		return s.dim("not checked: no secret was given")
	case w.Genuine != nil:
		return s.red("✘ " + w.Genuine.Error())
	default:
		return s.green("✔ genuine")
	}
}

func recipientsOf(w received) string {
	var rs []string
	for _, r := range w.Payload.Data.Envelope.Recipients {
		rs = append(rs, r.Address)
	}
	return strings.Join(rs, ", ")
}

func orAngle(reversePath string) string {
	if reversePath == "" {
		return "<>"
	}
	return oneLine(reversePath, 80)
}

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f KB", float64(n)/1e3)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}
