package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fleet is some workers that share a board, and the sink that they deliver to.
type fleet struct {
	board *localBoard
	fail  error // what the sink answers

	mu       sync.Mutex
	attempts []time.Time
	events   []EventKind
}

func (f *fleet) Deliver(context.Context, *Delivery) (Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts = append(f.attempts, time.Now())
	return Response{}, f.fail
}

func (f *fleet) Emit(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e.Kind)
}

// placed is a worker's view of the board.
type placed struct {
	*localBoard
	i, n int
}

func (p placed) Place() (i, n int) { return p.i, p.n }

func (f *fleet) worker(out Outlet, i, n int) *Deliverer {
	out.Name, out.Sink = "one", f
	a := NewAttempts(AttemptsOptions{
		Outlets: []Outlet{out}, Board: placed{f.board, i, n}, Events: f, Random: func() float64 { return 0.5 }, Log: slog.New(slog.DiscardHandler),
	})
	return NewDeliverer(Stages{}, a, &outboxRecorder{})
}

func delivery(i int) *Delivery {
	return &Delivery{ID: fmt.Sprintf("M%d.one", i), Sink: "one", Message: testMessage(), Attempt: 1, First: time.Now()}
}

// TestBreakerOpensProbesAndCloses plays a sink that fails for a while: five different deliveries open the breaker, probes
// come at exact times, nothing else is attempted, and a success closes it for all workers.
func TestBreakerOpensProbesAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{board: newLocalBoard(), fail: errors.New("503")}
		out := Outlet{Concurrency: 4, Timeout: 30 * time.Second, Schedule: DefaultSchedule()}
		a, b := f.worker(out, 0, 2).Courier("one", nil), f.worker(out, 1, 2).Courier("one", nil)
		start := time.Now()
		for i := range 5 {
			if _, later := DueAt(courierDelivers(t, a, delivery(i))); !later {
				t.Fatalf("failure %d is not due again", i)
			}
		}
		if st := f.board.State("one").Breaker; !st.Open() || !st.Since.Equal(start) || st.Reason != "503" {
			t.Fatalf("after five failures the breaker is %+v", st)
		}
		// Neither worker takes a delivery while it is open, nor counts anything against one.
		for _, c := range []*Courier{a, b} {
			if _, err := c.Take(t.Context(), 1); !NotNow(err) {
				t.Errorf("a turn while the breaker is open: %v", err)
			}
		}
		// Whoever is ready first makes the probe, and the other waits on.
		for i := range 6 {
			probe := delivery(100 + i)
			if err := courierDelivers(t, []*Courier{a, b}[i%2], probe); err == nil || probe.Attempt != 2 {
				t.Fatalf("probe %d: %v, attempt %d", i, err, probe.Attempt)
			}
			if _, err := b.Take(t.Context(), 1); !NotNow(err) {
				t.Errorf("a second probe: %v", err)
			}
		}
		f.fail = RetryAfter(errors.New("429"), 5*time.Minute)
		_ = courierDelivers(t, a, delivery(200))
		f.fail = Permanent(errors.New("422")) // says something of the message only
		_ = courierDelivers(t, a, delivery(201))
		f.fail = nil
		if err := courierDelivers(t, b, delivery(202)); err != nil {
			t.Fatal(err)
		}
		if st := f.board.State("one").Breaker; st.Open() {
			t.Errorf("after a success the breaker is %+v", st)
		}
		if n, err := a.Ready(t.Context()); n != 2 || err != nil {
			t.Errorf("then %d turns, %v", n, err)
		}
		var at []time.Duration
		for _, x := range f.attempts[4:] {
			at = append(at, x.Sub(start))
		}
		want := []time.Duration{0, 5 * time.Second}
		for _, wait := range []int{10, 20, 40, 60, 60, 60, 300, 60} {
			want = append(want, want[len(want)-1]+time.Duration(wait)*time.Second)
		}
		if !slices.Equal(at, want) {
			t.Errorf("attempts at\n%v, want\n%v", at, want)
		}
		if want := []EventKind{EventSinkFailing, EventBreakerOpen, EventBreakerClosed}; !slices.Equal(f.events, want) {
			t.Errorf("events %v, want %v", f.events, want)
		}
	})
}

func TestOneMessageDoesNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{board: newLocalBoard(), fail: errors.New("500: cannot stand it")}
		c := f.worker(Outlet{Concurrency: 1, Schedule: DefaultSchedule()}, 0, 1).Courier("one", nil)
		for range 50 {
			_ = courierDelivers(t, c, delivery(1))
		}
		for i := range 4 { // with a success between, failures do not add up
			_ = courierDelivers(t, c, delivery(i))
		}
		f.fail = nil
		_ = courierDelivers(t, c, delivery(9))
		f.fail = errors.New("500")
		for i := range 4 {
			_ = courierDelivers(t, c, delivery(i))
		}
		if st := f.board.State("one").Breaker; st.Open() {
			t.Errorf("the breaker is open: %+v", st)
		}
	})
}

