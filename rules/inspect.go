package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"mxhook/pipeline"
)

// lexicon is the vocabulary in the form that the inspector needs; it is built once per table.
type lexicon struct {
	words     map[string]Word
	functions map[string]bool
	methods   map[string]bool
	// fields are the names below each word, for suggestions.
	fields map[string][]string
	roots  []string
	own    map[string]function
	lists  map[string]namedList
	signed map[string]bool
}

func newLexicon(lists []List, signed []*SignedAddress) *lexicon {
	l := &lexicon{
		words: map[string]Word{}, functions: map[string]bool{}, methods: map[string]bool{}, fields: map[string][]string{},
		own: map[string]function{}, lists: map[string]namedList{}, signed: map[string]bool{},
	}
	for _, list := range lists {
		l.lists[list.Name] = makeList(list.Entries)
	}
	for _, a := range signed {
		l.signed[a.Name] = true
	}
	for _, f := range ownFunctions() {
		l.own[f.Name] = f
	}
	for _, w := range Vocabulary() {
		l.words[w.Name] = w
		if dot := strings.LastIndexByte(w.Name, '.'); dot >= 0 {
			l.fields[w.Name[:dot]] = append(l.fields[w.Name[:dot]], w.Name[dot+1:])
		} else {
			l.roots = append(l.roots, w.Name)
		}
	}
	for _, f := range Functions() {
		l.functions[f.Name] = true
	}
	for _, m := range methods() {
		l.methods[m] = true
	}
	return l
}

func (l *lexicon) functionNames() []string {
	var names []string
	for _, f := range Functions() {
		names = append(names, f.Name)
	}
	return append(names, "header", "headers", "inNetwork", "token")
}

func (l *lexicon) isList(path string) bool {
	return strings.HasPrefix(l.words[path].Type, "list of")
}

// inspector walks a condition as it was written and collects what is wrong with it, all at once, and which words it
// uses. It looks for what the type checker does not: words that need a suggestion, what is not allowed because its
// cost is not bounded, and comparisons that can never hold.
type inspector struct {
	*lexicon
	found []mistake
	uses  map[string]bool
	// around are the paths of the lists of the enclosing predicates; "" is a list that is not in the vocabulary.
	around []string
	locals []string
}

func (in *inspector) complain(n ast.Node, format string, args ...any) {
	in.found = append(in.found, mistake{n.Location().From, fmt.Sprintf(format, args...)})
}

// walk returns the path of the word that n stands for, "" when it is something else.
func (in *inspector) walk(n ast.Node) string {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return in.identifier(n)
	case *ast.MemberNode:
		return in.member(n)
	case *ast.PointerNode:
		if n.Name == "" && len(in.around) > 0 && in.around[len(in.around)-1] != "" {
			return in.around[len(in.around)-1] + "[]"
		}
	case *ast.ChainNode:
		return in.walk(n.Node)
	case *ast.CallNode:
		return in.call(n)
	case *ast.BuiltinNode:
		return in.builtin(n)
	case *ast.BinaryNode:
		in.binary(n)
	case *ast.UnaryNode:
		in.walk(n.Node)
	case *ast.PredicateNode:
		in.walk(n.Node)
	case *ast.ConditionalNode:
		in.walkAll(n.Cond, n.Exp1, n.Exp2)
	case *ast.ArrayNode:
		in.walkAll(n.Nodes...)
	case *ast.VariableDeclaratorNode:
		in.walk(n.Value)
		in.locals = append(in.locals, n.Name)
		in.walk(n.Expr)
		in.locals = in.locals[:len(in.locals)-1]
	case *ast.SliceNode:
		in.walk(n.Node)
		if n.From != nil {
			in.walk(n.From)
		}
		if n.To != nil {
			in.walk(n.To)
		}
	case *ast.MapNode, *ast.SequenceNode, *ast.BytesNode:
		in.complain(n, "this has no place in a condition")
	}
	return ""
}

func (in *inspector) walkAll(nodes ...ast.Node) {
	for _, n := range nodes {
		in.walk(n)
	}
}

