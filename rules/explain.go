package rules

import (
	"fmt"
	"maps"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"

	"mxhook/pipeline"
)

// Explanation is why a message goes where it goes. It has a JSON form and a text form (WriteText).
type Explanation struct {
	Recipients []RecipientExplanation `json:"recipients"`
	// Problems are those that Route reports.
	Problems []pipeline.Problem `json:"problems"`
	// Deliveries are what the targets result in. Explain leaves them out: it does not know the sinks.
	Deliveries []DeliveryExplanation `json:"deliveries"`
}

// DeliveryExplanation is a delivery that would be made.
type DeliveryExplanation struct {
	Sink       string   `json:"sink"`
	Recipients []string `json:"recipients"`
	Rules      []string `json:"rules"`
	Tags       []string `json:"tags"`
	// Options are what the sink's templates make of it.
	Options []OptionExplanation `json:"options"`
	// Body is what the sink's program makes of the message, ShapeError why it makes nothing; both "" without a program.
	Body       string `json:"body,omitempty"`
	ShapeError string `json:"shape_error,omitempty"`
}

// OptionExplanation is what a template of a sink comes out as.
type OptionExplanation struct {
	Option string `json:"option"`
	Value  string `json:"value"`
}

// RecipientExplanation tells one recipient's way through the rules.
type RecipientExplanation struct {
	Recipient string            `json:"recipient"`
	Rules     []RuleExplanation `json:"rules"`
	// Stopped and Dropped name the rule that ended the run, "" when none did.
	Stopped string `json:"stopped"`
	Dropped string `json:"dropped"`
	// Targets are what Route returns for the recipient; those of the defaults have Rule DefaultRule. None, and not
	// dropped: the recipient becomes a dead letter.
	Targets []TargetExplanation `json:"targets"`
	// Tags and Captures are what the deliveries of the recipient carry.
	Tags     []string          `json:"tags"`
	Captures map[string]string `json:"captures"`
}

// TargetExplanation is a sink and the rule that chose it.
type TargetExplanation struct {
	Sink string `json:"sink"`
	Rule string `json:"rule"`
}

// What became of a rule.
const (
	Matched    = "matched"
	NotMatched = "not matched"
	Failed     = "failed"
	NotReached = "not reached"
	// NotSampled: the message is not one of the rule's sample.
	NotSampled = "not sampled"
	// Before: the rule is decided before the message is there, and has let this one through.
	Before = "decided before the message"
)

// RuleExplanation is what became of one rule.
type RuleExplanation struct {
	Rule   string `json:"rule"`
	Result string `json:"result"`
	// Error is why the condition failed.
	Error string `json:"error"`
	// Condition is nil for a rule without one.
	Condition *Part    `json:"condition"`
	To        []string `json:"to"`
	Copy      []string `json:"copy"`
	Tags      []string `json:"tags"`
	Stop      bool     `json:"stop"`
	// Wait is set when the sender waits for the answer.
	Wait *WaitExplanation `json:"wait,omitempty"`
	// Drop is set for rules that drop or discard.
	Drop bool `json:"drop"`
	// OnError is set when a condition that fails counts as matched.
	OnError string `json:"on_error,omitempty"`
}

// WaitExplanation says how long a sender waits for the rule's sink, and what it hears when nobody answers: "accept" or "defer".
type WaitExplanation struct {
	Timeout   string `json:"timeout"`
	OnTimeout string `json:"on_timeout"`
}

// Part is a condition, or one part of it. Every part is evaluated by itself, also those that the condition as a whole
// does not need.
type Part struct {
	Text string `json:"text"`
	// Operator is "and", "or" or "not" when the part has Parts, "" for a single comparison.
	Operator string `json:"operator"`
	Holds    bool   `json:"holds"`
	// Error is why the part could not be evaluated.
	Error  string  `json:"error"`
	Values []Value `json:"values"`
	Parts  []Part  `json:"parts"`
}

// Value is what a word in a comparison stood for.
type Value struct {
	Word  string `json:"word"`
	Value any    `json:"value"`
}

// Explain routes the message as Route does, and tells every step. It costs much more than Route.
func (t *Table) Explain(m *pipeline.Message) Explanation {
	r := t.runner(m)
	defer t.release(r)
	e := Explanation{Recipients: []RecipientExplanation{}, Problems: []pipeline.Problem{}, Deliveries: []DeliveryExplanation{}}
	for i := range m.Envelope.Recipients {
		rcpt := &m.Envelope.Recipients[i]
		x := RecipientExplanation{Recipient: rcpt.Address, Rules: make([]RuleExplanation, 0, len(t.rules)), Targets: []TargetExplanation{}}
		end := t.run(r, rcpt, true, func(s step) {
			rule := &t.rules[s.rule]
			x.Rules = append(x.Rules, t.explainRule(r, s))
			if s.err != nil {
				e.Problems = addProblem(e.Problems, rule.Name, s.err)
			}
			if s.matched {
				rule.targets(func(sink string) { x.Targets = append(x.Targets, TargetExplanation{sink, rule.Name}) })
			}
		})
		for j := len(x.Rules); j < len(t.rules); j++ {
			x.Rules = append(x.Rules, t.describe(j, NotReached))
		}
		x.Stopped, x.Dropped = end.stop, end.drop
		x.Tags, x.Captures = append([]string{}, end.tags...), map[string]string{}
		maps.Copy(x.Captures, end.captures)
		if !end.routed {
			for _, sink := range t.defaults {
				x.Targets = append(x.Targets, TargetExplanation{sink, DefaultRule})
			}
		}
		e.Recipients = append(e.Recipients, x)
	}
	return e
}

