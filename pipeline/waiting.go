package pipeline

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// waiting says what is to be done about a message's Wait: late means that its recipients are not ours any more, and
// patience, unless 0, that their sender waits, for that long at the most.
func (p *Processor) waiting(ctx context.Context, m *Message) (patience time.Duration, late bool) {
	if m.Wait == nil || p.front == nil {
		return 0, false
	}
	patience, waits := p.front.Waiting(ctx, m.Wait)
	switch {
	case waits && patience > 0:
		return patience, false
	case m.Wait.Defers:
		p.log.Warn("nobody waits any more for a message: its sender was told to come again, and it is dropped",
			"message", m.Envelope.ID, "recipients", len(m.Wait.Recipients))
		return 0, true
	}
	return 0, false
}

// all reports whether it holds all recipients of the message.
func (w *Wait) all(m *Message) bool {
	return !slices.ContainsFunc(m.Envelope.Recipients, func(r Recipient) bool { return !slices.Contains(w.Recipients, r.Address) })
}

// without leaves out recipients.
func (r Routing) without(gone func(Recipient) bool) Routing {
	of := func(t Target) bool { return gone(t.Recipient) }
	return Routing{
		Targets:  slices.DeleteFunc(slices.Clone(r.Targets), of),
		Dropped:  slices.DeleteFunc(slices.Clone(r.Dropped), of),
		Unrouted: slices.DeleteFunc(slices.Clone(r.Unrouted), gone),
	}
}

// answered is a message whose sender waits, on the way to its verdict.
type answered struct {
	p       *Processor
	m       *Message
	routing Routing
	held    []asked
	rest    []*Delivery
	// refused are the replies to recipients that are refused, by address.
	refused map[string]*SenderReply
}

// answer asks the endpoints that the sender waits for, tells the sender, and writes down everything else that the message
// is for, so that the sender hears 250 only of what is done or durable. A nil error means that the message may be settled.
//
// Where the sender of a message that nobody answers is told to come again, it hears the verdict last: until then a crash
// leaves a message that it sends again, and that nobody else delivers. Otherwise it hears it first: after a crash the
// message goes its ordinary way.
func (p *Processor) answer(ctx context.Context, plan *Plan, m *Message, routing Routing, ds []*Delivery, patience time.Duration) (string, error) {
	a := &answered{p: p, m: m, routing: routing}
	var hold []*Delivery
	for _, d := range ds {
		if d.Waits && !d.holdsOther(m.Wait) {
			hold = append(hold, d)
		} else {
			a.rest = append(a.rest, d)
		}
	}
	a.held = make([]asked, len(hold))
	var wg sync.WaitGroup
	for i, d := range hold {
		wg.Go(func() { a.held[i] = p.attempts.ask(ctx, plan, d, patience, m.Wait.Defers) })
	}
	wg.Wait()
	a.judge()

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if m.Wait.Defers {
		result, err := a.writeDown(ctx)
		if err != nil {
			return "", err
		}
		switch {
		case p.front.Tell(ctx, m.Wait, a.verdicts()) || len(a.refused) == len(m.Wait.Recipients):
		case len(a.refused) == 0:
			p.log.Warn("a message was taken when its sender waited no more: it is recognised when it comes again", "message", m.Envelope.ID)
			p.front.Remember(ctx, m.Wait, m.Envelope.ID)
		default: // to recognise it would be to accept it for all
			p.log.Warn("a message was taken for some of its recipients when its sender waited no more: they get it twice when it comes again",
				"message", m.Envelope.ID, "refused", len(a.refused))
		}
		return result, nil
	}
	if !p.front.Tell(ctx, m.Wait, a.verdicts()) {
		a.refused = nil // it was told that the message is accepted
	}
	return a.writeDown(ctx)
}

// holdsOther reports whether the delivery has a recipient that nobody waits for: then it is one like others.
func (d *Delivery) holdsOther(w *Wait) bool {
	return slices.ContainsFunc(d.Recipients, func(r Recipient) bool { return !slices.Contains(w.Recipients, r.Address) })
}

// judge finds out who is refused. One reply for all refuses all or none.
func (a *answered) judge() {
	a.refused = map[string]*SenderReply{}
	for i := range a.held {
		for _, r := range a.held[i].delivery.Recipients {
			if reply := a.held[i].reply; reply != nil {
				a.refused[r.Address] = reply
			}
		}
	}
	if a.m.Wait.Together && len(a.refused) < len(a.m.Wait.Recipients) {
		a.refused = nil
	}
}

// verdicts are what the front end is told.
func (a *answered) verdicts() []Verdict {
	w := a.m.Wait
	if w.Together {
		if len(a.refused) == 0 {
			return []Verdict{{}}
		}
		for i := range a.held { // for good only when all are
			if reply := a.held[i].reply; reply.Code/100 == 4 {
				return []Verdict{{Reply: reply}}
			}
		}
		return []Verdict{{Reply: a.held[0].reply}}
	}
	var vs []Verdict
	at := map[*SenderReply]int{}
	for i, address := range w.Recipients {
		reply := a.refused[address]
		n, there := at[reply]
		if !there {
			n = len(vs)
			at[reply] = n
			vs = append(vs, Verdict{Reply: reply})
		}
		vs[n].For = append(vs[n].For, i)
	}
	return vs
}

// writeDown makes durable what is to be delivered yet, and tells what became of the deliveries that were asked for.
func (a *answered) writeDown(ctx context.Context) (string, error) {
	refused := func(r Recipient) bool { return a.refused[r.Address] != nil }
	var ds []*Delivery
	var verdicts []error
	code := 0
	for i := range a.held {
		r := &a.held[i]
		switch {
		case slices.ContainsFunc(r.delivery.Recipients, refused): // one reply is for all of its recipients
			a.p.attempts.refused(r)
			code = max(code, r.reply.Code)
			continue
		case r.made:
			verdicts = append(verdicts, a.p.attempts.conclude(r.out, r.delivery, r.attempt))
		default:
			verdicts = append(verdicts, r.why)
		}
		ds = append(ds, r.delivery)
	}
	for _, d := range a.rest {
		if d.Recipients = slices.DeleteFunc(slices.Clone(d.Recipients), refused); len(d.Recipients) > 0 {
			ds, verdicts = append(ds, d), append(verdicts, errNoSlot)
		}
	}
	result, err := a.p.settle(ctx, ds, verdicts)
	if err != nil {
		return "", fmt.Errorf("settle deliveries of %s: %w", a.m.Envelope.ID, err)
	}
	if unrouted := a.routing.Unrouted; len(unrouted) > 0 {
		if err := a.p.buryUnrouted(ctx, a.m, unrouted); err != nil {
			return "", err
		}
		result = "dead"
	}
	if len(ds) == 0 && code > 0 {
		result = map[bool]string{true: "refused", false: "deferred"}[code >= 500]
	}
	return result, nil
}
