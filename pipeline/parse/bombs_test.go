package parse

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"mxhook/pipeline"
)

// bomb is an input that costs a naive parser far more than its size.
type bomb struct {
	name  string
	raw   []byte
	code  string // the problem that must be noted; "" for none
	check func(t *testing.T, c *pipeline.Content)
}

func bombs() []bomb {
	rep := strings.Repeat
	return []bomb{
		{"nested closed 10000", nested(10000, true), noteDepthLimit, hasAttachment("multipart/mixed")},
		{"nested open 30", nested(30, false), noteDepthLimit, hasAttachment("multipart/mixed")},
		{"nested open 10000", nested(10000, false), noteDepthLimit, hasAttachment("multipart/mixed")},
		{"nested open within the limit", nested(18, false), noteBoundaryUnclosed, hasText("deep")},
		{
			"empty parts 200000", mail("Content-Type: multipart/mixed; boundary=b", rep("--b\r\n\r\n", 200000)), notePartsLimit,
			hasText(""),
		},
		{
			"text parts 200000", mail("Content-Type: multipart/mixed; boundary=b", rep("--b\r\n\r\nx\r\n", 200000)), notePartsLimit,
			func(t *testing.T, c *pipeline.Content) {
				if n := strings.Count(c.Text, "x"); n != 999 {
					t.Errorf("text of %d parts, want 999", n)
				}
			},
		},
		{
			"parameters 100000", mail("Content-Type: text/plain"+params(100000, "; p%d=v"), "deep"), noteFieldLimit,
			hasText("deep"),
		},
		{"parameters 100", mail("Content-Type: text/plain"+params(100, "; p%d=v"), "deep"), noteFieldLimit, hasText("deep")},
		{
			"RFC 2231 pieces 20000", mail("Content-Type: application/x"+params(20000, ";\r\n name*%d=v"), "deep"), noteFieldLimit,
			hasAttachment("application/x"),
		},
		{
			"junk base64 10 MB", mail("Content-Type: application/x\r\nContent-Transfer-Encoding: base64", rep("*?#!*?#!", 10<<17)),
			noteEncodingDamaged, hasAttachment("application/x"),
		},
		{
			"junk base64 text 10 MB", mail("Content-Transfer-Encoding: base64", rep("*?#!*?#!", 10<<17)), noteEncodingDamaged,
			func(*testing.T, *pipeline.Content) {},
		},
		{
			"padding 10 MB", mail("Content-Type: application/x\r\nContent-Transfer-Encoding: base64", rep("YQ==", 10<<18)), "",
			func(t *testing.T, c *pipeline.Content) {
				if c.Attachments[0].Size != 10<<18 {
					t.Errorf("%d octets decoded", c.Attachments[0].Size)
				}
			},
		},
		{"junk base64 texts 20 MB", texts("base64", rep("*?#!*?#!", 8<<10)), noteEncodingDamaged, func(*testing.T, *pipeline.Content) {}},
		{"QP texts 20 MB", texts("quoted-printable", rep("==", 32<<10)), noteEncodingDamaged, func(*testing.T, *pipeline.Content) {}},
		{"header lines 500000", mail(strings.TrimSuffix(rep("X-A: bbbbb\r\n", 500000), "\r\n"), "deep"), noteHeaderLimit, hasText("deep")},
		{"header noise 500000", []byte(rep("no field\r\n", 500000) + "\r\ndeep"), noteNoHeader, func(*testing.T, *pipeline.Content) {}},
		{"folded lines 500000", mail("Subject: "+rep("a\r\n ", 500000), "deep"), noteHeaderLimit, hasText("deep")},
		{"subject 10 MB", mail("Subject: "+rep("a", 10<<20), "deep"), noteHeaderLimit, hasText("deep")},
		{"openers of words", mail("Subject: "+rep("=?", 120000), "deep"), "", hasText("deep")},
		{"open words", mail("Subject: "+rep("=?utf-8?q?a", 20000), "deep"), "", hasText("deep")},
		{"words", mail("Subject: "+rep("=?utf-8?q?a?= ", 16000), "deep"), "", hasSubject(rep("a", 16000))},
		{"words of changing charsets", mail("Subject: "+rep("=?utf-8?q?a?= =?latin1?q?b?= ", 8000), "deep"), "", hasSubject(rep("ab", 8000))},
		{"open quotes", mail("To: "+rep(`"a, `, 60000), "deep"), "", hasText("deep")},
		{"open comments", mail("To: "+rep(`(a, `, 60000), "deep"), "", hasText("deep")},
		{"open angles", mail("To: "+rep(`<a, `, 60000), "deep"), "", hasText("deep")},
		{"angles in one entry", mail("To: "+rep(`<a>`, 80000), "deep"), "", hasText("deep")},
		{"addresses", mail("To: "+rep("a@b,", 60000), "deep"), "", func(t *testing.T, c *pipeline.Content) {
			if len(c.To) != 60000 {
				t.Errorf("%d addresses", len(c.To))
			}
		}},
		{"references", mail("References: "+rep("<", 120000)+rep("<a", 60000), "deep"), "", hasText("deep")},
		{"delimiters that are none", mail("Content-Type: multipart/mixed; boundary=b", rep("--c\r\n", 1<<20)), noteBoundaryMissing, func(*testing.T, *pipeline.Content) {}},
		{"QP line 10 MB", mail("Content-Type: application/x\r\nContent-Transfer-Encoding: quoted-printable", rep("=41", 10<<20/3)), "", hasAttachment("application/x")},
		{"QP blanks 10 MB", mail("Content-Type: application/x\r\nContent-Transfer-Encoding: quoted-printable", rep(" ", 10<<20)), "", hasAttachment("application/x")},
		{"HTML nested 1 MB", mail("Content-Type: text/html", rep("<div>", 200000)+"deep"), noteTextFromHTML, hasText("deep")},
		{"HTML quotes", mail("Content-Type: text/html", rep("<blockquote>a<a href='http://x/'>", 30000)), noteTextFromHTML, func(*testing.T, *pipeline.Content) {}},
		{"HTML ampersands 2 MB", mail("Content-Type: text/html", rep("&", 2<<20)), noteHTMLLimit, func(*testing.T, *pipeline.Content) {}},
		{"HTML open tag 2 MB", mail("Content-Type: text/html", "deep <a "+rep("b=c ", 1<<19)), noteTextFromHTML, hasText("deep")},
		{"UTF-7", mail("Content-Type: text/plain; charset=utf-7", rep("+AAA", 1<<20)), "", func(*testing.T, *pipeline.Content) {}},
	}
}

