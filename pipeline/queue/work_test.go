package queue

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mxhook/pipeline"
)

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// hasty makes what comes back come back a thousand times faster.
func hasty(c *Config) { c.backoff = time.Millisecond }

func shortAckWait(c *Config) { c.ackWait = 1500 * time.Millisecond }

func TestSlowHandlerKeepsItsMessage(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open, shortAckWait)
		spool(t, q, newEnvelope(), []byte("slow"))
		var calls atomic.Int32
		done := make(chan struct{})
		process(t, q, 2, done, func(ctx context.Context, _ *pipeline.Message) error {
			if calls.Add(1) == 1 {
				sleep(ctx, 2*q.cfg.ackWait) //nolint:errcheck // it is the slow handler
				close(done)
			}
			return nil
		})
		if n := calls.Load(); n != 1 {
			t.Errorf("a message in work was handed out %d times", n)
		}
	})
}

func TestMessageThatWaitsForASlotIsNotHandedOutAgain(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), shortAckWait, func(c *Config) { c.Shards = 1 })
	const messages, slots = 6, 2
	for range messages {
		spool(t, q, newEnvelope(), []byte("x"))
	}
	var calls, running, peak atomic.Int32
	done := make(chan struct{})
	process(t, q, slots, done, func(ctx context.Context, _ *pipeline.Message) error {
		peak.Store(max(peak.Load(), running.Add(1)))
		defer running.Add(-1)
		n := calls.Add(1)
		if n <= slots {
			sleep(ctx, 5*q.cfg.ackWait/2) //nolint:errcheck // it is the slow handler
		}
		if n == messages {
			go func() {
				expectIdle(t, q)
				close(done)
			}()
		}
		return nil
	})
	if n, p := calls.Load(), peak.Load(); n != messages || p != slots {
		t.Errorf("%d messages were handed out %d times, %d at once", messages, n, p)
	}
}

func TestMessageComesBackAfterErrorAndPanic(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		body := randomOctets(t, 1000)
		spool(t, q, newEnvelope(), body)
		var calls atomic.Int32
		done := make(chan struct{})
		var again time.Time
		process(t, q, 2, done, func(_ context.Context, m *pipeline.Message) error {
			checkBody(t, m, body)
			switch calls.Add(1) {
			case 1:
				panic("a bug in a stage")
			case 2:
				again = time.Now().Add(200 * time.Millisecond)
				return pipeline.Later(errors.New("not yet"), again)
			}
			if time.Now().Before(again) {
				t.Error("it came back before its time")
			}
			close(done)
			return nil
		})
	})
}

func TestMessageThatKeepsFailingIsQuarantined(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open, hasty)
		body := randomOctets(t, 1200*kib)
		env := spool(t, q, newEnvelope("a", "b"), body)
		var calls atomic.Int32
		done := make(chan struct{})
		process(t, q, 1, done, func(ctx context.Context, _ *pipeline.Message) error {
			switch n := calls.Add(1); {
			case n == 2:
				panic("no way")
			case n < maxFailures:
				return errors.New("no way")
			case n > maxFailures:
				t.Errorf("it is handed out %d times", n)
				return nil
			}
			go func() {
				for countDead(t, q) == 0 && ctx.Err() == nil {
					sleep(ctx, 5*time.Millisecond) //nolint:errcheck // the loop looks at ctx
				}
				close(done)
			}()
			return errors.New("no way")
		})
		letter, err := q.DeadLetter(t.Context(), pipeline.DeliveryID(env.ID, pipeline.UnroutedID))
		if err != nil {
			t.Fatal(err)
		}
		checkBody(t, letter.Delivery.Message, body)
		if len(letter.Delivery.Recipients) != 2 || !strings.Contains(letter.Reason, "no way") {
			t.Errorf("dead letter %+v, reason %q", letter.Delivery, letter.Reason)
		}
		expectIdle(t, q)
	})
}

func TestPermanentErrorIsQuarantinedAtOnce(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	env := spool(t, q, newEnvelope(), []byte("x"))
	done := make(chan struct{})
	process(t, q, 1, done, func(context.Context, *pipeline.Message) error {
		close(done)
		return pipeline.Permanent(errors.New("cannot be built"))
	})
	if _, err := q.DeadLetter(t.Context(), pipeline.DeliveryID(env.ID, pipeline.UnroutedID)); err != nil {
		t.Error(err)
	}
}

