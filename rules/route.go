package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"mxhook/pipeline"
)

var _ pipeline.Router = (*Table)(nil)

// Route implements pipeline.Router. A sink that several rules chose for a recipient has a target for each rule, in
// the order of the rules. All targets of a recipient carry the same tags and captures.
func (t *Table) Route(m *pipeline.Message) (pipeline.Routing, []pipeline.Problem) {
	r := t.runner(m)
	defer t.release(r)
	var routing pipeline.Routing
	var problems []pipeline.Problem
	for i := range m.Envelope.Recipients {
		rcpt := &m.Envelope.Recipients[i]
		first := len(routing.Targets)
		end := t.run(r, rcpt, false, func(s step) {
			rule := &t.rules[s.rule]
			if s.err != nil {
				problems = addProblem(problems, rule.Name, s.err)
			}
			if s.matched {
				rule.targets(func(sink string) {
					waits := rule.Wait != nil && sink == rule.To[0]
					routing.Targets = append(routing.Targets, pipeline.Target{Recipient: *rcpt, Sink: sink, Rule: rule.Name, Waits: waits})
				})
			}
		})
		switch {
		case end.drop != "":
			routing.Dropped = append(routing.Dropped, pipeline.Target{Recipient: *rcpt, Rule: end.drop})
		case end.routed:
		case len(t.defaults) == 0:
			routing.Unrouted = append(routing.Unrouted, *rcpt)
		default:
			for _, sink := range t.defaults {
				routing.Targets = append(routing.Targets, pipeline.Target{Recipient: *rcpt, Sink: sink, Rule: DefaultRule})
			}
		}
		for j := first; j < len(routing.Targets); j++ {
			routing.Targets[j].Tags = end.tags
			routing.Targets[j].Recipient.Captures = end.captures
		}
	}
	return routing, problems
}

// targets calls f for the sinks of the rule, copies last.
func (r *rule) targets(f func(sink string)) {
	for _, sink := range r.To {
		f(sink)
	}
	for _, sink := range r.Copy {
		f(sink)
	}
}

// step is what became of one rule for one recipient.
type step struct {
	rule    int
	matched bool
	// result is one of the words of RuleExplanation.
	result string
	err    error
}

// outcome is how the run of one recipient ended.
type outcome struct {
	// routed: a rule sent it somewhere, copies aside, or dropped it.
	routed bool
	// drop and stop name the rule that ended the run.
	drop, stop string
	tags       []string
	// captures are those of the recipient and those of the conditions that matched; the map is not changed any more.
	captures map[string]string
}

// run takes one recipient through the rules and reports each rule that was reached; without all it may leave out those that
// do not match. It is the only place that knows the order of things.
func (t *Table) run(r *runner, rcpt *pipeline.Recipient, all bool, report func(step)) outcome {
	r.env.Recipient = viewRecipient(rcpt)
	known := words(&r.env)
	end := outcome{captures: rcpt.Captures}
	for i := range t.rules {
		if g := &t.sieve[i]; !all && g.text != known[g.word] {
			continue
		}
		rule := &t.rules[i]
		if rule.refuses() {
			report(step{rule: i, result: Before})
			continue
		}
		s := r.step(i, rule)
		report(s)
		if !s.matched {
			continue
		}
		end.take(r, rule)
		if rule.Drop || rule.Discard {
			end.drop, end.routed = rule.Name, true
			return end
		}
		if rule.Stop {
			end.stop = rule.Name
			return end
		}
	}
	return end
}

// take notes what a rule that matched gives the recipient.
func (end *outcome) take(r *runner, rule *rule) {
	end.routed = end.routed || len(rule.To) > 0
	for _, tag := range rule.Tags {
		if !slices.Contains(end.tags, tag) {
			end.tags = append(end.tags, tag)
		}
	}
	if found := r.captured(&rule.condition); len(found) > 0 {
		all := maps.Clone(end.captures)
		if all == nil {
			all = found
		} else {
			maps.Copy(all, found)
		}
		end.captures = all
	}
}

// step decides one rule for the recipient at hand.
func (r *runner) step(i int, rule *rule) step {
	if rule.Sample > 0 && !sampled(r.env.Envelope.ID, rule.Name, rule.Sample) {
		return step{rule: i, result: NotSampled}
	}
	matched, err := r.answer(i, rule)
	switch {
	case err != nil:
		return step{rule: i, matched: rule.OnError == OnErrorMatch, result: Failed, err: err}
	case matched:
		return step{rule: i, matched: true, result: Matched}
	}
	return step{rule: i, result: NotMatched}
}

// sampled decides by message id and rule, so that it is the same however often a message is looked at, and that two
// rules do not always choose the same messages. A message without an id, as tests have them, is in no sample.
func sampled(id, rule string, percent float64) bool {
	if id == "" {
		return false
	}
	sum := sha256.Sum256([]byte(id + "\x00" + rule))
	return float64(binary.BigEndian.Uint32(sum[:])%10_000) < percent*100
}

// Decision is what the rules say of a recipient before the data.
type Decision struct {
	// Rule names the rule; "" when none has decided anything.
	Rule string
	// Reply refuses the recipient; nil does not.
	Reply *Reply
	// Discard: take the mail, and throw it away.
	Discard bool
	// Wait: the sender is kept waiting for what the rule's sink says; nil is not.
	Wait *Wait
	// Sink is that of Wait.
	Sink string
	// Problems are conditions that failed.
	Problems []pipeline.Problem
}

// Early asks the rules about a recipient before the data: those that reject, defer, discard and wait, and in between, so that
// the order counts, those whose conditions are known by then. env needs what is known by then.
func (t *Table) Early(env *pipeline.Envelope, rcpt *pipeline.Recipient) Decision {
	if !t.early {
		return Decision{}
	}
	r := t.runner(&pipeline.Message{Envelope: *env})
	defer t.release(r)
	r.env.Recipient = viewRecipient(rcpt)
	var d Decision
	for i := range t.rules {
		rule := &t.rules[i]
		if !rule.early || !rule.ends() {
			continue
		}
		s := r.step(i, rule)
		if s.err != nil {
			d.Problems = addProblem(d.Problems, rule.Name, s.err)
		}
		if !s.matched {
			continue
		}
		switch {
		case rule.Reject != nil:
			d.Rule, d.Reply = rule.Name, rule.Reject
		case rule.Defer != nil:
			d.Rule, d.Reply = rule.Name, rule.Defer
		case rule.Discard:
			d.Rule, d.Discard = rule.Name, true
		case rule.Wait != nil:
			d.Rule, d.Wait, d.Sink = rule.Name, rule.Wait, rule.To[0]
		}
		return d
	}
	return d
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
