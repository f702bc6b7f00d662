package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats-server/v2/server"

	"mxhook/pipeline"
)

// addrs also compares octets at once: one by one that takes seconds for a message.
var addrs = cmp.Options{
	cmpopts.EquateComparable(pipeline.Client{}.IP),
	cmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) > 0 }, cmp.Comparer(bytes.Equal)),
}

func TestCommittedMessageIsHandedOutAsTaken(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, minBuffer, 10_000, 512*kib - 1, 512 * kib, 512*kib + 1, 3*mib + 17}
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		for _, size := range sizes {
			body := randomOctets(t, size)
			env := spool(t, q, newEnvelope("support", "sales"), body)
			got := next(t, q)
			checkBody(t, got, body)
			if diff := cmp.Diff(env, got.Envelope, addrs); diff != "" {
				t.Errorf("size %d: envelope (-taken +handed out):\n%s", size, diff)
			}
			if got.Ref == "" {
				t.Errorf("size %d: no reference", size)
			}
		}
	})
}

func TestCommittedMessageSurvivesReopen(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		body := randomOctets(t, 700_000)
		env := spool(t, q, newEnvelope(), body)
		closeQueue(t, q)
		q = mustOpen(t, open)
		got := next(t, q)
		checkBody(t, got, body)
		if got.Envelope.ID != env.ID {
			t.Errorf("got message %s, want %s", got.Envelope.ID, env.ID)
		}
	})
}

func TestSettledMessageStaysSettledAfterReopen(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		spool(t, q, newEnvelope(), []byte("first"))
		next(t, q)
		closeQueue(t, q)
		q = mustOpen(t, open)
		second := spool(t, q, newEnvelope(), []byte("second"))
		if got := next(t, q); got.Envelope.ID != second.ID {
			t.Errorf("handed out %s again", got.Envelope.ID)
		}
	})
}

func TestLargeMessageTakesConstantMemory(t *testing.T) {
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.InFlight = 4 * mib })
	w, err := q.Begin(t.Context(), newEnvelope())
	if err != nil {
		t.Fatal(err)
	}
	block := randomOctets(t, 64*kib)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := before.HeapAlloc
	const total = 40 * mib
	for i := 0; i < total/len(block); i++ {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
		if i%32 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if grown := int64(peak) - int64(before.HeapAlloc); grown > 24*mib {
		t.Errorf("the heap grew by %d MiB while 40 MiB were taken", grown/mib)
	}
	if q.inFlightBytes.Load() != 0 {
		t.Errorf("%d bytes in flight after the commit", q.inFlightBytes.Load())
	}
	checkBody(t, next(t, q), bytes.Repeat(block, total/len(block)))
}

func TestManyLargeMessagesShareLittleMemory(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.Inline, c.InFlight = 64*kib, 512*kib })
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	body := randomOctets(t, 600_000)
	const writers = 40
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			w, err := q.Begin(ctx, newEnvelope())
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Abort()
			if _, err := io.Copy(w, struct{ io.Reader }{bytes.NewReader(body)}); err != nil {
				t.Error(err)
				return
			}
			if err := w.Commit(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := q.inFlightBytes.Load(); n != 0 || !q.inFlight.TryAcquire(q.cfg.InFlight) {
		t.Errorf("%d bytes in flight at the end", n)
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	done := make(chan struct{})
	process(t, q, 4, done, func(_ context.Context, m *pipeline.Message) error {
		checkBody(t, m, body)
		mu.Lock()
		defer mu.Unlock()
		if seen[m.Envelope.ID] = true; len(seen) == writers {
			close(done)
		}
		return nil
	})
}

func TestAbortLeavesNothing(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		for _, size := range []int{100, 3 * mib} {
			w, err := q.Begin(t.Context(), newEnvelope())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(randomOctets(t, size)); err != nil {
				t.Fatal(err)
			}
			w.Abort()
			w.Abort()
			if _, err := w.Write([]byte("more")); err == nil {
				t.Error("an aborted writer takes octets")
			}
			if err := w.Commit(t.Context()); err == nil {
				t.Error("an aborted writer commits")
			}
		}
		if n := storedMessages(t, q); n != 0 {
			t.Errorf("%d stored messages after the aborts", n)
		}
		if n := q.inFlightBytes.Load(); n != 0 {
			t.Errorf("%d bytes in flight after the aborts", n)
		}
	})
}

func TestClosedQueueTakesNothing(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		small, err := q.Begin(t.Context(), newEnvelope())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := small.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		closeQueue(t, q)
		closeQueue(t, q)
		if err := small.Commit(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("commit on a closed queue: %v", err)
		}
		if _, err := q.Begin(t.Context(), newEnvelope()); !errors.Is(err, errClosed) {
			t.Errorf("begin on a closed queue: %v", err)
		}
		if err := q.Admit(t.Context(), 0); !errors.Is(err, errClosed) {
			t.Errorf("admit on a closed queue: %v", err)
		}
		if err := q.Process(t.Context(), 1, nil); !errors.Is(err, errClosed) {
			t.Errorf("process on a closed queue: %v", err)
		}
	})
}

