package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Processor takes one spooled message through the stages, routes it and makes the first attempt at every delivery.
// What did not succeed at once is written down before the message is settled. Safe for concurrent use.
type Processor struct {
	stages   Stage
	router   Router
	attempts *Attempts
	outbox   Outbox
	front    Front // nil: nobody waits
	now      func() time.Time
	log      *slog.Logger
	messages *prometheus.CounterVec
	tagged   *prometheus.CounterVec
}

// ProcessorOptions are the inputs of NewProcessor. Now may be nil: the real clock; Front: no sender is kept waiting.
type ProcessorOptions struct {
	Stages Stage
	// Router may be nil: then it is that of the plan that Attempts goes by.
	Router     Router
	Attempts   *Attempts
	Outbox     Outbox
	Front      Front
	Now        func() time.Time
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// NewProcessor returns a processor.
func NewProcessor(o ProcessorOptions) *Processor {
	p := &Processor{
		stages: o.Stages, router: o.Router, attempts: o.Attempts, outbox: o.Outbox, front: o.Front, now: o.Now, log: o.Log,
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_messages_processed_total", Help: "Messages processed, by what became of their first attempts: delivered, waiting, dead, dropped; of senders who waited also refused, deferred, late.",
		}, []string{"result"}),
	}
	p.tagged = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mxhook_deliveries_tagged_total", Help: "Deliveries made, by each tag that the rules gave them.",
	}, []string{"tag"})
	if p.now == nil {
		p.now = time.Now
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(p.messages, p.tagged)
	}
	return p
}

// settleTimeout bounds how long it may take to write down what was not delivered. When it runs out the message is processed
// again, and the sinks that have taken it see it twice, under the same delivery id.
const settleTimeout = time.Minute

// Process handles one message. nil means that every delivery of it is done or durably written down, so that the message
// may be settled; an error means that it should be processed again, under the same delivery ids.
func (p *Processor) Process(ctx context.Context, m *Message) error {
	patience, late := p.waiting(ctx, m)
	if late && m.Wait.all(m) {
		p.messages.WithLabelValues("late").Inc()
		return nil
	}
	if err := p.stages.Run(ctx, m); err != nil {
		return fmt.Errorf("process %s: %w", m.Envelope.ID, err)
	}
	plan := p.attempts.plan()
	router := p.router
	if router == nil {
		router = plan.router
	}
	routing, problems := route(router, m)
	m.Problems = append(m.Problems, problems...)
	if late {
		routing = routing.without(func(r Recipient) bool { return slices.Contains(m.Wait.Recipients, r.Address) })
	}
	deliveries := plan.Deliveries(m, routing, p.now())
	p.logRouting(m, routing, deliveries, plan.generation)

	result, err := "", error(nil)
	if patience > 0 {
		result, err = p.answer(ctx, plan, m, routing, deliveries, patience)
	} else {
		result, err = p.deliver(ctx, plan, m, routing, deliveries)
	}
	if err != nil {
		return err
	}
	p.messages.WithLabelValues(result).Inc()
	for _, d := range deliveries {
		for _, tag := range d.Tags {
			p.tagged.WithLabelValues(tag).Inc()
		}
	}
	return nil
}

// deliver makes the first attempts and writes down what they left over.
func (p *Processor) deliver(ctx context.Context, plan *Plan, m *Message, routing Routing, deliveries []*Delivery) (string, error) {
	verdicts := p.firstAttempts(ctx, plan, deliveries)

	// From here on a shutdown must not interrupt: what was delivered is delivered, the rest has to be written down.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	result, err := p.settle(ctx, deliveries, verdicts)
	if err != nil {
		return "", fmt.Errorf("settle deliveries of %s: %w", m.Envelope.ID, err)
	}
	if len(routing.Unrouted) > 0 {
		if err := p.buryUnrouted(ctx, m, routing.Unrouted); err != nil {
			return "", err
		}
		result = "dead"
	}
	return result, nil
}

