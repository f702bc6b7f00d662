package rules

import (
	"fmt"
	"reflect"
	"time"

	"github.com/expr-lang/expr/ast"
)

// patcher changes the syntax tree before it is compiled:
//   - a comparison of a list of addresses or texts with a text becomes any(list, ... ), != becomes none(...);
//   - every predicate counts the elements that it looks at, which bounds the cost of an evaluation;
//   - a time zone and a list of the configuration become constants.
//
// It is a visitor of the expression language: children are visited before their parents, with their types known.
type patcher struct {
	lets  int
	named map[string]namedList
}

// Visit implements ast.Visitor.
func (p *patcher) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.BinaryNode:
		p.comparison(node, n)
	case *ast.CallNode:
		p.list(node, n)
	case *ast.BuiltinNode:
		if n.Name == "timezone" && len(n.Arguments) == 1 {
			p.timezone(node, n)
			return
		}
		for _, a := range n.Arguments {
			if predicate, ok := a.(*ast.PredicateNode); ok {
				predicate.Node = counted(predicate.Node)
			}
		}
	}
}

func (p *patcher) timezone(node *ast.Node, n *ast.BuiltinNode) {
	if s, ok := n.Arguments[0].(*ast.StringNode); ok {
		if zone, err := time.LoadLocation(s.Value); err == nil {
			c := &ast.ConstantNode{Value: zone}
			c.SetType(reflect.TypeOf(zone))
			ast.Patch(node, c)
			(*node).SetType(reflect.TypeOf(zone))
		}
	}
}

func (p *patcher) list(node *ast.Node, n *ast.CallNode) {
	if callee, ok := n.Callee.(*ast.IdentifierNode); !ok || callee.Value != "list" || len(n.Arguments) != 1 {
		return
	}
	if s, ok := n.Arguments[0].(*ast.StringNode); ok {
		if l, known := p.named[s.Value]; known {
			ast.Patch(node, &ast.ConstantNode{Value: l})
			(*node).SetType(reflect.TypeOf(l))
		}
	}
}

func (p *patcher) comparison(node *ast.Node, n *ast.BinaryNode) {
	list, text, quantifier, operator := n.Left, n.Right, "any", n.Operator
	switch n.Operator {
	case "contains", "startsWith", "endsWith", "matches", "==":
	case "!=":
		quantifier, operator = "none", "=="
	case "in":
		list, text, operator = n.Right, n.Left, "=="
		if n.Right.Type() == reflect.TypeFor[namedList]() {
			list, text, operator = n.Left, n.Right, "in"
		}
	default:
		return
	}
	element := elementOf(list)
	if element == nil || text.Type().Kind() != reflect.String && operator != "in" {
		return
	}
	// The text is looked at inside the predicate, where # would mean another element: anything but a constant is
	// evaluated before.
	value := text
	if _, constant := text.(*ast.StringNode); !constant && operator != "in" {
		p.lets++
		value = &ast.IdentifierNode{Value: fmt.Sprintf("text(%d)", p.lets)}
	}
	body := at(n, &ast.BinaryNode{Operator: operator, Left: element, Right: value})
	predicate := at(n, &ast.PredicateNode{Node: counted(body)})
	var result ast.Node = at(n, &ast.BuiltinNode{Name: quantifier, Arguments: []ast.Node{list, predicate}})
	if value != text {
		result = &ast.VariableDeclaratorNode{Name: value.(*ast.IdentifierNode).Value, Value: text, Expr: result}
	}
	ast.Patch(node, result)
	(*node).SetType(reflect.TypeFor[bool]())
}

// elementOf returns the expression for what is compared of each element of the list, nil when n is no such list.
func elementOf(n ast.Node) ast.Node {
	switch n.Type() {
	case reflect.TypeFor[[]mailbox](), reflect.TypeFor[[]recipient]():
		return at(n, &ast.MemberNode{Node: at(n, &ast.PointerNode{}), Property: at(n, &ast.StringNode{Value: "address"})})
	case reflect.TypeFor[[]string]():
		return at(n, &ast.PointerNode{})
	}
	return nil
}

// counted puts the counter in front of a predicate.
func counted(body ast.Node) ast.Node {
	tick := at(body, &ast.CallNode{Callee: at(body, &ast.IdentifierNode{Value: "tick()"})})
	return at(body, &ast.BinaryNode{Operator: "and", Left: tick, Right: body})
}

func at[N ast.Node](place ast.Node, n N) N {
	n.SetLocation(place.Location())
	return n
}
