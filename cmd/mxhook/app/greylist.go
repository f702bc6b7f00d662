package app

import (
	"context"
	"sync"
	"time"

	"mxhook/pipeline/queue"
)

// greylistMemory is what the front end remembers for greylisting: in the queue, so that several nodes share it. As long as
// the queue is closed it fails, which accepts: then no mail is taken anyway.
type greylistMemory struct {
	spool *spool

	mu     sync.Mutex
	queue  *queue.Queue // that memory is of
	memory *queue.Memory
}

func (g *greylistMemory) get() (*queue.Memory, error) {
	q, err := g.spool.get()
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.queue != q {
		g.queue, g.memory = q, q.Memory()
	}
	return g.memory, nil
}

// Get implements ingest.GreylistMemory.
func (g *greylistMemory) Get(ctx context.Context, key string) (time.Time, bool, error) {
	m, err := g.get()
	if err != nil {
		return time.Time{}, false, err
	}
	return m.Get(ctx, key)
}

// Put implements ingest.GreylistMemory.
func (g *greylistMemory) Put(ctx context.Context, key string, at time.Time, keep time.Duration) error {
	m, err := g.get()
	if err != nil {
		return err
	}
	return m.Put(ctx, key, at, keep)
}
