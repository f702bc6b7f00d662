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
	// captures are the patterns with named groups.
	captures []capture
	// guard, when not nil, is false for most messages that the condition is false for.
	guard *guard
}

// capture is a pattern with named groups and the text that it is compared with.
type capture struct {
	text    *vm.Program
	pattern *regexp.Regexp
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
	program, err := expr.Compile(source, l.options(expr.AsBool())...)
	if err != nil {
		return condition{}, []mistake{fromExpr(err, l)}
	}
	return condition{source: source, program: program, tree: tree.Node, uses: in.uses, captures: l.captures(tree.Node), guard: guardOf(tree.Node)}, nil
}

// captures finds the patterns with named groups that a match may rest on: those that stand below and, or and nothing else.
func (l *lexicon) captures(n ast.Node) []capture {
	b, ok := n.(*ast.BinaryNode)
	if !ok {
		return nil
	}
	switch b.Operator {
	case "and", "&&", "or", "||":
		return append(l.captures(b.Left), l.captures(b.Right)...)
	case "matches":
	default:
		return nil
	}
	s, fixed := b.Right.(*ast.StringNode)
	if !fixed {
		return nil
	}
	pattern, err := regexp.Compile(s.Value)
	if err != nil || strings.Join(pattern.SubexpNames(), "") == "" {
		return nil
	}
	text, err := expr.Compile(b.Left.String(), l.options()...)
	if err != nil {
		return nil
	}
	return []capture{{text, pattern}}
}

// parserConfig makes the parser bound the nodes; all functions are known to it, so that the inspector can say which
// are not available.
func parserConfig() *conf.Config {
	c := conf.CreateNew()
	c.MaxNodes = MaxNodes
	return c
}

func (l *lexicon) options(more ...expr.Option) []expr.Option {
	o := []expr.Option{expr.Env(environment{}), expr.MaxNodes(MaxNodes), expr.Patch(&patcher{named: l.lists}), expr.DisableAllBuiltins()}
	for _, f := range builtins() {
		o = append(o, expr.EnableBuiltin(f.Name))
	}
	return append(append(o, functionOptions()...), more...)
}

// mismatch is how the type checker says that an operator does not fit its operands.
var mismatch = regexp.MustCompile(`^invalid operation: (\S+) \(mismatched types (.+) and (.+)\)$`)

// misfit and wrongCount are how it says that arguments do not fit a function.
var (
	misfit     = regexp.MustCompile(`^cannot use (.+) as argument \(type .+\) to call (\w+)$`)
	wrongCount = regexp.MustCompile(`^(not enough|too many) arguments to call (\w+)$`)
)

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
	case strings.Contains(m.text, "list of the configuration"):
		m.text = `a list of the configuration is used with in: sender.domain in list("partners")`
	case strings.HasSuffix(m.text, "in (mismatched types text and text)"):
		m.text = `in looks for a text in a list, like ["a", "b"]; part of a text is found with contains`
	case misfit.MatchString(m.text):
		parts := misfit.FindStringSubmatch(m.text)
		m.text = fmt.Sprintf("%s does not take a %s here: %s", parts[2], parts[1], l.signature(parts[2]))
	case wrongCount.MatchString(m.text):
		parts := wrongCount.FindStringSubmatch(m.text)
		m.text = fmt.Sprintf("%s arguments: %s", parts[1], l.signature(parts[2]))
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

// signature is how a function is called.
func (l *lexicon) signature(name string) string {
	if f, ok := l.own[name]; ok {
		return f.Type
	}
	return l.words[name].Type
}

// readable replaces Go's type names.
func readable(s string) string {
	return strings.NewReplacer(
		"[]rules.mailbox", "list of addresses", "[]rules.recipient", "list of recipients", "[]rules.attachment", "list of attachments",
		"rules.namedList", "list of the configuration", "[]rules.dkimResult", "list of signatures", "rules.mailbox", "address", "rules.", "", "[]string", "list of text",
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