// TestAProbeThatIsLostIsMadeAgain: its worker died, or was interrupted.
func TestAProbeThatIsLostIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{board: newLocalBoard(), fail: errors.New("503")}
		out := Outlet{Concurrency: 4, Timeout: 30 * time.Second, Schedule: DefaultSchedule()}
		a, b := f.worker(out, 0, 2).Courier("one", nil), f.worker(out, 1, 2).Courier("one", nil)
		for i := range 5 {
			_ = courierDelivers(t, a, delivery(i))
		}
		if _, err := a.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		turn, err := a.Take(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := b.Ready(t.Context()); err != nil || time.Since(start) != out.Timeout+probeGrace {
			t.Errorf("the next probe came %v after a lost one, want %v", time.Since(start), out.Timeout+probeGrace)
		}
		if next, err := b.Take(t.Context(), 1); err != nil {
			t.Errorf("the next probe: %v", err)
		} else {
			turn.Release() // late: it must not touch the probe of another
			if _, err := a.Take(t.Context(), 1); !NotNow(err) {
				t.Errorf("two probes at once: %v", err)
			}
			next.Release() // not attempted: another may probe at once
		}
		if turn, err := a.Take(t.Context(), 1); err != nil {
			t.Errorf("a probe that was given back: %v", err)
		} else {
			turn.Release()
		}
	})
}

func TestFirstAttemptsWaitInTheQueueWhileTheBreakerIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		sink := sinkFunc(func(context.Context, *Delivery) (Response, error) { made++; return Response{}, errors.New("503") })
		box := &outboxRecorder{}
		p, attempts := newTestProcessor(routes{"one"}, box, outletsOf(1, map[string]Sink{"one": sink}))
		process := func(i int) {
			m := testMessage()
			m.Envelope.ID = fmt.Sprint("M", i)
			if err := p.Process(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 10 {
			process(i)
		}
		if made != 5 || len(box.waiting) != 10 {
			t.Fatalf("%d attempts and %d deliveries that wait, want 5 and 10", made, len(box.waiting))
		}
		for _, w := range box.waiting[5:] {
			if w.Delivery.Attempt != 1 || len(w.Delivery.History) != 0 || !w.NotBefore.IsZero() {
				t.Errorf("something was counted against a delivery that was not attempted: %+v", w)
			}
		}
		time.Sleep(5 * time.Second) // the fake clock
		process(10)
		process(11)
		if made != 6 {
			t.Errorf("%d attempts after a probe was due, want 6", made)
		}
		if s := attempts.Sinks(); len(s) != 1 || !s[0].Breaker.Open() || s[0].Breaker.Probes != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A clock that was years ahead when a breaker opened, and is set right then, must not stop its sink for years.
func TestAProbeOfAClockThatWasWrongIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{board: newLocalBoard(), fail: errors.New("503")}
		c := f.worker(Outlet{Concurrency: 4, Timeout: time.Second, Schedule: DefaultSchedule()}, 0, 1).Courier("one", nil)
		ahead := time.Now().AddDate(10, 0, 0)
		if done, err := f.board.SetBreaker(t.Context(), "one", Breaker{}, Breaker{Since: ahead, Probe: ahead.Add(5 * time.Second)}); !done || err != nil {
			t.Fatal(done, err)
		}
		start := time.Now()
		for _, want := range []time.Duration{0, 10 * time.Second} {
			if n, err := c.Ready(t.Context()); n != 1 || err != nil || time.Since(start) != want {
				t.Fatalf("ready for %d after %v, %v; want 1 after %v", n, time.Since(start), err, want)
			}
			_ = courierDelivers(t, c, delivery(int(want)))
		}
		if len(f.attempts) != 2 {
			t.Errorf("%d attempts", len(f.attempts))
		}
	})
}

// A server that takes a mail for some recipients works: those whose mailbox is full do not stop it for all.
func TestRecipientsThatAreLeftDoNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{board: newLocalBoard(), fail: Undelivered(errors.New("452 mailbox full"), []Recipient{{Address: "full@example.com"}})}
		c := f.worker(Outlet{Concurrency: 4, Schedule: DefaultSchedule()}, 0, 1).Courier("one", nil)
		attempt := func(i int, rcpts ...string) {
			d := delivery(i)
			for _, r := range rcpts {
				d.Recipients = append(d.Recipients, Recipient{Address: r})
			}
			_ = courierDelivers(t, c, d)
		}
		for i := range 2 * breakerFailures {
			attempt(i, "full@example.com", "ann@example.com")
		}
		if f.board.State("one").Breaker.Open() {
			t.Fatal("it opened, and every mail was taken for somebody")
		}
		for i := range breakerFailures {
			attempt(100+i, "full@example.com")
		}
		if !f.board.State("one").Breaker.Open() {
			t.Fatal("it did not open, and nobody got anything")
		}
		time.Sleep(time.Minute)
		attempt(200, "full@example.com", "ann@example.com")
		if f.board.State("one").Breaker.Open() {
			t.Error("a probe that some got did not close it")
		}
	})
}
