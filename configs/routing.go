package configs

import (
	"fmt"
	"mime"
	"mime/multipart"
	"net/textproto"
	"path"
	"strings"
	"time"

	"mxhook/ingest"
	"mxhook/rules"
)

// Rule is a rule; see package rules.
type Rule struct {
	Name    string   `yaml:"name"`
	When    string   `yaml:"when" references:"no"`
	To      []string `yaml:"to"`
	Copy    []string `yaml:"copy"`
	Tags    []string `yaml:"tags"`
	Stop    bool     `yaml:"stop"`
	Drop    bool     `yaml:"drop"`
	Reject  *Reject  `yaml:"reject"`
	Defer   *Defer   `yaml:"defer"`
	Discard bool     `yaml:"discard"`
	Wait    *Wait    `yaml:"wait"`
	Sample  float64  `yaml:"sample"`
	OnError string   `yaml:"on_error"`
}

// Wait keeps senders waiting for the answer of the rule's sink; OnTimeout is "accept" or "defer".
type Wait struct {
	Timeout   Duration `yaml:"timeout"`
	OnTimeout string   `yaml:"on_timeout"`
}

// What Wait.OnTimeout says.
const (
	TimeoutAccept = "accept"
	TimeoutDefer  = "defer"
)

func (Wait) defaulted() any { return Wait{Duration(30 * time.Second), TimeoutDefer} }

// Reject is the reply of a rule that refuses for good.
type Reject struct {
	Code   int    `yaml:"code"`
	Status string `yaml:"status"`
	Text   string `yaml:"text"`
}

// Defer is the reply of a rule that refuses for now.
type Defer Reject

func (Reject) defaulted() any {
	return Reject{550, "5.7.1", "Refused by the policy of the recipient's system"}
}
func (Defer) defaulted() any { return Defer{451, "4.7.1", "Not now; try again later"} }
func (Rule) defaulted() any  { return Rule{OnError: rules.OnErrorSkip} }

// List is a named list: a file with one entry a line, values, or both.
type List struct {
	Name   string   `yaml:"name"`
	File   string   `yaml:"file"`
	Values []string `yaml:"values"`
}

// Signed is an address whose tag must be a token that `mxhook address make` has made. Valid is how long one is valid
// when nothing else is said; 0 is without end.
type Signed struct {
	Name    string   `yaml:"name"`
	Address string   `yaml:"address"`
	Keys    []Secret `yaml:"keys"`
	Valid   Duration `yaml:"valid"`
}

func (Signed) defaulted() any { return Signed{Valid: Duration(90 * day)} }

func (a *Signed) signed(domains []Domain) *rules.SignedAddress {
	local, domain, _ := strings.Cut(strings.ToLower(a.Address), "@")
	s := &rules.SignedAddress{Name: a.Name, Local: local, Domain: domain, Separator: "+"}
	for _, d := range domains {
		if strings.EqualFold(d.Domain, domain) {
			s.Separator = d.TagSeparator
		}
	}
	if s.Separator == ingest.NoTags {
		s.Separator = ""
	}
	for _, k := range a.Keys {
		s.Keys = append(s.Keys, []byte(k.Reveal()))
	}
	return s
}

// SignedAddresses returns them as package rules takes them, in order.
func (c *Config) SignedAddresses() []*rules.SignedAddress {
	var out []*rules.SignedAddress
	for i := range c.Signed {
		out = append(out, c.Signed[i].signed(c.Domains))
	}
	return out
}

// Files are the files that the configuration was read from: a change of one of them is a change of it.
func (c *Config) Files() []string { return c.files }

// Table compiles the rules. It does not fail for what Load has returned.
func (c *Config) Table() (*rules.Table, error) {
	return rules.Compile(c.tableRules(), rules.Options{Defaults: c.Default, Lists: c.lists, Signed: c.SignedAddresses()})
}

