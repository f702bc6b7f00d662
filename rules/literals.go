package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"mxhook/pipeline"
)

func (in *inspector) pattern(n ast.Node) {
	s, fixed := n.(*ast.StringNode)
	if !fixed {
		in.complain(n, `a pattern must be a fixed text: subject matches "(?i)invoice"`)
		return
	}
	if _, err := regexp.Compile(s.Value); err != nil {
		in.complain(n, "the pattern cannot be read: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

// literals complains about fixed texts that the word can never be equal to, or contain.
func (in *inspector) literals(operator, path string, n ast.Node) {
	w, known := in.words[path]
	if !known || !slices.Contains([]string{"==", "!=", "in", "contains", "startsWith", "endsWith"}, operator) {
		return
	}
	var texts []*ast.StringNode
	switch n := n.(type) {
	case *ast.StringNode:
		texts = append(texts, n)
	case *ast.ArrayNode:
		for _, e := range n.Nodes {
			if s, ok := e.(*ast.StringNode); ok {
				texts = append(texts, s)
			}
		}
	}
	shown := strings.ReplaceAll(path, "[]", "")
	for _, s := range texts {
		if w.Lower && s.Value != strings.ToLower(s.Value) {
			in.complain(s, "%s is always in lower case, this never matches; write %q", shown, strings.ToLower(s.Value))
		}
		if w.Values != nil && slices.Contains([]string{"==", "!=", "in"}, operator) && !slices.Contains(w.Values, s.Value) {
			in.complain(s, "%s is never %q%s", shown, s.Value, in.suggestValue(w, s.Value))
		}
	}
}

func (in *inspector) suggestValue(w Word, value string) string {
	if v, ok := pipeline.Nearest(value, w.Values); ok && v != "" {
		return fmt.Sprintf("; did you mean %q?", v)
	}
	var values []string
	for _, v := range w.Values {
		values = append(values, fmt.Sprintf("%q", v))
	}
	return "; it is one of " + strings.Join(values, ", ")
}
