package rules

import (
	"fmt"
	"time"

	"github.com/expr-lang/expr/ast"

	"mxhook/pipeline"
)

// ownCall checks what of the arguments of one of our functions must be fixed, so that it is checked once and not when
// mail comes.
func (in *inspector) ownCall(n *ast.CallNode, f function) {
	switch f.Name {
	case "list":
		in.listName(n)
	case "inHours":
		if len(n.Arguments) == 4 {
			for _, a := range n.Arguments[1:3] {
				in.fixedText(a, `the time of day must be a fixed text: inHours(now, "09:00", "17:30", "Europe/Berlin")`, func(text string) error {
					_, err := minuteOf(text)
					return err
				})
			}
			in.zone(n.Arguments[3])
		}
	case "weekday":
		if len(n.Arguments) == 2 {
			in.zone(n.Arguments[1])
		}
	}
	if f.fixed == nil {
		return
	}
	if len(n.Arguments) <= f.from {
		in.complain(n, "%s needs something to compare with: %s", f.Name, f.shape)
		return
	}
	for _, a := range n.Arguments[f.from:] {
		in.fixedText(a, "this must be a fixed text: "+f.shape, f.fixed)
	}
}

func (in *inspector) zone(n ast.Node) {
	in.fixedText(n, `the zone must be a fixed name: "Europe/Berlin"`, func(text string) error {
		if _, err := time.LoadLocation(text); err != nil || text == "" || text == "Local" {
			return fmt.Errorf(`there is no time zone %q; write "UTC" or "Europe/Berlin", for example`, text)
		}
		return nil
	})
}

func (in *inspector) fixedText(n ast.Node, otherwise string, check func(text string) error) {
	s, fixed := n.(*ast.StringNode)
	if !fixed {
		in.complain(n, "%s", otherwise)
		return
	}
	if err := check(s.Value); err != nil {
		in.complain(n, "%s", err)
	}
}

func (in *inspector) listName(n *ast.CallNode) {
	var names []string
	for name := range in.lists {
		names = append(names, name)
	}
	if len(n.Arguments) != 1 {
		in.complain(n, `list needs one fixed name: list("vip")`)
		return
	}
	in.fixedText(n.Arguments[0], `the name of a list must be a fixed text: list("vip")`, func(text string) error {
		if _, known := in.lists[text]; known {
			return nil
		}
		if len(names) == 0 {
			return fmt.Errorf("there is no list %q; add one: lists: [{name: %s, file: ...}]", text, text)
		}
		return fmt.Errorf("there is no list %q%s", text, pipeline.DidYouMean(text, names))
	})
}

// tokenCall checks token(recipient.address, "name").
func (in *inspector) tokenCall(n *ast.CallNode) {
	if len(n.Arguments) != 2 {
		return // the type checker says it
	}
	in.fixedText(n.Arguments[1], `the name of a signed address must be a fixed text: token(recipient.address, "reply")`, func(text string) error {
		if in.signed[text] {
			return nil
		}
		var names []string
		for name := range in.signed {
			names = append(names, name)
		}
		if len(names) == 0 {
			return fmt.Errorf("there is no signed address %q; add one: signed_addresses: [{name: %s, ...}]", text, text)
		}
		return fmt.Errorf("there is no signed address %q%s", text, pipeline.DidYouMean(text, names))
	})
}