func (in *inspector) identifier(n *ast.IdentifierNode) string {
	if slices.Contains(in.locals, n.Value) {
		return ""
	}
	if w, known := in.words[n.Value]; known {
		in.uses[n.Value] = true
		if strings.Contains(w.Type, "(") {
			in.complain(n, "%s is a function: %s", n.Value, w.Type)
		}
		return n.Value
	}
	if _, known := in.lists[n.Value]; known {
		in.complain(n, "%s is a list of the configuration: write list(%q)", n.Value, n.Value)
		return ""
	}
	if in.functions[n.Value] {
		in.complain(n, "%s is a function: write %s(...)", n.Value, n.Value)
		return ""
	}
	in.complain(n, "there is no %s%s", n.Value, in.suggestRoot(n.Value))
	return ""
}

// suggestRoot also finds fields whose group was left out: domain is recipient.domain.
func (in *inspector) suggestRoot(name string) string {
	if s := pipeline.DidYouMean(name, in.roots); s != "" {
		return s
	}
	for _, group := range []string{"recipient", "envelope", "sender", "client", "auth"} {
		if slices.Contains(in.fields[group], strings.ToLower(name)) {
			return "; did you mean " + group + "." + strings.ToLower(name) + "?"
		}
	}
	if strings.HasPrefix(name, "$") {
		return ""
	}
	return `; a fixed text needs quotes: "` + name + `"`
}

func (in *inspector) member(n *ast.MemberNode) string {
	base := in.walk(n.Node)
	property, named := n.Property.(*ast.StringNode)
	if !named {
		in.walk(n.Property)
		if in.isList(base) {
			return base + "[]"
		}
		return ""
	}
	if base == "" || in.words[base].Type == "map of text" {
		return ""
	}
	path := base + "." + property.Value
	if _, known := in.words[path]; known {
		in.uses[path] = true
		return path
	}
	shown := strings.ReplaceAll(base, "[]", "")
	switch {
	case in.words[base].Type == "time":
		in.complain(n, "a time has no field %s; write %s.Hour(), for example", property.Value, shown)
	case in.isList(base):
		in.complain(n, `%s is a list: write any(%s, .%s ...)`, shown, shown, property.Value)
	case len(in.fields[base]) > 0:
		in.complain(n, "%s has no %s%s", shown, property.Value, in.suggestField(base, property.Value))
	default:
		in.complain(n, "%s has no fields", shown)
	}
	return ""
}

func (in *inspector) suggestField(base, name string) string {
	if s := pipeline.DidYouMean(name, in.fields[base]); s != "" {
		return s
	}
	return "; it has " + strings.Join(in.fields[base], ", ")
}

func (in *inspector) call(n *ast.CallNode) string {
	result := ""
	switch callee := n.Callee.(type) {
	case *ast.IdentifierNode:
		w, known := in.words[callee.Value]
		switch {
		case known && strings.Contains(w.Type, "("):
			in.uses[callee.Value] = true
			if callee.Value == "headers" {
				result = "headers()"
			}
		case known:
			in.complain(callee, "%s is not a function", callee.Value)
		case in.own[callee.Value].call != nil:
			in.ownCall(n, in.own[callee.Value])
			if callee.Value == "list" {
				return "" // its argument has been looked at
			}
		default:
			in.complain(callee, "there is no function %s%s", callee.Value, pipeline.DidYouMean(callee.Value, in.functionNames()))
		}
		switch callee.Value {
		case "inNetwork":
			in.networks(n)
		case "token":
			in.tokenCall(n)
		}
	case *ast.MemberNode:
		in.method(in.walk(callee.Node), callee)
	default:
		in.complain(n, "this cannot be called")
	}
	in.walkAll(n.Arguments...)
	return result
}

// method allows those of a time. Texts have none: people write subject.contains("a") and subject.lower().
func (in *inspector) method(base string, callee *ast.MemberNode) {
	name, ok := callee.Property.(*ast.StringNode)
	switch {
	case ok && in.methods[name.Value]:
	case ok && slices.Contains([]string{"contains", "startsWith", "endsWith", "matches"}, name.Value):
		in.complain(callee, `%s is an operator: write %s %s "..."`, name.Value, callee.Node, name.Value)
	case ok && in.functions[name.Value]:
		in.complain(callee, "%s is a function: write %s(%s)", name.Value, name.Value, callee.Node)
	case in.words[base].Type == "time" && ok:
		in.complain(callee, "a time has no %s%s", name.Value, in.suggestMethod(name.Value))
	default:
		in.complain(callee, "there is no such method")
	}
}

