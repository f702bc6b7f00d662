package parse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxhook/pipeline"
)

// corpus is where messages of other projects are, when they are there.
var corpus = filepath.Join("..", "..", "..", "shared", "testdata")

func newStage(t testing.TB, l Limits) *Stage {
	t.Helper()
	s, err := New(Options{Limits: l, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run parses octets and checks what holds for every input.
func run(t testing.TB, s *Stage, raw []byte) *pipeline.Message {
	t.Helper()
	m := &pipeline.Message{Raw: raw, Envelope: pipeline.Envelope{ReversePath: "sender@example.org"}}
	if err := s.Run(context.Background(), m); err != nil {
		t.Fatalf("Run: %v", err)
	}
	checkInvariants(t, m)
	return m
}

// checkInvariants checks what Content promises: it is there, its strings are UTF-8, attachments are what they say.
func checkInvariants(t testing.TB, m *pipeline.Message) {
	t.Helper()
	c := m.Content
	if c == nil {
		t.Fatalf("no content; problems %v", m.Problems)
	}
	for _, p := range m.Problems {
		if p.Code == "parse-failed" {
			t.Errorf("panic: %s", p.Detail)
		}
	}
	checkJSON(t, viewOf(m))
	for _, a := range c.Attachments {
		checkAttachment(t, a)
	}
}

// view is what a test can compare and print of a message.
type view struct {
	Kind        string                 `json:"kind"`
	MessageID   string                 `json:"message_id,omitempty"`
	Date        string                 `json:"date,omitempty"`
	Subject     string                 `json:"subject,omitempty"`
	From        []pipeline.Address     `json:"from,omitempty"`
	Sender      *pipeline.Address      `json:"sender,omitempty"`
	ReplyTo     []pipeline.Address     `json:"reply_to,omitempty"`
	To          []pipeline.Address     `json:"to,omitempty"`
	Cc          []pipeline.Address     `json:"cc,omitempty"`
	Bcc         []pipeline.Address     `json:"bcc,omitempty"`
	InReplyTo   []string               `json:"in_reply_to,omitempty"`
	References  []string               `json:"references,omitempty"`
	Headers     []pipeline.HeaderField `json:"headers,omitempty"`
	Text        string                 `json:"text,omitempty"`
	HTML        string                 `json:"html,omitempty"`
	Attachments []attachmentView       `json:"attachments,omitempty"`
	Problems    []pipeline.Problem     `json:"problems,omitempty"`

	TextFrom    string                   `json:"text_from,omitempty"`
	Reply       *pipeline.Reply          `json:"reply,omitempty"`
	Calendar    []pipeline.CalendarEntry `json:"calendar,omitempty"`
	List        *pipeline.List           `json:"list,omitempty"`
	AutoReply   *pipeline.AutoReply      `json:"auto_reply,omitempty"`
	Bounce      *pipeline.Bounce         `json:"bounce,omitempty"`
	Complaint   *pipeline.Complaint      `json:"complaint,omitempty"`
	DMARCReport *pipeline.DMARCReport    `json:"dmarc_report,omitempty"`
	TLSReport   *pipeline.TLSReport      `json:"tls_report,omitempty"`
}

type attachmentView struct {
	ID          string `json:"id"`
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"`
	Disposition string `json:"disposition"`
	ContentID   string `json:"content_id,omitempty"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`

	SentName  string            `json:"sent_name,omitempty"`
	Container string            `json:"container,omitempty"`
	Message   *pipeline.Summary `json:"message,omitempty"`
}

func viewOf(m *pipeline.Message) view {
	c := m.Content
	v := view{
		Kind: c.Kind, MessageID: c.MessageID, Subject: c.Subject, From: c.From, Sender: c.Sender, ReplyTo: c.ReplyTo,
		To: c.To, Cc: c.Cc, Bcc: c.Bcc, InReplyTo: c.InReplyTo, References: c.References, Headers: c.Headers,
		Text: c.Text, HTML: c.HTML, Problems: m.Problems,
		Reply: c.Reply(), Calendar: c.Calendar, List: c.List, AutoReply: c.AutoReply, Bounce: c.Bounce, Complaint: c.Complaint,
		DMARCReport: c.DMARCReport, TLSReport: c.TLSReport,
	}
	// That a text is the message's own is the rule and not worth a line in every case.
	if c.TextFrom != pipeline.TextOwn {
		v.TextFrom = c.TextFrom
	}
	if !c.Date.IsZero() {
		v.Date = c.Date.Format(time.RFC3339)
	}
	for _, a := range c.Attachments {
		v.Attachments = append(v.Attachments, attachmentView{
			a.ID, a.Filename, a.ContentType, a.Disposition, a.ContentID, a.Size, hex.EncodeToString(a.SHA256[:]), a.SentName, a.Container, a.Message,
		})
	}
	return v
}

func checkAttachment(t testing.TB, a pipeline.Attachment) {
	t.Helper()
	for range 2 {
		h := sha256.New()
		n, err := io.Copy(h, a.Open())
		if err != nil || n != a.Size || !bytes.Equal(h.Sum(nil), a.SHA256[:]) {
			t.Errorf("attachment %s: Open yields %d octets, error %v; want %d", a.ID, n, err, a.Size)
		}
	}
	if a.Filename == "" || len(a.Filename) > 255 || a.Filename == "." || strings.Contains(a.Filename, "..") || strings.ContainsAny(a.Filename, "/\\\x00\r\n") {
		t.Errorf("attachment %s: file name %q is not clean", a.ID, a.Filename)
	}
	if a.ID == "" || a.ContentType == "" || a.Disposition != "inline" && a.Disposition != "attachment" {
		t.Errorf("attachment incomplete: %+v", a)
	}
}

// corpusMails calls f with every message of the corpora, its lines ended by CRLF, as SMTP would.
func corpusMails(t *testing.T, f func(t *testing.T, name string, raw []byte)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(corpus, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".eml" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		name, _ := filepath.Rel(corpus, path)
		f(t, name, toCRLF(b))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages in %s", n, corpus)
}

func toCRLF(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}

func TestEveryCorpusMailGetsContent(t *testing.T) {
	t.Parallel()
	s := newStage(t, Limits{})
	corpusMails(t, func(t *testing.T, name string, raw []byte) {
		run(t, s, raw)
		run(t, s, bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")))
		if t.Failed() {
			t.Fatalf("in %s", name)
		}
	})
}

// TestBothReadersAgree holds that it makes no difference to a text whether enmime reads it or our own decoders do.
func TestBothReadersAgree(t *testing.T) {
	t.Parallel()
	leaves := 0
	compare := func(t *testing.T, name string, raw []byte) {
		rd := &reading{raw: raw, limits: Limits{}.withDefaults()}
		for _, p := range rd.scan() {
			if p.multipart || !isText(&p) {
				continue
			}
			label := validUTF8(string(p.media.raw("charset")))
			usual, ok := rd.usualText(&p, label, p.body)
			if !ok {
				continue
			}
			leaves++
			if own := rd.anyText(&p, p.media.typ, label, p.body); own != usual {
				t.Errorf("%s, part %s (%s, %s):\nenmime %q\nown    %q", name, p.id, p.encoding, label, cut(usual, 300), cut(own, 300))
			}
		}
	}
	corpusMails(t, compare)
	for _, m := range benchMails() {
		compare(t, m.name, m.raw)
	}
	if leaves == 0 {
		t.Error("no leaf compared")
	}
	t.Logf("%d leaves compared", leaves)
}
