package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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
	case len(r.Targets) == 0:
		b.WriteString("  => no rule matched and there is no default: dead letter\n")
	}
	for _, t := range r.Targets {
		fmt.Fprintf(b, "  => %s (%s)\n", t.Sink, because(t.Rule))
	}
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
	case NotMatched, NotReached:
		return r.Result
	case Failed:
		return "failed, counts as not matched: " + r.Error
	}
	s := "matched"
	if r.Condition == nil {
		s += " (it has no condition)"
	}
	switch {
	case r.Drop:
		return s + ", drops"
	case r.Stop:
		return s + ", sends to " + strings.Join(r.To, ", ") + " and stops"
	}
	return s + ", sends to " + strings.Join(r.To, ", ")
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
