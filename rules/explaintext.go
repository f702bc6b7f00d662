package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// WriteText writes the explanation for people. Text that comes from the message is quoted, so that it cannot pass
// itself off as ours or play with the terminal.
func (e Explanation) WriteText(w io.Writer) error {
	var b bytes.Buffer
	for i, r := range e.Recipients {
		if i > 0 {
			b.WriteByte('\n')
		}
		r.write(&b)
	}
	for i := range e.Deliveries {
		e.Deliveries[i].write(&b, i == 0)
	}
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "\nproblem: rule %s: %s\n", p.Where, p.Detail)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (r *RecipientExplanation) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "%s\n", strings.Trim(quoted(r.Recipient), `"`))
	for _, rule := range r.Rules {
		fmt.Fprintf(b, "  %s rule %s: %s\n", mark(rule.Result), rule.Rule, rule.outcome())
		if rule.Condition != nil {
			rule.Condition.write(b, 3)
		}
	}
	switch {
	case r.Dropped != "":
		fmt.Fprintf(b, "  => dropped by rule %s\n", r.Dropped)
	case r.unrouted():
		b.WriteString("  => no rule sends it anywhere and there is no default: dead letter\n")
	}
	for _, t := range r.Targets {
		fmt.Fprintf(b, "  => %s (%s)\n", t.Sink, because(t.Rule))
	}
	if len(r.Tags) > 0 {
		fmt.Fprintf(b, "  tags: %s\n", strings.Join(r.Tags, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Captures)) {
		fmt.Fprintf(b, "  capture %s = %s\n", name, quoted(r.Captures[name]))
	}
}

func (d *DeliveryExplanation) write(b *bytes.Buffer, first bool) {
	if first {
		b.WriteString("\ndeliveries\n")
	}
	who := make([]string, len(d.Recipients))
	for i, r := range d.Recipients {
		who[i] = strings.Trim(quoted(r), `"`)
	}
	fmt.Fprintf(b, "  %s: %s\n", d.Sink, strings.Join(who, ", "))
	for _, o := range d.Options {
		fmt.Fprintf(b, "      %s = %s\n", o.Option, quoted(o.Value))
	}
	if d.ShapeError != "" {
		fmt.Fprintf(b, "      body: none, the delivery would fail: %s\n", d.ShapeError)
	}
	if d.Body != "" {
		fmt.Fprintf(b, "      body = %s\n", strings.ReplaceAll(d.Body, "\n", "\n             "))
	}
}

// unrouted: nothing but copies, if any.
func (r *RecipientExplanation) unrouted() bool {
	for _, t := range r.Targets {
		if t.Rule == DefaultRule {
			return false
		}
		for _, rule := range r.Rules {
			if rule.Rule == t.Rule && len(rule.To) > 0 {
				return false
			}
		}
	}
	return r.Dropped == ""
}

func because(rule string) string {
	if rule == DefaultRule {
		return "default: no rule matched"
	}
	return "rule " + rule
}

func mark(result string) string {
	switch result {
	case Matched:
		return "+"
	case NotMatched:
		return "-"
	case Failed:
		return "!"
	}
	return " "
}

func (r *RuleExplanation) outcome() string {
	switch r.Result {
	case NotMatched, NotReached, NotSampled, Before:
		return r.Result
	case Failed:
		if r.OnError != OnErrorMatch {
			return "failed, counts as not matched: " + r.Error
		}
	}
	s := "matched"
	if r.Result == Failed {
		s = "failed, counts as matched: " + r.Error
	}
	if r.Condition == nil {
		s += " (it has no condition)"
	}
	switch {
	case r.Drop:
		return s + ", drops"
	case len(r.To) > 0:
		s += ", sends to " + strings.Join(r.To, ", ")
	}
	if len(r.Copy) > 0 {
		s += ", copies to " + strings.Join(r.Copy, ", ")
	}
	if len(r.Tags) > 0 {
		s += ", tags " + strings.Join(r.Tags, ", ")
	}
	if r.Stop {
		s += " and stops"
	}
	if w := r.Wait; w != nil {
		s += fmt.Sprintf("; the sender waits up to %s for the answer of %s, then: %s", w.Timeout, r.To[0], w.OnTimeout)
	}
	return s
}

func (p *Part) write(b *bytes.Buffer, depth int) {
	indent := strings.Repeat("  ", depth)
	verdict := "no "
	switch {
	case p.Error != "":
		verdict = "err"
	case p.Holds:
		verdict = "yes"
	}
	if p.Operator != "" {
		fmt.Fprintf(b, "%s%s %s\n", indent, verdict, map[string]string{"and": "all of", "or": "one of", "not": "not"}[p.Operator])
		for i := range p.Parts {
			p.Parts[i].write(b, depth+2)
		}
		return
	}
	fmt.Fprintf(b, "%s%s %s\n", indent, verdict, strings.Join(strings.Fields(p.Text), " "))
	if p.Error != "" {
		fmt.Fprintf(b, "%s      %s\n", indent, p.Error)
	}
	for _, v := range p.Values {
		fmt.Fprintf(b, "%s      %s = %s\n", indent, v.Word, quoted(v.Value))
	}
}

// quoted writes a value as JSON with everything that is not printable escaped.
func quoted(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprintf("%q", fmt.Sprint(v))
	}
	var out strings.Builder
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		if r >= 0x7f && r < 0xa0 || isInvisible(r) {
			fmt.Fprintf(&out, "\\u%04x", r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// isInvisible finds the characters that turn the direction of writing or have no width.
func isInvisible(r rune) bool {
	return r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff
}
