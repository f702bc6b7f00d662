package rules

import (
	"fmt"
	"time"

	"github.com/expr-lang/expr/vm"

	"mxhook/pipeline"
)

var _ pipeline.Router = (*Table)(nil)

// Route implements pipeline.Router. A sink that several rules chose for a recipient has a target for each rule, in
// the order of the rules.
func (t *Table) Route(m *pipeline.Message) (pipeline.Routing, []pipeline.Problem) {
	r := t.runner(m)
	defer t.release(r)
	var routing pipeline.Routing
	var problems []pipeline.Problem
	for i := range m.Envelope.Recipients {
		rcpt := &m.Envelope.Recipients[i]
		end := t.run(r, rcpt, func(j int, matched bool, err error) {
			if err != nil {
				problems = addProblem(problems, t.rules[j].Name, err)
			}
			if !matched {
				return
			}
			for _, sink := range t.rules[j].To {
				routing.Targets = append(routing.Targets, pipeline.Target{Recipient: *rcpt, Sink: sink, Rule: t.rules[j].Name})
			}
		})
		switch {
		case end.drop != "":
			routing.Dropped = append(routing.Dropped, pipeline.Target{Recipient: *rcpt, Rule: end.drop})
		case end.matched:
		case len(t.defaults) == 0:
			routing.Unrouted = append(routing.Unrouted, *rcpt)
		default:
			for _, sink := range t.defaults {
				routing.Targets = append(routing.Targets, pipeline.Target{Recipient: *rcpt, Sink: sink, Rule: DefaultRule})
			}
		}
	}
	return routing, problems
}

// outcome is how the run of one recipient ended.
type outcome struct {
	matched bool
	// drop and stop name the rule that ended the run.
	drop, stop string
}

// run takes one recipient through the rules and reports each rule that was reached. It is the only place that knows
// the order of things.
func (t *Table) run(r *runner, rcpt *pipeline.Recipient, report func(rule int, matched bool, err error)) outcome {
	r.env.Recipient = viewRecipient(rcpt)
	var end outcome
	for i := range t.rules {
		rule := &t.rules[i]
		matched, err := r.answer(i, rule)
		report(i, matched, err)
		if !matched {
			continue
		}
		end.matched = true
		if rule.Drop {
			end.drop = rule.Name
			return end
		}
		if rule.Stop {
			end.stop = rule.Name
			return end
		}
	}
	return end
}

// maxProblems bounds what the rules add to a message's problems.
const maxProblems = 50

// addProblem adds the failure of a rule once, however many recipients it fails for.
func addProblem(ps []pipeline.Problem, rule string, err error) []pipeline.Problem {
	for _, p := range ps {
		if p.Where == rule {
			return ps
		}
	}
	if len(ps) == maxProblems {
		return ps
	}
	return append(ps, pipeline.Problem{Code: "rule-failed", Where: rule, Detail: err.Error()})
}

// runner evaluates conditions on one message; it belongs to one goroutine at a time.
type runner struct {
	vm       vm.VM
	env      environment
	content  *pipeline.Content
	now      func() time.Time
	elements int
	deadline time.Time
	// known are the answers of shared conditions on this message, by rule.
	known []answer
}

type answer struct {
	known, matched bool
	err            error
}

func newRunner(t *Table) *runner { return &runner{now: t.now, known: make([]answer, len(t.rules))} }

func (t *Table) runner(m *pipeline.Message) *runner {
	r := t.runners.Get().(*runner)
	r.content = m.Content
	r.env = environment{Header: r.header, Headers: r.headers, InNetwork: inNetwork, Tick: r.tick}
	r.env.fill(m, t.uses)
	return r
}

func (t *Table) release(r *runner) {
	r.env, r.content = environment{}, nil
	clear(r.known)
	// The machine keeps what it worked with on its stack; the message must not live as long as the pool.
	clear(r.vm.Stack[:cap(r.vm.Stack)])
	clear(r.vm.Variables)
	t.runners.Put(r)
}

// answer evaluates a rule's condition, once for each message when it does not depend on the recipient.
func (r *runner) answer(i int, rule *rule) (bool, error) {
	if a := &r.known[i]; a.known {
		return a.matched, a.err
	}
	matched, err := r.matches(&rule.condition)
	if rule.shared {
		r.known[i] = answer{true, matched, err}
	}
	return matched, err
}

// matches evaluates a condition. An error comes with false.
func (r *runner) matches(c *condition) (bool, error) {
	if c.program == nil {
		return true, nil
	}
	v, err := r.eval(c.program)
	if err != nil {
		return false, err
	}
	matched, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("the condition is %T, not true or false", v)
	}
	return matched, nil
}

func (r *runner) eval(p *vm.Program) (any, error) {
	r.elements, r.deadline = 0, time.Time{}
	v, err := r.vm.Run(p, &r.env)
	if err != nil {
		return nil, fmt.Errorf("%s", runtimeText(err))
	}
	return v, nil
}

func (r *runner) header(name string) string {
	if r.content == nil {
		return ""
	}
	return r.content.Header(name)
}

func (r *runner) headers(name string) []string {
	if r.content == nil {
		return nil
	}
	return r.content.HeaderValues(name)
}

// tick counts one list element. It panics when the evaluation has used up its share: the expression language has no
// other way to be interrupted, and turns the panic into an error.
func (r *runner) tick() bool {
	if r.elements == 0 {
		r.deadline = r.now().Add(MaxTime)
	}
	r.elements++
	if r.elements > MaxElements {
		panic(fmt.Sprintf("more than %d list elements were looked at", MaxElements))
	}
	if r.elements%64 == 0 && r.now().After(r.deadline) {
		panic(fmt.Sprintf("the condition took longer than %v", MaxTime))
	}
	return true
}
