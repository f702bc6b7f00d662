package pipeline

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestMailPutsTraceBlockAboveTheMessage(t *testing.T) {
	t.Parallel()
	m := &Message{
		Envelope: Envelope{
			ReversePath: "alice@example.org", Hostname: "mx.example.com",
			Received: "Received: from mail.example.org\r\n\tby mx.example.com; Sat, 21 Nov 2026 19:17:03 +0000\r\n",
		},
		Auth: &AuthResults{Field: "Authentication-Results: mx.example.com;\r\n\tspf=pass\r\n"},
		Raw:  []byte("From: a@example.org\r\n\r\nhello\r\n"),
	}
	want := "Return-Path: <alice@example.org>\r\n" + m.Envelope.Received + m.Auth.Field + string(m.Raw)
	if err := iotest.TestReader(m.Mail(), []byte(want)); err != nil {
		t.Error(err)
	}
	if got := m.MailSize(); got != int64(len(want)) {
		t.Errorf("MailSize = %d, want %d", got, len(want))
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, m.Mail()); err != nil || b.String() != want {
		t.Errorf("second reader: %v\n%s", err, cmp.Diff(want, b.String()))
	}
}

func TestMailDropsOnlyForgedResults(t *testing.T) {
	t.Parallel()
	raw := "Authentication-Results: mx.example.com; dmarc=pass\r\n" +
		"Received: x\r\n" +
		"Authentication-Results: other.example;\r\n\tdmarc=pass\r\n" +
		"authentication-results: (a\r\n (b)) \"MX.Example.Com\" 1;\r\n\tdmarc=pass\r\n" +
		"From: a@example.org\r\n" +
		"Authentication-Results: mx.example.com; none\r\n" +
		"\r\n" +
		"Authentication-Results: mx.example.com; this is body\r\n"
	m := &Message{Envelope: Envelope{Hostname: "mx.example.com"}, Raw: []byte(raw)}
	want := "Return-Path: <>\r\n" +
		"Received: x\r\n" +
		"Authentication-Results: other.example;\r\n\tdmarc=pass\r\n" +
		"From: a@example.org\r\n" +
		"\r\n" +
		"Authentication-Results: mx.example.com; this is body\r\n"
	got, err := io.ReadAll(m.Mail())
	if err != nil || string(got) != want {
		t.Errorf("Mail: %v\n%s", err, cmp.Diff(want, string(got)))
	}
	if m.MailSize() != int64(len(want)) {
		t.Errorf("MailSize = %d, want %d", m.MailSize(), len(want))
	}
	if string(m.Raw) != raw {
		t.Error("Raw was changed")
	}
}

