package queue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

// TestManyDeliveriesAreCountedWithoutAList counts what waits for a sink that is worked on, for one that is not, and for
// one that nothing waits for any more, before and after a restart.
func TestManyDeliveriesAreCountedWithoutAList(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		few := func(c *Config) { c.listUpTo = 0 }
		q := mustOpen(t, open, few)
		m := taken(t, q, []byte("x"))
		later := time.Now().Add(time.Hour)
		put := func(sink string, due, scheduled int) {
			for i := range due + scheduled {
				d := sampleDelivery(m, sink)
				d.ID = fmt.Sprintf("%s.%s.%d", m.Envelope.ID, sink, i)
				f := pipeline.Deferred{Delivery: d}
				if i >= due {
					f.NotBefore = later
				}
				enqueue(t, q, f)
			}
		}
		put("box", 5, 4)
		put("gone", 2, 1)
		put("empty", 1, 0)
		done := make(chan struct{})
		deliver(t, q, "empty", done, func(context.Context, *pipeline.Delivery) error { close(done); return nil })
		count := func(want map[string]Waiting) {
			t.Helper()
			var s Status
			eventually(t, "the counts", func() bool {
				s = status(t, q)
				return cmp.Equal(s.Deliveries, want)
			})
			if s.OldestDelivery <= 0 || s.OldestDelivery > 2*time.Minute {
				t.Errorf("the oldest is of %v ago", s.OldestDelivery)
			}
		}
		count(map[string]Waiting{"box": {Due: 5, Scheduled: 4}, "gone": {Due: 2, Scheduled: 1}})

		// One is delivered, one is put off, a third comes; none of it needs a new look at all of them.
		n, done := 0, make(chan struct{})
		deliver(t, q, "box", done, func(context.Context, *pipeline.Delivery) error {
			switch n++; n {
			case 1:
				return nil
			case 2:
				close(done)
			}
			return pipeline.Later(errors.New("not now"), later)
		})
		put("box2", 1, 0)
		eventually(t, "one less", func() bool { w := status(t, q).Deliveries["box"]; return w.Due+w.Scheduled == 8 })
		before := status(t, q).Deliveries
		if before["box2"] != (Waiting{Due: 1}) || before["gone"] != (Waiting{Due: 2, Scheduled: 1}) {
			t.Errorf("%+v", before)
		}
		closeQueue(t, q)
		q = mustOpen(t, open, few)
		eventually(t, "the same counts after a restart", func() bool { return cmp.Equal(status(t, q).Deliveries, before) })
		q.cfg.listUpTo = 1000
		if listed := status(t, q).Deliveries; !cmp.Equal(listed, before) {
			t.Errorf("counted %+v, listed %+v", before, listed)
		}
	})
}

func TestExpireGoesOnWhereItLeftOff(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.expireAtOnce = 2 })
	m := taken(t, q, []byte("x"))
	for i := range 5 {
		d := sampleDelivery(m, "box")
		d.ID = fmt.Sprintf("01KAK5Z3V8Q5W8S0R0J8N2X0A%d.box", i)
		if d.First = time.Now().Add(-2 * time.Hour).UTC(); i == 1 {
			d.First = time.Now().UTC()
		}
		enqueue(t, q, pipeline.Deferred{Delivery: d})
	}
	for round, want := range []int{1, 2, 1, 0} {
		if n, err := q.Expire(t.Context(), "box", time.Hour); n != want || err != nil {
			t.Errorf("round %d: %d expired, want %d; %v", round, n, want, err)
		}
	}
	if got := status(t, q).Deliveries["box"]; got != (Waiting{Due: 1}) {
		t.Errorf("%+v wait", got)
	}
}
