package shape

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"
)

// confiner rewrites a program so that it cannot leave the bounds. gojq stops a program between instructions, but one
// instruction may double a text, compare values that are shared a million times over, or go through all of a list: in front
// of each of those it puts a function that charges the meter. Words that it does not know are refused.
type confiner struct {
	own   bool // it is the words of our own that are read: they may use names with _
	scope *scope
	names int // of variables that were made up
	// wrong is the first mistake; wanted is the word that it is about.
	wrong  *Error
	wanted string
}

// scope knows the functions that the program has defined.
type scope struct{ functions []string }

func newScope() *scope { return &scope{} }

func signature(name string, arity int) string { return name + "/" + strconv.Itoa(arity) }

func (c *confiner) refuse(word, format string, args ...any) {
	if c.wrong == nil {
		c.wrong, c.wanted = &Error{Text: fmt.Sprintf(format, args...)}, word
	}
}

// define rewrites a function; it can be called from then on, and within itself.
func (c *confiner) define(def *gojq.FuncDef) {
	if strings.HasPrefix(def.Name, "_") && !c.own {
		c.refuse(def.Name, "names of functions do not begin with _: %s", def.Name)
	}
	if strings.Contains(def.Name, "::") {
		c.refuse(def.Name, "there are no modules here")
	}
	c.scope.functions = append(c.scope.functions, signature(def.Name, len(def.Args)))
	outer := len(c.scope.functions)
	for _, arg := range def.Args {
		if strings.HasPrefix(strings.TrimPrefix(arg, "$"), "_") { // it could stand for what charges the meter
			c.refuse(arg, "names of arguments do not begin with _: %s", arg)
		}
		c.scope.functions = append(c.scope.functions, signature(strings.TrimPrefix(arg, "$"), 0))
	}
	c.query(def.Body)
	c.scope.functions = c.scope.functions[:outer]
}

func (c *confiner) query(q *gojq.Query) {
	if q == nil {
		return
	}
	if q.Meta != nil || len(q.Imports) > 0 {
		c.refuse("import", "there are no modules here")
	}
	outer := len(c.scope.functions)
	for _, def := range q.FuncDefs {
		c.define(def)
	}
	defer func() { c.scope.functions = c.scope.functions[:outer] }()
	if q.Term != nil {
		q.Term = c.term(q.Term)
		return
	}
	c.query(q.Left)
	c.query(q.Right)
	for _, p := range q.Patterns {
		c.pattern(p)
	}
	c.operator(q)
}

// operator replaces an operation whose two sides are confined already.
func (c *confiner) operator(q *gojq.Query) {
	become := func(name string) {
		*q = gojq.Query{FuncDefs: q.FuncDefs, Term: call(name, q.Left, q.Right)}
	}
	switch q.Op {
	case gojq.OpAdd:
		become("_plus")
	case gojq.OpSub:
		become("_minus")
	case gojq.OpMul:
		become("_times")
	case gojq.OpDiv:
		become("_over")
	case gojq.OpMod, gojq.OpEq, gojq.OpNe, gojq.OpGt, gojq.OpLt, gojq.OpGe, gojq.OpLe:
		q.Left, q.Right = pipe(q.Left, word("_weigh")), pipe(q.Right, word("_weigh"))
	case gojq.OpAssign, gojq.OpModify: // they copy what they change
		*q = gojq.Query{FuncDefs: q.FuncDefs, Op: gojq.OpPipe, Left: word("_weigh"), Right: &gojq.Query{Op: q.Op, Left: q.Left, Right: q.Right}}
	case gojq.OpUpdateAdd, gojq.OpUpdateSub, gojq.OpUpdateMul, gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		c.update(q)
	}
}

