package pipeline

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
)

// TestAMessageIsProcessedByOnePlan: a plan that comes into force while a message is processed is for the next one.
func TestAMessageIsProcessedByOnePlan(t *testing.T) {
	t.Parallel()
	var current atomic.Pointer[Plan]
	var got []string
	sink := func(name string, then func()) Outlet {
		return Outlet{Name: name, Concurrency: 1, Sink: sinkFunc(func(_ context.Context, d *Delivery) (Response, error) {
			got = append(got, d.Sink+" "+name)
			then()
			return Response{}, nil
		})}
	}
	next := NewPlan(PlanOptions{Generation: 2, Router: routes{"new"}, Outlets: []Outlet{sink("new", func() {})}})
	first := NewPlan(PlanOptions{Generation: 1, Router: routes{"old"}, Outlets: []Outlet{sink("old", func() { current.Store(next) })}})
	current.Store(first)
	log := slog.New(slog.DiscardHandler)
	attempts := NewAttempts(AttemptsOptions{Plan: current.Load, Log: log})
	p := NewProcessor(ProcessorOptions{Stages: Stages{}, Attempts: attempts, Outbox: &outboxRecorder{}, Log: log})
	for range 2 {
		if err := p.Process(t.Context(), testMessage()); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 2 || got[0] != "old old" || got[1] != "new new" {
		t.Errorf("%v", got)
	}
}

func TestTheNextPlanSharesTheSlotsOfASink(t *testing.T) {
	t.Parallel()
	first := NewPlan(PlanOptions{Outlets: []Outlet{{Name: "a", Concurrency: 2}}})
	second := NewPlan(PlanOptions{Outlets: []Outlet{{Name: "a", Concurrency: 3}}})
	attempts := NewAttempts(AttemptsOptions{Plan: func() *Plan { return second }, Log: slog.New(slog.DiscardHandler)})
	var turns []*Turn
	for i, plan := range []*Plan{first, first, second, second} {
		turn, err := attempts.gate("a").try(t.Context(), plan.outlets["a"].Outlet, 1)
		if (err == nil) != (i < 3) {
			t.Errorf("turn %d: %v", i+1, err)
		}
		if err == nil {
			turns = append(turns, turn)
		}
	}
	for _, turn := range turns {
		turn.Release()
	}
}

func TestDeliveriesCarryTheTagsOfTheirRecipients(t *testing.T) {
	t.Parallel()
	a, b := Recipient{Address: "a@example.com"}, Recipient{Address: "b@example.com"}
	ds := NewPlan(PlanOptions{}).Deliveries(testMessage(), Routing{Targets: []Target{
		{Recipient: a, Sink: "x", Rule: "r", Tags: []string{"one", "two"}},
		{Recipient: b, Sink: "x", Rule: "r", Tags: []string{"two", "three"}},
		{Recipient: b, Sink: "y", Rule: "r"},
	}}, testMessage().Envelope.ReceivedAt)
	if len(ds) != 2 || len(ds[0].Tags) != 3 || len(ds[1].Tags) != 0 {
		t.Errorf("%+v", ds)
	}
}

func TestADeliveryThatWasTakenIsAttemptedThoughItsSinkIsRemoved(t *testing.T) {
	t.Parallel()
	with := NewPlan(PlanOptions{Outlets: []Outlet{{Name: "gone", Concurrency: 1, Sink: delivers()}}})
	now := NewPlan(PlanOptions{})
	attempts := NewAttempts(AttemptsOptions{Plan: func() *Plan { return now }, Log: slog.New(slog.DiscardHandler)})
	v := NewDeliverer(Stages{}, attempts, &outboxRecorder{})
	d := func() *Delivery { return &Delivery{ID: "m.gone", Sink: "gone", Message: testMessage(), Attempt: 2} }
	if err := courierDelivers(t, v.Courier("gone", with), d()); err != nil {
		t.Errorf("the loop that took it: %v", err)
	}
	if err := courierDelivers(t, v.Courier("gone", nil), d()); err == nil {
		t.Error("delivered to a sink that there is not")
	}
}
