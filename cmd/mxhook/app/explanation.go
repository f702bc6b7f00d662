package app

import (
	"context"
	"encoding/json"
	"log/slog"

	"mxhook/pipeline"
	"mxhook/rules"
)

// exampleID stands for the id of a message that has none.
const exampleID = "01EXAMPLE0MESSAGE0ID000000"

// explain says where a message goes by this generation and why, and the deliveries that result.
func (g *generation) explain(m *pipeline.Message) rules.Explanation {
	e := g.table.Explain(m)
	routing, _ := g.table.Route(m)
	if m.Envelope.ID == "" {
		named := *m
		named.Envelope.ID = exampleID
		m = &named
	}
	options := map[string][]pipeline.TemplateOption{}
	for _, out := range g.outlets {
		options[out.Name] = pipeline.TemplatesOf(out.Sink)
	}
	for _, d := range g.plan.Deliveries(m, routing, m.Envelope.ReceivedAt) {
		x := rules.DeliveryExplanation{
			Sink: d.Sink, Recipients: []string{}, Rules: d.Rules, Tags: append([]string{}, d.Tags...), Options: []rules.OptionExplanation{},
		}
		for _, r := range d.Recipients {
			x.Recipients = append(x.Recipients, r.Address)
		}
		for _, o := range options[d.Sink] {
			x.Options = append(x.Options, rules.OptionExplanation{Option: o.Option, Value: o.Template.Show(d)})
		}
		e.Deliveries = append(e.Deliveries, x)
	}
	return e
}

// told is the router of a generation that tells, at the level debug, why each message goes where it goes.
type told struct {
	g   *generation
	log *slog.Logger
}

// Route implements pipeline.Router.
func (t told) Route(m *pipeline.Message) (pipeline.Routing, []pipeline.Problem) {
	if t.log.Enabled(context.Background(), slog.LevelDebug) {
		if e, err := json.Marshal(t.g.explain(m)); err == nil { // what it is made of does not fail
			t.log.Debug("why it goes there", "message", m.Envelope.ID, "generation", t.g.number, "explanation", json.RawMessage(e))
		}
	}
	return t.g.table.Route(m)
}