// update makes `right as $x | left |= . op $x` of `left op= right`.
func (c *confiner) update(q *gojq.Query) {
	plain := map[gojq.Operator]gojq.Operator{
		gojq.OpUpdateAdd: gojq.OpAdd, gojq.OpUpdateSub: gojq.OpSub, gojq.OpUpdateMul: gojq.OpMul, gojq.OpUpdateDiv: gojq.OpDiv,
		gojq.OpUpdateMod: gojq.OpMod, gojq.OpUpdateAlt: gojq.OpAlt,
	}
	name := c.name()
	with := &gojq.Query{Op: plain[q.Op], Left: identity(), Right: word(name)}
	c.operator(with)
	*q = gojq.Query{FuncDefs: q.FuncDefs, Op: gojq.OpPipe, Left: word("_weigh"), Right: bind(q.Right, name, &gojq.Query{Op: gojq.OpModify, Left: q.Left, Right: with})}
}

// name makes up a variable.
func (c *confiner) name() string {
	c.names++
	return "$__" + strconv.Itoa(c.names)
}

// term returns what stands for a term: the term without its suffixes, piped into one step for each of them.
func (c *confiner) term(t *gojq.Term) *gojq.Term {
	suffixes := t.SuffixList
	t.SuffixList = nil
	cur := asQuery(c.bare(t))
	for i, s := range suffixes {
		if s.Optional && (i == 0 || suffixes[i-1].Optional) {
			cur = asQuery(try(cur))
		}
		if s.Optional {
			continue
		}
		var wrap func(*gojq.Query) *gojq.Query
		var step *gojq.Query
		if s.Iter {
			step = pipe(word("_each"), asQuery(&gojq.Term{Type: gojq.TermTypeIdentity, SuffixList: []*gojq.Suffix{{Iter: true}}}))
		} else {
			step, wrap = c.step(s.Index)
		}
		if i+1 < len(suffixes) && suffixes[i+1].Optional {
			step = asQuery(try(step))
		}
		cur = pipe(cur, step)
		if wrap != nil {
			cur = wrap(cur)
		}
	}
	if cur.Term != nil {
		return cur.Term
	}
	return &gojq.Term{Type: gojq.TermTypeQuery, Query: cur}
}

// step is an index as a step of a pipe. What is computed for it is computed from the input of the whole term: wrap binds
// that around it.
func (c *confiner) step(x *gojq.Index) (step *gojq.Query, wrap func(*gojq.Query) *gojq.Query) {
	if x.Name != "" || x.Str != nil && x.Str.Queries == nil {
		return asQuery(&gojq.Term{Type: gojq.TermTypeIndex, Index: x}), nil
	}
	if x.Str != nil {
		x = &gojq.Index{Start: asQuery(&gojq.Term{Type: gojq.TermTypeString, Str: x.Str})}
	}
	type binding struct {
		name  string
		value *gojq.Query
	}
	var bindings []binding
	bound := func(q *gojq.Query) *gojq.Query {
		if q == nil {
			return nil
		}
		c.query(q)
		name := c.name()
		bindings = append(bindings, binding{name, pipe(q, word("_key"))})
		return word(name)
	}
	guard := "_open"
	index := &gojq.Index{Start: bound(x.Start), End: bound(x.End), IsSlice: x.IsSlice}
	if x.IsSlice {
		guard = "_weigh"
	}
	step = pipe(word(guard), asQuery(&gojq.Term{Type: gojq.TermTypeIndex, Index: index}))
	return step, func(q *gojq.Query) *gojq.Query {
		for _, b := range slices.Backward(bindings) {
			q = bind(b.value, b.name, q)
		}
		return q
	}
}