func (t *Table) describe(i int, result string) RuleExplanation {
	r := &t.rules[i]
	x := RuleExplanation{
		Rule: r.Name, Result: result, To: append([]string{}, r.To...), Copy: append([]string{}, r.Copy...),
		Tags: append([]string{}, r.Tags...), Stop: r.Stop, Drop: r.Drop || r.Discard, OnError: r.OnError,
	}
	if w := r.Wait; w != nil {
		x.Wait = &WaitExplanation{w.Timeout.String(), "defer"}
		if w.Accept {
			x.Wait.OnTimeout = "accept"
		}
	}
	return x
}

func (t *Table) explainRule(r *runner, s step) RuleExplanation {
	x := t.describe(s.rule, s.result)
	if s.err != nil {
		x.Error = s.err.Error()
	}
	if c := &t.rules[s.rule].condition; c.tree != nil {
		p := r.part(c.tree)
		p.Text = c.source
		x.Condition = &p
	}
	return x
}

// part evaluates a node of a condition and, when it is made of others by and, or and not, these.
func (r *runner) part(n ast.Node) Part {
	p := Part{Text: n.String(), Values: []Value{}, Parts: []Part{}}
	var below []ast.Node
	switch n := n.(type) {
	case *ast.BinaryNode:
		switch n.Operator {
		case "and", "&&":
			p.Operator = "and"
		case "or", "||":
			p.Operator = "or"
		}
		if p.Operator != "" {
			below = append(operands(n.Left, n.Operator), operands(n.Right, n.Operator)...)
		}
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			p.Operator, below = "not", []ast.Node{n.Node}
		}
	}
	for _, b := range below {
		p.Parts = append(p.Parts, r.part(b))
	}
	p.Holds, p.Error = r.holds(p.Text)
	if p.Operator == "" {
		p.Values = r.values(n)
	}
	return p
}

// operands flattens a chain of one operator: a and b and c has three parts.
func operands(n ast.Node, operator string) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && b.Operator == operator {
		return append(operands(b.Left, operator), operands(b.Right, operator)...)
	}
	return []ast.Node{n}
}

func (r *runner) holds(source string) (bool, string) {
	program, err := expr.Compile(source, r.table.lexicon.options(expr.AsBool())...)
	if err != nil {
		return false, runtimeText(err)
	}
	holds, err := r.matches(&condition{program: program})
	if err != nil {
		return false, err.Error()
	}
	return holds, ""
}

// values evaluates the words that a comparison mentions.
func (r *runner) values(n ast.Node) []Value {
	vs := []Value{}
	seen := map[string]bool{}
	for _, w := range mentioned(n, nil) {
		text := w.String()
		if seen[text] {
			continue
		}
		seen[text] = true
		program, err := expr.Compile(text, r.table.lexicon.options()...)
		if err != nil {
			continue // a word inside a predicate or behind let: it has no one value
		}
		if v, err := r.eval(program); err == nil {
			vs = append(vs, Value{text, shown(v)})
		}
	}
	return vs
}

// mentioned collects the words outside of predicates: variables with their fields, and calls of header and headers.
func mentioned(n ast.Node, words []ast.Node) []ast.Node {
	switch n := n.(type) {
	case *ast.IdentifierNode, *ast.MemberNode, *ast.CallNode, *ast.ChainNode:
		return append(words, n)
	case *ast.BinaryNode:
		return mentioned(n.Right, mentioned(n.Left, words))
	case *ast.UnaryNode:
		return mentioned(n.Node, words)
	case *ast.BuiltinNode:
		for _, a := range n.Arguments {
			words = mentioned(a, words)
		}
	case *ast.ConditionalNode:
		return mentioned(n.Exp2, mentioned(n.Exp1, mentioned(n.Cond, words)))
	case *ast.ArrayNode:
		for _, e := range n.Nodes {
			words = mentioned(e, words)
		}
	}
	return words
}

// Bounds of a shown value.
const (
	maxShownText = 200
	maxShownList = 20
)

// shown makes a value fit for people and JSON: long texts are cut, elements of lists become what names them.
func shown(v any) any {
	switch v := v.(type) {
	case string:
		if utf8.RuneCountInString(v) > maxShownText {
			return string([]rune(v)[:maxShownText]) + "…"
		}
		return v
	case []string:
		return shownList(v, func(s string) any { return shown(s) })
	case []mailbox:
		return shownList(v, func(m mailbox) any { return m.Address })
	case []recipient:
		return shownList(v, func(r recipient) any { return r.Address })
	case []attachment:
		return shownList(v, func(a attachment) any { return shown(a.Filename) })
	case []dkimResult:
		return shownList(v, func(d dkimResult) any { return d.Domain + " " + d.Result })
	case namedList:
		return fmt.Sprintf("a list of %d entries", len(v))
	case time.Time:
		return v.Format(time.RFC3339)
	case bool, int, int64, float64, map[string]string:
		return v
	}
	return fmt.Sprint(v)
}

func shownList[E any](list []E, show func(E) any) []any {
	out := []any{}
	for i, e := range list {
		if i == maxShownList {
			return append(out, fmt.Sprintf("… and %d more", len(list)-i))
		}
		out = append(out, show(e))
	}
	return out
}
