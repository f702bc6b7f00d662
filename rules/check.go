package rules

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"

	"mxhook/pipeline"
)

// Check finds what compiles and is wrong all the same: unknown sinks are mistakes; rules that no recipient reaches
// and rules that can never match are warnings. sinks are the names of the configured sinks. The findings are in the
// order of the rules, those of the defaults last.
func (t *Table) Check(sinks []string) []Finding {
	var fs []Finding
	l := t.lexicon
	end := -1
	stops := map[string]int{}
	var ending []int // rules with a condition that end the run
	im := newImplications(l)
	for i := range t.rules {
		r := &t.rules[i]
		add := func(warning bool, field, format string, args ...any) {
			f := *mistake{0, fmt.Sprintf(format, args...)}.in(i, &r.Rule)
			f.Warning, f.Field = warning, field
			if field != "when" {
				f.Line, f.Column, f.Snippet = 0, 0, ""
			}
			fs = append(fs, f)
		}
		for j, sink := range r.To {
			if !slices.Contains(sinks, sink) {
				add(false, fmt.Sprintf("to[%d]", j), "%s", unknownSink(sink, sinks))
			}
		}
		for j, sink := range r.Copy {
			if !slices.Contains(sinks, sink) {
				add(false, fmt.Sprintf("copy[%d]", j), "%s", unknownSink(sink, sinks))
			}
		}
		twin, again := stops[r.When]
		constant, always := t.constant(&r.condition)
		switch {
		case end >= 0:
			add(true, "name", "no recipient reaches this rule: rule %q before it matches everything and ends the run", t.rules[end].Name)
		case again:
			add(true, "when", "this rule never matches: rule %q has the same condition and ends the run", t.rules[twin].Name)
		case constant && !always:
			add(true, "when", "this rule never matches: its condition is always false")
		case r.condition.tree != nil:
			if text := l.contradiction(r.condition.tree, im); text != "" {
				add(true, "when", "this rule never matches: %s", text)
			} else if j := t.shadow(r, ending, im); j >= 0 {
				add(true, "when", "this rule never matches: whatever it matches, rule %q before it matches too, and ends the run", t.rules[j].Name)
			}
		}
		// A sample, and rules that refuse before the others, leave something for the rules behind.
		if r.ends() && !r.refuses() && r.Sample == 0 && end < 0 {
			if constant && always {
				end = i
			}
			stops[r.When] = i
			if r.condition.tree != nil {
				ending = append(ending, i)
			}
		}
	}
	for i, sink := range t.defaults {
		if !slices.Contains(sinks, sink) {
			fs = append(fs, Finding{Rule: -1, Field: fmt.Sprintf("[%d]", i), Text: unknownSink(sink, sinks)})
		}
	}
	return fs
}

func unknownSink(sink string, sinks []string) string {
	return fmt.Sprintf("there is no sink %q%s", sink, pipeline.DidYouMean(sink, sinks))
}

// constant evaluates a condition that does not depend on the message.
func (t *Table) constant(c *condition) (constant, holds bool) {
	if len(c.uses) > 0 {
		return false, false
	}
	r := t.runner(&pipeline.Message{})
	defer t.release(r)
	holds, err := r.matches(c)
	return err == nil, holds
}

// shadow finds a rule among ending whose condition holds whenever that of r does; -1 when none is known.
func (t *Table) shadow(r *rule, ending []int, im *implications) int {
	for _, j := range ending {
		if im.implies(r.condition.tree, t.rules[j].condition.tree) {
			return j
		}
	}
	return -1
}

// contradiction finds a word that would have to equal two different texts at once, and a part whose opposite is another
// part. Lists are left out: for them == means any of the elements.
func (l *lexicon) contradiction(tree ast.Node, im *implications) string {
	equal := map[string]string{}
	var nots []ast.Node
	for _, n := range operands(tree, "and") {
		for _, n := range operands(n, "&&") {
			if not := negated(n); not != nil {
				nots = append(nots, not)
			}
			word, text, ok := equality(n)
			if !ok || l.isList(word) || l.words[word].Name == "" {
				continue
			}
			if other, taken := equal[word]; taken && other != text {
				return fmt.Sprintf("%s cannot be %q and %q at once; write or", word, other, text)
			}
			equal[word] = text
		}
	}
	for _, not := range nots {
		if im.implies(tree, not) {
			return im.text(not) + " would have to hold and not to hold"
		}
	}
	return ""
}

// equality takes word == "text" apart.
func equality(n ast.Node) (word, text string, ok bool) {
	b, isBinary := n.(*ast.BinaryNode)
	if !isBinary || b.Operator != "==" {
		return "", "", false
	}
	w, t := b.Left, b.Right
	if _, swapped := w.(*ast.StringNode); swapped {
		w, t = t, w
	}
	s, isText := t.(*ast.StringNode)
	if !isText {
		return "", "", false
	}
	return w.String(), s.Value, true
}
