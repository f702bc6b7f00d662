// Package shape runs small jq programs that make another JSON value of a payload, within bounds that neither the program
// nor the mail can leave: of steps, of octets looked at and made, of the result.
package shape

import (
	"context"
	_ "embed" // the words that every program has
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// Bounds of a run. A program that meets one fails on that mail. Together they keep a run below about 200 MB and two
// seconds of CPU, whatever the program is; what is customary takes a thousandth of that.
const (
	// MaxText bounds a program, MaxInput the JSON that it gets, and MaxValue a value that it makes or hands to a
	// function, its result among them, in octets.
	MaxText  = 32 << 10
	MaxInput = 2 << 20
	MaxValue = 4 << 20
	// maxWork bounds all octets that functions look at or make, maxSteps the instructions.
	maxWork  = 32 << 20
	maxSteps = 200_000
	maxDepth = 256
)

//go:embed words.jq
var words string

// Program is a program that was read. Safe for concurrent use.
type Program struct {
	mu    sync.Mutex // guards query, which gojq compiles again for each runner
	query *gojq.Query
	idle  sync.Pool // of *runner
}

// runner is a program with its own meter: one run at a time.
type runner struct {
	code  *gojq.Code
	meter *meter
}

// Error is a mistake in a program. Line and Column count from 1, in characters; Line 0 means that the place is not known.
type Error struct {
	Line, Column int
	Text         string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Text
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Text)
}

// Compile reads a program. The error is an *Error.
func Compile(text string) (*Program, error) {
	if len(text) > MaxText {
		return nil, &Error{Text: fmt.Sprintf("the program is longer than %d octets", MaxText)}
	}
	if strings.TrimSpace(text) == "" {
		return nil, &Error{Text: `there is no program; "." is the one that changes nothing`}
	}
	query, err := gojq.Parse(text)
	if err != nil {
		return nil, parseError(text, err)
	}
	common, err := gojq.Parse(words + " .")
	if err != nil {
		return nil, &Error{Text: "the common words: " + err.Error()}
	}
	c := &confiner{own: true, scope: newScope()}
	for _, def := range common.FuncDefs {
		c.define(def)
	}
	c.own = false
	c.query(query)
	if c.wrong != nil {
		c.wrong.Line, c.wrong.Column = find(text, c.wanted)
		return nil, c.wrong
	}
	query.FuncDefs = append(common.FuncDefs, query.FuncDefs...)
	p := &Program{query: query}
	r, err := p.newRunner()
	if err != nil {
		e := &Error{Text: err.Error()}
		if _, name, ok := strings.Cut(e.Text, "variable not defined: "); ok {
			e.Line, e.Column = find(text, name)
		}
		return nil, e
	}
	p.idle.Put(r)
	return p, nil
}

func parseError(text string, err error) *Error {
	e := &Error{Text: err.Error()}
	var at *gojq.ParseError
	if errors.As(err, &at) {
		e.Line, e.Column = position(text, max(0, min(at.Offset, len(text))-len(at.Token)))
	}
	return e
}

// position is the line and column of an offset.
func position(text string, offset int) (line, column int) {
	before := text[:offset]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}

func (p *Program) newRunner() (*runner, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &runner{meter: &meter{}}
	code, err := gojq.Compile(p.query, r.meter.options()...)
	r.code = code
	return r, err
}

// Run gives the program a JSON text and returns what it makes of it: a value of encoding/json. Used is the octets that
// it looked at and made. An error that is not ctx's is the program's: it comes again with the same input.
func (p *Program) Run(ctx context.Context, input []byte) (result any, used int64, err error) {
	if len(input) > MaxInput {
		return nil, 0, fmt.Errorf("the payload has %d octets, a shape takes %d", len(input), MaxInput)
	}
	var v any
	if err := json.Unmarshal(input, &v); err != nil {
		return nil, 0, fmt.Errorf("read the payload: %w", err)
	}
	r, ok := p.idle.Get().(*runner)
	if !ok {
		if r, err = p.newRunner(); err != nil {
			return nil, 0, err
		}
	}
	defer p.idle.Put(r)
	return r.run(ctx, v)
}

func (r *runner) run(ctx context.Context, input any) (result any, used int64, err error) {
	m := r.meter
	m.reset(ctx)
	defer func() {
		used = m.work
		m.Context = nil
		if p := recover(); p != nil { // gojq's: for values that it does not know
			result, err = nil, fmt.Errorf("the program cannot be run on this mail: %v", p)
		}
	}()
	results := r.code.RunWithContext(m, input)
	result, ok := results.Next()
	if err := m.failure(result); err != nil {
		return nil, 0, err
	}
	if !ok {
		return nil, 0, errors.New("the program has no result for this mail")
	}
	more, ok := results.Next()
	if err := m.failure(more); err != nil {
		return nil, 0, err
	}
	if ok {
		return nil, 0, errors.New("the program has more than one result for this mail; put them into a list: [...]")
	}
	m.weigh(result)
	if m.err != nil {
		return nil, 0, m.err
	}
	return result, 0, nil
}

// Encode writes a result as JSON: keys sorted, HTML not escaped.
func Encode(result any) ([]byte, error) { return gojq.Marshal(result) }
