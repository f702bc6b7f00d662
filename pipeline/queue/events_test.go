package queue

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"mxhook/pipeline"
)

// heard keeps the events it hears.
type heard struct {
	mu  sync.Mutex
	all []pipeline.Event
}

func (h *heard) Emit(e pipeline.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, e)
}

func (h *heard) count(kind pipeline.EventKind) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.all {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// A delivery whose mail stays unreadable is said and shown with its reason, and ends when a person buries it.
func TestDeliveryOfUnreadableMailIsSeenAndCanBeBuried(t *testing.T) {
	t.Parallel()
	events := &heard{}
	q := mustOpen(t, embedded(t, t.TempDir()), hasty, func(c *Config) { c.Events = events })
	d := sampleDelivery(taken(t, q, randomOctets(t, 700*kib)), "box")
	enqueue(t, q, pipeline.Deferred{Delivery: d})
	blind(q.link.Load().mail())
	told := make(chan struct{})
	go func() {
		defer close(told)
		for deadline := time.Now().Add(patience); events.count(pipeline.EventMailUnreadable) == 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}()
	deliver(t, q, "box", told, func(context.Context, *pipeline.Delivery) error {
		t.Error("it was handed out")
		return nil
	})
	if events.count(pipeline.EventMailUnreadable) == 0 {
		t.Fatal("nobody heard of it")
	}
	list, err := q.Deliveries(t.Context(), pipeline.DeliveryFilter{State: pipeline.StateWaiting}, 10)
	if err != nil || len(list) != 1 || !strings.Contains(list[0].Reason, "cannot read it") {
		t.Fatalf("listed: %+v, %v", list, err)
	}
	if err := q.BuryDelivery(t.Context(), d.ID, "the disk is broken"); err != nil {
		t.Fatal(err)
	}
	k, err := q.Delivery(t.Context(), d.ID)
	if err != nil || k.State != pipeline.StateDead || !strings.Contains(k.Reason, "the disk is broken (the message could not be kept whole") {
		t.Errorf("buried: %+v, %v", k, err)
	}
	if events.count(pipeline.EventDeadLetter) != 1 {
		t.Error("the dead letter is no event")
	}
	expectIdle(t, q)
}

func TestLowStorageIsSaidOnceAndItsEnd(t *testing.T) {
	t.Parallel()
	events := &heard{}
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.Events, c.MaxStore, c.watchEvery = events, 8*mib, time.Hour })
	for range 3 {
		q.storage.Store(&storageState{used: q.quota, limit: q.quota})
		q.tellStorage()
	}
	if n := events.count(pipeline.EventStorageLow); n != 1 {
		t.Errorf("said %d times", n)
	}
	for range 3 {
		q.storage.Store(&storageState{limit: q.quota})
		q.tellStorage()
	}
	if n := events.count(pipeline.EventStorageBack); n != 1 {
		t.Errorf("its end is said %d times", n)
	}
}
