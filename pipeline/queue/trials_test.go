package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// handOut hands everything out of the mail streams so many times without settling it, like processes that ended.
func handOut(t *testing.T, q *Queue, messages, times int) {
	t.Helper()
	for range times {
		seen := 0
		var held []jetstream.Msg
		eventually(t, "all are handed out", func() bool {
			for _, c := range q.link.Load().parse() {
				batch, err := c.FetchNoWait(messages)
				if err != nil {
					t.Fatal(err)
				}
				for m := range batch.Messages() {
					seen++
					held = append(held, m)
				}
			}
			return seen >= messages
		})
		for _, m := range held {
			m.Nak() //nolint:errcheck // the next hand-out tells
		}
	}
}

func TestHandoutsAloneMakeNoDeadLetter(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), hasty)
	const messages = 6
	for range messages {
		spool(t, q, newEnvelope(), []byte("x"))
	}
	handOut(t, q, messages, maxHandouts+2)
	var calls, running atomic.Int32
	done := make(chan struct{})
	process(t, q, 4, done, func(ctx context.Context, m *pipeline.Message) error {
		if n := running.Add(1); n > 1 {
			t.Errorf("a suspect message is handled beside %d others", n-1)
		}
		defer running.Add(-1)
		raw, err := q.link.Load().dead.GetLastMsgForSubject(ctx, deadAlone(m.Ref))
		if err != nil || string(raw.Data) != "1" {
			t.Errorf("the try is not written down: %v", err)
		}
		sleep(ctx, 5*time.Millisecond) //nolint:errcheck // long enough to meet others
		if calls.Add(1) == messages {
			close(done)
		}
		return nil
	})
	expectIdle(t, q)
	info, err := q.link.Load().dead.Info(t.Context())
	if err != nil || info.State.Msgs != 0 {
		t.Errorf("%d messages among the dead letters, %v", info.State.Msgs, err)
	}
}

func TestMessageThatEndsTheProcessAloneIsQuarantined(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), hasty, func(c *Config) { c.Shards = 1 })
	poison := spool(t, q, newEnvelope(), []byte("poison"))
	spool(t, q, newEnvelope(), []byte("neighbour"))
	handOut(t, q, 2, maxHandouts+maxAlone)
	place := ref(streamName(mailPrefix, 0), 1)
	if _, err := q.publish(t.Context(), deadAlone(place), "", nil, []byte(fmt.Sprint(maxAlone))); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	process(t, q, 2, done, func(_ context.Context, m *pipeline.Message) error {
		if string(m.Raw) == "poison" {
			t.Error("it is handled once more")
		}
		close(done)
		return nil
	})
	expectIdle(t, q)
	letter, err := q.DeadLetter(t.Context(), pipeline.DeliveryID(poison.ID, pipeline.UnroutedID))
	if err != nil {
		t.Fatal(err)
	}
	checkBody(t, letter.Delivery.Message, []byte("poison"))
	if n := countDead(t, q); n != 1 || !strings.Contains(letter.Reason, "process ended") {
		t.Errorf("%d dead letters, reason %q", n, letter.Reason)
	}
}

// TestFaultsAndShutdownsMakeNoDeadLetter fails a message more often than a handler may, by no fault of its own.
func TestFaultsAndShutdownsMakeNoDeadLetter(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open, hasty)
		spool(t, q, newEnvelope(), []byte("x"))
		var refuse atomic.Bool
		l := q.link.Load()
		l.inJS = &refusingJetStream{JetStream: l.inJS, refuse: &refuse}
		const times = 3 * maxFailures
		var calls int
		done := make(chan struct{})
		process(t, q, 1, done, func(ctx context.Context, m *pipeline.Message) error {
			if calls++; calls > times {
				close(done)
				return nil
			}
			switch calls % 4 {
			case 0: // the app's context ends before ours
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return fmt.Errorf("look up example.org: %w", ctx.Err())
			case 1:
				return pipeline.Later(errors.New("not yet"), time.Now())
			}
			refuse.Store(true)
			defer refuse.Store(false)
			d := sampleDelivery(m, "box")
			if calls%4 == 2 {
				return fmt.Errorf("bury: %w", q.Bury(ctx, d, "410 Gone"))
			}
			return fmt.Errorf("settle: %w", q.Enqueue(ctx, []pipeline.Deferred{{Delivery: d}}))
		})
		expectIdle(t, q)
		if n := countDead(t, q); n != 0 {
			t.Errorf("%d dead letters", n)
		}
	})
}

// refusingJetStream is a server without room while refuse is set.
type refusingJetStream struct {
	jetstream.JetStream
	refuse *atomic.Bool
}

func (j *refusingJetStream) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if j.refuse.Load() {
		return nil, &jetstream.APIError{Code: 503, ErrorCode: errInsufficient, Description: "insufficient resources"}
	}
	return j.JetStream.PublishMsg(ctx, m, opts...)
}

func TestFaultOfTheQueueWaitsAMinuteAtMost(t *testing.T) {
	t.Parallel()
	q := &Queue{cfg: Config{}.withDefaults()}
	for n := range uint64(20) {
		if got := q.faultWait(n); got > time.Minute || got < time.Second {
			t.Errorf("after %d handouts it waits %v", n, got)
		}
	}
}

func TestTrialsAreBounded(t *testing.T) {
	t.Parallel()
	var tr trials
	for i := range 2 * maxTrials {
		tr.update(fmt.Sprint(i), func(v *trial) { v.failures++ })
	}
	if n := len(tr.of); n > maxTrials {
		t.Errorf("%d are remembered", n)
	}
	last := fmt.Sprint(2*maxTrials - 1)
	if tr.get(last).failures != 1 {
		t.Error("the latest is forgotten")
	}
	if tr.forget(last); tr.get(last) != (trial{}) {
		t.Error("what was settled is remembered")
	}
}
