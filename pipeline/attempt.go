package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Attempts makes attempts at deliveries through the configured outlets, and decides what becomes of a failure.
// The processor and the couriers share one, so that a sink's limits bound first attempts and later ones together. Safe
// for concurrent use.
type Attempts struct {
	plan    func() *Plan
	board   Board
	memory  int64
	now     func() time.Time
	random  func() float64
	events  Events
	log     *slog.Logger
	metrics attemptMetrics
	record  func(*KeptDelivery)
	// succeeded are deliveries that need no attempt any more.
	succeeded succeeded

	mu    sync.Mutex
	gates map[string]*gate // by sink; those of sinks that were removed stay
}

// AttemptsOptions are the inputs of NewAttempts. Now and Random may be nil: the real clock, the real dice.
type AttemptsOptions struct {
	// Plan returns the plan in force; nil: one of Outlets, for good.
	Plan    func() *Plan
	Outlets []Outlet
	// Board is shared with the other workers; nil: there are none.
	Board Board
	// Memory is what the messages of all sinks may take, in octets; each sink may hold its share of it. 0 is no bound.
	Memory     int64
	Now        func() time.Time
	Random     func() float64
	Events     Events // nil: nobody wants to know
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Record is told of every success, and of what was refused to a sender who waited, and must not wait; nil: nobody is.
	// The delivery is only read.
	Record func(*KeptDelivery)
}

// NewAttempts returns attempts over the outlets of o.
func NewAttempts(o AttemptsOptions) *Attempts {
	a := &Attempts{
		plan: o.Plan, board: o.Board, memory: o.Memory, now: o.Now, random: o.Random, events: o.Events, log: o.Log,
		record: o.Record, gates: map[string]*gate{},
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.random == nil {
		a.random = rand.Float64
	}
	if a.events == nil {
		a.events = NoEvents{}
	}
	if a.board == nil {
		a.board = newLocalBoard()
	}
	if a.plan == nil {
		plan := NewPlan(PlanOptions{Outlets: o.Outlets})
		a.plan = func() *Plan { return plan }
	}
	a.metrics = newAttemptMetrics(o.Registerer, a)
	return a
}

// gate returns the one gate of a sink.
func (a *Attempts) gate(sink string) *gate {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, ok := a.gates[sink]
	if !ok {
		g = newGate(sink, a.board, a.now, a.memoryShare)
		a.gates[sink] = g
	}
	return g
}

// memoryShare is what one sink may hold: so much that all of them together leave one share to the rest.
func (a *Attempts) memoryShare() int64 {
	if a.memory == 0 {
		return math.MaxInt64
	}
	return a.memory / int64(len(a.plan().outlets)+1)
}

// Reloaded tells those who wait that there is another plan.
func (a *Attempts) Reloaded() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.gates {
		g.mu.Lock()
		g.wake()
		g.mu.Unlock()
	}
}

// tryNow makes the attempt by the plan if the sink takes one now, without waiting. The returned error is nil, Permanent,
// Later, errNoSink, or one that NotNow knows.
func (a *Attempts) tryNow(ctx context.Context, plan *Plan, d *Delivery) error {
	if a.done(d) {
		return nil
	}
	o, ok := plan.outlets[d.Sink]
	if !ok {
		return errNoSink
	}
	out := o.Outlet
	t, err := a.gate(d.Sink).try(ctx, out, d.Message.Envelope.Size)
	if err != nil {
		var why *notNow
		if errors.As(err, &why) {
			a.metrics.deferred.WithLabelValues(d.Sink, why.label).Inc()
		}
		return err
	}
	defer t.Release()
	return a.make(ctx, out, t, d)
}

// done reports whether a delivery has succeeded in this process: what comes then is a copy that was left of it.
func (a *Attempts) done(d *Delivery) bool {
	if !a.succeeded.has(d) {
		return false
	}
	a.log.Info("delivery not attempted again: it has succeeded", "message", d.Message.Envelope.ID, "delivery", d.ID, "sink", d.Sink)
	return true
}

