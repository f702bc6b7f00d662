package queue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mxhook/pipeline"
)

func TestPauseIsKeptOverARestart(t *testing.T) {
	t.Parallel()
	open := embedded(t, t.TempDir())
	q := mustOpen(t, open)
	if err := q.Board().PauseSink(t.Context(), "help.desk", "maintenance"); err != nil {
		t.Fatal(err)
	}
	if q.Board().State("help.desk").Pause.Since.IsZero() {
		t.Error("it is not paused for the one who did it")
	}
	closeQueue(t, q)
	q = mustOpen(t, open)
	eventually(t, "a place", func() bool { _, n := q.Board().Place(); return n == 1 })
	if p := q.Board().State("help.desk").Pause; p.Since.IsZero() || p.Reason != "maintenance" {
		t.Errorf("after a restart the pause is %+v", p)
	}
	for range 2 {
		if err := q.Board().ResumeSink(t.Context(), "help.desk"); err != nil {
			t.Fatal(err)
		}
	}
	closeQueue(t, q)
	q = mustOpen(t, open)
	eventually(t, "a place", func() bool { _, n := q.Board().Place(); return n == 1 })
	if p := q.Board().State("help.desk").Pause; !p.Since.IsZero() {
		t.Errorf("it is paused again: %+v", p)
	}
}

func TestWorkersShareTheBoard(t *testing.T) {
	t.Parallel()
	url := externalServer(t)
	open := func() *Queue {
		return mustOpen(t, func(change ...func(*Config)) (*Queue, error) {
			return openWith(t, append([]func(*Config){func(c *Config) { c.URL, c.Durability = url, DurabilityFsync }}, change...))
		})
	}
	a, b := open(), open()
	if i, n := a.Board().Place(); n != 0 {
		t.Errorf("a process that is no worker has place %d of %d", i, n)
	}
	a.Board().Join()
	b.Board().Join()
	eventually(t, "two workers know of each other", func() bool {
		i, n := a.Board().Place()
		j, m := b.Board().Place()
		return n == 2 && m == 2 && i != j
	})

	// A change is seen by both, and only one of two that began with the same state is made.
	since := time.Now().UTC()
	open1 := pipeline.Breaker{Since: since, Probe: since.Add(time.Second), Reason: "503"}
	set := func(q *Queue, from, to pipeline.Breaker) bool {
		t.Helper()
		done, err := q.Board().SetBreaker(t.Context(), "box", from, to)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	for round := range 3 { // closed and opened again, the key has a history
		first, second := a, b
		if round == 1 {
			first, second = b, a
		}
		if !set(first, pipeline.Breaker{}, open1) {
			t.Fatalf("round %d: it could not be opened", round)
		}
		eventually(t, "the other sees it", func() bool { return second.Board().State("box").Breaker.Open() })
		probe := open1
		probe.Probe = since.Add(time.Minute)
		if won := []bool{set(first, open1, probe), set(second, open1, probe)}; !won[0] || won[1] {
			t.Errorf("round %d: two leases of one probe: %v", round, won)
		}
		eventually(t, "the other sees the probe", func() bool { return second.Board().State("box").Breaker.Same(probe) })
		if !set(second, probe, pipeline.Breaker{}) {
			t.Errorf("round %d: it could not be closed", round)
		}
		eventually(t, "both see it closed", func() bool {
			return !a.Board().State("box").Breaker.Open() && !b.Board().State("box").Breaker.Open()
		})
	}

	changed := b.Board().Changed()
	if err := a.Board().PauseSink(t.Context(), "box", ""); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-time.After(patience):
		t.Error("nobody was told of a pause")
	}
	eventually(t, "the pause is seen", func() bool { return !b.Board().State("box").Pause.Since.IsZero() })
	if err := b.Board().ResumeSink(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the pause is seen", func() bool { return a.Board().State("box").Pause.Since.IsZero() })

	closeQueue(t, b)
	eventually(t, "one that has left is forgotten", func() bool { i, n := a.Board().Place(); return i == 0 && n == 1 })
}

// turnaway is a courier whose sink takes nothing until it opens.
type turnaway struct {
	always
	taken chan struct{}
	open  chan struct{}
}

func (c *turnaway) Take(context.Context, int64) (*pipeline.Turn, error) {
	select {
	case <-c.open:
		return &pipeline.Turn{}, nil
	default:
	}
	select {
	case c.taken <- struct{}{}:
	default:
	}
	_, err := pipeline.NewDeliverer(nil, pipeline.NewAttempts(pipeline.AttemptsOptions{Board: away{}}), nil).Courier("x", pipeline.NewPlan(pipeline.PlanOptions{
		Outlets: []pipeline.Outlet{{Name: "x"}},
	})).Take(context.Background(), 1)
	return nil, err
}

// away is the board of a worker without a place.
type away struct{ pipeline.Board }

func (away) Place() (i, n int)               { return 0, 0 }
func (away) State(string) pipeline.SinkState { return pipeline.SinkState{} }
func (away) Changed() <-chan struct{}        { return nil }

func TestDeliveryWithoutATurnGoesBackAsItIs(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		enqueue(t, q, pipeline.Deferred{Delivery: sampleDelivery(taken(t, q, []byte("x")), "box")})
		done := make(chan struct{})
		c := &turnaway{taken: make(chan struct{}, 5), open: make(chan struct{}), always: func(_ context.Context, d *pipeline.Delivery) error {
			if d.Attempt != 1 || d.Held != "" {
				t.Errorf("something was counted: attempt %d, held %q", d.Attempt, d.Held)
			}
			close(done)
			return nil
		}}
		go func() {
			for range 5 {
				<-c.taken
			}
			close(c.open)
		}()
		until(t, done, func(ctx context.Context) error { return q.Deliver(ctx, "box", 4, c) })
		expectIdle(t, q)
	})
}

