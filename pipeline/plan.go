package pipeline

// Plan is how messages are routed and delivered, by one generation of the configuration. It does not change: a message
// is routed and first attempted by the plan that was in force when its processing began, whatever comes into force
// meanwhile. Safe for concurrent use.
type Plan struct {
	generation int
	router     Router
	outlets    map[string]*outlet
}

// PlanOptions are the inputs of NewPlan.
type PlanOptions struct {
	// Generation is in the log of every message; 0 is left out of it.
	Generation int
	Router     Router
	// Outlets must differ in their names.
	Outlets []Outlet
	// Previous is the plan that this one follows; may be nil. An outlet of the same name and concurrency takes its slots
	// over, so that the bound holds for attempts of both plans together.
	Previous *Plan
}

// NewPlan makes a plan.
func NewPlan(o PlanOptions) *Plan {
	p := &Plan{generation: o.Generation, router: o.Router, outlets: make(map[string]*outlet, len(o.Outlets))}
	for _, out := range o.Outlets {
		p.outlets[out.Name] = newOutlet(out, o.Previous)
	}
	return p
}

// outlet is an Outlet with its slots: a send takes one, a receive gives it back.
type outlet struct {
	Outlet
	slots chan struct{}
}

func newOutlet(o Outlet, previous *Plan) *outlet {
	if previous != nil {
		if was, ok := previous.outlets[o.Name]; ok && cap(was.slots) == max(1, o.Concurrency) {
			return &outlet{Outlet: o, slots: was.slots}
		}
	}
	return &outlet{Outlet: o, slots: make(chan struct{}, max(1, o.Concurrency))}
}