func TestOnwardIsMailWithoutReturnPath(t *testing.T) {
	m := &Message{
		Envelope: Envelope{ReversePath: "a@example.org", Hostname: "mx.example.com", Received: "Received: x\r\n"},
		Raw:      []byte("Authentication-Results: mx.example.com; spf=pass\r\nSubject: hello\r\n\r\nbody\r\n"),
		Auth:     &AuthResults{Field: "Authentication-Results: mx.example.com; none\r\n"},
	}
	want := "Received: x\r\nAuthentication-Results: mx.example.com; none\r\nSubject: hello\r\n\r\nbody\r\n"
	if got := string(m.Onward()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMailReturnPathCannotBreakTheHeader(t *testing.T) {
	t.Parallel()
	m := &Message{Envelope: Envelope{ReversePath: "a@b\r\nX-Evil: 1"}}
	got, _ := io.ReadAll(m.Mail())
	if want := "Return-Path: <a@bX-Evil: 1>\r\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMailFirstLineCannotContinueTheTraceBlock(t *testing.T) {
	t.Parallel()
	m := &Message{
		Envelope: Envelope{Hostname: "mx.example.com"},
		Auth:     &AuthResults{Field: "Authentication-Results: mx.example.com; none\r\n"},
		Raw:      []byte("\t; dmarc=pass header.from=bank.example\r\nFrom: a@b\r\n\r\n"),
	}
	got, _ := io.ReadAll(m.Mail())
	want := "Return-Path: <>\r\n" + m.Auth.Field + "X-Stray-Line:\r\n" + string(m.Raw)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestFieldsAndHeaderEndAgree(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "\r\n", "a: b\r\n\r\nc: d\r\n", "a: b\r\r\nc: d\r\n\r\n", "\r\r\na: b\n\nx", "a: b\n \n\nx", "a: b"} {
		n := 0
		for f := range Fields([]byte(raw)) {
			n += len(f.Raw)
		}
		if empty := HeaderEnd([]byte(raw)) - n; empty < 0 || strings.Trim(raw[n:n+empty], "\r\n") != "" {
			t.Errorf("%q: fields end at %d, header at %d", raw, n, n+empty)
		}
	}
}

var forgedCases = []struct {
	field  string
	forged bool
}{
	{"Authentication-Results: mx.example.com; spf=pass\r\n", true},
	{"Authentication-Results:mx.example.com;spf=pass\r\n", true},
	{"Authentication-Results : mx.example.com; spf=pass\r\n", true},
	{" Authentication-Results: mx.example.com; spf=pass\r\n", true},
	{"Authentication-Results\v: mx.example.com; spf=pass\r\n", true},
	{"AUTHENTICATION-RESULTS: MX.EXAMPLE.COM; spf=pass\r\n", true},
	{"Authentication-Results: mx.example.com 1; spf=pass\r\n", true},
	{"Authentication-Results: mx.example.com/1; spf=pass\r\n", true},
	{"Authentication-Results: mx.example.com.; spf=pass\r\n", true},
	{"Authentication-Results: mx.example.com\r\n", true},
	{"Authentication-Results: mx.example.com (x;y) ; spf=pass\r\n", true},
	{"Authentication-Results:\r\n\tmx.example.com;\r\n\tspf=pass\r\n", true},
	{"Authentication-Results: (c) (d (e) \\) f) mx.example.com; spf=pass\r\n", true},
	{"Authentication-Results: \"mx.example.com\"; spf=pass\r\n", true},
	{"Authentication-Results: \"mx\\.example.com\"; spf=pass\r\n", true},
	{"Authentication-Results: \x00mx.exa\x00mple.com; spf=pass\r\n", true},
	{"Authentication-Results: (open mx.example.com; spf=pass\r\n", true},
	{"Authentication-Results: \"open mx.example.com; spf=pass\r\n", true},
	{"Authentication-Results: mx.example.com", true},
	{"Authentication-Results: mx.example.com.evil.example; spf=pass\r\n", false},
	{"Authentication-Results: notmx.example.com; spf=pass\r\n", false},
	{"Authentication-Results: mx.example.community; spf=pass\r\n", false},
	{"Authentication-Results: other.example; spf=pass smtp.helo=mx.example.com\r\n", false},
	{"Authentication-Results: (mx.example.com) other.example; spf=pass\r\n", false},
	{"Authentication-Results:\r\n", false},
	{"ARC-Authentication-Results: i=1; mx.example.com; spf=pass\r\n", false},
	{"X-Authentication-Results: mx.example.com; spf=pass\r\n", false},
	{"Subject: Authentication-Results: mx.example.com; spf=pass\r\n", false},
}

func TestForgedResults(t *testing.T) {
	t.Parallel()
	for _, c := range forgedCases {
		fields := slices.Collect(Fields([]byte(c.field)))
		if len(fields) != 1 {
			t.Fatalf("%q is %d fields", c.field, len(fields))
		}
		if got := ForgedResults(fields[0], "mx.Example.com"); got != c.forged {
			t.Errorf("ForgedResults(%q) = %v, want %v", c.field, got, c.forged)
		}
		if ForgedResults(fields[0], "") {
			t.Errorf("ForgedResults(%q) without an id is true", c.field)
		}
	}
}

func FuzzMail(f *testing.F) {
	for _, c := range forgedCases {
		f.Add([]byte("From: a@b\r\n" + c.field + "\r\nbody\r\n"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := &Message{Envelope: Envelope{Hostname: "mx.example.com"}, Raw: raw}
		got, err := io.ReadAll(m.Mail())
		if err != nil || int64(len(got)) != m.MailSize() {
			t.Fatalf("read %d octets, %v; MailSize %d", len(got), err, m.MailSize())
		}
		got = got[len("Return-Path: <>\r\n"):]
		for f := range Fields(got) {
			if ForgedResults(f, "mx.example.com") {
				t.Fatalf("forged field survived: %q", f.Raw)
			}
			if f.Is("Authentication-Results") && strings.HasPrefix(strings.ToLower(strings.TrimSpace(string(f.Body))), "mx.example.com;") {
				t.Fatalf("plain forged field survived: %q", f.Raw)
			}
		}
	})
}

func TestFieldsEndWhereTheBodyStarts(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"A: 1\r\nB: 2\r\n\r\n C: 3\r\nD: 4\r\n", "A: 1\nB: 2\n\n\tC: 3\n", "A: 1\r\nB: 2\r\n\r\nC: 3\r\n", "A: 1\r\nB: 2\r\n",
	} {
		names := ""
		for f := range Fields([]byte(raw)) {
			names += string(f.Name)
		}
		if names != "AB" {
			t.Errorf("%q: fields %q", raw, names)
		}
	}
}

func TestVerdictsOfOthersGetAnotherName(t *testing.T) {
	t.Parallel()
	raw := "X-Spam-Flag: NO\r\nReceived-SPF: pass\r\n\tby nobody\r\nX-Spammer: a\r\nx-mailgun-Sflag: No\r\nSubject: x\r\n\r\nX-Spam-Flag: body\r\n"
	want := "Return-Path: <>\r\nX-Foreign-X-Spam-Flag: NO\r\nX-Foreign-Received-SPF: pass\r\n\tby nobody\r\nX-Spammer: a\r\nX-Foreign-x-mailgun-Sflag: No\r\n" +
		"Subject: x\r\n\r\nX-Spam-Flag: body\r\n"
	m := &Message{Envelope: Envelope{Hostname: "mx.example.com"}, Raw: []byte(raw)}
	if got, _ := io.ReadAll(m.Mail()); string(got) != want || m.MailSize() != int64(len(want)) {
		t.Errorf("%d octets %s", m.MailSize(), cmp.Diff(want, string(got)))
	}
	fields := func() []HeaderField {
		return []HeaderField{
			{"X-Spam-Flag", "NO"}, {"Authentication-Results", "mx.example.com; dmarc=pass"}, {"authentication-results", "other.example; none"}, {"Subject", "x"},
		}
	}
	wantFields := []HeaderField{{"X-Foreign-X-Spam-Flag", "NO"}, {"authentication-results", "other.example; none"}, {"Subject", "x"}}
	if diff := cmp.Diff(wantFields, m.OwnHeaders(fields())); diff != "" {
		t.Error(diff)
	}
	m.Auth = &AuthResults{Upstream: true} // a filter of ours in front
	if got, _ := io.ReadAll(m.Mail()); string(got) != "Return-Path: <>\r\n"+raw {
		t.Errorf("behind an upstream: %q", got)
	}
	if diff := cmp.Diff(append(fields()[:1], fields()[2:]...), m.OwnHeaders(fields())); diff != "" {
		t.Error(diff)
	}
}
