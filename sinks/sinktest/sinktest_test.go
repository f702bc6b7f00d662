package sinktest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"mxhook/pipeline"
)

// fake is a sink in memory; its fields are the ways to break the contract.
type fake struct {
	fault             Fault
	mu                sync.Mutex
	copies, attempts  map[string]int
	doubles, twice    bool // keeps repeats; makes two attempts
	deaf, marksAll    bool // ignores its context; marks all failures permanent
	leaks, longAnswer bool // puts the secret into errors; answers at length
	forgetsDelay      bool // loses the marks
}

const fakeSecret = "open sesame"

func (f *fake) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	if err := ctx.Err(); err != nil && !f.deaf {
		return pipeline.Response{}, err
	}
	f.mu.Lock()
	f.attempts[d.ID]++
	if f.twice {
		f.attempts[d.ID]++
	}
	f.mu.Unlock()
	err := errors.New("it failed")
	if f.leaks {
		err = errors.New("it failed with " + fakeSecret)
	}
	if f.marksAll {
		err = pipeline.Permanent(err)
	}
	switch f.fault {
	case Failing:
		return pipeline.Response{}, err
	case Gone:
		if f.forgetsDelay {
			return pipeline.Response{}, err
		}
		return pipeline.Response{}, pipeline.Permanent(err)
	case Busy:
		if f.forgetsDelay {
			return pipeline.Response{}, err
		}
		return pipeline.Response{}, pipeline.RetryAfter(err, AskedDelay)
	case Hanging:
		if f.deaf {
			return pipeline.Response{Status: "ok"}, nil
		}
		<-ctx.Done()
		return pipeline.Response{}, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.doubles || f.copies[d.ID] == 0 {
		f.copies[d.ID]++
	}
	if f.longAnswer {
		return pipeline.Response{Status: "ok", Detail: strings.Repeat("x", 2000)}, nil
	}
	return pipeline.Response{Status: "ok"}, nil
}

func (f *fake) instance(fault Fault) *Instance {
	f.fault, f.copies, f.attempts = fault, map[string]int{}, map[string]int{}
	count := func(m map[string]int) func(string) int {
		return func(id string) int {
			f.mu.Lock()
			defer f.mu.Unlock()
			return m[id]
		}
	}
	return &Instance{
		Sink: f, Copies: count(f.copies), Attempts: count(f.attempts), Secrets: []string{fakeSecret},
		Close: func() {},
	}
}

func TestRunPassesSinkThatKeepsTheContract(t *testing.T) {
	Run(t, func(_ *testing.T, fault Fault) *Instance { return (&fake{}).instance(fault) })
}

func TestRunAcceptsKindWithoutFault(t *testing.T) {
	Run(t, func(_ *testing.T, fault Fault) *Instance {
		if fault != Healthy {
			return nil
		}
		return (&fake{}).instance(fault)
	})
}

func TestChecksCatchBrokenSinks(t *testing.T) {
	for name, tt := range map[string]struct {
		sink *fake
		// caught is a part of the name of a check that must complain.
		caught string
	}{
		"keeps repeats":          {&fake{doubles: true}, "repeat"},
		"keeps concurrent twins": {&fake{doubles: true}, "concurrently"},
		"makes two attempts":     {&fake{twice: true}, "one attempt"},
		"ignores a done context": {&fake{deaf: true}, "done before"},
		"ignores cancellation":   {&fake{deaf: true}, "notices cancellation"},
		"ignores the deadline":   {&fake{deaf: true}, "notices the deadline"},
		"gives up too early":     {&fake{marksAll: true}, "transient"},
		"never gives up":         {&fake{forgetsDelay: true}, "refusal for good"},
		"forgets the delay":      {&fake{forgetsDelay: true}, "delay asked for"},
		"tells its secret":       {&fake{leaks: true}, "transient"},
		"answers at length":      {&fake{longAnswer: true}, "every sample"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range checks() {
				if strings.Contains(c.name, tt.caught) {
					err := c.run(tt.sink.instance(c.fault))
					if err == nil {
						t.Errorf("%q found nothing wrong", c.name)
					}
					return
				}
			}
			t.Fatalf("no check is named like %q", tt.caught)
		})
	}
}

func TestSamplesAreTheSameEveryTime(t *testing.T) {
	first, second := Samples(), Samples()
	for i := range first {
		a, b := first[i].Delivery, second[i].Delivery
		if a.ID != b.ID || a.Message == b.Message || string(a.Message.Raw) != string(b.Message.Raw) {
			t.Errorf("%s: second call gives another or a shared message", first[i].Name)
		}
	}
}