// bare confines a term that has no suffixes.
func (c *confiner) bare(t *gojq.Term) *gojq.Term {
	switch t.Type {
	case gojq.TermTypeIndex:
		step, wrap := c.step(t.Index)
		if wrap != nil {
			step = wrap(step)
		}
		return asTerm(step)
	case gojq.TermTypeRecurse:
		return c.bare(&gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: "recurse"}})
	case gojq.TermTypeFunc:
		return c.function(t)
	case gojq.TermTypeObject:
		for _, kv := range t.Object.KeyVals {
			c.member(kv)
		}
	case gojq.TermTypeArray:
		if t.Array != nil {
			c.query(t.Array.Query)
		}
	case gojq.TermTypeNumber:
		if len(t.Number) > 32 {
			c.refuse(t.Number, "the number has more than 32 digits")
		}
	case gojq.TermTypeUnary:
		t.Unary.Term = c.term(t.Unary.Term)
		if t.Unary.Op == gojq.OpSub {
			return call("_minus", asQuery(&gojq.Term{Type: gojq.TermTypeNumber, Number: "0"}), asQuery(t.Unary.Term))
		}
	case gojq.TermTypeFormat:
		if t.Str == nil {
			return asTerm(strict(&gojq.Term{Type: gojq.TermTypeFormat, Format: t.Format}))
		}
		return c.text(t.Str, strict(&gojq.Term{Type: gojq.TermTypeFormat, Format: t.Format}))
	case gojq.TermTypeString:
		if t.Str.Queries != nil {
			return c.text(t.Str, strict(&gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: "tostring"}}))
		}
	case gojq.TermTypeIf:
		c.query(t.If.Cond)
		c.query(t.If.Then)
		for _, e := range t.If.Elif {
			c.query(e.Cond)
			c.query(e.Then)
		}
		c.query(t.If.Else)
	case gojq.TermTypeTry:
		c.query(t.Try.Body)
		c.query(t.Try.Catch)
	case gojq.TermTypeReduce:
		c.queries(t.Reduce.Query, t.Reduce.Start, t.Reduce.Update)
		c.patterns(t.Reduce.Patterns)
	case gojq.TermTypeForeach:
		c.queries(t.Foreach.Query, t.Foreach.Start, t.Foreach.Update, t.Foreach.Extract)
		c.patterns(t.Foreach.Patterns)
	case gojq.TermTypeLabel:
		c.query(t.Label.Body)
	case gojq.TermTypeQuery:
		c.query(t.Query)
	}
	return t
}

func (c *confiner) queries(qs ...*gojq.Query) {
	for _, q := range qs {
		c.query(q)
	}
}

func (c *confiner) patterns(ps []*gojq.Pattern) {
	for _, p := range ps {
		c.pattern(p)
	}
}

// text makes a sum of a string with expressions in it.
func (c *confiner) text(s *gojq.String, convert *gojq.Query) *gojq.Term {
	sum := asQuery(&gojq.Term{Type: gojq.TermTypeString, Str: &gojq.String{}})
	for _, q := range s.Queries {
		if q.Term == nil || q.Term.Str == nil || q.Term.Type != gojq.TermTypeString || q.Term.Str.Queries != nil || len(q.Term.SuffixList) > 0 {
			c.query(q)
			q = pipe(q, convert)
		}
		sum = asQuery(call("_plus", sum, q))
	}
	return asTerm(sum)
}

func (c *confiner) member(kv *gojq.ObjectKeyVal) {
	if strings.HasPrefix(kv.Key, "$") {
		c.variable(kv.Key)
	}
	if kv.KeyString != nil && kv.KeyString.Queries != nil {
		if kv.Val == nil {
			c.refuse("\\(", "a key with an expression in it needs a value")
			return
		}
		kv.KeyQuery, kv.KeyString = asQuery(&gojq.Term{Type: gojq.TermTypeString, Str: kv.KeyString}), nil
	}
	c.query(kv.KeyQuery)
	c.query(kv.Val)
}

func (c *confiner) pattern(p *gojq.Pattern) {
	if p == nil {
		return
	}
	c.ownName(p.Name)
	c.patterns(p.Array)
	for _, o := range p.Object {
		c.ownName(o.Key)
		if o.KeyString != nil && o.KeyString.Queries != nil {
			o.KeyQuery, o.KeyString = asQuery(&gojq.Term{Type: gojq.TermTypeString, Str: o.KeyString}), nil
		}
		if o.KeyQuery != nil {
			c.query(o.KeyQuery)
			o.KeyQuery = pipe(o.KeyQuery, word("_key"))
		}
		c.pattern(o.Val)
	}
}

