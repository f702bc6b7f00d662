package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sinkFunc makes a function a Sink.
type sinkFunc func(context.Context, *Delivery) (Response, error)

func (f sinkFunc) Deliver(ctx context.Context, d *Delivery) (Response, error) { return f(ctx, d) }

func delivers() sinkFunc {
	return func(context.Context, *Delivery) (Response, error) { return Response{Status: "200 OK"}, nil }
}

func failsWith(err error) sinkFunc {
	return func(context.Context, *Delivery) (Response, error) { return Response{Status: "500"}, err }
}

// outboxRecorder keeps what was written down.
type outboxRecorder struct {
	mu      sync.Mutex
	waiting []Deferred
	dead    map[string]string
	err     error
}

func (o *outboxRecorder) Enqueue(_ context.Context, ds []Deferred) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = append(o.waiting, ds...)
	return o.err
}

func (o *outboxRecorder) Bury(_ context.Context, d *Delivery, reason string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dead == nil {
		o.dead = make(map[string]string)
	}
	o.dead[d.ID] = reason
	return o.err
}

// routes sends every recipient to the same sinks.
type routes []string

func (r routes) Route(m *Message) (Routing, []Problem) {
	var out Routing
	for _, rcpt := range m.Envelope.Recipients {
		for _, sink := range r {
			out.Targets = append(out.Targets, Target{Recipient: rcpt, Sink: sink, Rule: "rule-" + sink})
		}
	}
	if len(r) == 0 {
		out.Unrouted = m.Envelope.Recipients
	}
	return out, nil
}

func testMessage() *Message {
	return &Message{Envelope: Envelope{ID: "M", Recipients: []Recipient{{Address: "a@example.com"}, {Address: "b@example.com"}}}}
}

func outletsOf(concurrency int, sinks map[string]Sink) []Outlet {
	var outs []Outlet
	for name, s := range sinks {
		outs = append(outs, Outlet{Name: name, Sink: s, Concurrency: concurrency, Timeout: time.Minute, Schedule: DefaultSchedule()})
	}
	return outs
}

func newTestProcessor(router Router, box Outbox, outs []Outlet) (*Processor, *Attempts) {
	log := slog.New(slog.DiscardHandler)
	attempts := NewAttempts(AttemptsOptions{Outlets: outs, Random: func() float64 { return 0.5 }, Log: log})
	return NewProcessor(ProcessorOptions{Stages: Stages{}, Router: router, Attempts: attempts, Outbox: box, Log: log}), attempts
}

// courierDelivers does what the queue does with a delivery that is due.
func courierDelivers(t *testing.T, c *Courier, d *Delivery) error {
	if _, err := c.Ready(t.Context()); err != nil {
		return err
	}
	turn, err := c.Take(t.Context(), d.Message.Envelope.Size)
	if err != nil {
		return err
	}
	defer turn.Release()
	return c.Deliver(t.Context(), turn, d)
}

func TestHealthyMailWritesNothingDown(t *testing.T) {
	var seen []string
	sink := sinkFunc(func(_ context.Context, d *Delivery) (Response, error) {
		for _, r := range d.Recipients {
			seen = append(seen, d.ID+" "+r.Address)
		}
		return Response{}, nil
	})
	box := &outboxRecorder{}
	p, _ := newTestProcessor(routes{"one"}, box, outletsOf(1, map[string]Sink{"one": sink}))
	if err := p.Process(t.Context(), testMessage()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"M.one a@example.com", "M.one b@example.com"}, seen); diff != "" {
		t.Errorf("one delivery with both recipients expected:\n%s", diff)
	}
	if len(box.waiting)+len(box.dead) != 0 {
		t.Errorf("something was written down: %v %v", box.waiting, box.dead)
	}
}

func TestFailedFirstAttemptsAreWrittenDownBeforeTheMessageIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		box := &outboxRecorder{}
		p, _ := newTestProcessor(routes{"good", "flaky", "asks", "gone"}, box, outletsOf(1, map[string]Sink{
			"good":  delivers(),
			"flaky": failsWith(errors.New("503")),
			"asks":  failsWith(RetryAfter(errors.New("429"), 8*time.Second)),
			"gone":  failsWith(Permanent(errors.New("410 Gone"))),
		}))
		if err := p.Process(t.Context(), testMessage()); err != nil {
			t.Fatal(err)
		}
		due := map[string]time.Duration{}
		for _, w := range box.waiting {
			due[w.Delivery.ID] = w.NotBefore.Sub(start)
			if w.Delivery.Attempt != 2 || len(w.Delivery.History) != 1 {
				t.Errorf("%s waits as attempt %d with %d records, want 2 and 1", w.Delivery.ID, w.Delivery.Attempt, len(w.Delivery.History))
			}
		}
		if diff := cmp.Diff(map[string]time.Duration{"M.flaky": 5 * time.Second, "M.asks": 8 * time.Second}, due); diff != "" {
			t.Errorf("waiting deliveries:\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"M.gone": "410 Gone"}, box.dead); diff != "" {
			t.Errorf("dead letters:\n%s", diff)
		}
	})
}

