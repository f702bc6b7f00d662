package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSharesAddUp(t *testing.T) {
	t.Parallel()
	for total := range 40 {
		for n := 1; n < 12; n++ {
			sum := 0
			for i := range n {
				part := share(total, "sink", i, n)
				if part < total/n || part > total/n+1 {
					t.Fatalf("worker %d of %d gets %d of %d", i, n, part, total)
				}
				sum += part
			}
			if sum != total {
				t.Fatalf("%d workers have %d of %d", n, sum, total)
			}
		}
	}
	if share(5, "sink", 0, 0) != 0 {
		t.Error("a worker that does not know its place has a share")
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{"": {}, "10/s": {10, time.Second}, "600/m": {600, time.Minute}, "1/h": {1, time.Hour}} {
		if r, err := ParseRate(text); err != nil || r != want || r.String() != text {
			t.Errorf("%q: %v (%s), %v", text, r, r, err)
		}
	}
	for _, text := range []string{"10", "/s", "0/s", "-1/s", "10/d", "1.5/s", "100001/s", "10 / s"} {
		if r, err := ParseRate(text); err == nil {
			t.Errorf("%q is taken as %v", text, r)
		}
	}
}

// TestRateHoldsOverWorkers lets three workers deliver as fast as they may: no stretch of a second has more starts than
// the rate, and over time all of it is used.
func TestRateHoldsOverWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{board: newLocalBoard()}
		out := Outlet{Concurrency: 50, Rate: Rate{20, time.Second}, Schedule: DefaultSchedule()}
		const deliveries, workers = 600, 3
		left := make(chan *Delivery, deliveries)
		for i := range deliveries {
			left <- delivery(i)
		}
		close(left)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range workers {
			c := f.worker(out, i, workers).Courier("one", nil)
			for range 8 {
				wg.Go(func() {
					for d := range left {
						time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond) // the fake clock
						for NotNow(courierDelivers(t, c, d)) {
						}
					}
				})
			}
		}
		wg.Wait()
		if len(f.attempts) != deliveries {
			t.Fatalf("%d attempts", len(f.attempts))
		}
		slices.SortFunc(f.attempts, time.Time.Compare)
		for i := range f.attempts[20:] {
			if d := f.attempts[i+20].Sub(f.attempts[i]); d < time.Second {
				t.Fatalf("21 starts within %v", d)
			}
		}
		if took := time.Since(start); took > 33*time.Second {
			t.Errorf("600 deliveries at 20/s took %v", took)
		}
	})
}

func TestConcurrencyHoldsOverWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		board := newLocalBoard()
		var mu sync.Mutex
		running, peak := 0, 0
		sink := sinkFunc(func(context.Context, *Delivery) (Response, error) {
			mu.Lock()
			running++
			peak = max(peak, running)
			mu.Unlock()
			time.Sleep(time.Second) // the fake clock
			mu.Lock()
			running--
			mu.Unlock()
			return Response{}, nil
		})
		var wg sync.WaitGroup
		var n atomic.Int64
		for i := range 4 {
			a := NewAttempts(AttemptsOptions{
				Outlets: []Outlet{{Name: "one", Sink: sink, Concurrency: 3, Schedule: DefaultSchedule()}},
				Board:   placed{board, i, 4}, Log: slog.New(slog.DiscardHandler),
			})
			c := NewDeliverer(Stages{}, a, nil).Courier("one", nil)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for range 5 {
				wg.Go(func() {
					for ctx.Err() == nil {
						if _, err := c.Ready(ctx); err != nil {
							return
						}
						_ = courierDelivers(t, c, delivery(int(n.Add(1))))
					}
				})
			}
		}
		wg.Wait()
		if peak != 3 {
			t.Errorf("%d attempts at once over four workers, want 3", peak)
		}
	})
}

func TestPausedSinkIsNotAttemptedAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{board: newLocalBoard()}
		c := f.worker(Outlet{Concurrency: 1, Schedule: DefaultSchedule()}, 0, 1).Courier("one", nil)
		f.board.pause("one", Pause{Since: time.Now(), Reason: "maintenance"})
		if _, err := c.Take(t.Context(), 1); !errors.Is(err, errPaused) {
			t.Errorf("a turn of a paused sink: %v", err)
		}
		go func() {
			time.Sleep(time.Hour) // the fake clock
			f.board.pause("one", Pause{})
		}()
		start := time.Now()
		if err := courierDelivers(t, c, delivery(1)); err != nil || time.Since(start) != time.Hour {
			t.Errorf("delivered after %v: %v", time.Since(start), err)
		}
	})
}

func (b *localBoard) pause(sink string, p Pause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.states[sink]
	s.Pause = p
	b.states[sink] = s
	close(b.changed)
	b.changed = make(chan struct{})
}

// TestLargeMessagesOfASinkLeaveMemoryToOthers: a sink has its share and no more, but one message always fits, and a large
// one is not overtaken for ever.
func TestLargeMessagesOfASinkLeaveMemoryToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outs := []Outlet{{Name: "one", Concurrency: 100}, {Name: "two", Concurrency: 100}, {Name: "three", Concurrency: 100}}
		a := NewAttempts(AttemptsOptions{Outlets: outs, Memory: 400, Log: slog.New(slog.DiscardHandler)})
		g := a.gate("one")
		limits := func() (Outlet, bool) { return outs[0], true }
		var turns []*Turn
		for _, tt := range []struct {
			size int64
			want error
		}{{60, nil}, {40, nil}, {1, errNoMemory}} {
			turn, err := g.try(t.Context(), outs[0], tt.size)
			if tt.want == nil && err != nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Fatalf("%d octets: %v, want %v", tt.size, err, tt.want)
			}
			turns = append(turns, turn)
		}
		if turn, err := a.gate("two").try(t.Context(), outs[1], 100); err != nil {
			t.Errorf("another sink: %v", err)
		} else {
			turn.Release()
		}
		got := make(chan *Turn)
		go func() {
			turn, err := g.wait(t.Context(), limits, 1000)
			if err != nil {
				t.Error(err)
			}
			got <- turn
		}()
		synctest.Wait()
		turns[0].Release()
		synctest.Wait()
		if _, err := g.try(t.Context(), outs[0], 1); !errors.Is(err, errNoMemory) {
			t.Errorf("a small message overtakes a large one that waits: %v", err)
		}
		turns[1].Release()
		large := <-got
		if _, err := g.try(t.Context(), outs[0], 1); !errors.Is(err, errNoMemory) {
			t.Errorf("beside a message larger than the share: %v", err)
		}
		large.Release()
		if turn, err := g.try(t.Context(), outs[0], 1); err != nil {
			t.Errorf("when all is released: %v", err)
		} else {
			turn.Release()
		}
	})
}