func TestDamagedMessageIsQuarantined(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	// What a disk may make of it: the head does not fit the octets.
	env := newEnvelope()
	wrong := mailRecord{Envelope: recordEnvelope(env), Size: 5, SHA256: make([]byte, 32)}
	frame, err := encodeFrame(kindMail, wrong, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	lost := mailRecord{Envelope: recordEnvelope(newEnvelope()), Size: 5, SHA256: make([]byte, 32), PartKey: "gone", Parts: []uint64{4711}}
	frame2, err := encodeFrame(kindMail, lost, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range [][]byte{frame, frame2, []byte("no frame at all")} {
		if _, err := q.publish(t.Context(), mailIn(0), "", nil, body); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		for countDead(t, q) < 3 {
			time.Sleep(5 * time.Millisecond)
		}
		close(done)
	}()
	process(t, q, 1, done, func(_ context.Context, m *pipeline.Message) error {
		t.Errorf("a damaged message was handed out: %v", m.Envelope.ID)
		return nil
	})
	letter, err := q.DeadLetter(t.Context(), pipeline.DeliveryID(env.ID, pipeline.UnroutedID))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(letter.Reason, "damaged") || string(letter.Delivery.Message.Raw) != "hello" {
		t.Errorf("reason %q, octets %q", letter.Reason, letter.Delivery.Message.Raw)
	}
	if _, err := q.ReplayDead(t.Context(), letter.Delivery.ID, "box"); !errors.Is(err, errDamaged) {
		t.Errorf("replay of a damaged message: %v", err)
	}
}

func TestRecordOfNewerVersionIsLeftAlone(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.backoff = 100 * time.Microsecond })
	frame, err := encodeFrame(kindMail, mailRecord{Envelope: recordEnvelope(newEnvelope())}, nil)
	if err != nil {
		t.Fatal(err)
	}
	frame[4] = frameVersion + 1
	if _, err := q.publish(t.Context(), mailIn(0), "", nil, frame); err != nil {
		t.Fatal(err)
	}
	env := spool(t, q, newEnvelope(), []byte("x"))
	place := ref(streamName(mailPrefix, 0), 1)
	done := make(chan struct{})
	var once sync.Once
	process(t, q, 1, done, func(_ context.Context, m *pipeline.Message) error {
		if m.Envelope.ID != env.ID {
			t.Errorf("handed out %s", m.Envelope.ID)
		}
		if q.trials.get(place).answered > 2*max(maxHandouts, maxFailures) {
			once.Do(func() { close(done) })
		}
		return pipeline.Later(errors.New("until the other was seen often"), time.Now().Add(20*time.Millisecond))
	})
	if n := countDead(t, q); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	eventually(t, "it waits", func() bool {
		s, err := q.Status(t.Context())
		return err == nil && s.Messages == 2
	})
}

func TestProcessEndsWithItsHandlers(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.drainFor = 50 * time.Millisecond })
	env := spool(t, q, newEnvelope(), []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	var returned atomic.Bool
	err := q.Process(ctx, 1, func(ctx context.Context, _ *pipeline.Message) error {
		cancel()
		<-ctx.Done() // ends some time after Process was asked to
		returned.Store(true)
		return ctx.Err()
	})
	if err != nil || !returned.Load() {
		t.Errorf("Process returned %v, its handler returned %v", err, returned.Load())
	}
	if got := next(t, q); got.Envelope.ID != env.ID {
		t.Error("the message that was given up did not come back")
	}
}

func TestCloseEndsProcess(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	ended := make(chan error)
	go func() {
		ended <- q.Process(context.Background(), 1, func(context.Context, *pipeline.Message) error { return nil })
	}()
	spool(t, q, newEnvelope(), []byte("x"))
	closeQueue(t, q)
	if err := <-ended; err != nil && !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

func TestMemoryBoundsWhatHandlersHold(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.Memory = 2 * mib })
	const messages = 12
	for range messages {
		spool(t, q, newEnvelope(), randomOctets(t, 900_000))
	}
	spool(t, q, newEnvelope(), randomOctets(t, 3*mib)) // larger than the bound: alone
	var held, peak, seen atomic.Int64
	done := make(chan struct{})
	process(t, q, 8, done, func(_ context.Context, m *pipeline.Message) error {
		now := held.Add(int64(len(m.Raw)))
		for p := peak.Load(); now > p && !peak.CompareAndSwap(p, now); p = peak.Load() {
		}
		time.Sleep(10 * time.Millisecond) // long enough to meet others
		held.Add(-int64(len(m.Raw)))
		if seen.Add(1) == messages+1 {
			close(done)
		}
		return nil
	})
	if p := peak.Load(); p > 3*mib {
		t.Errorf("handlers held %d bytes at once", p)
	}
}

func countDead(t *testing.T, q *Queue) int {
	t.Helper()
	letters, err := q.DeadLetters(context.WithoutCancel(t.Context()), DeadFilter{})
	if err != nil {
		t.Error(err)
	}
	return len(letters)
}

// expectIdle waits until nothing is unsettled.
func expectIdle(t *testing.T, q *Queue) {
	t.Helper()
	eventually(t, "nothing is unsettled", func() bool {
		s := status(t, q)
		for _, w := range s.Deliveries {
			if w.Due+w.Scheduled > 0 {
				return false
			}
		}
		return s.Messages == 0
	})
}

// A mail stream hands out as many messages as there are handlers: those that wait for a slow endpoint must not keep the
// mail of others.
func TestManySlowHandlersDoNotKeepOtherMail(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.Shards = 1 })
	const slow = 300
	for range slow {
		spool(t, q, newEnvelope("slow"), []byte("x"))
	}
	spool(t, q, newEnvelope("fast"), []byte("x"))
	done := make(chan struct{})
	process(t, q, slow+10, done, func(_ context.Context, m *pipeline.Message) error {
		if m.Envelope.Recipients[0].Local == "fast" {
			close(done)
		}
		<-done
		return nil
	})
}
