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
