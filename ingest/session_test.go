package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
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

// concreteSpool is a Backend: its Begin returns a concrete type, which is nil beside an error.
type concreteSpool struct{ memorySpool }

func (s *concreteSpool) Begin(ctx context.Context, env pipeline.Envelope) (*memoryWriter, error) {
	w, err := s.memorySpool.Begin(ctx, env)
	if err != nil {
		return nil, err
	}
	return w.(*memoryWriter), nil
}

func TestSpoolOf(t *testing.T) {
	t.Parallel()
	backend := &concreteSpool{}
	spool := SpoolOf(backend)
	w, err := spool.Begin(context.Background(), pipeline.Envelope{ID: "x"})
	if err != nil || w.Commit(context.Background()) != nil || len(backend.messages()) != 1 {
		t.Errorf("not stored: %v", err)
	}
	down := errors.New("down")
	backend.begin, backend.admit = failWith(down), failWith(down)
	if w, err := spool.Begin(context.Background(), pipeline.Envelope{}); w != nil || !errors.Is(err, down) {
		t.Errorf("writer %v, error %v", w, err)
	}
	if err := spool.Admit(context.Background(), 1); !errors.Is(err, down) {
		t.Errorf("error %v", err)
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

// fuzzConn is a connection whose client has said everything beforehand. It gives at most step octets a read, and
// keeps the read deadlines.
type fuzzConn struct {
	in        io.Reader
	out       bytes.Buffer
	step      int
	deadlines []time.Time
}

func (c *fuzzConn) Read(p []byte) (int, error) {
	if c.step > 0 && len(p) > c.step {
		p = p[:c.step]
	}
	return c.in.Read(p)
}
func (c *fuzzConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *fuzzConn) Close() error                     { return nil }
func (c *fuzzConn) LocalAddr() net.Addr              { return pipeConn{}.RemoteAddr() }
func (c *fuzzConn) RemoteAddr() net.Addr             { return pipeConn{}.RemoteAddr() }
func (c *fuzzConn) SetDeadline(time.Time) error      { return nil }
func (c *fuzzConn) SetWriteDeadline(time.Time) error { return nil }

func (c *fuzzConn) SetReadDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

// FuzzSession plays any octets to a session. Whatever they are and wherever the packets end: no panic, well-formed
// replies, 250 for exactly the messages that were stored, every writer ended, and the same replies for the same octets.
func FuzzSession(f *testing.F) {
	for _, seed := range dialogOctets(f) {
		if len(seed) < 4<<10 {
			f.Add(seed, uint8(7))
		}
	}
	f.Fuzz(func(t *testing.T, octets []byte, step uint8) {
		whole := playOctets(t, octets, 0)
		pieces := playOctets(t, octets, int(step))
		if whole, pieces = withoutIDs(whole), withoutIDs(pieces); whole != pieces {
			t.Errorf("replies depend on where the packets end (%d octets each):\n%s\nand:\n%s", step, whole, pieces)
		}
	})
}

// withoutIDs drops the message ids, which differ from one run to the next.
func withoutIDs(replies string) string {
	var b strings.Builder
	for line := range strings.Lines(replies) {
		head, _, _ := strings.Cut(line, "queued as ")
		b.WriteString(head)
	}
	return b.String()
}

// wellFormed reports whether a line is an SMTP reply of at most 512 octets.
func wellFormed(line string) bool {
	text, ended := strings.CutSuffix(line, "\r\n")
	return ended && len(line) <= 512 && len(text) > 3 && text[0] >= '2' && text[0] <= '5' && (text[3] == ' ' || text[3] == '-') &&
		isASCII(text) && isText([]byte(text))
}

// playOctets runs one session over octets in packets of step octets (0: as large as can be) and returns its replies.
func playOctets(t *testing.T, octets []byte, step int) string {
	t.Helper()
	began := 0
	spool := &memorySpool{begin: func(context.Context) error { began++; return nil }}
	domains := mustDomains(t, Domain{Name: "example.com"})
	log := &logBuffer{}
	server, err := New(Options{
		Hostname: "mx.example.com", Listeners: []Listener{{Name: "mx", Open: newPipeListener()}}, Recipients: domains, Spool: spool,
		Log: slog.New(slog.NewTextHandler(log, nil)), Limits: Limits{MessageSize: 1000, Recipients: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown(context.Background())
	conn := &fuzzConn{in: bytes.NewReader(octets), step: step}
	newSession(server, server.listeners[0], conn).run(context.Background())

	replies := conn.out.String()
	if strings.Contains(log.String(), "panic") {
		t.Errorf("panic: %s", log)
	}
	if n := strings.Count(replies, "Ok: queued as "); n != len(spool.messages()) || n+spool.aborts() != began {
		t.Errorf("%d accepted, %d stored, %d aborted, %d begun", n, len(spool.messages()), spool.aborts(), began)
	}
	for line := range strings.Lines(replies) {
		if !wellFormed(line) {
			t.Errorf("reply line %q", line)
		}
	}
	return replies
}

// dialogOctets returns what the client sends in each case.
func dialogOctets(t testing.TB) [][]byte {
	t.Helper()
	files, _ := filepath.Glob("testdata/*.dialog")
	var all [][]byte
	for _, file := range files {
		for _, c := range readDialogs(t, file) {
			var octets []byte
			for _, line := range c.lines {
				if text, ok := strings.CutPrefix(line, "C: "); ok {
					octets = append(octets, text+"\r\n"...)
				} else if quoted, ok := strings.CutPrefix(line, "c: "); ok {
					text, err := unquote(quoted)
					if err != nil {
						t.Fatal(err)
					}
					octets = append(octets, text...)
				}
			}
			all = append(all, octets)
		}
	}
	return all
}
