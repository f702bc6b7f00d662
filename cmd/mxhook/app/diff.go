package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"mxhook/configs"
	"mxhook/ingest"
	"mxhook/pipeline"
	"mxhook/rules"
)

// Diff compares what two configurations make of mails. Nothing is delivered.
type Diff struct{ was, will *Trial }

// NewDiff returns the comparison. Both ask the DNS servers of the first, so that an answer does not make a difference.
func NewDiff(was, will *configs.Config, log *slog.Logger) (*Diff, error) {
	resolver, err := newResolver(was, log, nil)
	if err != nil {
		return nil, err
	}
	d := &Diff{}
	if d.was, err = NewTrial(was, resolver, log); err != nil {
		return nil, fmt.Errorf("the old configuration: %w", err)
	}
	if d.will, err = NewTrial(will, resolver, log); err != nil {
		return nil, fmt.Errorf("the new configuration: %w", err)
	}
	return d, nil
}

// Change is a recipient of a mail that the two configurations treat differently.
type Change struct {
	Recipient string `json:"recipient"`
	Was       string `json:"was"`
	Will      string `json:"will"`
}

// Mail returns what would change for a mail that was received with that envelope.
func (d *Diff) Mail(ctx context.Context, mail TrialMail, id string) ([]Change, error) {
	was, err := d.was.ways(ctx, mail, id)
	if err != nil {
		return nil, err
	}
	will, err := d.will.ways(ctx, mail, id)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for i, r := range mail.Recipients {
		if was[i] != will[i] {
			changes = append(changes, Change{r, was[i], will[i]})
		}
	}
	return changes, nil
}

// ways says of each recipient by itself what becomes of it, in one line.
func (t *Trial) ways(ctx context.Context, mail TrialMail, id string) ([]string, error) {
	env, err := t.envelope(mail)
	if err != nil {
		return nil, err
	}
	env.ID = id
	m := t.message(env, mail)
	if err := t.stages.Run(ctx, m); err != nil {
		return nil, err
	}
	ways := make([]string, len(mail.Recipients))
	var taken []int
	for i, r := range mail.Recipients {
		addr, err := ingest.ParseAddress(r)
		if err != nil {
			return nil, fmt.Errorf("recipient %q: %w", r, err)
		}
		rcpt, _, err := t.generation.accepts(ctx, &env, addr, t.log)
		switch {
		case err != nil:
			ways[i] = "refused: " + err.Error()
			continue
		case t.generation.refuses(rcpt):
			if reply := dmarcReply(m.Auth); reply != nil {
				ways[i] = "refused: " + reply.Error()
				continue
			}
		}
		m.Envelope.Recipients = append(m.Envelope.Recipients, rcpt)
		taken = append(taken, i)
	}
	// Conditions see all recipients, so that they are routed together.
	routing, _ := t.generation.table.Route(m)
	for n, i := range taken {
		ways[i] = t.generation.way(m, routing, &m.Envelope.Recipients[n])
	}
	return ways, nil
}

// way says where one recipient of a routed message goes.
func (g *generation) way(m *pipeline.Message, routing pipeline.Routing, rcpt *pipeline.Recipient) string {
	of := func(t pipeline.Target) bool { return t.Recipient.Address == rcpt.Address }
	if i := slices.IndexFunc(routing.Dropped, of); i >= 0 {
		return "dropped by rule " + routing.Dropped[i].Rule
	}
	alone := pipeline.Routing{}
	var tags []string
	for _, t := range routing.Targets {
		if of(t) {
			alone.Targets = append(alone.Targets, t)
			tags = t.Tags
		}
	}
	if len(alone.Targets) == 0 {
		return "dead letter: no rule sends it anywhere"
	}
	var parts []string
	named := *m
	named.Envelope.ID = exampleID // so that ids make no difference between messages
	for _, d := range g.describe(&named, alone) {
		part := d.Sink
		for _, o := range d.Options {
			part += fmt.Sprintf(" (%s %s)", o.Option, o.Value)
		}
		parts = append(parts, part)
	}
	slices.Sort(parts)
	text := strings.Join(parts, ", ")
	if len(tags) > 0 {
		text += " tagged " + strings.Join(slices.Sorted(slices.Values(tags)), ", ")
	}
	return text
}

// describe lists the deliveries that a routing results in.
func (g *generation) describe(m *pipeline.Message, routing pipeline.Routing) []rules.DeliveryExplanation {
	options := map[string][]pipeline.TemplateOption{}
	for _, out := range g.outlets {
		options[out.Name] = pipeline.TemplatesOf(out.Sink)
	}
	list := []rules.DeliveryExplanation{}
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
		list = append(list, x)
	}
	return list
}
