package ingest

import (
	"context"
	"sync"
	"time"
)

// localMemory is a GreylistMemory of one process.
type localMemory struct {
	now func() time.Time

	mu      sync.Mutex
	entries *aging[string, remembered]
}

type remembered struct{ at, until time.Time }

// newLocalMemory returns an empty memory. now nil means time.Now.
func newLocalMemory(now func() time.Time) *localMemory {
	if now == nil {
		now = time.Now
	}
	return &localMemory{now: now, entries: newAging[string, remembered](40*24*time.Hour, 1000)}
}

// Get implements GreylistMemory.
func (m *localMemory) Get(_ context.Context, key string) (time.Time, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	e, ok := m.entries.get(key, now)
	if !ok || now.After(e.until) {
		return time.Time{}, false, nil
	}
	return e.at, true, nil
}

// Put implements GreylistMemory.
func (m *localMemory) Put(_ context.Context, key string, at time.Time, keep time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.entries.put(key, remembered{at, now.Add(keep)}, now)
	return nil
}
