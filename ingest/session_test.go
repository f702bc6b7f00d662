package ingest

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

// A message goes to the spool while it arrives, in pieces no larger than the buffer.
func TestMessageStreamsIntoTheSpool(t *testing.T) {
	t.Parallel()
	s := serverFor(t, nil)
	p := s.transaction()
	p.send("DATA")
	p.expect("354 *")
	half := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 10_000)
	p.raw(half)
	waitFor(t, "the spool has the first half", func() bool { return s.spool.written() >= len(half)/bufferSize })
	p.raw(half + ".\r\n")
	p.expect("250 *")
	if got := s.spool.messages()[0].Content; got != half+half {
		t.Errorf("stored %d octets, sent %d", len(got), 2*len(half))
	}
}

func TestOctetsAreKept(t *testing.T) {
	t.Parallel()
	every := make([]byte, 0, 256*2)
	for i := range 256 {
		every = append(every, byte(i), byte(255-i))
	}
	for _, content := range []string{
		string(every) + "\r\n", "\x00\r\n", "a\rb\nc\r\n", strings.Repeat("\r", 3*bufferSize) + "\r\n", strings.Repeat("\r\n", bufferSize),
		strings.Repeat("\r\n.", bufferSize) + "\r\n",
	} {
		s := serverFor(t, func(o *Options) { o.Policy.BareLF = LinesKeep })
		p := s.transaction()
		p.raw(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content), content))
		p.expect("250 *")
		p.send("MAIL FROM:<>", "RCPT TO:<support@example.com>", "DATA")
		p.expect("250 *", "250 *", "354 *")
		stuffed := strings.ReplaceAll(content, "\r\n.", "\r\n..")
		p.raw(stuffed + ".\r\n")
		p.expect("250 *")
		for i, m := range s.spool.messages() {
			if m.Content != content {
				t.Errorf("message %d: stored %.100q, sent %.100q", i, m.Content, content)
			}
		}
	}
}

// A spool or a directory of recipients that does not answer is given up after its time.
func TestPartsOfOursThatHangAreDeferred(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, spool := range map[string]*memorySpool{
		"admit": {admit: hang}, "begin": {begin: hang}, "commit": {commit: hang},
		"begin too late": {begin: func(ctx context.Context) error { <-ctx.Done(); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serverFor(t, func(o *Options) { o.Spool, o.Timeouts.Spool = spool, time.Second })
			p := s.hello()
			p.send("MAIL FROM:<>", "RCPT TO:<support@example.com>")
			if name == "admit" {
				p.expect("451 4.3.0 *", "503 *")
				return
			}
			p.expect("250 *", "250 *")
			p.send("DATA")
			if name == "commit" {
				p.expect("354 *")
				p.send(".")
			}
			p.expect("451 4.3.0 *")
			if name == "begin too late" && spool.aborts() != 1 {
				t.Error("the writer was not aborted")
			}
		})
	}
	t.Run("recipients", func(t *testing.T) {
		t.Parallel()
		s := serverFor(t, func(o *Options) { o.Recipients, o.Timeouts.Accept = hangingRecipients{}, time.Second })
		p := s.hello()
		p.send("MAIL FROM:<>", "RCPT TO:<support@example.com>")
		p.expect("250 *", "451 4.3.0 *")
	})
}

type hangingRecipients struct{}

func (hangingRecipients) Accepts(ctx context.Context, _ Address) (pipeline.Recipient, error) {
	<-ctx.Done()
	return pipeline.Recipient{}, ctx.Err()
}

