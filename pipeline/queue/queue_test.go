package queue

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"

	"mxhook/pipeline"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		crashChild(dir)
		return
	}
	// These tests wait for disks and clocks far more than they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(max(8, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// opener opens a queue on one and the same store every time it is called.
type opener func(change ...func(*Config)) (*Queue, error)

// onBackends runs a test on the embedded queue and on an external server, each with a store of its own.
func onBackends(t *testing.T, test func(t *testing.T, open opener)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, embedded(t, t.TempDir()))
	})
	t.Run("external", func(t *testing.T) {
		t.Parallel()
		url := externalServer(t)
		test(t, func(change ...func(*Config)) (*Queue, error) {
			return openWith(t, append([]func(*Config){func(c *Config) {
				c.URL, c.Durability = url, DurabilityFsync
			}}, change...))
		})
	})
}

func embedded(t *testing.T, dir string) opener {
	return func(change ...func(*Config)) (*Queue, error) {
		return openWith(t, append([]func(*Config){func(c *Config) { c.Dir = dir }}, change...))
	}
}

func openWith(t *testing.T, change []func(*Config)) (*Queue, error) {
	cfg := Config{Log: slog.New(slog.DiscardHandler), Reserve: 1, Shards: 2, drainFor: 5 * time.Second, ackWait: 10 * time.Second, pullFor: 300 * time.Millisecond}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	q, err := Open(ctx, cfg)
	if err == nil {
		t.Cleanup(func() { closeQueue(t, q) })
	}
	return q, err
}

func mustOpen(t *testing.T, open opener, change ...func(*Config)) *Queue {
	t.Helper()
	q, err := open(change...)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func closeQueue(t *testing.T, q *Queue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := q.Close(ctx); err != nil {
		t.Error(err)
	}
}

// externalServer runs a NATS server on a free loopback port.
func externalServer(t *testing.T) (url string) {
	t.Helper()
	return startExternal(t, t.TempDir(), -1).ClientURL()
}

func startExternal(t *testing.T, dir string, port int, change ...func(*server.Options)) *server.Server {
	t.Helper()
	opts := &server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true, SyncAlways: true,
	}
	for _, f := range change {
		f(opts)
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the external server is not ready")
	}
	return srv
}

func newEnvelope(rcpts ...string) pipeline.Envelope {
	e := pipeline.Envelope{
		ID: ulid.Make().String(), ReversePath: "alice@example.org", Listener: "mx", Hostname: "mx.example.com",
		Client: pipeline.Client{
			IP: netip.MustParseAddr("192.0.2.1"), Port: 41234, Helo: "mail.example.org",
			TLS: &pipeline.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256"},
		},
		ReceivedAt: time.Date(2026, 11, 21, 19, 17, 3, 123456789, time.UTC), BodyType: "8BITMIME",
		Received: "Received: from mail.example.org\r\n",
	}
	if len(rcpts) == 0 {
		rcpts = []string{"support"}
	}
	for _, r := range rcpts {
		e.Recipients = append(e.Recipients, pipeline.Recipient{Address: r + "@example.com", Local: r, Domain: "example.com"})
	}
	return e
}