func TestBombsAreDefused(t *testing.T) {
	t.Parallel()
	s := newStage(t, Limits{})
	for _, b := range bombs() {
		t.Run(b.name, func(t *testing.T) {
			m := run(t, s, b.raw)
			if b.code != "" && !hasProblem(m, b.code) {
				t.Errorf("no problem %q among %v", b.code, m.Problems)
			}
			b.check(t, m.Content)
			if n := len(m.Problems); n > 101 {
				t.Errorf("%d problems", n)
			}
		})
	}
}

// TestBombsTakeMemoryInProportion bounds what a bomb allocates by its size: work that grows faster than its input shows
// in memory, too, and that can be measured exactly. It does not run in parallel to others.
func TestBombsTakeMemoryInProportion(t *testing.T) {
	s := newStage(t, Limits{})
	for _, b := range bombs() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := s.Run(context.Background(), &pipeline.Message{Raw: b.raw}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		got, limit := after.TotalAlloc-before.TotalAlloc, uint64(min(120*len(b.raw)+1<<20, 32<<20+10*len(b.raw)))
		if got > limit {
			t.Errorf("%s: %d octets took %d octets of memory, more than %d", b.name, len(b.raw), got, limit)
		}
	}
}

func hasProblem(m *pipeline.Message, code string) bool {
	for _, p := range m.Problems {
		if p.Code == code {
			return true
		}
	}
	return false
}

func hasText(want string) func(*testing.T, *pipeline.Content) {
	return func(t *testing.T, c *pipeline.Content) {
		t.Helper()
		if strings.TrimSpace(c.Text) != want {
			t.Errorf("text is %.40q, want %q", c.Text, want)
		}
	}
}

func hasSubject(want string) func(*testing.T, *pipeline.Content) {
	return func(t *testing.T, c *pipeline.Content) {
		t.Helper()
		if c.Subject != want {
			t.Errorf("subject is %.40q of %d octets, want %.40q of %d", c.Subject, len(c.Subject), want, len(want))
		}
	}
}

func hasAttachment(typ string) func(*testing.T, *pipeline.Content) {
	return func(t *testing.T, c *pipeline.Content) {
		t.Helper()
		if len(c.Attachments) != 1 || c.Attachments[0].ContentType != typ {
			t.Errorf("want one attachment of %s, got %+v", typ, c.Attachments)
		}
	}
}

func mail(header, body string) []byte {
	return []byte("From: a@example.org\r\n" + header + "\r\n\r\n" + body)
}

// texts returns a mail of 320 texts.
func texts(encoding, body string) []byte {
	part := "--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + body + "\r\n"
	return mail("Content-Type: multipart/mixed; boundary=b", strings.Repeat(part, 320)+"--b--\r\n")
}

func params(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func nested(depth int, closed bool) []byte {
	var b bytes.Buffer
	b.WriteString("From: a@example.org\r\n")
	for i := range depth {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	b.WriteString("Content-Type: text/plain\r\n\r\ndeep\r\n")
	for i := depth - 1; closed && i >= 0; i-- {
		fmt.Fprintf(&b, "--b%d--\r\n", i)
	}
	return b.Bytes()
}