// The one line about a transaction says who, what and why, and the metrics agree.
func TestTransactionsAreLoggedAndCounted(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	s := serverFor(t, func(o *Options) { o.Registerer, o.Limits.MessageSize = registry, 100 })
	p := s.transaction()
	p.send("DATA")
	p.expect("354 *")
	p.send("0123456789", ".")
	p.expect("250 *")
	id := s.spool.messages()[0].Envelope.ID
	p.send("MAIL FROM:<> SIZE=101")
	p.expect("552 *")
	p.send("MAIL FROM:<>", "RCPT TO:<nobody@example.com>", "RCPT TO:<a@example.net>", "RSET", "QUIT")
	p.expect("250 *", "550 *", "550 *", "250 *", "221 *")
	p.expectClosed()
	waitFor(t, "the session ends", func() bool { return s.registry.open() == 0 })

	var lines []string
	for line := range strings.Lines(s.log.String()) {
		if _, text, ok := strings.Cut(line, `msg="mail transaction" `); ok {
			lines = append(lines, regexp.MustCompile(`(took|message)=\S+ `).ReplaceAllString(text, ""))
			if len(lines) == 1 && !strings.Contains(line, "message="+id+" ") {
				t.Errorf("no message id %s in %s", id, line)
			}
		}
	}
	const head = "listener=mx client=127.0.0.1 result="
	want := []string{
		head + "accepted recipients=1 size=12 declared_size=0 tls=false\n",
		head + `refused recipients=0 size=0 declared_size=101 tls=false reply="552 5.3.4 Message is larger than this server takes"` + "\n",
		head + "aborted recipients=0 size=0 declared_size=0 tls=false reason=RSET\n",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]float64{
		`mxhook_smtp_sessions_total listener=mx`:         1,
		`mxhook_smtp_transactions_total result=accepted`: 1,
		`mxhook_smtp_transactions_total result=refused`:  1,
		`mxhook_smtp_transactions_total result=aborted`:  1,
		`mxhook_smtp_recipients_total result=accepted`:   1,
		`mxhook_smtp_recipients_total result=unknown`:    1,
		`mxhook_smtp_recipients_total result=relay`:      1,
		`mxhook_smtp_received_bytes_total`:               12,
		`mxhook_smtp_final_reply_seconds`:                1,
		`mxhook_smtp_connections`:                        0,
		`mxhook_smtp_panics_total`:                       0,
	} {
		if got := gathered(t, registry)[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// gathered flattens a registry: "name label=value" to value, or to the count of a histogram.
func gathered(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

// A panic is logged with its stack, counted, and costs one session.
func TestPanicIsContained(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	spool := &memorySpool{begin: func(context.Context) error { panic("boom") }}
	s := serverFor(t, func(o *Options) { o.Spool, o.Registerer = spool, registry })
	p, other := s.transaction(), s.hello()
	p.send("DATA")
	p.expect("451 4.3.0 Internal failure; try again later")
	p.expectClosed()
	other.send("NOOP")
	other.expect("250 *")
	if got := gathered(t, registry)["mxhook_smtp_panics_total"]; got != 1 {
		t.Errorf("%v panics counted", got)
	}
	waitFor(t, "the transaction is logged", func() bool { return strings.Contains(s.log.String(), "result=deferred") })
	for _, want := range []string{"level=ERROR", "panic=boom", "transaction.go"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("no %s in the log:\n%s", want, s.log)
		}
	}
}

func TestMessageIDsIncrease(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := serverFor(t, func(o *Options) { o.Now = func() time.Time { return now } })
	last := ""
	for range 1000 {
		id, err := s.newID()
		if err != nil || id <= last {
			t.Fatalf("%q after %q: %v", id, last, err)
		}
		last = id
	}
}

func TestReplyLineIsSafe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reply Reply
		want  string
	}{
		{Reply{Code: 550, Status: "5.1.1", Text: "No"}, "550 5.1.1 No\r\n"},
		{Reply{Code: 354, Status: "", Text: "Go"}, "354 Go\r\n"},
		{Reply{Code: 550, Status: "5.1.1", Text: "a\r\n250 b\x00é"}, "550 5.1.1 a??250 b???\r\n"},
		{Reply{Code: 550, Status: "", Text: strings.Repeat("x", 600)}, "550 " + strings.Repeat("x", maxReplyText) + "\r\n"},
	} {
		if got := c.reply.line(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
