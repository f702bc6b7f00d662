package pipeline

import (
	"context"
	"fmt"
)

// Deliverer makes the later attempts.
type Deliverer struct {
	parse    Stage
	attempts *Attempts
	outbox   Outbox
}

// NewDeliverer returns a deliverer that reads messages again with the stage parse and shares attempts with the processor.
// The parts of deliveries that have to be taken apart go to outbox.
func NewDeliverer(parse Stage, attempts *Attempts, outbox Outbox) *Deliverer {
	return &Deliverer{parse, attempts, outbox}
}

// Courier makes the attempts at the deliveries of one sink that waited.
type Courier struct {
	deliverer *Deliverer
	gate      *gate
	before    *Plan
}

// Courier returns the courier of a sink. before is the plan that its loop was started under, which may be nil: what was
// taken before the sink was removed is still attempted.
func (v *Deliverer) Courier(sink string, before *Plan) *Courier {
	return &Courier{deliverer: v, gate: v.attempts.gate(sink), before: before}
}

// outlet returns the sink's outlet by the plan in force, or else by the one before.
func (c *Courier) outlet() (outlet, bool) {
	out, ok := c.deliverer.attempts.plan().outlets[c.gate.sink]
	if !ok && c.before != nil {
		out, ok = c.before.outlets[c.gate.sink]
	}
	return out, ok
}

func (c *Courier) limits() (Outlet, bool) {
	out, ok := c.outlet()
	return out.Outlet, ok
}

// Ready waits until attempts may start, and returns how many deliveries are worth fetching.
func (c *Courier) Ready(ctx context.Context) (int, error) { return c.gate.ready(ctx, c.limits) }

// Take takes a turn for a delivery whose message has that many octets, before they are read. An error that NotNow knows
// means that the delivery goes back as it is.
func (c *Courier) Take(ctx context.Context, size int64) (*Turn, error) {
	return c.gate.wait(ctx, c.limits, size)
}

// Deliver makes one attempt at a delivery that waited. nil means delivered, Permanent a dead letter, Later due again;
// anything else means that no attempt was made, and the delivery stays as it is. The turn stays the caller's.
func (c *Courier) Deliver(ctx context.Context, t *Turn, d *Delivery) error {
	if c.deliverer.attempts.done(d) {
		return nil
	}
	// The problems were found when the message was processed and came back with the delivery; finding them again
	// would list them twice.
	problems := d.Message.Problems
	if err := c.deliverer.parse.Run(ctx, d.Message); err != nil {
		return fmt.Errorf("read message of delivery %s: %w", d.ID, err)
	}
	d.Message.Problems = problems
	out, ok := c.outlet()
	if !ok {
		return fmt.Errorf("deliver %s: %w", d.ID, errNoSink)
	}
	if parts := out.splitter.split(d); len(parts) > 1 {
		return c.deliverer.takeApart(ctx, d, parts)
	}
	return c.deliverer.attempts.make(ctx, out.Outlet, t, d)
}

// takeApart writes down the parts of a delivery, which is done with that: nothing of it was attempted.
func (v *Deliverer) takeApart(ctx context.Context, d *Delivery, parts []*Delivery) error {
	waiting := make([]Deferred, len(parts))
	for i, part := range parts {
		waiting[i] = Deferred{Delivery: part}
	}
	if err := v.outbox.Enqueue(ctx, waiting); err != nil {
		return fmt.Errorf("take delivery %s apart: %w", d.ID, err)
	}
	v.attempts.log.Info("delivery taken apart, because its recipients go to different places",
		"message", d.Message.Envelope.ID, "delivery", d.ID, "sink", d.Sink, "parts", len(parts))
	return nil
}
