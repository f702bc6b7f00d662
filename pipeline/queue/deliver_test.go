package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

// taken spools a message and hands it out: a message with a reference, settled.
func taken(t *testing.T, q *Queue, body []byte) *pipeline.Message {
	t.Helper()
	spool(t, q, newEnvelope("support", "sales"), body)
	return next(t, q)
}

func enqueue(t *testing.T, q *Queue, ds ...pipeline.Deferred) {
	t.Helper()
	if err := q.Enqueue(t.Context(), ds); err != nil {
		t.Fatal(err)
	}
}

func TestDeliveryComesOutAsEnqueued(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		for _, sink := range []string{"box", "help_desk-2", ""} {
			for _, size := range []int{100, 1300 * kib} {
				body := randomOctets(t, size)
				want := sampleDelivery(taken(t, q, body), sink)
				want.ReplayOf = "another"
				failed(want)
				enqueue(t, q, pipeline.Deferred{Delivery: want})
				done := make(chan struct{})
				deliver(t, q, sink, done, func(_ context.Context, got *pipeline.Delivery) error {
					checkBody(t, got.Message, body)
					if diff := cmp.Diff(want, got, addrs); diff != "" {
						t.Errorf("sink %q: delivery (-enqueued +handed out):\n%s", sink, diff)
					}
					close(done)
					return nil
				})
			}
		}
		expectIdle(t, q)
	})
}

func TestRetryComesBackAtItsTimeWithItsHistory(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		body := []byte("Subject: hello\r\n\r\nhello\r\n")
		d := sampleDelivery(taken(t, q, body), "box")
		first := time.Now().Add(1200 * time.Millisecond)
		enqueue(t, q, pipeline.Deferred{Delivery: d, NotBefore: first})
		if s := status(t, q); s.Deliveries["box"] != (Waiting{Scheduled: 1}) || s.OldestDelivery > time.Minute {
			t.Errorf("status says %+v, oldest %v", s.Deliveries, s.OldestDelivery)
		}
		var due time.Time
		var attempts int
		done := make(chan struct{})
		deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
			attempts++
			if d.Attempt != attempts || len(d.History) != attempts-1 {
				t.Errorf("call %d has attempt %d and a history of %d", attempts, d.Attempt, len(d.History))
			}
			if d.Message.Auth == nil || !d.Message.Auth.Sender.Verified || len(d.Message.Problems) != 1 {
				t.Errorf("call %d: results of the authentication or problems are gone", attempts)
			}
			checkBody(t, d.Message, body)
			now := time.Now()
			if want := map[bool]time.Time{true: first, false: due}[attempts == 1]; now.Before(want) {
				t.Errorf("call %d came %v early", attempts, want.Sub(now))
			}
			switch attempts {
			case 1: // the attempt counts
				failed(d)
			case 2: // it does not: the breaker was open
				due = now.Add(time.Second)
				attempts--
				if len(d.Rules) == 1 {
					d.Rules = append(d.Rules, "seen")
					return pipeline.Later(errors.New("breaker open"), due)
				}
				attempts++
				failed(d)
			case 3:
				close(done)
				return nil
			}
			due = now.Add(time.Second)
			return pipeline.Later(errEndpoint, due)
		})
		if attempts != 3 {
			t.Errorf("%d attempts", attempts)
		}
		expectIdle(t, q)
	})
}

func TestRepeatedEnqueueIsOneDelivery(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		d := pipeline.Deferred{Delivery: sampleDelivery(taken(t, q, []byte("x")), "box")}
		enqueue(t, q, d, d)
		enqueue(t, q, d)
		var calls atomic.Int32
		done := make(chan struct{})
		deliver(t, q, "box", done, func(context.Context, *pipeline.Delivery) error {
			if calls.Add(1) == 1 {
				close(done)
			}
			return nil
		})
		expectIdle(t, q)
		if n := calls.Load(); n != 1 {
			t.Errorf("%d deliveries", n)
		}
	})
}

// Rules that are reloaded before a message is processed again may add recipients to a delivery.
func TestEnqueueForMoreRecipientsIsNoRepeat(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	d := sampleDelivery(taken(t, q, []byte("x")), "box")
	more := *d
	more.Recipients = append(slices.Clone(d.Recipients), pipeline.Recipient{Address: "bob@example.com", Local: "bob", Domain: "example.com"})
	enqueue(t, q, pipeline.Deferred{Delivery: d})
	enqueue(t, q, pipeline.Deferred{Delivery: &more})
	var bob atomic.Bool
	done := make(chan struct{})
	deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
		if len(d.Recipients) == 2 && !bob.Swap(true) {
			close(done)
		}
		return nil
	})
	if !bob.Load() {
		t.Error("a recipient got nothing")
	}
}

