package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

func TestSubjectsOfDeliveries(t *testing.T) {
	t.Parallel()
	const id = "01KAK5Z3V8Q5W8S0R0J8N2X0AB.box"
	mail := mailTime(id)
	for subject, want := range map[string]deliveryPlace{
		deliveryDue(1, "box", id):                    {due: true, sink: "box", mail: mail.UTC().Truncate(time.Minute)},
		deliveryDue(1, "a b", id+".r"+id[:26]):       {due: true, sink: "a b", mail: mail.UTC().Truncate(time.Minute)},
		deliveryDue(1, "box", "x.box"):               {due: true, sink: "box"},
		deliveryDueAlone(1, "box", id):               {due: true, sink: "box", mail: mail},
		deliveryLater(1, "box", id):                  {sink: "box", mail: mail},
		deliveryLater(1, "box", "29400000"):          {sink: "box"},
		"mxhook.delivery.1.due.box.9999999999999999": {due: true, sink: "box"},
	} {
		if got, err := splitDelivery(subject); err != nil || !cmp.Equal(got, want, cmp.AllowUnexported(deliveryPlace{})) {
			t.Errorf("%s: %+v, %v, want %+v", subject, got, err, want)
		}
	}
	for _, subject := range []string{"mxhook.delivery.1.due.box", "mxhook.delivery.1.due.=0.1", "mxhook.delivery.1.due.box.=Z"} {
		if got, err := splitDelivery(subject); err == nil {
			t.Errorf("%s: %+v", subject, got)
		}
	}
}

// What waits for a dead endpoint has a handful of subjects, and each delivery is found, dropped and replayed all the same.
func TestWhatIsDueSharesSubjects(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		m := taken(t, q, []byte("x"))
		var ds []pipeline.Deferred
		for i := range 60 {
			d := sampleDelivery(m, "box")
			d.ID += fmt.Sprintf(".%d", i)
			ds = append(ds, pipeline.Deferred{Delivery: d})
		}
		enqueue(t, q, ds...)
		l, k := q.link.Load(), shardOf("box", deliveryShards)
		subjects, whole, err := deliverySubjects(t.Context(), l.delivery[k], k, ">")
		if err != nil || !whole || len(subjects) != 1 {
			t.Fatalf("%d subjects, %v", len(subjects), err)
		}
		id := func(i int) string { return ds[i].Delivery.ID }
		for _, i := range []int{0, 30, 59} {
			if got, err := q.Delivery(t.Context(), id(i)); err != nil || got.Delivery.ID != id(i) || got.State != pipeline.StateWaiting {
				t.Errorf("delivery %d: %+v, %v", i, got, err)
			}
		}
		if err := q.DropDelivery(t.Context(), id(7)); err != nil {
			t.Error(err)
		}
		if err := q.BuryDelivery(t.Context(), id(8), "enough"); err != nil {
			t.Error(err)
		}
		moved := replayAll(t, q, pipeline.Replay{IDs: []string{id(9)}, To: "other", Sinks: []string{"box", "other"}})
		if moved.Replayed != 1 || len(moved.Failed) > 0 {
			t.Errorf("moved: %+v", moved)
		}
		stays := replayAll(t, q, pipeline.Replay{IDs: []string{id(10)}, Sinks: []string{"box"}})
		if stays.Skipped != 1 || len(stays.Failed) > 0 {
			t.Errorf("due already: %+v", stays)
		}
		if s := status(t, q); s.Deliveries["box"] != (Waiting{Due: 57}) || s.Deliveries["other"] != (Waiting{Due: 1}) || s.DeadLetters != 1 {
			t.Errorf("%+v", s)
		}
		if _, err := q.Delivery(t.Context(), id(7)); !errors.Is(err, pipeline.ErrNotFound) {
			t.Errorf("what was dropped: %v", err)
		}
		all := replayAll(t, q, pipeline.Replay{DeliveryFilter: pipeline.DeliveryFilter{Sink: "box", State: pipeline.StateWaiting}, To: "other", Sinks: []string{"other"}})
		if all.Replayed != 57 {
			t.Errorf("moved %+v", all)
		}
		if s := status(t, q); s.Deliveries["box"] != (Waiting{}) || s.Deliveries["other"] != (Waiting{Due: 58}) {
			t.Errorf("%+v", s.Deliveries)
		}
	})
}

