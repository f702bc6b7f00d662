package rules

import (
	"strings"

	"github.com/expr-lang/expr/ast"
)

// maxImplications bounds the comparisons of one Check. What is beyond is not looked at: it is about warnings.
const maxImplications = 2_000_000

// implications finds conditions that hold whenever another one does, as far as the words show it.
type implications struct {
	lexicon *lexicon
	texts   map[ast.Node]string
	left    int
}

func newImplications(l *lexicon) *implications {
	return &implications{lexicon: l, texts: map[ast.Node]string{}, left: maxImplications}
}

func (im *implications) text(n ast.Node) string {
	t, known := im.texts[n]
	if !known {
		t = n.String()
		im.texts[n] = t
	}
	return t
}

// implies reports that b holds for every message and recipient that a holds for. false means that it is not known.
func (im *implications) implies(a, b ast.Node) bool {
	if im.left--; im.left < 0 {
		return false
	}
	if parts := partsOf(b, "and", "&&"); parts != nil {
		return im.implies(a, parts[0]) && im.implies(a, parts[1])
	}
	if parts := partsOf(a, "or", "||"); parts != nil {
		return im.implies(parts[0], b) && im.implies(parts[1], b)
	}
	if parts := partsOf(a, "and", "&&"); parts != nil && (im.implies(parts[0], b) || im.implies(parts[1], b)) {
		return true
	}
	if parts := partsOf(b, "or", "||"); parts != nil {
		return im.implies(a, parts[0]) || im.implies(a, parts[1])
	}
	return im.text(a) == im.text(b) || im.equalityImplies(a, b)
}

// equalityImplies knows what follows from word == "text": that the word is in a list with it, is not another text, and
// begins, ends or goes on as it does. Of lists nothing follows: for them == means any of the elements.
func (im *implications) equalityImplies(a, b ast.Node) bool {
	word, text, ok := equality(a)
	if !ok || im.lexicon.words[word].Type != "text" {
		return false
	}
	if other, is, ok := equality(b); ok {
		return other == word && is == text
	}
	c, ok := b.(*ast.BinaryNode)
	if !ok || im.text(c.Left) != word {
		return false
	}
	if list, ok := c.Right.(*ast.ArrayNode); ok && c.Operator == "in" {
		for _, e := range list.Nodes {
			if s, ok := e.(*ast.StringNode); ok && s.Value == text {
				return true
			}
		}
	}
	s, ok := c.Right.(*ast.StringNode)
	if !ok {
		return false
	}
	switch c.Operator {
	case "!=":
		return s.Value != text
	case "startsWith":
		return strings.HasPrefix(text, s.Value)
	case "endsWith":
		return strings.HasSuffix(text, s.Value)
	case "contains":
		return strings.Contains(text, s.Value)
	}
	return false
}

// partsOf returns the two sides of one of the operators, nil when n is something else.
func partsOf(n ast.Node, operators ...string) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok {
		for _, o := range operators {
			if b.Operator == o {
				return []ast.Node{b.Left, b.Right}
			}
		}
	}
	return nil
}

// negated is what n says not, nil when it is no negation.
func negated(n ast.Node) ast.Node {
	if u, ok := n.(*ast.UnaryNode); ok && (u.Operator == "not" || u.Operator == "!") {
		return u.Node
	}
	return nil
}