func TestDeliveryThatCouldNotBeAttemptedComesBackAsItWas(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		enqueue(t, q, pipeline.Deferred{Delivery: sampleDelivery(taken(t, q, []byte("x")), "box")})
		var calls atomic.Int32
		done := make(chan struct{})
		deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
			if d.Attempt != 1 {
				t.Errorf("attempt %d", d.Attempt)
			}
			if calls.Add(1) == 1 {
				d.Attempt = 7
				panic("a bug")
			}
			close(done)
			return nil
		})
		expectIdle(t, q)
	})
}

func TestConcurrencyOfASinkHoldsAcrossProcesses(t *testing.T) {
	t.Parallel()
	url := externalServer(t)
	open := func(change ...func(*Config)) (*Queue, error) {
		return openWith(t, append(change, func(c *Config) { c.URL, c.Durability = url, DurabilityFsync }))
	}
	a, b := mustOpen(t, open), mustOpen(t, open)
	m := taken(t, a, []byte("x"))
	const deliveries, limit = 24, 3
	for i := range deliveries {
		d := sampleDelivery(m, "box")
		d.ID += string(rune('a' + i))
		enqueue(t, a, pipeline.Deferred{Delivery: d})
	}
	var running, peak, calls atomic.Int32
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, q := range []*Queue{a, b} {
		wg.Go(func() {
			until(t, done, func(ctx context.Context) error {
				return q.Deliver(ctx, "box", limit, always(func(context.Context, *pipeline.Delivery) error {
					peak.Store(max(peak.Load(), running.Add(1)))
					time.Sleep(5 * time.Millisecond) // long enough to meet others
					running.Add(-1)
					if calls.Add(1) == deliveries {
						close(done)
					}
					return nil
				}))
			})
		})
	}
	wg.Wait()
	if p := peak.Load(); p > limit {
		t.Errorf("%d attempts at once, the limit is %d", p, limit)
	}
}

func TestLimitHoldsNoSinkBack(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	m := taken(t, q, []byte("x"))
	for _, sink := range []string{"dead", "alive"} {
		for i := range 10 {
			d := sampleDelivery(m, sink)
			d.ID += string(rune('a' + i))
			enqueue(t, q, pipeline.Deferred{Delivery: d})
		}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		deliver(t, q, "dead", done, func(ctx context.Context, _ *pipeline.Delivery) error {
			<-done
			return errEndpoint
		})
	})
	var calls atomic.Int32
	wg.Go(func() {
		deliver(t, q, "alive", done, func(context.Context, *pipeline.Delivery) error {
			if calls.Add(1) == 10 {
				close(done)
			}
			return nil
		})
	})
	wg.Wait()
}

// TestSuccessStopsALeftoverRetryClock is the crash between setting the clock and acknowledging, by a courier and by the
// first attempt. What was enqueued after the start has no such clock, and nothing is asked for it.
func TestSuccessStopsALeftoverRetryClock(t *testing.T) {
	t.Parallel()
	dir, soon := t.TempDir(), func(c *Config) { c.ackWait = time.Second }
	q := mustOpen(t, embedded(t, dir), soon)
	d := sampleDelivery(taken(t, q, []byte("x")), "box")
	enqueue(t, q, pipeline.Deferred{Delivery: d})
	next := *d
	failed(&next)
	enqueue(t, q, pipeline.Deferred{Delivery: &next, NotBefore: time.Now().Add(time.Hour)})
	first := spool(t, q, newEnvelope("support"), []byte("y"))
	interrupted := make(chan struct{})
	process(t, q, 1, interrupted, func(_ context.Context, m *pipeline.Message) error {
		one := sampleDelivery(m, "box")
		failed(one)
		enqueue(t, q, pipeline.Deferred{Delivery: one, NotBefore: time.Now().Add(time.Hour)})
		close(interrupted)
		return pipeline.Later(errors.New("cut off"), time.Now())
	})
	closeQueue(t, q)
	q = mustOpen(t, embedded(t, dir), soon)
	done := make(chan struct{})
	deliver(t, q, "box", done, func(context.Context, *pipeline.Delivery) error {
		close(done)
		return nil
	})
	eventually(t, "one clock runs", func() bool { return status(t, q).Deliveries["box"] == (Waiting{Scheduled: 1}) })
	processed := make(chan struct{})
	process(t, q, 1, processed, func(_ context.Context, m *pipeline.Message) error {
		if m.Envelope.ID != first.ID {
			t.Errorf("processed %s", m.Envelope.ID)
		}
		succeeded(t, q, m, "box")
		close(processed)
		return nil
	})
	expectIdle(t, q)
	if len(q.successes.of) != 0 {
		t.Errorf("%d messages are remembered", len(q.successes.of))
	}
}

