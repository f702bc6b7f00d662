package parse

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"math/rand"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mxhook/pipeline"
)

func TestNewRefusesToRunWithoutLog(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("no error")
	}
}

func TestPanicFallsBackToPlainText(t *testing.T) {
	t.Parallel()
	s := newStage(t, Limits{})
	s.rungs[0].read = func(*reading) *pipeline.Content { panic("mistake \xff") }
	m := &pipeline.Message{Raw: []byte("Subject: x\r\nMessage-ID: <1@x>\r\nContent-Type: text/html\r\n\r\n<p>caf\xe9"), Problems: []pipeline.Problem{{Code: "earlier"}}}
	if err := s.Run(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	c := m.Content
	if c == nil || c.Subject != "x" || c.MessageID != "<1@x>" || c.Text != "<p>caf\uFFFD" || c.Kind != pipeline.KindMail {
		t.Errorf("content %+v", c)
	}
	if len(m.Problems) != 2 || m.Problems[0].Code != "earlier" || m.Problems[1].Code != "parse-failed" {
		t.Errorf("problems %v", m.Problems)
	}
}

func TestPanicEverywhereLeavesContentNil(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	var log bytes.Buffer
	s, err := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: r})
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.rungs {
		s.rungs[i].read = func(*reading) *pipeline.Content { panic("mistake") }
	}
	m := &pipeline.Message{Raw: []byte("x"), Envelope: pipeline.Envelope{ID: "01ID"}}
	if err := s.Run(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	if m.Content != nil || len(m.Problems) != 2 {
		t.Errorf("content %v, problems %v", m.Content, m.Problems)
	}
	if !strings.Contains(log.String(), "message=01ID") {
		t.Errorf("log %s", log.String())
	}
	if n := testutil.ToFloat64(s.metrics.messages.WithLabelValues("unreadable")); n != 1 {
		t.Errorf("%v unreadable messages counted", n)
	}
}

func TestRunStopsOnlyForItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := newStage(t, Limits{}).Run(ctx, &pipeline.Message{}); err == nil {
		t.Error("no error")
	}
}

func TestLimitsAreNamedAndTheRestIsKept(t *testing.T) {
	t.Parallel()
	multi := "Content-Type: multipart/mixed; boundary=b\r\nSubject: s\r\n\r\n--b\r\n\r\nfirst text\r\n--b\r\nContent-Type: a/b\r\n\r\n12345\r\n--b\r\nContent-Type: a/c\r\n\r\n67890\r\n--b--\r\n"
	for _, c := range []struct {
		name   string
		limits Limits
		raw    string
		code   string
		text   string
		files  int
	}{
		{"parts", Limits{Parts: 3}, multi, noteTooMany(), "first text", 1},
		{"decoded", Limits{DecodedBytes: 7}, multi, noteDecodedLimit, "first text", 1},
		{"text", Limits{TextBytes: 5}, multi, noteTextLimit, "first", 2},
		{"header fields", Limits{Fields: 1}, "A: b\r\n" + multi, noteHeaderLimit, "first text", 2},
		{"header octets", Limits{HeaderBytes: 20}, "A: b\r\nB: " + strings.Repeat("x", 50) + "\r\n" + multi, noteHeaderLimit, "first text", 2},
		{"params", Limits{Params: 1}, "Content-Type: text/plain; a=b; c=d\r\n\r\nfirst text", noteFieldLimit, "first text", 0},
		{"html", Limits{HTMLBytes: 8}, "Content-Type: text/html\r\n\r\n<p>first text</p>", noteHTMLLimit, "first", 0},
		{"problems", Limits{Problems: 1}, "\xff\r\nA: \xff\r\nX-B: \xff\r\n\r\n", noteProblemsLimit, "\u00ff\nA: \u00ff\nX-B: \u00ff\n\n", 0},
	} {
		m := run(t, newStage(t, c.limits), []byte(c.raw))
		if !hasProblem(m, c.code) && c.name != "problems" {
			t.Errorf("%s: no problem %q among %v", c.name, c.code, m.Problems)
		}
		if m.Content.Text != c.text || len(m.Content.Attachments) != c.files {
			t.Errorf("%s: text %q, %d attachments; want %q, %d", c.name, m.Content.Text, len(m.Content.Attachments), c.text, c.files)
		}
	}
}

