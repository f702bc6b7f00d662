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
	e.Deliveries = g.describe(m, routing)
	return e
}

// preview adds what the sinks would send to the deliveries of an explanation.
func (g *generation) preview(ctx context.Context, m *pipeline.Message, e *rules.Explanation) {
	routing, _ := g.table.Route(m)
	named := *m
	if named.Envelope.ID == "" {
		named.Envelope.ID = exampleID
	}
	for i, d := range g.plan.Deliveries(&named, routing, m.Envelope.ReceivedAt) {
		for _, out := range g.outlets {
			p, can := out.Sink.(pipeline.Previewer)
			if out.Name != d.Sink || !can || i >= len(e.Deliveries) {
				continue
			}
			d.Attempt = max(1, d.Attempt)
			body, err := p.Preview(ctx, d)
			if err != nil {
				e.Deliveries[i].ShapeError = err.Error()
			}
			e.Deliveries[i].Body = body
		}
	}
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

// explainer says by the generation where a kept message would go now, and why; nil without RoleProcess, which has the
// means to read mail.
func (a *App) explainer(g *generation) func(context.Context, *pipeline.Message) (any, error) {
	if a.work == nil {
		return nil
	}
	return func(ctx context.Context, m *pipeline.Message) (any, error) {
		if err := a.work.stages.Run(ctx, m); err != nil {
			return nil, err
		}
		e := g.explain(m)
		g.preview(ctx, m, &e)
		return e, nil
	}
}
