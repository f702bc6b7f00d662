package pipeline

import (
	"context"
	"errors"
	"sync"
	"time"
)

// notNow is why an attempt is not made now. The delivery waits in the queue, and nothing is counted against it.
type notNow struct {
	label string // in metrics
	text  string
}

func (n *notNow) Error() string { return n.text }

var (
	errNoSlot   = &notNow{"slots", "all slots of the sink are taken"}
	errNoMemory = &notNow{"memory", "the sink's messages have their share of the memory"}
	errPace     = &notNow{"rate", "the sink's rate is used up"}
	errPaused   = &notNow{"paused", "the sink is paused"}
	errOpen     = &notNow{"breaker", "the sink's circuit breaker is open"}
	errNoShare  = &notNow{"share", "other workers have all slots of the sink"}
)

// errNoSink says that there is no such sink in the plan.
var errNoSink = errors.New("the sink is not configured")

// NotNow reports whether an error says that no attempt was made because the sink takes none now, through no fault of the
// delivery: it goes back to the queue as it is.
func NotNow(err error) bool { return errors.As(err, new(*notNow)) }

// paceFor is how long a delivery that was fetched waits at the most for the sink's rate before it goes back.
const paceFor = 5 * time.Second

// gate decides when the attempts of one sink may start in this process: slots, memory, rate, pause and breaker. First
// attempts and those of deliveries that waited go through the same one.
type gate struct {
	sink   string
	board  Board
	now    func() time.Time
	memory func() int64 // octets of messages that its attempts may hold at once; one message always may

	// head is held by the one taker that is next, so that a large message is not overtaken for ever.
	head chan struct{}

	mu      sync.Mutex
	used    int
	octets  int64
	large   bool // the taker at the head waits for memory: no first attempt may overtake it
	window  window
	changed chan struct{}
	failed  map[string]struct{} // deliveries that failed since the last success
	asking  int                 // messages whose senders wait, and that wait for a turn
	// askingOctets are theirs.
	askingOctets int64
}

func newGate(sink string, board Board, now func() time.Time, memory func() int64) *gate {
	return &gate{
		sink: sink, board: board, now: now, memory: memory,
		head: make(chan struct{}, 1), changed: make(chan struct{}), failed: map[string]struct{}{},
	}
}

// Turn is the right to make one attempt. Its holder calls Release when the attempt is over; a second call does nothing.
type Turn struct {
	gate *gate
	size int64
	// lease is the breaker as this turn's holder has set it, when it is the probe; judged says that the attempt was made.
	lease  Breaker
	judged bool
	once   sync.Once
}

// Release gives the turn back. When it was to be the probe and no attempt was made, another worker may probe at once.
func (t *Turn) Release() {
	if t.gate == nil {
		return
	}
	t.once.Do(func() {
		g := t.gate
		if t.lease.Open() && !t.judged {
			g.account(t, Outlet{}, &Delivery{}, nil, true)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.used--
		g.octets -= t.size
		g.wake()
	})
}

// wake tells those who wait to look again. g.mu is held.
func (g *gate) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// look says how many attempts may start now. When none, err says why, and at, unless zero, when it is worth to look again
// even if nothing changes. g.mu is held.
func (g *gate) look(out Outlet) (n int, at time.Time, err error) {
	st := g.board.State(g.sink)
	i, workers := g.board.Place()
	slots := share(max(1, out.Concurrency), g.sink, i, workers)
	switch {
	case !st.Pause.Since.IsZero():
		return 0, time.Time{}, errPaused
	case st.Breaker.Open() && !g.probeDue(st.Breaker, out):
		return 0, st.Breaker.Probe, errOpen
	case slots == 0:
		return 0, time.Time{}, errNoShare
	case g.used >= slots:
		return 0, time.Time{}, errNoSlot
	}
	n = slots - g.used
	if out.Rate.Count > 0 {
		count := share(out.Rate.Count, g.sink, i, workers)
		if count == 0 {
			return 0, time.Time{}, errNoShare
		}
		free, next := g.window.free(g.now(), count, out.Rate.Per)
		if free == 0 {
			return 0, next, errPace
		}
		n = min(n, free)
	}
	if st.Breaker.Open() {
		n = 1
	}
	return n, time.Time{}, nil
}

// try takes a turn for a message of that size, or says why there is none now.
func (g *gate) try(ctx context.Context, out Outlet, size int64) (*Turn, error) {
	t, _, err := g.grab(out, size, false)
	if err != nil {
		return nil, err
	}
	return g.probe(ctx, out, t)
}

// grab is try without the probe's lease. What it returns are the reason and the time of look.
func (g *gate) grab(out Outlet, size int64, head bool) (*Turn, time.Time, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, at, err := g.look(out)
	if err != nil {
		return nil, at, err
	}
	full := g.octets > 0 && g.octets+size > g.memory()
	if head {
		g.large = full
	}
	if full || g.large {
		return nil, time.Time{}, errNoMemory
	}
	g.used++
	g.octets += size
	if out.Rate.Count > 0 {
		g.window.note(g.now())
	}
	return &Turn{gate: g, size: size}, time.Time{}, nil
}

// wait takes a turn as soon as there is one. It does not wait out a pause, an open breaker or a long lack of rate: then
// the delivery is better off in the queue.
func (g *gate) wait(ctx context.Context, out func() (Outlet, bool), size int64) (*Turn, error) {
	select {
	case g.head <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-g.head }()
	defer g.passed()
	for {
		o, ok := out()
		if !ok {
			return nil, errNoSink
		}
		again := g.news()
		t, at, err := g.grab(o, size, true)
		switch {
		case err == nil:
			return g.probe(ctx, o, t)
		case errors.Is(err, errNoSlot), errors.Is(err, errNoMemory):
		case errors.Is(err, errPace) && at.Sub(g.now()) <= paceFor:
		default:
			return nil, err
		}
		if err := g.sleep(ctx, again, at); err != nil {
			return nil, err
		}
	}
}

// passed lets first attempts through again.
func (g *gate) passed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.large = false
}

// ready waits until attempts may start, and returns how many.
func (g *gate) ready(ctx context.Context, out func() (Outlet, bool)) (int, error) {
	for {
		o, ok := out()
		if !ok {
			return 0, errNoSink
		}
		again := g.news()
		g.mu.Lock()
		n, at, err := g.look(o)
		g.mu.Unlock()
		if err == nil {
			return n, nil
		}
		if err := g.sleep(ctx, again, at); err != nil {
			return 0, err
		}
	}
}

// news are channels of which one is closed when something changes after the call.
type news struct{ gate, board <-chan struct{} }

func (g *gate) news() news {
	g.mu.Lock()
	defer g.mu.Unlock()
	return news{g.changed, g.board.Changed()}
}

// sleep waits for news, or for the time when that is not zero.
func (g *gate) sleep(ctx context.Context, again news, at time.Time) error {
	var alarm <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(at.Sub(g.now()))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-again.gate:
	case <-again.board:
	case <-alarm:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
