package rules

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// condition is a compiled condition; the zero value has no program and always matches.
type condition struct {
	source  string
	program *vm.Program
	// tree is the condition as it was written.
	tree ast.Node
	uses map[string]bool
}

// parse reads a condition and collects everything that is wrong with it.
func parse(source string, l *lexicon) (condition, []mistake) {
	if len(source) > MaxLength {
		return condition{}, []mistake{{0, fmt.Sprintf("the condition is %d bytes long, at most %d are allowed", len(source), MaxLength)}}
	}
	tree, err := parser.ParseWithConfig(source, parserConfig())
	if err != nil {
		return condition{}, []mistake{fromExpr(err, l)}
	}
	in := &inspector{lexicon: l, uses: map[string]bool{}}
	in.walk(tree.Node)
	if len(in.found) > 0 {
		return condition{}, in.found
	}
	program, err := expr.Compile(source, options(expr.AsBool())...)
	if err != nil {
		return condition{}, []mistake{fromExpr(err, l)}
	}
	return condition{source: source, program: program, tree: tree.Node, uses: in.uses}, nil
}

// parserConfig makes the parser bound the nodes; all functions are known to it, so that the inspector can say which
// are not available.
func parserConfig() *conf.Config {
	c := conf.CreateNew()
	c.MaxNodes = MaxNodes
	return c
}

func options(more ...expr.Option) []expr.Option {
	o := []expr.Option{expr.Env(environment{}), expr.MaxNodes(MaxNodes), expr.Patch(&patcher{}), expr.DisableAllBuiltins()}
	for _, f := range Functions() {
		o = append(o, expr.EnableBuiltin(f.Name))
	}
	return append(o, more...)
}

// mismatch is how the type checker says that an operator does not fit its operands.
var mismatch = regexp.MustCompile(`^invalid operation: (\S+) \(mismatched types (.+) and (.+)\)$`)

// fromExpr puts an error of the expression language into words for people who do not know its types.
func fromExpr(err error, l *lexicon) mistake {
	m := mistake{text: err.Error()}
	var at *file.Error
	if errors.As(err, &at) {
		m = mistake{at.From, at.Message}
	}
	m.text = strings.TrimSpace(readable(m.text))
	switch {
	case strings.HasPrefix(m.text, "expected yes/no, but got "):
		m.text = "a condition must be true or false, this is a " + strings.TrimPrefix(m.text, "expected yes/no, but got ")
	case strings.HasPrefix(m.text, "bad number syntax"):
		m.text = "this number cannot be read; a size of 10 MB is 10 * 1024 * 1024"
	case mismatch.MatchString(m.text):
		m.text = mismatch.ReplaceAllString(m.text, "a $2 and a $3 do not go together with $1")
	case strings.Contains(m.text, `unexpected token Operator("=")`):
		m.text = "= does not compare; write =="
	case strings.Contains(m.text, "unexpected token EOF"), strings.Contains(m.text, "unexpected end of expression"):
		m.text = "the condition ends too early; is a closing bracket or the right side of a comparison missing?"
	case strings.Contains(m.text, `Operator("&")`):
		m.text = "write and, or &&"
	case strings.Contains(m.text, "literal not terminated"):
		m.text = "the text has no closing quote"
	case strings.Contains(m.text, "exceeds maximum allowed nodes"):
		m.text = fmt.Sprintf("the condition has more than %d parts", MaxNodes)
	}
	return m
}

// readable replaces Go's type names.
func readable(s string) string {
	return strings.NewReplacer(
		"[]rules.mailbox", "list of addresses", "[]rules.recipient", "list of recipients", "[]rules.attachment", "list of attachments",
		"[]rules.dkimResult", "list of signatures", "rules.mailbox", "address", "rules.", "", "[]string", "list of text",
		"map[string]string", "map of text", "time.Time", "time", "string", "text", "bool", "yes/no", "int", "number", "float64", "number",
	).Replace(s)
}

// runtimeText is an error of an evaluation in one line.
func runtimeText(err error) string {
	text := err.Error()
	var at *file.Error
	if errors.As(err, &at) {
		text = at.Message
	}
	if value, ok := strings.CutPrefix(text, "invalid operation: int("); ok {
		return fmt.Sprintf("%q is not a number", strings.TrimSuffix(value, ")"))
	}
	if strings.Contains(text, "out of range") {
		return "the list has no such element"
	}
	return strings.ReplaceAll(text, "rules.", "")
}