func (in *inspector) suggestMethod(name string) string {
	if s := pipeline.DidYouMean(name, methods()); s != "" {
		return s
	}
	return "; it has " + strings.Join(methods(), ", ")
}

func (in *inspector) networks(n *ast.CallNode) {
	if len(n.Arguments) < 2 {
		in.complain(n, `inNetwork needs an address and a network: inNetwork(client.ip, "192.0.2.0/24")`)
		return
	}
	for _, a := range n.Arguments[1:] {
		in.network(a)
	}
}

func (in *inspector) network(n ast.Node) {
	s, fixed := n.(*ast.StringNode)
	if !fixed {
		in.complain(n, `the network must be a fixed text: inNetwork(client.ip, "192.0.2.0/24")`)
		return
	}
	if _, err := parseNetwork(s.Value); err != nil {
		in.complain(n, `%q is not a network; write "192.0.2.0/24" or "2001:db8::/32"`, s.Value)
	}
}

func (in *inspector) builtin(n *ast.BuiltinNode) string {
	if !in.functions[n.Name] {
		in.complain(n, "the function %s is not available in conditions; there are %s", n.Name, strings.Join(in.functionNames(), ", "))
		in.walkAll(n.Arguments...)
		return ""
	}
	if n.Name == "timezone" {
		in.timezone(n)
		return ""
	}
	if len(n.Arguments) < 2 {
		in.walkAll(n.Arguments...)
		return ""
	}
	list := in.walk(n.Arguments[0])
	if _, predicate := n.Arguments[1].(*ast.PredicateNode); !predicate {
		in.walkAll(n.Arguments[1:]...)
		return ""
	}
	if list != "" && !in.isList(list) && list != "headers()" {
		in.complain(n.Arguments[0], "%s is not a list", list)
		list = ""
	}
	in.around = append(in.around, list)
	if len(in.around) == MaxNesting+1 {
		in.complain(n, "%s stands in %d others: at most %d levels are allowed, because each multiplies the cost", n.Name, MaxNesting, MaxNesting)
	}
	in.walkAll(n.Arguments[1:]...)
	in.around = in.around[:len(in.around)-1]
	if n.Name == "filter" {
		return list
	}
	return ""
}

func (in *inspector) timezone(n *ast.BuiltinNode) {
	if len(n.Arguments) == 1 {
		if s, fixed := n.Arguments[0].(*ast.StringNode); fixed {
			if _, err := time.LoadLocation(s.Value); err != nil {
				in.complain(n, `there is no time zone %q; write "UTC" or "Europe/Berlin", for example`, s.Value)
			}
			return
		}
	}
	in.complain(n, `timezone needs one fixed name: timezone("Europe/Berlin")`)
}

func (in *inspector) binary(n *ast.BinaryNode) {
	left, right := in.walk(n.Left), in.walk(n.Right)
	switch n.Operator {
	case "..":
		in.complain(n, "ranges are not available in conditions")
	case "matches":
		in.pattern(n.Right)
	}
	if in.isList(left) || in.isList(right) || left == "headers()" || right == "headers()" {
		if len(in.around) >= MaxNesting {
			in.complain(n, "a list is compared inside %d others: at most %d levels are allowed, because each multiplies the cost", len(in.around), MaxNesting)
		}
	}
	in.group(n.Left, left)
	in.group(n.Right, right)
	in.literals(n.Operator, left, n.Right)
	in.literals(n.Operator, right, n.Left)
}

// group complains about auth.spf == "pass" and sender == "a@example.org".
func (in *inspector) group(n ast.Node, path string) {
	if in.words[path].Type == "group" {
		in.complain(n, "%s is a group and cannot be compared; it has %s", path, strings.Join(in.fields[path], ", "))
	}
}
