package rules

import (
	"slices"

	"github.com/expr-lang/expr/ast"
)

// guard is a comparison that a condition begins with: word == "text", or word in ["text", ...], alone or in front of an and.
// Where it is false the condition is, and nothing behind it would be evaluated; asking it first takes a tenth of an
// evaluation, which counts where hundreds of rules are each for one domain.
type guard struct {
	word  guardWord
	texts []string
}

func (g *guard) holds(e *environment) bool { return slices.Contains(g.texts, g.word.in(e)) }

// guardOf returns the guard of a condition, nil when it has none.
func guardOf(n ast.Node) *guard {
	for parts := partsOf(n, "and", "&&"); parts != nil; parts = partsOf(n, "and", "&&") {
		n = parts[0]
	}
	if word, text, ok := equality(n); ok {
		if w := guardWordOf(word); w != noWord {
			return &guard{w, []string{text}}
		}
		return nil
	}
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != "in" {
		return nil
	}
	list, ok := b.Right.(*ast.ArrayNode)
	g := &guard{word: guardWordOf(b.Left.String())}
	if !ok || g.word == noWord || len(list.Nodes) > maxGuardTexts {
		return nil
	}
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

// sieve are the guards of all rules that are for one text, side by side, so that a run through many rules that do not match
// touches little memory.
type sieve []sieveEntry

type sieveEntry struct {
	text string
	word guardWord
}

// sieveOf makes the sieve of rules; rules without such a guard have an entry that lets all pass.
func sieveOf(rs []rule) sieve {
	s := make(sieve, len(rs))
	for i := range rs {
		if g := rs[i].condition.guard; g != nil && len(g.texts) == 1 {
			s[i] = sieveEntry{g.texts[0], g.word}
		}
	}
	return s
}

// guardWord is a word of type text that is there at every evaluation.
type guardWord uint8

const (
	noWord guardWord = iota
	recipientDomain
	recipientAddress
	recipientLocal
	recipientTag
	mailFrom
	listener
	senderDomain
	kind
	subject
	guardWords
)

func guardWordOf(word string) guardWord {
	switch word {
	case "recipient.domain":
		return recipientDomain
	case "recipient.address":
		return recipientAddress
	case "recipient.local":
		return recipientLocal
	case "recipient.tag":
		return recipientTag
	case "envelope.mail_from":
		return mailFrom
	case "envelope.listener":
		return listener
	case "sender.domain":
		return senderDomain
	case "kind":
		return kind
	case "subject":
		return subject
	}
	return noWord
}

// in returns the word as an environment has it.
func (w guardWord) in(e *environment) string {
	switch w {
	case recipientDomain:
		return e.Recipient.Domain
	case recipientAddress:
		return e.Recipient.Address
	case recipientLocal:
		return e.Recipient.Local
	case recipientTag:
		return e.Recipient.Tag
	case mailFrom:
		return e.Envelope.MailFrom
	case listener:
		return e.Envelope.Listener
	case senderDomain:
		return e.Sender.Domain
	case kind:
		return e.Kind
	case subject:
		return e.Subject
	}
	return ""
}

// words are all guard words of an environment.
func words(e *environment) (ws [guardWords]string) {
	for w := range ws {
		ws[w] = guardWord(w).in(e)
	}
	return ws
}
