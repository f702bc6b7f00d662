package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing that is wrong with a configuration, or, with Warning set, that probably is. It is an error.
type Mistake struct {
	Warning bool
	// File, Line and Column are the place, from 1. Line 0: the file's format gives no lines (TOML). Env is the
	// variable that the value came from, instead of a place.
	File         string
	Line, Column int
	Env          string
	// Key is the path of the key, "sinks[0].webhook.url"; "" for the file as a whole.
	Key string
	// Text says what is wrong and, after a semicolon, what to do, in one line. It never quotes a secret.
	Text string
	// Snippet shows a condition with a caret below the place; "" without one.
	Snippet string
}

// Error is "file:line:column: key: text", with the snippet on the following lines.
func (m *Mistake) Error() string {
	var b strings.Builder
	switch {
	case m.Env != "":
		b.WriteString(m.Env + ": ")
	case m.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", m.File, m.Line, m.Column)
	default:
		b.WriteString(m.File + ": ")
	}
	if m.Key != "" {
		b.WriteString(m.Key + ": ")
	}
	b.WriteString(m.Text)
	if m.Snippet != "" {
		b.WriteString("\n" + m.Snippet)
	}
	return b.String()
}

// inOrder sorts mistakes by their place, files by their rank; those of variables come last.
func inOrder(ms []*Mistake, rank func(file string) int) []*Mistake {
	slices.SortStableFunc(ms, func(a, b *Mistake) int {
		return cmp.Or(cmp.Compare(a.Env, b.Env), cmp.Compare(rank(a.File), rank(b.File)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return ms
}
