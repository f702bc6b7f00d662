package pipeline

import (
	"context"
	"hash/fnv"
	"sync"
	"time"
)

// SinkState is what all workers on one queue know in common about a sink. The zero value is a sink that works.
type SinkState struct {
	Pause   Pause
	Breaker Breaker
}

// Pause is a stop of a sink by hand; there is none when Since is zero.
type Pause struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// Breaker is the circuit breaker of a sink: open while Since is not zero.
type Breaker struct {
	Since time.Time `json:"since"`
	// Probe is when the next probe may start. While one is under way it is when that one counts as lost.
	Probe time.Time `json:"probe"`
	// Probes is how many have not brought the sink back.
	Probes int `json:"probes"`
	// Reason is the last failure, in words for people.
	Reason string `json:"reason"`
}

// Open reports whether deliveries wait.
func (b Breaker) Open() bool { return !b.Since.IsZero() }

// Same reports whether two are the same state of the same breaker.
func (b Breaker) Same(c Breaker) bool {
	return b.Since.Equal(c.Since) && b.Probe.Equal(c.Probe) && b.Probes == c.Probes
}

// Board is where the workers on one queue share what they know about sinks. Its methods but SetBreaker ask nobody and
// return at once. Safe for concurrent use.
type Board interface {
	// Place is which of how many live workers this one is, from 0. n is 0 while it cannot tell: then it must start nothing.
	Place() (i, n int)
	State(sink string) SinkState
	// Changed is closed at the next change of any of it.
	Changed() <-chan struct{}
	// SetBreaker replaces the breaker of a sink. It reports false, and nothing is changed, when it is no longer as in from:
	// another worker was faster.
	SetBreaker(ctx context.Context, sink string, from, to Breaker) (bool, error)
	// PauseSink stops a sink until a person resumes it.
	PauseSink(ctx context.Context, sink, reason string) error
}

// share is the part of total that falls to worker i of n; the parts of all add up to total, and which of them get one
// more differs from sink to sink.
func share(total int, sink string, i, n int) int {
	if n < 1 {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(sink))
	part := total / n
	if (i+int(h.Sum32()%uint32(n)))%n < total%n {
		part++
	}
	return part
}

// localBoard is the board of a worker that is alone and remembers nothing over a restart.
type localBoard struct {
	mu      sync.Mutex
	states  map[string]SinkState
	changed chan struct{}
}

func newLocalBoard() *localBoard {
	return &localBoard{states: map[string]SinkState{}, changed: make(chan struct{})}
}

func (b *localBoard) Place() (i, n int) { return 0, 1 }

func (b *localBoard) State(sink string) SinkState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.states[sink]
}

func (b *localBoard) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

func (b *localBoard) PauseSink(_ context.Context, sink, reason string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.states[sink]
	s.Pause = Pause{Since: time.Now().UTC(), Reason: reason}
	b.states[sink] = s
	close(b.changed)
	b.changed = make(chan struct{})
	return nil
}

func (b *localBoard) SetBreaker(_ context.Context, sink string, from, to Breaker) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.states[sink]
	if !s.Breaker.Same(from) {
		return false, nil
	}
	s.Breaker = to
	b.states[sink] = s
	close(b.changed)
	b.changed = make(chan struct{})
	return true, nil
}