// make makes one attempt and judges it: nil, Permanent (dead letter), Later (due again), or the context's error when
// we were interrupted, which does not count as an attempt (Later, when some recipients had it by then). After a failure d carries the history and the next number.
func (a *Attempts) make(ctx context.Context, out Outlet, t *Turn, d *Delivery) error {
	r := a.perform(ctx, out, t, d)
	if r.interrupted {
		return r.err
	}
	return a.conclude(out, d, r)
}

// attempt is an attempt that was made.
type attempt struct {
	resp  Response
	err   error
	start time.Time
	took  time.Duration
	// interrupted: our context ended it, and it does not count.
	interrupted bool
}

// perform makes an attempt and accounts for it at the gate.
func (a *Attempts) perform(ctx context.Context, out Outlet, t *Turn, d *Delivery) attempt {
	r := attempt{start: a.now()}
	r.resp, r.err = deliver(ctx, out, d)
	r.took = a.now().Sub(r.start)
	some := false // of its recipients have it
	if rcpts, ok := UndeliveredTo(r.err); ok && len(rcpts) > 0 {
		some = len(rcpts) < len(d.Recipients)
		d.Recipients = rcpts
	}
	if r.err != nil && ctx.Err() != nil {
		a.tell(d, t.gate.account(t, out, d, nil, true))
		r.err, r.interrupted = ctx.Err(), true
		if some { // the next attempt must know who has it
			r.err = Later(ctx.Err(), a.now())
		}
		return r
	}
	endpoint := r.err
	if some || d.Waits && refuses(r.resp.Reply) { // it works, and what it has against the others, or the mail, is theirs
		endpoint = nil
	}
	a.tell(d, t.gate.account(t, out, d, endpoint, false))
	if Disables(r.err) {
		a.pause(ctx, d, r.err)
	}
	return r
}

// conclude judges an attempt, and tells of it.
func (a *Attempts) conclude(out Outlet, d *Delivery, r attempt) error {
	verdict := a.judge(out, d, r.resp, r.err, r.start, r.took)
	a.report(d, r.resp, r.err, verdict, r.took)
	if r.err == nil {
		a.succeeded.add(d)
		a.keep(&KeptDelivery{Delivery: d, State: StateDelivered, Status: r.resp.Status, Took: r.took})
	} else {
		d.Attempt++
	}
	return verdict
}

// keep records what has become of a delivery, where somebody wants to know.
func (a *Attempts) keep(k *KeptDelivery) {
	if a.record != nil {
		k.At = a.now().UTC()
		a.record(k)
	}
}

// pauseTimeout bounds how long it may take to write down that a sink is paused.
const pauseTimeout = 10 * time.Second

// pause stops the sink of a delivery whose failure asks for that; others may have been faster.
func (a *Attempts) pause(ctx context.Context, d *Delivery, why error) {
	if !a.board.State(d.Sink).Pause.Since.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pauseTimeout)
	defer cancel()
	if err := a.board.PauseSink(ctx, d.Sink, why.Error()); err != nil {
		a.log.Error("sink should be paused and is not", "sink", d.Sink, "error", err)
		return // the next attempt that fails so tries again
	}
	a.log.Error("sink paused by its endpoint's answer: deliveries wait until it is resumed", "sink", d.Sink, "reason", why.Error())
	a.events.Emit(Event{Kind: EventSinkPaused, Sink: d.Sink, Message: d.Message.Envelope.ID, Reason: why.Error(), At: a.now()})
}

// tell says what an attempt did to the breaker of its sink.
func (a *Attempts) tell(d *Delivery, c change) {
	emit := func(kind EventKind, reason string) {
		a.events.Emit(Event{Kind: kind, Sink: d.Sink, Message: d.Message.Envelope.ID, Reason: reason, At: a.now()})
	}
	if c.err != nil {
		a.log.Warn("circuit breaker", "sink", d.Sink, "error", c.err)
	}
	if c.first {
		emit(EventSinkFailing, c.reason)
	}
	switch {
	case c.opened:
		a.log.Error("circuit breaker open: deliveries wait, one probe at a time goes through", "sink", d.Sink,
			"reason", c.reason, "probe", c.probe.Format(time.RFC3339))
		emit(EventBreakerOpen, c.reason)
	case c.closed:
		a.log.Info("circuit breaker closed: what waits goes on", "sink", d.Sink, "open_for", c.openFor)
		emit(EventBreakerClosed, "")
	}
}

