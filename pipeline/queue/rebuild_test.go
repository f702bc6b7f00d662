package queue

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"mxhook/pipeline"
)

func TestServerThatNoLongerAnswersIsReplaced(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.tryFor = 250 * time.Millisecond })
	body := randomOctets(t, 700*kib)
	want := map[string]bool{spool(t, q, newEnvelope(), body).ID: true}
	old := q.link.Load()
	if err := old.srv.DisableJetStream(); err != nil { // it stays up without taking anything, as with a full disk
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for q.link.Load() == old && ctx.Err() == nil {
		w, err := q.Begin(ctx, newEnvelope())
		if err != nil {
			break
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(ctx); err == nil {
			want[w.env.ID] = true
		}
	}
	eventually(t, "the queue admits again", func() bool { return q.link.Load() != old && q.Admit(ctx, 0) == nil })
	want[spool(t, q, newEnvelope(), body).ID] = true
	done := make(chan struct{})
	var mu sync.Mutex
	process(t, q, 2, done, func(_ context.Context, m *pipeline.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if delete(want, m.Envelope.ID); len(want) == 0 {
			select {
			case <-done:
			default:
				close(done)
			}
		}
		return nil
	})
}

func TestWorkGoesOnOverANewServer(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	spool(t, q, newEnvelope(), []byte("x"))
	done := make(chan struct{})
	first := make(chan struct{})
	var once sync.Once
	go func() {
		<-first
		old := q.link.Load()
		log := serverLog{log: q.cfg.Log, broken: q.reportBroken}
		log.Errorf("JetStream stream '%s > %s' critical write error: %v", "$G", "MXHOOK_MAIL_0", "no space left on device")
		eventually(t, "the server is replaced", func() bool { l := q.link.Load(); return l != nil && l != old })
		spool(t, q, newEnvelope(), []byte("second"))
	}()
	process(t, q, 2, done, func(_ context.Context, m *pipeline.Message) error {
		once.Do(func() { close(first) })
		if string(m.Raw) == "second" {
			close(done)
		}
		return nil
	})
}

// TestExternalServerMayRestart stops an external server under load and starts it again.
func TestExternalServerMayRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := startExternal(t, dir, -1)
	port := srv.Addr().(*net.TCPAddr).Port
	url := srv.ClientURL()
	q := mustOpen(t, func(change ...func(*Config)) (*Queue, error) {
		return openWith(t, append(change, func(c *Config) { c.URL, c.Durability = url, DurabilityFsync }))
	})
	spool(t, q, newEnvelope(), []byte("before"))
	done := make(chan struct{})
	first := make(chan struct{})
	var once, last sync.Once
	go func() {
		<-first
		srv.Shutdown()
		srv.WaitForShutdown()
		eventually(t, "the queue says that it is down", func() bool { return q.Admit(context.Background(), 0) != nil })
		startExternal(t, dir, port)
		eventually(t, "the queue admits again", func() bool { return q.Admit(context.Background(), 0) == nil })
		spool(t, q, newEnvelope(), []byte("after"))
	}()
	process(t, q, 2, done, func(_ context.Context, m *pipeline.Message) error {
		once.Do(func() { close(first) })
		if string(m.Raw) == "after" {
			last.Do(func() { close(done) })
		}
		return nil
	})
}

func TestNothingIsAdmittedWhileDown(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	l := q.link.Swap(nil)
	defer q.link.Store(l)
	if err := q.Admit(t.Context(), 0); err == nil {
		t.Error("admitted")
	}
	if _, err := q.Status(t.Context()); err == nil {
		t.Error("status says that all is well")
	}
}
