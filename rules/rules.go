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
	// Copy are names of sinks that get the mail too, as a trial: a recipient that has copies only counts as not matched,
	// so that the defaults apply.
	Copy []string
	// Tags are labels of the recipient; its deliveries carry them, whichever rule chose their sink.
	Tags []string
	// Stop ends the run for a recipient that matched.
	Stop bool
	// Drop ends the run, and no further rule or default gives the recipient a target. It excludes To.
	Drop bool
	// Reject and Defer refuse the recipient before the data, for good or for now; Discard takes the mail and drops it.
	// Each excludes all other actions, and their conditions may use only what is known by then.
	Reject, Defer *Reply
	Discard       bool
	// Wait keeps the sender waiting, at the end of the data, for what the one sink of To says; nil does not. Its condition may
	// use only what is known before the data, and the rule must end the run, so that there is one answer to wait for.
	Wait *Wait
	// Sample is the percentage of messages that the rule looks at, chosen by message id; 0 means all of them.
	Sample float64
	// OnError is what a condition that fails counts as: OnErrorSkip ("" means the same) or OnErrorMatch.
	OnError string
	// File names the file that the rule stands in; "" when it comes from none.
	File string
	// Line and Column, from 1, are where the first character of When stands in File; 0 is unknown.
	Line, Column int
}

// Reply is the SMTP reply of a rule that refuses: a code (RFC 5321 4.2), an enhanced status code of the same class
// (RFC 3463) and one line of printable ASCII.
type Reply struct {
	Code         int
	Status, Text string
}

// Wait is how a sender is kept waiting.
type Wait struct {
	// Timeout bounds the wait.
	Timeout time.Duration
	// Accept has the sender hear that the message is accepted when there is no answer in time; otherwise it is told to come
	// again, and the message is for nobody.
	Accept bool
}

// What a condition that fails counts as.
const (
	OnErrorSkip  = "skip"
	OnErrorMatch = "match"
)

// Options are what rules may refer to, besides the message.
type Options struct {
	// Defaults are the sinks of recipients that no rule sent anywhere.
	Defaults []string
	// Lists are the named lists of `in list("name")`.
	Lists []List
	// Signed are the signed addresses of `token(recipient.address, "name")`.
	Signed []*SignedAddress
}

// List is a named list of texts; they are compared in lower case.
type List struct {
	Name    string
	Entries []string
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
