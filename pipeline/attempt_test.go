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

func TestAShutdownInAnAttemptKeepsWhoHasTheMail(t *testing.T) {
	t.Parallel()
	for left, want := range map[int]bool{1: true, 2: false} {
		ctx, cancel := context.WithCancel(t.Context())
		rcpts := []Recipient{{Address: "a@example.com"}, {Address: "b@example.com"}}
		a := NewAttempts(AttemptsOptions{
			Outlets: []Outlet{{Name: "s", Concurrency: 1, Schedule: DefaultSchedule(), Sink: sinkFunc(func(context.Context, *Delivery) (Response, error) {
				cancel()
				return Response{}, Undelivered(ctx.Err(), rcpts[2-left:])
			})}},
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		d := &Delivery{ID: "1.s", Sink: "s", Message: &Message{}, Recipients: rcpts, Attempt: 1, First: time.Now()}
		err := a.tryNow(ctx, a.plan(), d)
		if _, later := DueAt(err); later != want || !errors.Is(err, context.Canceled) {
			t.Errorf("%d of 2 left: %v, to be written down: %v", left, err, later)
		}
		if len(d.Recipients) != left || d.Attempt != 1 {
			t.Errorf("recipients %v, attempt %d", d.Recipients, d.Attempt)
		}
	}
}

// What a sink did not get rid of for some recipients is for these alone from then on: at the next attempt, in the dead
// letters, and when a shutdown comes in between.
func TestOnlyTheRecipientsThatAreLeftAreTriedAgain(t *testing.T) {
	t.Parallel()
	left := []Recipient{{Address: "b@example.com"}}
	for name, mark := range map[string]func(error) error{
		"transient": func(err error) error { return err },
		"permanent": Permanent,
	} {
		box := &outboxRecorder{}
		sink := failsWith(mark(Undelivered(errors.New("mailbox full"), left)))
		m := testMessage()
		p, _ := newTestProcessor(routes{"one"}, box, outletsOf(1, map[string]Sink{"one": sink}))
		if err := p.Process(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		switch name {
		case "permanent":
			if box.dead["M.one"] != "mailbox full" {
				t.Errorf("dead letters %v", box.dead)
			}
		default:
			if len(box.waiting) != 1 || len(box.waiting[0].Delivery.Recipients) != 1 || box.waiting[0].Delivery.Recipients[0].Address != "b@example.com" {
				t.Errorf("waiting %+v", box.waiting)
			}
		}
		if len(m.Envelope.Recipients) != 2 {
			t.Errorf("the envelope has changed: %+v", m.Envelope.Recipients)
		}
	}
}