// asBefore stores a delivery as the versions did in which each that is due had a subject of its own.
func asBefore(t *testing.T, q *Queue, d *pipeline.Delivery, at time.Time) {
	t.Helper()
	frame, err := encodeFrame(kindDelivery, recordDelivery(d), nil)
	if err != nil {
		t.Fatal(err)
	}
	k := shardOf(d.Sink, deliveryShards)
	subject, header := deliveryDueAlone(k, d.Sink, d.ID), nats.Header{}
	if !at.IsZero() {
		header.Set(jetstream.ScheduleHeader, "@at "+ceilSecond(at).Format(time.RFC3339))
		header.Set(jetstream.ScheduleTargetHeader, subject)
		subject = deliveryLater(k, d.Sink, d.ID)
	}
	if _, err := q.publish(t.Context(), subject, token(d.ID)+"#1", header, frame); err != nil {
		t.Fatal(err)
	}
}

func TestWhatThePreviousVersionStoredGoesOn(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		m := taken(t, q, []byte("x"))
		d := func(name string) *pipeline.Delivery {
			d := sampleDelivery(m, "box")
			d.ID += "." + name
			return d
		}
		due, soon, later, dropped, moved := d("due"), d("soon"), d("later"), d("dropped"), d("moved")
		for _, one := range []*pipeline.Delivery{due, dropped, moved} {
			asBefore(t, q, one, time.Time{})
		}
		asBefore(t, q, soon, time.Now().Add(time.Second))
		asBefore(t, q, later, time.Now().Add(time.Hour))
		enqueue(t, q, pipeline.Deferred{Delivery: d("new")})
		if got := status(t, q).Deliveries["box"]; got.Due+got.Scheduled != 6 {
			t.Errorf("%+v wait", got)
		}
		q.cfg.listUpTo = 0
		if got := status(t, q); got.Deliveries["box"].Due+got.Deliveries["box"].Scheduled != 6 || got.OldestDelivery > 2*time.Minute {
			t.Errorf("counted: %+v", got)
		}
		oldest, err := oldestDelivery(t.Context(), q.link.Load().delivery[shardOf("box", deliveryShards)], shardOf("box", deliveryShards), time.Now())
		if err != nil || mailTime(due.ID).Sub(oldest) > time.Minute {
			t.Errorf("the oldest is of %v, %v", oldest, err)
		}
		if got, err := q.Delivery(t.Context(), dropped.ID); err != nil || got.Delivery.ID != dropped.ID {
			t.Errorf("%+v, %v", got, err)
		}
		if err := q.DropDelivery(t.Context(), dropped.ID); err != nil {
			t.Error(err)
		}
		if r := replayAll(t, q, pipeline.Replay{IDs: []string{moved.ID}, To: "other", Sinks: []string{"other"}}); r.Replayed != 1 {
			t.Errorf("moved: %+v", r)
		}
		if r := replayAll(t, q, pipeline.Replay{IDs: []string{later.ID}, Sinks: []string{"box"}}); r.Replayed != 1 || r.Made[0].New != later.ID {
			t.Errorf("made due: %+v", r)
		}
		var mu sync.Mutex
		got := map[string]int{}
		done := make(chan struct{})
		deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			if got[d.ID]++; len(got) == 4 {
				close(done)
			}
			return nil
		})
		want := map[string]int{due.ID: 1, soon.ID: 1, later.ID: 1, d("new").ID: 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if got := status(t, q).Deliveries["box"]; got != (Waiting{}) {
			t.Errorf("%+v wait", got)
		}
	})
}
