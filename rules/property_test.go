package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

// TestExplainAgreesWithRoute compares Route, Explain and an independent model of the rules' semantics on random small
// tables and messages.
func TestExplainAgreesWithRoute(t *testing.T) {
	t.Parallel()
	n := 0
	defer func() {
		if n < 500 && !t.Failed() {
			t.Errorf("only %d tables were compared", n)
		}
	}()
	for seed := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		rs, defaults, truth := randomRules(rnd)
		table, err := Compile(rs, Options{Defaults: defaults})
		if err != nil {
			if strings.Contains(err.Error(), "move this rule up") {
				continue
			}
			t.Fatalf("seed %d: %v", seed, err)
		}
		n++
		m := randomMessage(rnd)
		routing, problems := table.Route(m)
		if diff := cmp.Diff(model(rs, defaults, truth, m), routing); diff != "" {
			t.Fatalf("seed %d: model and Route (-model +route):\n%s\n%+v", seed, diff, rs)
		}
		e := table.Explain(m)
		if diff := cmp.Diff(flatten(m, routing), explained(e)); diff != "" {
			t.Fatalf("seed %d: Route and Explain (-route +explain):\n%s", seed, diff)
		}
		if diff := cmp.Diff(append([]pipeline.Problem{}, problems...), e.Problems); diff != "" {
			t.Fatalf("seed %d: problems (-route +explain):\n%s", seed, diff)
		}
		for _, r := range e.Recipients {
			for _, rule := range r.Rules {
				checkParts(t, seed, rule)
			}
		}
	}
}

// atom is a condition and what it means, said in Go.
type atom struct {
	when  string
	holds func(*pipeline.Recipient, *pipeline.Message) bool
}

func atoms() []atom {
	return []atom{
		{`recipient.domain == "a.example"`, func(r *pipeline.Recipient, _ *pipeline.Message) bool { return r.Domain == "a.example" }},
		{`recipient.local startsWith "x"`, func(r *pipeline.Recipient, _ *pipeline.Message) bool {
			return strings.HasPrefix(strings.ToLower(r.Local), "x")
		}},
		{`size > 5`, func(_ *pipeline.Recipient, m *pipeline.Message) bool { return m.Envelope.Size > 5 }},
		{`from contains "@"`, func(_ *pipeline.Recipient, m *pipeline.Message) bool { return len(m.Content.From) > 0 }},
		{`from[0].local == "f"`, func(_ *pipeline.Recipient, m *pipeline.Message) bool { return len(m.Content.From) > 0 }},
	}
}

func randomRules(rnd *rand.Rand) ([]Rule, []string, []func(*pipeline.Recipient, *pipeline.Message) bool) {
	as := atoms()
	var rs []Rule
	var truth []func(*pipeline.Recipient, *pipeline.Message) bool
	for i := range rnd.IntN(5) {
		r := Rule{Name: fmt.Sprint("r", i), To: []string{fmt.Sprint("s", rnd.IntN(3)), "t"}}
		a, b := as[rnd.IntN(len(as))], as[rnd.IntN(len(as)-1)]
		switch rnd.IntN(5) {
		case 0:
			truth = append(truth, func(*pipeline.Recipient, *pipeline.Message) bool { return true })
		case 1:
			r.When = a.when
			truth = append(truth, a.holds)
		case 2:
			r.When = a.when + " and not (" + b.when + ")"
			truth = append(truth, func(r *pipeline.Recipient, m *pipeline.Message) bool { return a.holds(r, m) && !b.holds(r, m) })
		case 3:
			r.When = b.when + " || " + b.when + " && " + a.when
			truth = append(truth, func(r *pipeline.Recipient, m *pipeline.Message) bool { return b.holds(r, m) })
		case 4:
			r.When = "!(" + b.when + ")"
			truth = append(truth, func(r *pipeline.Recipient, m *pipeline.Message) bool { return !b.holds(r, m) })
		}
		r.Stop = rnd.IntN(3) == 0
		switch rnd.IntN(8) {
		case 0:
			r.Drop, r.To = true, nil
		case 1:
			r.Discard, r.To, r.When = true, nil, as[0].when
			truth[i] = as[0].holds
		case 2:
			r.Copy, r.To = []string{"copy"}, nil
		case 3:
			r.Tags, r.To = []string{fmt.Sprint("tag", rnd.IntN(2))}, nil
		case 4:
			r.Reject, r.To, r.When = &Reply{550, "5.7.1", "no"}, nil, ""
		case 5:
			r.Copy, r.Tags = []string{"copy"}, []string{"both"}
		}
		if rnd.IntN(6) == 0 {
			r.Sample = 50
			seen := truth[i]
			truth[i] = func(rc *pipeline.Recipient, m *pipeline.Message) bool {
				return seen(rc, m) && sampled(m.Envelope.ID, r.Name, 50)
			}
		}
		rs = append(rs, r)
	}
	return rs, [][]string{nil, {"d"}, {"d", "s0"}}[rnd.IntN(3)], truth
}