func TestExpireGivesUpWhatIsTooOldAndNothingElse(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	m := taken(t, q, []byte("Subject: x\r\n\r\nx\r\n"))
	const age = time.Hour
	old, young := sampleDelivery(m, "box"), sampleDelivery(m, "box")
	old.ID, young.ID = "01KAK5Z3V8Q5W8S0R0J8N2X0AB.box", "01KAK5Z3V8Q5W8S0R0J8N2X0AC.box" // both of last year
	old.First, young.First = time.Now().Add(-age-time.Second).UTC(), time.Now().Add(-age+time.Minute).UTC()
	other := sampleDelivery(m, "other")
	other.ID, other.First = "01KAK5Z3V8Q5W8S0R0J8N2X0AB.other", old.First
	failed(old)
	enqueue(t, q, pipeline.Deferred{Delivery: old}, pipeline.Deferred{Delivery: young}, pipeline.Deferred{Delivery: other})
	if n, err := q.Expire(t.Context(), "box", age); n != 1 || err != nil {
		t.Fatalf("%d expired, %v", n, err)
	}
	dead, err := q.DeadLetters(t.Context(), DeadFilter{Limit: 10})
	if err != nil || len(dead) != 1 || dead[0].Delivery.ID != old.ID {
		t.Fatalf("dead letters %+v, %v", dead, err)
	}
	letter, err := q.DeadLetter(t.Context(), old.ID)
	if err != nil || string(letter.Delivery.Message.Raw) != "Subject: x\r\n\r\nx\r\n" {
		t.Errorf("its message is %v, %v", letter, err)
	}
	var got []string
	done := make(chan struct{})
	deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
		got = append(got, d.ID)
		close(done)
		return nil
	})
	if len(got) != 1 || got[0] != young.ID {
		t.Errorf("delivered %v, want %s", got, young.ID)
	}
	if n, err := q.Expire(t.Context(), "box", age); n != 0 || err != nil && !errors.Is(err, pipeline.ErrNotFound) {
		t.Errorf("a second time: %d, %v", n, err)
	}
}