// deliver runs the sink within its timeout. A panic of a sink is a transient failure, not the end of the process.
func deliver(ctx context.Context, out Outlet, d *Delivery) (resp Response, err error) {
	if out.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, out.Timeout)
		defer cancel()
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sink %s panicked: %v", out.Name, p)
		}
	}()
	return out.Sink.Deliver(ctx, d)
}

// judge turns the sink's error into what happens next, and writes the attempt into the history.
func (a *Attempts) judge(out Outlet, d *Delivery, resp Response, err error, start time.Time, took time.Duration) error {
	if err == nil {
		return nil
	}
	shorten(d)
	record := AttemptRecord{
		Attempt: d.Attempt, At: start.UTC(), Took: took, Status: resp.Status, Reason: err.Error(), Answer: resp.Detail,
	}
	if resp.Timings != (Timings{}) {
		record.Timings = &resp.Timings
	}
	d.History = append(d.History, record)
	if extra := len(d.History) - MaxHistory; extra > 0 {
		d.History = append([]AttemptRecord(nil), d.History[extra:]...)
	}
	if IsPermanent(err) {
		return err
	}
	asked, _ := AskedDelay(err)
	at := a.now().Add(out.Schedule.Delay(d.Attempt, asked, a.random()))
	if at.After(d.First.Add(out.Schedule.MaxAge)) {
		return Permanent(fmt.Errorf("given up after %d attempts: the next one would be later than max_age %v allows; last: %w",
			d.Attempt, out.Schedule.MaxAge, err))
	}
	return Later(err, at)
}

// shorten cuts the answers of the attempts that were made before.
func shorten(d *Delivery) {
	for i := range d.History {
		if answer := d.History[i].Answer; len(answer) > MaxOldAnswer {
			d.History[i].Answer = strings.ToValidUTF8(answer[:MaxOldAnswer], "")
		}
	}
}

func (a *Attempts) report(d *Delivery, resp Response, err, verdict error, took time.Duration) {
	attrs := []any{
		"message", d.Message.Envelope.ID, "delivery", d.ID, "sink", d.Sink, "attempt", d.Attempt,
		"status", resp.Status, "took", took,
	}
	result := "delivered"
	switch at, later := DueAt(verdict); {
	case err == nil:
		a.log.Info("delivered", attrs...)
	case later:
		result = "later"
		a.log.Warn("attempt failed", append(attrs, "reason", err.Error(), "next", at.UTC().Format(time.RFC3339))...)
	default:
		result = "dead"
		a.log.Error("delivery given up", append(attrs, "reason", verdict.Error())...)
	}
	a.metrics.attempts.WithLabelValues(d.Sink, result).Inc()
	a.metrics.seconds.WithLabelValues(d.Sink).Observe(took.Seconds())
}

type attemptMetrics struct {
	attempts *prometheus.CounterVec
	deferred *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newAttemptMetrics(r prometheus.Registerer, a *Attempts) attemptMetrics {
	m := attemptMetrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_attempts_total", Help: "Delivery attempts by sink and what became of them: delivered, later, dead, refused (to a sender who waited, for good or for now).",
		}, []string{"sink", "result"}),
		deferred: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_first_attempts_deferred_total",
			Help: "First attempts not made at once, by sink and reason: slots, memory, rate, paused, breaker, share (other workers have all slots).",
		}, []string{"sink", "reason"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mxhook_attempt_seconds", Help: "Time that one delivery attempt took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"sink"}),
	}
	if r != nil {
		r.MustRegister(m.attempts, m.deferred, m.seconds, newSinkCollector(a))
	}
	return m
}