func randomOctets(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// spool takes one message and returns its envelope as the queue knows it.
func spool(t testing.TB, q *Queue, env pipeline.Envelope, body []byte) pipeline.Envelope {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := q.Begin(ctx, env)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := body; len(chunk) > 0; { // as a front end reads it
		n := min(len(chunk), 40_000)
		if _, err := w.Write(chunk[:n]); err != nil {
			t.Fatal(err)
		}
		chunk = chunk[n:]
	}
	if err := w.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	env.Size = int64(len(body))
	return env
}

// process runs Process until done is closed or patience ends.
func process(t *testing.T, q *Queue, n int, done <-chan struct{}, h func(context.Context, *pipeline.Message) error) {
	t.Helper()
	until(t, done, func(ctx context.Context) error { return q.Process(ctx, n, h) })
}

// always is a courier that always has a turn.
type always func(context.Context, *pipeline.Delivery) error

func (always) Ready(context.Context) (int, error) { return maxFetch, nil }

func (always) Take(context.Context, int64) (*pipeline.Turn, error) { return &pipeline.Turn{}, nil }

func (h always) Deliver(ctx context.Context, _ *pipeline.Turn, d *pipeline.Delivery) error {
	return h(ctx, d)
}

// deliver runs Deliver until done is closed or patience ends.
func deliver(t *testing.T, q *Queue, sink string, done <-chan struct{}, h func(context.Context, *pipeline.Delivery) error) {
	t.Helper()
	until(t, done, func(ctx context.Context) error { return q.Deliver(ctx, sink, 4, always(h)) })
}

func until(t *testing.T, done <-chan struct{}, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		select {
		case <-done:
		case <-ctx.Done():
		}
		cancel()
	}()
	if err := run(ctx); err != nil {
		t.Error(err)
	}
	select {
	case <-done:
	default:
		t.Fatalf("it did not happen within %v", patience)
	}
}

// next hands out one message and settles it.
func next(t *testing.T, q *Queue) *pipeline.Message {
	t.Helper()
	var got *pipeline.Message
	done := make(chan struct{})
	process(t, q, 1, done, func(_ context.Context, m *pipeline.Message) error {
		if got != nil {
			return pipeline.Later(errors.New("not this one"), time.Now())
		}
		got = m
		close(done)
		return nil
	})
	return got
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// status counts anew.
func status(t *testing.T, q *Queue) Status {
	t.Helper()
	q.counts.mu.Lock()
	q.counts.until = time.Time{}
	q.counts.mu.Unlock()
	s, err := q.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// storedMessages counts what lies in the mail streams.
func storedMessages(t *testing.T, q *Queue) (n uint64) {
	t.Helper()
	for _, s := range q.link.Load().mail() {
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n += info.State.Msgs
	}
	return n
}

func checkBody(t *testing.T, m *pipeline.Message, want []byte) {
	t.Helper()
	if !bytes.Equal(m.Raw, want) {
		t.Errorf("message %s: %d octets that differ from the %d taken in", m.Envelope.ID, len(m.Raw), len(want))
	}
	if m.SHA256 != sha256.Sum256(want) {
		t.Errorf("message %s: SHA-256 %x is not that of the octets", m.Envelope.ID, m.SHA256)
	}
}

func sampleDelivery(m *pipeline.Message, sink string) *pipeline.Delivery {
	m.Auth = &pipeline.AuthResults{
		Sender: pipeline.SenderResult{Verified: true, Domain: "example.org", By: "dmarc"},
		SPF:    pipeline.SPFResult{Result: pipeline.ResultPass, Domain: "example.org", Identity: "mailfrom"},
		DKIM:   []pipeline.DKIMResult{{Result: pipeline.ResultPass, Domain: "example.org", Selector: "s1", Algorithm: "rsa-sha256", Aligned: true}},
	}
	m.Problems = []pipeline.Problem{{Code: "charset-replaced", Where: "1.1", Detail: "iso-8859-99"}}
	return &pipeline.Delivery{
		ID: pipeline.DeliveryID(m.Envelope.ID, sink), Sink: sink, Rules: []string{"tickets"},
		Recipients: m.Envelope.Recipients[:1], Message: m, Attempt: 1, First: m.Envelope.ReceivedAt,
	}
}

var errEndpoint = errors.New("503 Service Unavailable")

func failed(d *pipeline.Delivery) {
	d.History = append(d.History, pipeline.AttemptRecord{
		Attempt: d.Attempt, At: time.Now().UTC().Truncate(time.Second), Took: time.Second, Status: "503", Reason: fmt.Sprint(errEndpoint),
	})
	d.Attempt++
}