// TestWorkersThatWereWithoutTheQueueComeBack: nobody could be heard for a while. Whoever gets through first must not take
// the others for dead, and those that wait for a place must hear that there is one.
func TestWorkersThatWereWithoutTheQueueComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(&Queue{cfg: Config{URL: "nats://127.0.0.1"}})
		b.loaded = true
		b.heard(time.Now())
		b.workers[b.id], b.workers["0"] = time.Now(), time.Now() // as the watch does
		time.Sleep(joinFor)
		if i, n := b.Place(); i != 1 || n != 2 {
			t.Fatalf("place %d of %d", i, n)
		}
		time.Sleep(liveFor)
		if _, n := b.Place(); n != 0 {
			t.Fatalf("a place of %d without the queue", n)
		}
		changed := b.Changed()
		if dead := b.heard(time.Now()); len(dead) > 0 {
			t.Errorf("dead are %v", dead)
		}
		if _, n := b.Place(); n != 0 {
			t.Error("it does not wait until the others know of it")
		}
		<-changed
		if i, n := b.Place(); i != 1 || n != 2 {
			t.Errorf("afterwards place %d of %d", i, n)
		}
		for range 5 { // one of them does not come back
			time.Sleep(beatEvery)
			b.workers[b.id] = time.Now()
			if dead := b.heard(time.Now()); len(dead) > 0 && (len(dead) != 1 || dead[0] != "0") {
				t.Errorf("dead are %v", dead)
			}
		}
		if i, n := b.Place(); i != 0 || n != 1 {
			t.Errorf("alone it has place %d of %d", i, n)
		}
	})
}

// TestABucketThatIsRemovedComesBack: somebody has removed what the workers share. Nothing that was paused goes on, and
// breakers, pauses and deliveries can be written down again.
func TestABucketThatIsRemovedComesBack(t *testing.T) {
	t.Parallel()
	srv := startExternal(t, t.TempDir(), -1)
	open := func() *Queue {
		return mustOpen(t, func(change ...func(*Config)) (*Queue, error) {
			return openWith(t, append([]func(*Config){func(c *Config) { c.URL, c.Durability = srv.ClientURL(), DurabilityFsync }}, change...))
		})
	}
	a, b := open(), open()
	since := time.Now().UTC()
	broken := pipeline.Breaker{Since: since, Probe: since.Add(time.Hour), Reason: "503"}
	if _, err := a.Board().SetBreaker(t.Context(), "box", pipeline.Breaker{}, broken); err != nil {
		t.Fatal(err)
	}
	if err := a.Board().PauseSink(t.Context(), "held", "by hand"); err != nil {
		t.Fatal(err)
	}
	paused := func(q *Queue) bool { return q.Board().State("held").Pause.Reason == "by hand" }
	eventually(t, "both know", func() bool { return paused(b) && b.Board().State("box").Breaker.Open() })
	if err := a.noteSink(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	l, err := a.current()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.js.DeleteKeyValue(t.Context(), stateBucket); err != nil {
		t.Fatal(err)
	}
	for _, q := range []*Queue{a, b} { // as workers do every few seconds
		q.Board().beat(t.Context())
		if !paused(q) {
			t.Error("the pause has ended")
		}
	}
	eventually(t, "a new bucket with the pause", func() bool {
		e, err := l.state.Get(t.Context(), keyPause+"held")
		return err == nil && len(e.Value()) > 0
	})
	eventually(t, "the new bucket is watched", func() bool {
		return a.Board().PauseSink(t.Context(), "other", "news") == nil && b.Board().State("other").Pause.Reason == "news"
	})
	if err := a.noteSink(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	if sinks, err := notedSinks(t.Context(), l); err != nil || len(sinks) != 1 {
		t.Errorf("noted are %v, %v", sinks, err)
	}
	eventually(t, "the breaker can be closed", func() bool {
		done, err := b.Board().SetBreaker(t.Context(), "box", b.Board().State("box").Breaker, pipeline.Breaker{})
		return done && err == nil && !b.Board().State("box").Breaker.Open()
	})
	if err := b.Board().ResumeSink(t.Context(), "held"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pause ends for both", func() bool { return !paused(a) && !paused(b) })
}
