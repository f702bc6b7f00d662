package rules

import (
	"fmt"
	"time"

	"github.com/expr-lang/expr/vm"

	"mxhook/pipeline"
)

// runner evaluates conditions on one message; it belongs to one goroutine at a time.
type runner struct {
	vm       vm.VM
	table    *Table
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

func newRunner(t *Table) *runner {
	return &runner{table: t, now: t.now, known: make([]answer, len(t.rules))}
}

func (t *Table) runner(m *pipeline.Message) *runner {
	r := t.runners.Get().(*runner)
	r.content = m.Content
	r.env = environment{Header: r.header, Headers: r.headers, InNetwork: inNetwork, Token: r.token, Tick: r.tick}
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
	if c.guard != nil && !c.guard.holds(&r.env) {
		return false, nil
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

// token reads the token of a signed address as it was when the message was received.
func (r *runner) token(address, name string) string {
	a := r.table.signed[name]
	if a == nil {
		return ""
	}
	payload, err := a.Check(address, r.env.Now)
	if err != nil {
		return ""
	}
	return payload
}

// captured returns the named groups of the patterns in a condition that has matched.
func (r *runner) captured(c *condition) map[string]string {
	var found map[string]string
	for i := range c.captures {
		cap := &c.captures[i]
		v, err := r.eval(cap.text)
		if err != nil {
			continue // the other side of an or decided
		}
		for _, text := range textsOf(v) {
			groups := cap.pattern.FindStringSubmatch(text)
			if groups == nil {
				continue
			}
			if found == nil {
				found = map[string]string{}
			}
			for j, name := range cap.pattern.SubexpNames() {
				if name != "" {
					found[name] = cutCapture(groups[j])
				}
			}
			break
		}
	}
	return found
}

// textsOf returns what a pattern is compared with: the text, or those of a list.
func textsOf(v any) []string {
	var texts []string
	switch v := v.(type) {
	case string:
		return []string{v}
	case []string:
		return v
	case []mailbox:
		for _, m := range v {
			texts = append(texts, m.Address)
		}
	case []recipient:
		for _, m := range v {
			texts = append(texts, m.Address)
		}
	}
	return texts
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
