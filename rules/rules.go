// Package rules decides where mail goes: rules as written are compiled into a table, the table routes each recipient
// of a message by itself, and it can say why.
//
// What a condition may say is in vocabulary.go and, for people, in docs/rules.md. A condition is evaluated within
// bounds that are checked when it is compiled (length, nodes, nesting, functions, fixed patterns) and when it runs
// (elements looked at, time).
package rules

import "time"

// Rule is one rule as written. Rules run in order for each recipient.
type Rule struct {
	// Name is unique; it goes out in the payload and stands in the log and the console.
	Name string
	// When is the condition; "" matches every recipient.
	When string
	// To are names of sinks, in order.
	To []string
	// Stop ends the run for a recipient that matched.
	Stop bool
	// Drop ends the run, and no further rule or default gives the recipient a target. It excludes To.
	Drop bool
	// File names the file that the rule stands in; "" when it comes from none.
	File string
	// Line and Column, from 1, are where the first character of When stands in File; 0 is unknown.
	Line, Column int
}

// DefaultRule is the rule name of targets that come from the defaults. No rule may have it.
const DefaultRule = "default"

// Bounds of a table and of one evaluation of a condition.
const (
	// MaxRules bounds the rules of a table.
	MaxRules = 10_000
	// MaxLength bounds a condition, in bytes.
	MaxLength = 8 << 10
	// MaxNodes bounds a condition, in nodes of its syntax tree.
	MaxNodes = 1000
	// MaxNesting bounds how deep predicates (any, all, ...) stand in one another.
	MaxNesting = 2
	// MaxElements bounds the list elements that one evaluation looks at.
	MaxElements = 20_000
	// MaxTime bounds the time that one evaluation may spend on lists.
	MaxTime = time.Second
)
