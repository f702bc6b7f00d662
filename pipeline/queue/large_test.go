package queue

import (
	"context"
	"slices"
	"sync"
	"testing"

	"mxhook/pipeline"
)

// Config.Large hears of a message in parts while it comes in and while a handler has it, and never of others.
func TestLargeMessagesAreToldOfWhileTheyTakeMemory(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var now int64
	var told int
	look := func() (int64, int) {
		mu.Lock()
		defer mu.Unlock()
		return now, told
	}
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) {
		c.Large = func(octets int64) {
			mu.Lock()
			defer mu.Unlock()
			now += octets
			if told++; now < 0 || octets == 0 {
				t.Errorf("%d at once after %d", now, octets)
			}
		}
	})
	var sizes []int64
	handle := func(want int64) {
		done := make(chan struct{})
		process(t, q, 1, done, func(_ context.Context, m *pipeline.Message) error {
			if n, _ := look(); n != want {
				t.Errorf("%d octets while a message of %d is handled, want %d", n, m.Envelope.Size, want)
			}
			sizes = append(sizes, m.Envelope.Size)
			close(done)
			return nil
		})
	}
	commit(t, q, newEnvelope("support"), randomOctets(t, 100_000))
	handle(0)
	if _, told := look(); told != 0 {
		t.Errorf("a small message was told of %d times", told)
	}
	commit(t, q, newEnvelope("support"), randomOctets(t, 3*mib))
	if n, told := look(); n != 0 || told < 10 {
		t.Errorf("%d octets after the commit, told of %d times", n, told)
	}
	handle(3 * mib)
	if n, _ := look(); n != 0 {
		t.Errorf("%d octets at the end", n)
	}
	if want := []int64{100_000, 3 * mib}; !slices.Equal(sizes, want) {
		t.Errorf("handled %v, want %v", sizes, want)
	}
}