func randomMessage(rnd *rand.Rand) *pipeline.Message {
	m := &pipeline.Message{Envelope: pipeline.Envelope{ID: fmt.Sprint(rnd.Uint64()), Size: int64(rnd.IntN(10))}, Content: &pipeline.Content{}}
	for i := range 1 + rnd.IntN(3) {
		local, domain := []string{"x1", "X2", "y"}[rnd.IntN(3)], []string{"a.example", "b.example"}[rnd.IntN(2)]
		m.Envelope.Recipients = append(m.Envelope.Recipients, pipeline.Recipient{Address: fmt.Sprint(local, i, "@", domain), Local: local, Domain: domain})
	}
	if rnd.IntN(2) == 0 {
		m.Content.From = []pipeline.Address{{Address: "f@example.org"}}
	}
	return m
}

// model is the contract of rules in its shortest form.
func model(rs []Rule, defaults []string, truth []func(*pipeline.Recipient, *pipeline.Message) bool, m *pipeline.Message) pipeline.Routing {
	var out pipeline.Routing
recipients:
	for _, rcpt := range m.Envelope.Recipients {
		any := false
		var tags []string
		first := len(out.Targets)
		give := func() {
			for j := first; j < len(out.Targets); j++ {
				out.Targets[j].Tags = tags
			}
		}
		for i, r := range rs {
			if r.Reject != nil || !truth[i](&rcpt, m) {
				continue
			}
			any = any || len(r.To) > 0
			for _, tag := range r.Tags {
				if !slices.Contains(tags, tag) {
					tags = append(tags, tag)
				}
			}
			if r.Drop || r.Discard {
				give()
				out.Dropped = append(out.Dropped, pipeline.Target{Recipient: rcpt, Rule: r.Name})
				continue recipients
			}
			for _, s := range append(slices.Clone(r.To), r.Copy...) {
				out.Targets = append(out.Targets, pipeline.Target{Recipient: rcpt, Sink: s, Rule: r.Name})
			}
			if r.Stop {
				break
			}
		}
		if !any {
			for _, s := range defaults {
				out.Targets = append(out.Targets, pipeline.Target{Recipient: rcpt, Sink: s, Rule: "default"})
			}
			if len(defaults) == 0 {
				out.Unrouted = append(out.Unrouted, rcpt)
			}
		}
		give()
	}
	return out
}

func flatten(m *pipeline.Message, routing pipeline.Routing) []string {
	var out []string
	for _, rcpt := range m.Envelope.Recipients {
		for _, t := range routing.Targets {
			if t.Recipient.Address == rcpt.Address {
				out = append(out, rcpt.Address+" to "+t.Sink+" by "+t.Rule+" as "+strings.Join(t.Tags, ","))
			}
		}
		for _, t := range routing.Dropped {
			if t.Recipient.Address == rcpt.Address {
				out = append(out, rcpt.Address+" dropped by "+t.Rule)
			}
		}
		for _, u := range routing.Unrouted {
			if u.Address == rcpt.Address {
				out = append(out, rcpt.Address+" unrouted")
			}
		}
	}
	return out
}

func explained(e Explanation) []string {
	var out []string
	for _, r := range e.Recipients {
		for _, t := range r.Targets {
			out = append(out, r.Recipient+" to "+t.Sink+" by "+t.Rule+" as "+strings.Join(r.Tags, ","))
		}
		switch {
		case r.Dropped != "":
			out = append(out, r.Recipient+" dropped by "+r.Dropped)
		case r.unrouted():
			out = append(out, r.Recipient+" unrouted")
		}
	}
	return out
}

// checkParts: the whole condition holds exactly when the rule matched, and its parts add up to it.
func checkParts(t *testing.T, seed uint64, r RuleExplanation) {
	t.Helper()
	if r.Condition == nil || r.Result == NotReached || r.Result == NotSampled || r.Result == Before {
		return
	}
	if r.Condition.Holds != (r.Result == Matched) || (r.Condition.Error != "") != (r.Result == Failed) {
		t.Fatalf("seed %d: rule %s is %s, its condition %+v", seed, r.Rule, r.Result, r.Condition)
	}
	var add func(p Part)
	add = func(p Part) {
		if p.Operator == "" || p.Error != "" {
			return
		}
		want := p.Operator == "and"
		for _, q := range p.Parts {
			if q.Error != "" {
				return // short-circuited in the whole
			}
			switch p.Operator {
			case "and":
				want = want && q.Holds
			case "or":
				want = want || q.Holds
			case "not":
				want = !q.Holds
			}
			add(q)
		}
		if want != p.Holds {
			t.Fatalf("seed %d: the parts of %s do not add up: %+v", seed, p.Text, p)
		}
	}
	add(*r.Condition)
}

func FuzzCompile(f *testing.F) {
	for _, w := range append(Vocabulary(), Functions()...) {
		f.Add(w.Example)
	}
	for _, a := range atoms() {
		f.Add(a.when)
	}
	f.Add(`let x = from; any(x, any(to, from contains .local)) ?? $env[1:2] | len()`)
	f.Add("a\n\tb\xff ?. [1]..{}")
	f.Fuzz(func(t *testing.T, when string) {
		table, err := Compile([]Rule{{Name: "r", When: when, To: []string{"a"}, File: "f", Line: 1, Column: 1}}, Options{})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") || strings.Contains(err.Error(), "rules.") {
				t.Fatalf("%q: no place, or a Go type: %v", when, err)
			}
			return
		}
		m := sample()
		routing, _ := table.Route(m)
		if diff := cmp.Diff(flatten(m, routing), explained(table.Explain(m))); diff != "" {
			t.Fatalf("%q: Route and Explain differ:\n%s", when, diff)
		}
		table.Check([]string{"a"})
	})
}
