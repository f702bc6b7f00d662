package pipeline

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// refusing is a sink that always answers the same.
type refusing struct{ answer string }

func (s refusing) Deliver(context.Context, *Delivery) (Response, error) {
	return Response{Status: "500", Detail: s.answer, Timings: Timings{Connect: time.Millisecond}}, errors.New("no")
}

func TestHistoryKeepsTheNewestAnswerWholeAndOlderOnesShort(t *testing.T) {
	t.Parallel()
	answer := strings.Repeat("ä", 8<<10)
	a := NewAttempts(AttemptsOptions{
		Outlets: []Outlet{{Name: "s", Sink: refusing{answer}, Concurrency: 1, Schedule: DefaultSchedule()}},
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	d := &Delivery{ID: "1.s", Sink: "s", Message: &Message{}, Attempt: 1, First: time.Now()}
	for range 3 {
		if err := courierDelivers(t, NewDeliverer(Stages{}, a, nil).Courier("s", nil), d); err == nil {
			t.Fatal("it was delivered")
		}
	}
	if len(d.History) != 3 {
		t.Fatalf("%d attempts in the history", len(d.History))
	}
	for i, h := range d.History {
		want := answer
		if i < 2 {
			want = answer[:MaxOldAnswer]
		}
		if h.Answer != want || h.Timings == nil || h.Timings.Connect != time.Millisecond {
			t.Errorf("attempt %d: answer of %d octets, timings %+v", i+1, len(h.Answer), h.Timings)
		}
	}
}

func TestAnAnswerMayPauseItsSink(t *testing.T) {
	t.Parallel()
	calls := 0
	a := NewAttempts(AttemptsOptions{
		Outlets: []Outlet{{Name: "s", Concurrency: 1, Schedule: DefaultSchedule(), Sink: sinkFunc(func(context.Context, *Delivery) (Response, error) {
			calls++
			return Response{Status: "403"}, Disable(errors.New("account closed"))
		})}},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	d := &Delivery{ID: "1.s", Sink: "s", Message: &Message{}, Attempt: 1, First: time.Now()}
	if err := a.tryNow(t.Context(), a.plan(), d); IsPermanent(err) || NotNow(err) || err == nil {
		t.Errorf("the first attempt: %v", err)
	}
	if p := a.board.State("s").Pause; p.Since.IsZero() || p.Reason != "account closed" {
		t.Errorf("pause %+v", p)
	}
	if err := a.tryNow(t.Context(), a.plan(), d); !NotNow(err) || calls != 1 {
		t.Errorf("the second attempt: %v, %d calls", err, calls)
	}
}
