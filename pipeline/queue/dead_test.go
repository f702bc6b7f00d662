package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mxhook/pipeline"
)

func bury(t *testing.T, q *Queue, d *pipeline.Delivery) {
	t.Helper()
	if err := q.Bury(t.Context(), d, "410 Gone"); err != nil {
		t.Fatal(err)
	}
}

func TestPermanentFailureBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		for _, size := range []int{0, 5000, 1300 * kib} {
			body := randomOctets(t, size)
			want := sampleDelivery(taken(t, q, body), "box")
			enqueue(t, q, pipeline.Deferred{Delivery: want})
			done := make(chan struct{})
			deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
				failed(d)
				want.Attempt, want.History = d.Attempt, d.History
				close(done)
				return pipeline.Permanent(errors.New("410 Gone"))
			})
			// It outlives the kept message.
			for _, s := range q.link.Load().mail() {
				if err := s.Purge(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			letter, err := q.DeadLetter(t.Context(), want.ID)
			if err != nil {
				t.Fatal(err)
			}
			checkBody(t, letter.Delivery.Message, body)
			if diff := cmp.Diff(want, letter.Delivery, addrs, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("size %d: delivery (-given up +kept):\n%s", size, diff)
			}
			if letter.Reason != "410 Gone" || time.Since(letter.At) > time.Hour {
				t.Errorf("reason %q at %v", letter.Reason, letter.At)
			}
		}
		expectIdle(t, q)
	})
}

func TestDeadLettersAreListedNewestFirstByPageAndFilter(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		m := taken(t, q, randomOctets(t, 100))
		for i := range 7 {
			d := sampleDelivery(m, []string{"box", ""}[i%2])
			d.ID = fmt.Sprintf("%s-%d", d.ID, i)
			bury(t, q, d)
		}
		other := sampleDelivery(taken(t, q, []byte("y")), "box")
		bury(t, q, other)
		bury(t, q, other) // a repeat replaces
		ids := func(f DeadFilter) (ids []string) {
			letters, err := q.DeadLetters(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range letters {
				id := l.Delivery.ID
				ids = append(ids, id[max(0, strings.LastIndex(id, "-")):])
			}
			return ids
		}
		all, err := q.DeadLetters(t.Context(), DeadFilter{})
		if err != nil || len(all) != 8 {
			t.Fatalf("%d dead letters, %v", len(all), err)
		}
		for _, tc := range []struct {
			name string
			f    DeadFilter
			want []string
		}{
			{"limit", DeadFilter{Limit: 3}, []string{other.ID, "-6", "-5"}},
			{"next page", DeadFilter{Limit: 2, Until: all[2].At}, []string{"-4", "-3"}},
			{"since", DeadFilter{Since: all[1].At}, []string{other.ID, "-6"}},
			{"sink", DeadFilter{Sink: "box"}, []string{other.ID, "-6", "-4", "-2", "-0"}},
			{"no sink", DeadFilter{NoSink: true}, []string{"-5", "-3", "-1"}},
			{"message", DeadFilter{MessageID: other.Message.Envelope.ID}, []string{other.ID}},
			{"nothing", DeadFilter{Sink: "none"}, nil},
		} {
			if diff := cmp.Diff(tc.want, ids(tc.f)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.name, diff)
			}
		}
		if s := status(t, q); s.DeadLetters != 8 {
			t.Errorf("status counts %d", s.DeadLetters)
		}
	})
}

