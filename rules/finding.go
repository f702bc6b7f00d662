package rules

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Finding is one thing that is wrong with a table, or, with Warning set, that probably is. It is an error.
type Finding struct {
	Warning bool
	// Rule is the index of the rule, -1 for the defaults; Name is the rule's name.
	Rule int
	Name string
	// Field is what the finding is about: "name", "when", "drop", "to", "to[1]"; "[1]" of the defaults.
	Field string
	// File, Line and Column are the place in the file; 0 is unknown. They are set for Field "when"; for other fields
	// they are those of the rule's condition only when there is nothing better, that is: File alone.
	File         string
	Line, Column int
	// Text says what is wrong and what to do, in one line.
	Text string
	// Snippet shows the line of the condition with a caret below the place; "" without one.
	Snippet string
}

// Error is "file:line:column: rule "name": text", with the snippet on the following lines.
func (f *Finding) Error() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		b.WriteByte(':')
	}
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", f.Line, f.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if f.Rule < 0 {
		b.WriteString("default: ")
	} else {
		fmt.Fprintf(&b, "rule %q: ", f.Name)
	}
	b.WriteString(f.Text)
	if f.Snippet != "" {
		b.WriteString("\n" + f.Snippet)
	}
	return b.String()
}

// mistake is what is wrong at one place of a condition; offset counts runes.
type mistake struct {
	offset int
	text   string
}

// in makes the finding for a mistake in the condition of rule i.
func (m mistake) in(i int, r *Rule) *Finding {
	line, column, snippet := locate(r.When, m.offset)
	f := &Finding{Rule: i, Name: r.Name, Field: "when", File: r.File, Text: m.text, Snippet: snippet}
	if r.Line > 0 {
		f.Line, f.Column = r.Line+line, r.Column+column
	}
	return f
}

// locate turns a rune offset into line and column, from 0, and draws the line with a caret below the place.
func locate(source string, offset int) (line, column int, snippet string) {
	rest := source
	for {
		text, tail, more := strings.Cut(rest, "\n")
		n := utf8.RuneCountInString(text)
		if offset <= n || !more {
			column = max(0, min(offset, n))
			text = strings.ReplaceAll(strings.TrimRight(text, "\r"), "\t", " ")
			return line, column, "    " + text + "\n    " + strings.Repeat(" ", column) + "^"
		}
		offset -= n + 1
		rest = tail
		line++
	}
}
