package shape

import (
	"context"
	"errors"
	"fmt"
	"math/big"
)

// meter counts what a run costs. It is the run's context: gojq asks it before every instruction whether to go on.
type meter struct {
	context.Context
	steps int
	work  int64
	// err is the bound that was met. It stays: a program that catches it ends all the same.
	err  error
	over chan struct{}
}

func (m *meter) reset(ctx context.Context) {
	*m = meter{Context: ctx, over: make(chan struct{})}
}

// Done implements context.Context, and counts a step.
func (m *meter) Done() <-chan struct{} {
	if m.steps++; m.steps > maxSteps {
		m.fail(fmt.Errorf("the program takes more than %d steps", maxSteps))
	}
	if m.err != nil {
		return m.over
	}
	return m.Context.Done()
}

// Err implements context.Context.
func (m *meter) Err() error {
	if m.err != nil {
		return m.err
	}
	return m.Context.Err()
}

func (m *meter) fail(err error) {
	if m.err == nil {
		m.err = err
		close(m.over)
	}
}

// failure makes the error of a run out of what the program ended with.
func (m *meter) failure(result any) error {
	if err := m.Err(); err != nil {
		return err
	}
	err, is := result.(error)
	if !is {
		return nil
	}
	const longest = 300
	text := err.Error()
	if len(text) > longest {
		text = text[:longest] + "..."
	}
	return errors.New(text)
}

// charge counts octets. It reports whether the program may go on.
func (m *meter) charge(n int64) bool {
	if m.work += n; m.work > maxWork || m.work < 0 {
		m.work = maxWork
		m.fail(fmt.Errorf("the program looks at or makes more than %d MiB", maxWork>>20))
	}
	return m.err == nil
}

// What values cost besides their octets.
const (
	perElement = 16
	perMember  = 64
)

// weigh charges a value for all that is in it, as often as it is in there. It reports false for one that is too large.
func (m *meter) weigh(v any) bool {
	left := int64(MaxValue)
	if !m.sum(v, &left, 0) {
		m.work += MaxValue - max(left, 0)
		return false
	}
	return m.charge(MaxValue - left)
}

func (m *meter) sum(v any, left *int64, depth int) bool {
	if m.err != nil {
		return false
	}
	if depth > maxDepth {
		m.fail(fmt.Errorf("the program makes values that are nested more than %d deep", maxDepth))
		return false
	}
	n := int64(8)
	switch v := v.(type) {
	case string:
		n = int64(len(v))
	case *big.Int:
		n = int64(v.BitLen()/8 + 16)
	case []any:
		n = int64(len(v)) * perElement
	case map[string]any:
		n = int64(len(v)) * perMember
	}
	if *left -= n; *left < 0 {
		m.fail(fmt.Errorf("the program makes or uses a value of more than %d MiB", MaxValue>>20))
		return false
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if !m.sum(e, left, depth+1) {
				return false
			}
		}
	case map[string]any:
		for k, e := range v {
			if *left -= int64(len(k)); !m.sum(e, left, depth+1) {
				return false
			}
		}
	}
	return true
}