// RuleReplay stands for the rule of a message that a person replayed to a sink of their choice.
const RuleReplay = "replay"

// route asks the rules, unless a person has said where the message goes.
func route(router Router, m *Message) (Routing, []Problem) {
	if m.Envelope.ReplayTo == "" {
		return router.Route(m)
	}
	var r Routing
	for _, rcpt := range m.Envelope.Recipients {
		r.Targets = append(r.Targets, Target{Recipient: rcpt, Sink: m.Envelope.ReplayTo, Rule: RuleReplay})
	}
	return r, nil
}

// firstAttempts tries all deliveries side by side and waits for them; each is bounded by its sink's timeout.
func (p *Processor) firstAttempts(ctx context.Context, plan *Plan, ds []*Delivery) []error {
	verdicts := make([]error, len(ds))
	if len(ds) == 1 {
		verdicts[0] = p.attempts.tryNow(ctx, plan, ds[0])
		return verdicts
	}
	var wg sync.WaitGroup
	for i, d := range ds {
		wg.Go(func() { verdicts[i] = p.attempts.tryNow(ctx, plan, d) })
	}
	wg.Wait()
	return verdicts
}

// settle writes down what was not delivered, and says what became of the message as a whole. Dead letters come last: if
// something before them fails, the message is processed again, and what would then succeed must not be among the dead.
func (p *Processor) settle(ctx context.Context, ds []*Delivery, verdicts []error) (string, error) {
	var waiting []Deferred
	var dead []int
	for i, err := range verdicts {
		switch {
		case err == nil:
		case IsPermanent(err):
			dead = append(dead, i)
		default:
			// Later has a time; a full or missing sink and a shutdown leave the delivery due now, its attempt not counted.
			at, _ := DueAt(err)
			waiting = append(waiting, Deferred{Delivery: ds[i], NotBefore: at})
		}
	}
	if len(waiting) > 0 {
		if err := p.outbox.Enqueue(ctx, waiting); err != nil {
			return "", err
		}
	}
	for _, i := range dead {
		if err := p.outbox.Bury(ctx, ds[i], verdicts[i].Error()); err != nil {
			return "", err
		}
	}
	switch {
	case len(dead) > 0:
		return "dead", nil
	case len(waiting) > 0:
		return "waiting", nil
	case len(ds) == 0:
		return "dropped", nil
	}
	return "delivered", nil
}

func (p *Processor) buryUnrouted(ctx context.Context, m *Message, rcpts []Recipient) error {
	d := &Delivery{
		ID: DeliveryID(m.Envelope.ID, UnroutedID), Recipients: rcpts, Message: m, Attempt: 1, First: p.now().UTC(),
	}
	if err := p.outbox.Bury(ctx, d, ReasonUnrouted); err != nil {
		return fmt.Errorf("bury unrouted recipients of %s: %w", m.Envelope.ID, err)
	}
	return nil
}

func (p *Processor) logRouting(m *Message, r Routing, ds []*Delivery, generation int) {
	sinks := make([]string, len(ds))
	for i, d := range ds {
		sinks[i] = d.Sink
	}
	attrs := []any{"message", m.Envelope.ID, "recipients", len(m.Envelope.Recipients), "sinks", sinks}
	if generation > 0 {
		attrs = append(attrs, "generation", generation)
	}
	if m.Auth != nil {
		attrs = append(attrs, "spf", m.Auth.SPF.Result, "dmarc", m.Auth.DMARC.Result, "sender_verified", m.Auth.Sender.Verified)
	}
	if len(r.Dropped) > 0 {
		attrs = append(attrs, "dropped", len(r.Dropped))
	}
	if len(r.Unrouted) > 0 {
		p.log.Warn("no rule matched some recipients", append(attrs, "unrouted", len(r.Unrouted))...)
		return
	}
	p.log.Info("routed", attrs...)
}
