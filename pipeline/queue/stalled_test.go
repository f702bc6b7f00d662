package queue

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"mxhook/pipeline"
)

// stall begins messages that have sent n octets and go on only when told to.
func stall(t *testing.T, q *Queue, clients, n int) (finish func()) {
	t.Helper()
	bodies := map[string][]byte{}
	var ws []*Writer
	for range clients {
		env, body := newEnvelope(), randomOctets(t, n)
		w, err := q.Begin(t.Context(), env)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		bodies[env.ID], ws = append(body, "the rest"...), append(ws, w)
	}
	return func() {
		t.Helper()
		for _, w := range ws {
			if _, err := w.Write([]byte("the rest")); err != nil {
				t.Fatal(err)
			}
			if err := w.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := q.inFlightBytes.Load(); n != 0 {
			t.Errorf("%d bytes in flight at the end", n)
		}
		done := make(chan struct{})
		process(t, q, 1, done, func(_ context.Context, m *pipeline.Message) error {
			if want, ok := bodies[m.Envelope.ID]; ok {
				checkBody(t, m, want)
				if delete(bodies, m.Envelope.ID); len(bodies) == 0 {
					close(done)
				}
			}
			return nil
		})
	}
}

func TestStalledLargeMessagesLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.InFlight, c.watchEvery = 4*mib, time.Hour })
	finish := stall(t, q, 24, 500*kib)
	spool(t, q, newEnvelope(), randomOctets(t, 300*kib))
	if n := q.inFlightBytes.Load(); n > q.cfg.InFlight*7/8 {
		t.Errorf("stalled clients hold %d of %d bytes", n, q.cfg.InFlight)
	}
	finish()
}

func TestWhatStalledClientsHaveSentIsStored(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) {
		c.InFlight, c.watchEvery, c.stallFor = 4*mib, 20*time.Millisecond, 50*time.Millisecond
	})
	finish := stall(t, q, 100, 60*kib) // 100 buffers of 64 KiB are more than there is
	eventually(t, "half of the room is free", func() bool { return !q.crowded(0) })
	spool(t, q, newEnvelope(), randomOctets(t, 300*kib))
	finish()
}

func TestBuffersOfSlowClientsAreKeptWhileThereIsRoom(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.watchEvery, c.stallFor = time.Hour, time.Nanosecond })
	finish := stall(t, q, 3, 60*kib)
	q.flushStalled()
	if n := storedMessages(t, q); n != 0 {
		t.Errorf("%d parts are stored", n)
	}
	finish()
}

func TestWaitForMemoryEnds(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.tryFor = 50 * time.Millisecond })
	if err := q.inFlight.Acquire(t.Context(), q.cfg.InFlight); err != nil {
		t.Fatal(err)
	}
	defer q.inFlight.Release(q.cfg.InFlight)
	w, err := q.Begin(t.Context(), newEnvelope())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte("x")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pipeline.ErrStorage) {
		t.Errorf("write without room: %v", err)
	}
}

func TestReplayOfWhatIsLargerThanMessagesMayBeNow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := mustOpen(t, embedded(t, dir))
	body := bytes.Repeat([]byte("x"), 700*kib)
	d := sampleDelivery(taken(t, q, body), "box")
	bury(t, q, d)
	closeQueue(t, q)
	q = mustOpen(t, embedded(t, dir), func(c *Config) { c.MaxMessageSize = 100 * kib })
	if _, err := q.ReplayDead(t.Context(), d.ID, ""); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
		checkBody(t, d.Message, body)
		close(done)
		return nil
	})
}