// ownName refuses variables whose names are for what is made up.
func (c *confiner) ownName(name string) {
	if strings.HasPrefix(name, "$__") {
		c.refuse(name, "names of variables do not begin with __")
	}
}

func (c *confiner) variable(name string) {
	switch {
	case name == "$ENV":
		c.refuse(name, "the environment is not there for shapes")
	case strings.HasPrefix(name, "$__"):
		c.refuse(name, "there is no variable %s", name)
	}
}

// function confines a call.
func (c *confiner) function(t *gojq.Term) *gojq.Term {
	f := t.Func
	if strings.HasPrefix(f.Name, "$") {
		c.variable(f.Name)
		return t
	}
	c.queries(f.Args...)
	if slices.Contains(c.scope.functions, signature(f.Name, len(f.Args))) {
		return t
	}
	kind, known := builtins()[f.Name]
	if known && slices.Contains(kind.arities, len(f.Args)) && (c.own || !strings.HasPrefix(f.Name, "_")) {
		if !kind.strict {
			return t
		}
		for i, a := range f.Args {
			if f.Name != "del" {
				f.Args[i] = pipe(a, word("_weigh"))
			}
		}
		return asTerm(strict(t))
	}
	c.unknown(f)
	return t
}

func (c *confiner) unknown(f *gojq.Func) {
	var arities []string
	for _, s := range c.words() {
		name, arity, _ := strings.Cut(s, "/")
		if name == f.Name && !slices.Contains(arities, arity) {
			arities = append(arities, arity)
		}
	}
	if len(arities) > 0 {
		c.refuse(f.Name, "%s takes %s arguments, not %d", f.Name, strings.Join(arities, " or "), len(f.Args))
		return
	}
	c.refuse(f.Name, "there is no function %s in shapes; docs/shapes.md lists those that there are", f.Name)
}

// words are the signatures of all functions that can be called here.
func (c *confiner) words() []string {
	all := slices.Clone(c.scope.functions)
	for name, kind := range builtins() {
		for _, n := range kind.arities {
			all = append(all, signature(name, n))
		}
	}
	return all
}

// strict puts the meter around a term that goes through all of its input.
func strict(t *gojq.Term) *gojq.Query {
	return pipe(pipe(word("_weigh"), asQuery(t)), word("_weigh"))
}

func asQuery(t *gojq.Term) *gojq.Query {
	if t.Type == gojq.TermTypeQuery && len(t.SuffixList) == 0 {
		return t.Query
	}
	return &gojq.Query{Term: t}
}

func asTerm(q *gojq.Query) *gojq.Term {
	if q.Term != nil && len(q.FuncDefs) == 0 {
		return q.Term
	}
	return &gojq.Term{Type: gojq.TermTypeQuery, Query: q}
}

func identity() *gojq.Query { return asQuery(&gojq.Term{Type: gojq.TermTypeIdentity}) }

func call(name string, args ...*gojq.Query) *gojq.Term {
	return &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}
}

func word(name string) *gojq.Query { return asQuery(call(name)) }

func try(q *gojq.Query) *gojq.Term {
	return &gojq.Term{Type: gojq.TermTypeTry, Try: &gojq.Try{Body: q}}
}

func pipe(l, r *gojq.Query) *gojq.Query { return &gojq.Query{Op: gojq.OpPipe, Left: l, Right: r} }

func bind(value *gojq.Query, name string, in *gojq.Query) *gojq.Query {
	return &gojq.Query{Op: gojq.OpPipe, Left: value, Right: in, Patterns: []*gojq.Pattern{{Name: name}}}
}