func TestAMessageIsNotSettledWhenWritingDownFails(t *testing.T) {
	for name, sink := range map[string]Sink{"later": failsWith(errors.New("503")), "dead": failsWith(Permanent(errors.New("410")))} {
		box := &outboxRecorder{err: errors.New("queue is down")}
		p, _ := newTestProcessor(routes{"one"}, box, outletsOf(1, map[string]Sink{"one": sink}))
		if err := p.Process(t.Context(), testMessage()); err == nil {
			t.Errorf("%s: Process said that the message may be settled", name)
		}
	}
}

// If the waiting deliveries cannot be written down the message is processed again: nothing of it may be dead by then.
func TestNothingIsBuriedBeforeWhatWaitsIsWrittenDown(t *testing.T) {
	box := &outboxRecorder{err: errors.New("queue is down")}
	p, _ := newTestProcessor(routes{"gone", "flaky"}, box, outletsOf(1, map[string]Sink{
		"gone": failsWith(Permanent(errors.New("410"))), "flaky": failsWith(errors.New("503")),
	}))
	if err := p.Process(t.Context(), testMessage()); err == nil {
		t.Error("Process said that the message may be settled")
	}
	if len(box.dead) != 0 {
		t.Errorf("buried: %v", box.dead)
	}
}

func TestUnroutedRecipientsBecomeADeadLetter(t *testing.T) {
	box := &outboxRecorder{}
	p, _ := newTestProcessor(routes{}, box, nil)
	if err := p.Process(t.Context(), testMessage()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"M._": ReasonUnrouted}, box.dead); diff != "" {
		t.Errorf("dead letters:\n%s", diff)
	}
}

func TestAFullSinkNeverHoldsAProcessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		slow := sinkFunc(func(context.Context, *Delivery) (Response, error) { <-release; return Response{}, nil })
		box := &outboxRecorder{}
		p, attempts := newTestProcessor(routes{"slow"}, box, outletsOf(1, map[string]Sink{"slow": slow}))
		var wg sync.WaitGroup
		wg.Go(func() { _ = p.Process(t.Context(), testMessage()) })
		synctest.Wait()
		if err := p.Process(t.Context(), testMessage()); err != nil {
			t.Fatal(err)
		}
		if len(box.waiting) != 1 || !box.waiting[0].NotBefore.IsZero() || box.waiting[0].Delivery.Attempt != 1 {
			t.Errorf("want one delivery, due now, its attempt not counted; got %+v", box.waiting)
		}
		// The deliverer shares the slots: it waits for one.
		wg.Go(func() {
			_ = courierDelivers(t, NewDeliverer(Stages{}, attempts, box).Courier("slow", nil), box.waiting[0].Delivery)
		})
		synctest.Wait()
		close(release)
		wg.Wait()
	})
}

func TestAShutdownLeavesTheDeliveryDueNowAndUncounted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	sink := sinkFunc(func(ctx context.Context, _ *Delivery) (Response, error) {
		cancel()
		<-ctx.Done()
		return Response{}, ctx.Err()
	})
	box := &outboxRecorder{}
	p, _ := newTestProcessor(routes{"one"}, box, outletsOf(1, map[string]Sink{"one": sink}))
	if err := p.Process(ctx, testMessage()); err != nil {
		t.Fatal(err)
	}
	if len(box.waiting) != 1 || !box.waiting[0].NotBefore.IsZero() || box.waiting[0].Delivery.Attempt != 1 {
		t.Errorf("want one delivery, due now, its attempt not counted; got %+v", box.waiting)
	}
}

func TestAPanickingSinkIsATransientFailure(t *testing.T) {
	box := &outboxRecorder{}
	sink := sinkFunc(func(context.Context, *Delivery) (Response, error) { panic("bug") })
	p, _ := newTestProcessor(routes{"one"}, box, outletsOf(1, map[string]Sink{"one": sink}))
	if err := p.Process(t.Context(), testMessage()); err != nil {
		t.Fatal(err)
	}
	if len(box.waiting) != 1 {
		t.Errorf("want one waiting delivery, got %+v", box)
	}
}
