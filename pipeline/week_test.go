package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// week is a delivery that is attempted whenever it is due, on the fake clock, until it ends.
type week struct {
	at  []time.Duration // of the attempts, since First
	end error
	err func(attempt int) error
}

func (w *week) run(t *testing.T, random func() float64) {
	t.Helper()
	start := time.Now()
	sink := sinkFunc(func(_ context.Context, d *Delivery) (Response, error) {
		w.at = append(w.at, time.Since(start))
		return Response{}, w.err(d.Attempt)
	})
	a := NewAttempts(AttemptsOptions{
		Outlets: []Outlet{{Name: "one", Sink: sink, Concurrency: 1, Schedule: DefaultSchedule()}}, Random: random, Log: slog.New(slog.DiscardHandler),
	})
	c := NewDeliverer(Stages{}, a, nil).Courier("one", nil)
	d := &Delivery{ID: "M.one", Sink: "one", Message: testMessage(), Attempt: 1, First: start}
	for {
		err := courierDelivers(t, c, d)
		at, later := DueAt(err)
		if !later {
			w.end = err
			if len(d.History) > MaxHistory {
				t.Errorf("the history has %d entries", len(d.History))
			}
			return
		}
		time.Sleep(time.Until(at)) // the fake clock
	}
}

func always(err error) func(int) error { return func(int) error { return err } }

// weekly are the times of a week of attempts by the promised schedule with the factor on every delay.
func weekly(factor float64) []time.Duration {
	at := []time.Duration{0}
	s := DefaultSchedule()
	for n := 1; ; n++ {
		next := at[len(at)-1] + time.Duration(float64(s.Step(n))*factor)
		if next > s.MaxAge {
			return at
		}
		at = append(at, next)
	}
}

// TestAWeekOfAttempts holds the whole schedule against its promise: without jitter and at both ends of it each attempt
// comes at the exact time, in between no delay leaves the bounds, and the dead letter is made at the last attempt that
// max_age has room for.
func TestAWeekOfAttempts(t *testing.T) {
	for name, tt := range map[string]struct {
		random float64
		factor float64
		count  int
	}{
		"no jitter": {0.5, 1, 7 + 1 + 12},
		"earliest":  {0, 0.8, 0},
		"latest":    {1, 1.2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &week{err: always(errors.New("503"))}
				w.run(t, func() float64 { return tt.random })
				want := weekly(tt.factor)
				if fmt.Sprint(w.at) != fmt.Sprint(want) {
					t.Errorf("attempts at\n%v, want\n%v", w.at, want)
				}
				if tt.count > 0 && len(w.at) != tt.count {
					t.Errorf("%d attempts, want %d", len(w.at), tt.count)
				}
				if !IsPermanent(w.end) || !strings.Contains(w.end.Error(), "max_age 168h0m0s") || !strings.Contains(w.end.Error(), "503") {
					t.Errorf("it ends with %v", w.end)
				}
			})
		})
	}
	t.Run("random", func(t *testing.T) {
		dice := rand.New(rand.NewPCG(1, 2))
		spread := map[bool]int{}
		for range 200 {
			synctest.Test(t, func(t *testing.T) {
				w := &week{err: always(errors.New("503"))}
				w.run(t, dice.Float64)
				for n := 1; n < len(w.at); n++ {
					step := DefaultSchedule().Step(n)
					delay := w.at[n] - w.at[n-1]
					if delay < step*8/10 || delay > step*12/10 {
						t.Fatalf("attempt %d came %v after the one before, the step is %v", n+1, delay, step)
					}
					spread[delay < step]++
				}
				if last := w.at[len(w.at)-1]; last > DefaultSchedule().MaxAge || last < DefaultSchedule().MaxAge-12*time.Hour*12/10 {
					t.Fatalf("the last attempt came after %v", last)
				}
			})
		}
		if share := float64(spread[true]) / float64(spread[true]+spread[false]); share < 0.45 || share > 0.55 {
			t.Errorf("%.2f of the delays are shortened, want half", share)
		}
	})
}

// TestRetryAfterInAWeekOfAttempts: it makes a wait longer, never shorter, up to twice the step.
func TestRetryAfterInAWeekOfAttempts(t *testing.T) {
	for asked, want := range map[time.Duration][]time.Duration{
		time.Second:      {5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute},
		8 * time.Second:  {8 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute},
		90 * time.Second: {10 * time.Second, 90 * time.Second, 5 * time.Minute, 30 * time.Minute},
		time.Hour:        {10 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &week{err: func(n int) error {
				if n == 5 {
					return nil
				}
				return RetryAfter(errors.New("429"), asked)
			}}
			w.run(t, func() float64 { return 0.5 })
			if w.end != nil || len(w.at) != 5 {
				t.Fatalf("%d attempts, the end is %v", len(w.at), w.end)
			}
			for n, delay := range want {
				if got := w.at[n+1] - w.at[n]; got != delay {
					t.Errorf("Retry-After %v: wait %d is %v, want %v", asked, n+1, got, delay)
				}
			}
		})
	}
}

// TestAPermanentFailureEndsTheWeekAtOnce: and so does a success.
func TestAPermanentFailureEndsTheWeekAtOnce(t *testing.T) {
	for _, end := range []error{nil, Permanent(errors.New("410 Gone"))} {
		synctest.Test(t, func(t *testing.T) {
			w := &week{err: func(n int) error {
				if n == 3 {
					return end
				}
				return errors.New("503")
			}}
			w.run(t, func() float64 { return 0.5 })
			if !errors.Is(w.end, end) || len(w.at) != 3 || w.at[2] != 65*time.Second {
				t.Errorf("attempts at %v, the end is %v", w.at, w.end)
			}
		})
	}
}