// The clock may be that of a later run of the message, by rules that have added a recipient.
func TestSuccessLeavesTheClockOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := mustOpen(t, embedded(t, dir))
	d := sampleDelivery(taken(t, q, []byte("x")), "box")
	enqueue(t, q, pipeline.Deferred{Delivery: d})
	more := *d
	more.Recipients = append(slices.Clone(d.Recipients), pipeline.Recipient{Address: "bob@example.com", Local: "bob", Domain: "example.com"})
	failed(&more)
	enqueue(t, q, pipeline.Deferred{Delivery: &more, NotBefore: time.Now().Add(time.Hour)})
	closeQueue(t, q)
	q = mustOpen(t, embedded(t, dir))
	done := make(chan struct{})
	deliver(t, q, "box", done, func(context.Context, *pipeline.Delivery) error {
		close(done)
		return nil
	})
	if got := status(t, q).Deliveries["box"]; got != (Waiting{Scheduled: 1}) {
		t.Errorf("%+v waits, want the clock of both recipients", got)
	}
}

func TestDeliveryOfALostMessageIsBuried(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	d := sampleDelivery(taken(t, q, []byte("x")), "box")
	for _, s := range q.link.Load().mail() {
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	enqueue(t, q, pipeline.Deferred{Delivery: d})
	if _, err := q.publish(t.Context(), deliveryDue(shardOf("box", deliveryShards), "box", "junk"), "", nil, []byte("junk")); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		for countDead(t, q) < 2 {
			time.Sleep(5 * time.Millisecond)
		}
		close(done)
	}()
	deliver(t, q, "box", done, func(context.Context, *pipeline.Delivery) error {
		t.Error("it was handed out")
		return nil
	})
	letter, err := q.DeadLetter(t.Context(), d.ID)
	if err != nil || !strings.Contains(letter.Reason, "not found") {
		t.Errorf("dead letter %+v, %v", letter, err)
	}
	expectIdle(t, q)
}

func TestDeliveryThatIsNeverAttemptedIsBuriedAfterTheRetention(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) {
		c.backoff = 100 * time.Microsecond
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	body := []byte("x")
	d := sampleDelivery(taken(t, q, body), "box")
	d.First = time.Now()
	enqueue(t, q, pipeline.Deferred{Delivery: d})
	var calls atomic.Int32
	done := make(chan struct{})
	go func() {
		eventually(t, "it was parked", func() bool { return calls.Load() > 2*nakTries })
		if n := countDead(t, q); n != 0 {
			t.Errorf("%d dead letters before the retention is over", n)
		}
		ahead.Store(int64(q.cfg.Retention + time.Hour))
		eventually(t, "it is buried", func() bool { return countDead(t, q) == 1 })
		close(done)
	}()
	deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
		d.Attempt = 7
		calls.Add(1)
		return errors.New("no such sink")
	})
	expectIdle(t, q)
	letter, err := q.DeadLetter(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	checkBody(t, letter.Delivery.Message, body)
	if letter.Delivery.Attempt != 1 || !strings.Contains(letter.Reason, "no such sink") {
		t.Errorf("attempt %d, reason %q", letter.Delivery.Attempt, letter.Reason)
	}
}

// What a sink gave up for good is over, also when it was its own request that was cancelled.
func TestGivenUpAfterACancelledRequestIsADeadLetter(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	d := sampleDelivery(taken(t, q, []byte("x")), "box")
	enqueue(t, q, pipeline.Deferred{Delivery: d})
	var calls atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- q.Deliver(ctx, "box", 1, always(func(context.Context, *pipeline.Delivery) error {
			calls.Add(1)
			return pipeline.Permanent(fmt.Errorf("given up after 9 attempts; last: %w", context.Canceled))
		}))
	}()
	eventually(t, "it is a dead letter", func() bool {
		dead, err := q.DeadLetters(t.Context(), DeadFilter{Limit: 10})
		return err == nil && len(dead) == 1 && dead[0].Delivery.ID == d.ID
	})
	cancel()
	if err := <-ended; err != nil || calls.Load() != 1 {
		t.Errorf("%d attempts, %v", calls.Load(), err)
	}
	expectIdle(t, q)
}

// What could not be attempted before does not hold a slot again each time that it comes back.
func TestDeliveryThatWasHeldGoesBackToTheClockAtOnce(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.backoff = time.Minute })
	m := taken(t, q, []byte("x"))
	held, sound := sampleDelivery(m, "box"), sampleDelivery(m, "box")
	held.Held, sound.ID = "the server cannot read it", sound.ID+".sound"
	enqueue(t, q, pipeline.Deferred{Delivery: held})
	enqueue(t, q, pipeline.Deferred{Delivery: sound})
	done := make(chan struct{})
	until(t, done, func(ctx context.Context) error {
		return q.Deliver(ctx, "box", 1, always(func(_ context.Context, d *pipeline.Delivery) error {
			if d.ID == held.ID {
				return errors.New("still not")
			}
			close(done)
			return nil
		}))
	})
	eventually(t, "it waits in the clock", func() bool { return status(t, q).Deliveries["box"] == (Waiting{Scheduled: 1}) })
}