func TestFullQuotaIsStorage(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) {
		c.MaxStore, c.Reserve, c.watchEvery = 4*mib, mib, time.Hour
	})
	if err := q.Admit(t.Context(), 1000); err != nil {
		t.Fatalf("admit on an empty queue: %v", err)
	}
	if err := q.Admit(t.Context(), 4*mib); !errors.Is(err, pipeline.ErrStorage) {
		t.Errorf("admit of more than the quota: %v", err)
	}
	if err := fill(t, q, 100, func() {}); !errors.Is(err, pipeline.ErrStorage) {
		t.Errorf("filling the quota ended with %v", err)
	}
	// A message without a declared size runs into it on the way.
	q.sinceLook.Add(-2 * mib)
	w, err := q.Begin(t.Context(), newEnvelope())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(randomOctets(t, 8*mib))
	if !errors.Is(err, pipeline.ErrStorage) {
		t.Errorf("writing past the quota: %v", err)
	}
	w.Abort()
}

// fill takes messages of 200,000 octets, each after a call of before, until one is refused, or n of them.
func fill(t *testing.T, q *Queue, n int, before func()) error {
	t.Helper()
	for range n {
		before()
		w, err := q.Begin(t.Context(), newEnvelope())
		if err != nil {
			return err
		}
		if _, err = w.Write(randomOctets(t, 200_000)); err != nil {
			w.Abort()
			return err
		}
		if err = w.Commit(t.Context()); err != nil {
			return err
		}
	}
	return nil
}

func TestServersRefusalIsStorage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*Config)
		server func(*server.Options)
	}{
		{"server's limit", func(*Config) {}, func(o *server.Options) { o.JetStreamMaxStore = 2 * mib }},
		{"stream's quota", func(c *Config) { c.MaxStore = 2 * mib }, func(*server.Options) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			url := startExternal(t, t.TempDir(), -1, tc.server).ClientURL()
			q := mustOpen(t, embedded(t, ""), tc.change, func(c *Config) {
				c.URL, c.Durability, c.watchEvery = url, DurabilityFsync, time.Hour
			})
			// As if another process had used up what ours believes to be free.
			err := fill(t, q, 40, func() { q.storage.Store(nil) })
			if !errors.Is(err, pipeline.ErrStorage) || !refused(err) {
				t.Errorf("filling the quota ended with %v", err)
			}
		})
	}
}

func TestShortVolumeIsStorage(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.Reserve, c.MaxStore = 1<<60, 1<<61 })
	if err := q.Admit(t.Context(), 0); !errors.Is(err, pipeline.ErrStorage) {
		t.Errorf("admit with less free than the reserve: %v", err)
	}
	if _, err := q.Begin(t.Context(), newEnvelope()); !errors.Is(err, pipeline.ErrStorage) {
		t.Errorf("begin with less free than the reserve: %v", err)
	}
}

func TestMessageSizeIsBounded(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.MaxMessageSize = mib })
	w, err := q.Begin(t.Context(), newEnvelope())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, mib)); err != nil {
		t.Errorf("a message of the greatest size: %v", err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("a message over the greatest size is taken")
	}
	if err := w.Commit(t.Context()); err == nil {
		t.Error("a message over the greatest size is committed")
	}
	if n := storedMessages(t, q); n != 0 {
		t.Errorf("%d stored messages left", n)
	}
}

func TestHugeEnvelopeIsTaken(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	var rcpts []string
	for i := range 5000 {
		rcpts = append(rcpts, fmt.Sprintf("%s-%d", strings.Repeat("r", 50), i))
	}
	env := spool(t, q, newEnvelope(rcpts...), randomOctets(t, 512*kib))
	got := next(t, q)
	if diff := cmp.Diff(env, got.Envelope, addrs); diff != "" {
		t.Errorf("envelope (-taken +handed out):\n%s", diff)
	}
	if err := q.Enqueue(t.Context(), []pipeline.Deferred{{Delivery: &pipeline.Delivery{
		ID: "x.box", Sink: "box", Recipients: env.Recipients, Message: got, Attempt: 1,
	}}}); err != nil {
		t.Error(err)
	}
}

func TestSecondProcessOnOneDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := mustOpen(t, embedded(t, dir))
	_, err := embedded(t, dir)()
	if err == nil || !strings.Contains(err.Error(), "queue.lock") || !strings.Contains(err.Error(), fmt.Sprint("pid ", pid())) {
		t.Errorf("second open: %v", err)
	}
	closeQueue(t, q)
	mustOpen(t, embedded(t, dir))
}
