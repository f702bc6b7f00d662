package pipeline

import (
	"slices"
	"time"
)

// Plan is how messages are routed and delivered, by one generation of the configuration. It does not change: a message
// is routed and first attempted by the plan that was in force when its processing began, whatever comes into force
// meanwhile. Safe for concurrent use.
type Plan struct {
	generation int
	router     Router
	outlets    map[string]outlet
}

// PlanOptions are the inputs of NewPlan.
type PlanOptions struct {
	// Generation is in the log of every message; 0 is left out of it.
	Generation int
	Router     Router
	// Outlets must differ in their names.
	Outlets []Outlet
}

// NewPlan makes a plan.
func NewPlan(o PlanOptions) *Plan {
	p := &Plan{generation: o.Generation, router: o.Router, outlets: make(map[string]outlet, len(o.Outlets))}
	for _, out := range o.Outlets {
		p.outlets[out.Name] = outlet{out, newSplitter(out.Sink)}
	}
	return p
}

// outlet is an Outlet with what takes its deliveries apart.
type outlet struct {
	Outlet
	splitter *splitter
}

// splitter is that of a sink; nil when the plan does not have it.
func (p *Plan) splitter(sink string) *splitter {
	if out, ok := p.outlets[sink]; ok {
		return out.splitter
	}
	return nil
}

// Deliveries makes the deliveries that a routing of the message results in, in the order in which the rules named the
// sinks: one for each sink, carrying only its recipients, or several where the sink's templates keep recipients apart.
func (p *Plan) Deliveries(m *Message, routing Routing, now time.Time) []*Delivery {
	type place struct {
		sink, key string
		waits     bool
	}
	var ds []*Delivery
	made := map[place]*Delivery{}
	keys := map[[2]string]string{} // by sink and recipient, where there are templates
	waits, others := waitingTargets(routing.Targets)
	for _, t := range routing.Targets {
		to := place{sink: t.Sink, waits: waits[[2]string{t.Sink, t.Recipient.Address}]}
		if s := p.splitter(t.Sink); s != nil {
			who := [2]string{t.Sink, t.Recipient.Address}
			key, known := keys[who]
			if !known {
				key = s.key(&Delivery{Sink: t.Sink, Rules: []string{t.Rule}, Recipients: []Recipient{t.Recipient}, Message: m})
				keys[who] = key
			}
			to.key = key
		}
		if to.waits && others[t.Sink] {
			to.key += "\x00waits" // another id than that of the recipients nobody waits for
		}
		d, ok := made[to]
		if !ok {
			d = &Delivery{ID: suffixed(DeliveryID(m.Envelope.ID, t.Sink), to.key), Sink: t.Sink, Message: m, Attempt: 1, First: now.UTC(), Waits: to.waits}
			if m.Envelope.ReplayOf != "" {
				d.ReplayOf = suffixed(DeliveryID(m.Envelope.ReplayOf, t.Sink), to.key)
			}
			made[to] = d
			ds = append(ds, d)
		}
		d.take(t)
	}
	return ds
}

// waitingTargets finds the recipients whose sender waits for a sink, by sink and address, and the sinks that have others
// besides.
func waitingTargets(targets []Target) (waits map[[2]string]bool, others map[string]bool) {
	waits, others = map[[2]string]bool{}, map[string]bool{}
	for i := range targets {
		if t := &targets[i]; t.Waits {
			waits[[2]string{t.Sink, t.Recipient.Address}] = true
		}
	}
	if len(waits) == 0 {
		return waits, others
	}
	for i := range targets {
		if t := &targets[i]; !waits[[2]string{t.Sink, t.Recipient.Address}] {
			others[t.Sink] = true
		}
	}
	return waits, others
}

// take adds what a target says, each thing once.
func (d *Delivery) take(t Target) {
	if !slices.Contains(d.Rules, t.Rule) {
		d.Rules = append(d.Rules, t.Rule)
	}
	for _, tag := range t.Tags {
		if !slices.Contains(d.Tags, tag) {
			d.Tags = append(d.Tags, tag)
		}
	}
	same := func(r Recipient) bool { return r.Address == t.Recipient.Address }
	if !slices.ContainsFunc(d.Recipients, same) {
		d.Recipients = append(d.Recipients, t.Recipient)
	}
}
