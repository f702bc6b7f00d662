package rules

import (
	"slices"

	"github.com/expr-lang/expr/ast"
)

// guard is a comparison that a condition begins with: word == "text", or word in ["text", ...], alone or in front of an and.
// Where it is false the condition is, and nothing behind it would be evaluated; asking it first takes a tenth of an
// evaluation, which counts where hundreds of rules are each for one domain.
type guard struct {
	word  func(*environment) string
	texts []string
}

func (g *guard) holds(e *environment) bool { return slices.Contains(g.texts, g.word(e)) }

// guardOf returns the guard of a condition, nil when it has none.
func guardOf(n ast.Node) *guard {
	for parts := partsOf(n, "and", "&&"); parts != nil; parts = partsOf(n, "and", "&&") {
		n = parts[0]
	}
	if word, text, ok := equality(n); ok {
		if f := guardWord(word); f != nil {
			return &guard{f, []string{text}}
		}
		return nil
	}
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != "in" {
		return nil
	}
	list, ok := b.Right.(*ast.ArrayNode)
	f := guardWord(b.Left.String())
	if !ok || f == nil || len(list.Nodes) > maxGuardTexts {
		return nil
	}
	g := &guard{word: f}
	for _, e := range list.Nodes {
		s, ok := e.(*ast.StringNode)
		if !ok {
			return nil
		}
		g.texts = append(g.texts, s.Value)
	}
	return g
}

// maxGuardTexts bounds a guard's list, which is searched from its beginning.
const maxGuardTexts = 16

// guardWord returns how to read a word of type text that is there at every evaluation; nil for any other.
func guardWord(word string) func(*environment) string {
	switch word {
	case "recipient.domain":
		return func(e *environment) string { return e.Recipient.Domain }
	case "recipient.address":
		return func(e *environment) string { return e.Recipient.Address }
	case "recipient.local":
		return func(e *environment) string { return e.Recipient.Local }
	case "recipient.tag":
		return func(e *environment) string { return e.Recipient.Tag }
	case "envelope.mail_from":
		return func(e *environment) string { return e.Envelope.MailFrom }
	case "envelope.listener":
		return func(e *environment) string { return e.Envelope.Listener }
	case "sender.domain":
		return func(e *environment) string { return e.Sender.Domain }
	case "kind":
		return func(e *environment) string { return e.Kind }
	case "subject":
		return func(e *environment) string { return e.Subject }
	}
	return nil
}