func noteTooMany() string { return notePartsLimit }

func TestNullReversePathMakesADeliveryStatusABounce(t *testing.T) {
	t.Parallel()
	raw := []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nx\r\n--b--\r\n")
	for path, want := range map[string]string{"": pipeline.KindBounce, "a@example.org": pipeline.KindMail} {
		m := &pipeline.Message{Raw: raw, Envelope: pipeline.Envelope{ReversePath: path}}
		if err := newStage(t, Limits{}).Run(context.Background(), m); err != nil || m.Content.Kind != want {
			t.Errorf("reverse-path %q: kind %q, error %v; want %q", path, m.Content.Kind, err, want)
		}
	}
}

func TestAttachmentsOpenConcurrently(t *testing.T) {
	t.Parallel()
	want := make([]byte, 200<<10)
	rand.New(rand.NewSource(2)).Read(want)
	raw := mail("Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64", wrap(base64.StdEncoding.EncodeToString(want)))
	a := run(t, newStage(t, Limits{}), raw).Content.Attachments[0]
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := io.ReadAll(a.Open())
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d octets, error %v", len(got), err)
			}
		})
	}
	wg.Wait()
}

// TestLargeAttachmentIsNotHeld parses a mail of 40 MB and bounds what it takes above its octets.
func TestLargeAttachmentIsNotHeld(t *testing.T) {
	raw := mail("Content-Type: application/x\r\nContent-Transfer-Encoding: base64", strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 40<<20/78))
	s := newStage(t, Limits{})
	m := &pipeline.Message{Raw: raw}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := s.Run(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("%d octets of mail took %d octets of memory", len(raw), got)
	}
	if want := int64(40 << 20 / 78 * 57); m.Content.Attachments[0].Size != want {
		t.Errorf("size %d, want %d", m.Content.Attachments[0].Size, want)
	}
}

func TestMetricsCountKindsAndProblems(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	s, err := New(Options{Log: slog.New(slog.DiscardHandler), Metrics: r})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, []byte("no header"))
	run(t, s, []byte("Auto-Submitted: auto-replied\r\n\r\nx"))
	want := `
# HELP mxhook_parse_messages_total Messages parsed, by kind; kind unreadable is one that got no content.
# TYPE mxhook_parse_messages_total counter
mxhook_parse_messages_total{kind="auto_reply"} 1
mxhook_parse_messages_total{kind="mail"} 1
# HELP mxhook_parse_problems_total Problems noted while parsing, by code.
# TYPE mxhook_parse_problems_total counter
mxhook_parse_problems_total{code="no-header"} 1
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if _, err := New(Options{Log: slog.New(slog.DiscardHandler), Metrics: r}); err == nil {
		t.Error("metrics registered twice without an error")
	}
}

func TestHTMLToText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"<p>one</p><p>two<br>three</p>":                        "one\n\ntwo\nthree",
		"a <b>b</b>\n c&nbsp;d &amp; e":                        "a b c d & e",
		"<ul><li>one<li>two</ul>after":                         "* one\n* two\n\nafter",
		"<table><tr><td>a<td>b<tr><td>c</table>":               "a b\nc",
		"<a href='https://x.example/'>link</a>.":               "link (https://x.example/).",
		"<a href='https://x.example'>x.example</a>":            "x.example",
		"<a href='javascript:x'>y</a>":                         "y",
		"<script>x<p></script><style>y</style>z<!-- c -->":     "z",
		"<blockquote>q<blockquote>r</blockquote></blockquote>": "> q\n\n> > r",
		"<pre>a\n  b</pre>":                                    "a\n  b",
		"<img alt='logo'><img>":                                "logo",
		"<title>t</title>x<hr>y":                               "x\n----------\ny",
		"a &lt;b&gt; <":                                        "a <b> <",
	} {
		if got := htmlToText(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestCleanText(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "a", "a\r\nb\n", "\uFEFF\uFEFFa\r\n", "a\r\r\n\r", "a\x00\r\x00\nb", "\r\n\r\n", "\n\r", "x\r\ny", "\x00"} {
		want := strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(s, "\uFEFF"), "\x00", ""), "\r\n", "\n")
		if got := cleanText([]byte(s)); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}