func TestDropDeadRemovesAllOfIt(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		d := sampleDelivery(taken(t, q, randomOctets(t, 700*kib)), "box")
		bury(t, q, d)
		if err := q.DropDead(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
		info, err := q.link.Load().dead.Info(t.Context())
		if err != nil || info.State.Msgs != 0 {
			t.Errorf("%d messages left, %v", info.State.Msgs, err)
		}
		for what, err := range map[string]error{
			"drop":   q.DropDead(t.Context(), d.ID),
			"read":   second(q.DeadLetter(t.Context(), d.ID)),
			"replay": second(q.ReplayDead(t.Context(), d.ID, "")),
		} {
			if !errors.Is(err, pipeline.ErrNotFound) {
				t.Errorf("%s of what is gone: %v", what, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestReplayIsANewDeliveryAndNoDeadLetter(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		for _, sink := range []string{"", "archive"} {
			for _, size := range []int{1000, 1300 * kib} {
				body := randomOctets(t, size)
				d := sampleDelivery(taken(t, q, body), "box")
				failed(d)
				bury(t, q, d)
				for _, s := range q.link.Load().mail() {
					if err := s.Purge(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				id, err := q.ReplayDead(t.Context(), d.ID, sink)
				if err != nil {
					t.Fatal(err)
				}
				if id == d.ID || !strings.HasPrefix(id, d.Message.Envelope.ID) {
					t.Errorf("the replay of %s goes by %s", d.ID, id)
				}
				to := map[bool]string{true: "box", false: sink}[sink == ""]
				done := make(chan struct{})
				deliver(t, q, to, done, func(_ context.Context, got *pipeline.Delivery) error {
					checkBody(t, got.Message, body)
					if got.ID != id || got.ReplayOf != d.ID || got.Sink != to || got.Attempt != 1 || len(got.History) != 0 || got.Message.Auth == nil {
						t.Errorf("replayed as %+v", got)
					}
					if diff := cmp.Diff(d.Message.Envelope, got.Message.Envelope, addrs); diff != "" {
						t.Errorf("envelope (-before +replayed):\n%s", diff)
					}
					close(done)
					return nil
				})
			}
		}
		if n := countDead(t, q); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		expectIdle(t, q) // Process sees nothing of a replay to a sink
	})
}

func TestReplayOfWhatNoRuleMatchedIsProcessedAgain(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	body := randomOctets(t, 1000)
	m := taken(t, q, body)
	d := sampleDelivery(m, "")
	bury(t, q, d)
	id, err := q.ReplayDead(t.Context(), d.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	got := next(t, q)
	checkBody(t, got, body)
	if got.Envelope.ID != id || id == m.Envelope.ID || len(got.Envelope.Recipients) != len(d.Recipients) {
		t.Errorf("replayed as %s (%s) for %d recipients", got.Envelope.ID, id, len(got.Envelope.Recipients))
	}
}

func TestReplayedTwiceStaysShort(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	d := sampleDelivery(taken(t, q, []byte("x")), "box")
	bury(t, q, d)
	first, err := q.ReplayDead(t.Context(), d.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	deliver(t, q, "box", done, func(context.Context, *pipeline.Delivery) error {
		close(done)
		return pipeline.Permanent(errEndpoint)
	})
	again, err := q.ReplayDead(t.Context(), first, "")
	if err != nil || len(again) != len(first) || again == first {
		t.Errorf("replayed as %s and then %s, %v", first, again, err)
	}
}

func TestOldDeadLettersGoAndTheLogSaysSo(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	var log lockedBuffer
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		c.Log, c.watchEvery, c.DeadKeep = slog.New(slog.NewTextHandler(&log, nil)), time.Hour, 30*24*time.Hour
	})
	d := sampleDelivery(taken(t, q, []byte("x")), "box")
	bury(t, q, d)
	for _, tc := range []struct {
		after time.Duration
		left  int
	}{{29 * 24 * time.Hour, 1}, {31 * 24 * time.Hour, 0}} {
		ahead.Store(int64(tc.after))
		if err := q.dropOldDead(t.Context(), q.link.Load()); err != nil {
			t.Fatal(err)
		}
		if n := countDead(t, q); n != tc.left {
			t.Errorf("after %v: %d dead letters, want %d", tc.after, n, tc.left)
		}
	}
	if !strings.Contains(log.String(), "kept long enough") {
		t.Error("the log does not say that a dead letter went")
	}
}
