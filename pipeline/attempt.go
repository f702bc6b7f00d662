package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Attempts makes attempts at deliveries through the configured outlets, and decides what becomes of a failure.
// The processor and the deliverer share one, so that a sink's slots bound both together. Safe for concurrent use.
type Attempts struct {
	plan    func() *Plan
	now     func() time.Time
	random  func() float64
	log     *slog.Logger
	metrics attemptMetrics
	record  func(*KeptDelivery)
}

// AttemptsOptions are the inputs of NewAttempts. Now and Random may be nil: the real clock, the real dice.
type AttemptsOptions struct {
	// Plan returns the plan in force; nil: one of Outlets, for good.
	Plan       func() *Plan
	Outlets    []Outlet
	Now        func() time.Time
	Random     func() float64
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Record is told of every success and must not wait; nil: nobody is. The delivery is only read.
	Record func(*KeptDelivery)
}

// NewAttempts returns attempts over the outlets of o.
func NewAttempts(o AttemptsOptions) *Attempts {
	a := &Attempts{
		plan:    o.Plan,
		now:     o.Now,
		random:  o.Random,
		log:     o.Log,
		metrics: newAttemptMetrics(o.Registerer),
		record:  o.Record,
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.random == nil {
		a.random = rand.Float64
	}
	if a.plan == nil {
		plan := NewPlan(PlanOptions{Outlets: o.Outlets})
		a.plan = func() *Plan { return plan }
	}
	return a
}

// errNoSlot and errNoSink say why a first attempt was not made; the delivery waits in the queue.
var (
	errNoSlot = errors.New("all slots of the sink are taken")
	errNoSink = errors.New("the sink is not configured")
)

// tryNow makes the attempt by the plan if the sink has a free slot, without waiting for one. The returned error is nil, Permanent,
// Later, errNoSlot or errNoSink.
func (a *Attempts) tryNow(ctx context.Context, plan *Plan, d *Delivery) error {
	out, ok := plan.outlets[d.Sink]
	if !ok {
		return errNoSink
	}
	select {
	case out.slots <- struct{}{}:
	default:
		a.metrics.noSlot.WithLabelValues(d.Sink).Inc()
		return errNoSlot
	}
	defer func() { <-out.slots }()
	return a.make(ctx, out, d)
}

// wait makes the attempt by the plan in force as soon as the sink has a free slot.
// A sink that this plan does not have is looked for in before, which may be nil.
func (a *Attempts) wait(ctx context.Context, before *Plan, d *Delivery) error {
	out := a.outletOf(before, d.Sink)
	if out == nil {
		return errNoSink
	}
	select {
	case out.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-out.slots }()
	return a.make(ctx, out, d)
}

// outletOf returns the sink's outlet by the plan in force, or by before, which may be nil; nil when there is none.
func (a *Attempts) outletOf(before *Plan, sink string) *outlet {
	if out, ok := a.plan().outlets[sink]; ok {
		return out
	}
	if before != nil {
		return before.outlets[sink]
	}
	return nil
}

// make makes one attempt and judges it: nil, Permanent (dead letter), Later (due again), or the context's error when
// we were interrupted, which does not count as an attempt. After a failure d carries the history and the next number.
func (a *Attempts) make(ctx context.Context, out *outlet, d *Delivery) error {
	start := a.now()
	resp, err := deliver(ctx, out, d)
	took := a.now().Sub(start)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	verdict := a.judge(out, d, resp, err, start, took)
	a.report(d, resp, err, verdict, took)
	if err == nil && a.record != nil {
		a.record(&KeptDelivery{Delivery: d, State: StateDelivered, At: a.now().UTC(), Status: resp.Status, Took: took})
	}
	if err != nil {
		d.Attempt++
	}
	return verdict
}

// deliver runs the sink within its timeout. A panic of a sink is a transient failure, not the end of the process.
func deliver(ctx context.Context, out *outlet, d *Delivery) (resp Response, err error) {
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
func (a *Attempts) judge(out *outlet, d *Delivery, resp Response, err error, start time.Time, took time.Duration) error {
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
	noSlot   *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newAttemptMetrics(r prometheus.Registerer) attemptMetrics {
	m := attemptMetrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_attempts_total", Help: "Delivery attempts by sink and what became of them: delivered, later, dead.",
		}, []string{"sink", "result"}),
		noSlot: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_first_attempts_without_slot_total", Help: "First attempts not made because the sink's slots were taken.",
		}, []string{"sink"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mxhook_attempt_seconds", Help: "Time that one delivery attempt took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"sink"}),
	}
	if r != nil {
		r.MustRegister(m.attempts, m.noSlot, m.seconds)
	}
	return m
}