func (c *Config) tableRules() []rules.Rule {
	rs := make([]rules.Rule, len(c.Rules))
	for i, r := range c.Rules {
		rs[i] = rules.Rule{
			Name: r.Name, When: r.When, To: r.To, Copy: r.Copy, Tags: r.Tags, Stop: r.Stop, Drop: r.Drop, Discard: r.Discard,
			Sample: r.Sample, OnError: r.OnError,
		}
		if r.Reject != nil {
			rs[i].Reject = &rules.Reply{Code: r.Reject.Code, Status: r.Reject.Status, Text: r.Reject.Text}
		}
		if r.Defer != nil {
			rs[i].Defer = &rules.Reply{Code: r.Defer.Code, Status: r.Defer.Status, Text: r.Defer.Text}
		}
		if r.Wait != nil {
			rs[i].Wait = &rules.Wait{Timeout: time.Duration(r.Wait.Timeout), Accept: r.Wait.OnTimeout == TimeoutAccept}
		}
		if i < len(c.whens) {
			w := c.whens[i]
			rs[i].File, rs[i].Line, rs[i].Column = w.file, w.line, w.column
		}
	}
	return rs
}

// Test is a mail and what has to become of it: `mxhook check` runs it, and so does a reload. The mail is a file, or
// made of Subject, Body, Headers and Attachments.
type Test struct {
	Name        string   `yaml:"name"`
	Mail        string   `yaml:"mail"`
	Subject     string   `yaml:"subject"`
	Body        string   `yaml:"body"`
	Headers     []string `yaml:"headers"`
	Attachments []string `yaml:"attachments"`
	From        string   `yaml:"from"`
	Recipient   string   `yaml:"recipient"`
	IP          string   `yaml:"ip"`
	Helo        string   `yaml:"helo"`
	Time        string   `yaml:"time"`
	Verified    string   `yaml:"verified"`
	Expect      []string `yaml:"expect"`
	Tags        []string `yaml:"tags"`
	Reply       string   `yaml:"reply"`
}

func (t *Test) inline() bool {
	return t.Subject != "" || t.Body != "" || len(t.Headers) > 0 || len(t.Attachments) > 0
}

// Octets makes the mail of a test that is written in the configuration. From of the header is the reverse-path, or what
// Headers say; attachments hold a line each, their media types are by their names.
func (t *Test) Octets() []byte {
	var b strings.Builder
	field := func(name, value string) {
		for _, h := range t.Headers {
			if given, _, _ := strings.Cut(h, ":"); strings.EqualFold(given, name) {
				return
			}
		}
		b.WriteString(name + ": " + value + "\r\n")
	}
	from := t.From
	if from == "" || from == "<>" {
		from = "MAILER-DAEMON@localhost"
	}
	field("From", "<"+from+">")
	field("To", "<"+t.Recipient+">")
	field("Subject", mime.QEncoding.Encode("utf-8", t.Subject))
	field("Date", "Sat, 21 Nov 2026 12:00:00 +0000")
	field("Message-ID", "<test@localhost>")
	for _, h := range t.Headers {
		b.WriteString(h + "\r\n")
	}
	body := strings.ReplaceAll(strings.ReplaceAll(t.Body, "\r\n", "\n"), "\n", "\r\n") + "\r\n"
	if len(t.Attachments) == 0 {
		field("Content-Type", "text/plain; charset=utf-8")
		return []byte(b.String() + "\r\n" + body)
	}
	parts := multipart.NewWriter(&b)
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=" + parts.Boundary() + "\r\n\r\n")
	part := func(header textproto.MIMEHeader, text string) {
		w, _ := parts.CreatePart(header) // a strings.Builder does not fail
		_, _ = w.Write([]byte(text))
	}
	part(textproto.MIMEHeader{"Content-Type": {"text/plain; charset=utf-8"}}, body)
	for _, name := range t.Attachments {
		typ := mediaType(name)
		part(textproto.MIMEHeader{
			"Content-Type":        {typ},
			"Content-Disposition": {mime.FormatMediaType("attachment", map[string]string{"filename": name})},
		}, fmt.Sprintf("the content of %s\r\n", path.Base(name)))
	}
	_ = parts.Close()
	return []byte(b.String())
}

// mediaType is by the name; the table of this machine is not asked, so that a test means the same everywhere.
func mediaType(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".pdf":
		return "application/pdf"
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".xml":
		return "application/xml"
	case ".zip":
		return "application/zip"
	case ".gz":
		return "application/gzip"
	case ".csv":
		return "text/csv"
	case ".txt":
		return "text/plain"
	}
	return "application/octet-stream"
}

// ReceivedAt is the time at which the mail is taken to arrive; ok is false when the test names none.
func (t *Test) ReceivedAt() (at time.Time, ok bool) {
	at, err := time.Parse(time.RFC3339, t.Time)
	return at.UTC(), err == nil
}
