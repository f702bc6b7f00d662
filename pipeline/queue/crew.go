package queue

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// leaveAfter is how long a worker waits for something to do before it ends.
const leaveAfter = 30 * time.Second

// crew are the goroutines that handle what was fetched, a number of them at most. They stay for the next message: the
// stack that one message made grow is there for the one after it, and to grow it costs as much as to hand a message out.
type crew struct {
	most   int
	handle func(held)
	// queue has what waits for a worker, with room for all that may be fetched and not begun.
	queue chan held
	wg    sync.WaitGroup

	// taken are the messages that have come and are not finished. Each has a worker of its own, unless all are busy.
	mu             sync.Mutex
	taken, workers int
}

// held is a message that was fetched; started is done when its handling has begun.
type held struct {
	link    *link
	msg     jetstream.Msg
	started *sync.WaitGroup
}

func newCrew(most, sources int, handle func(held)) *crew {
	return &crew{most: most, handle: handle, queue: make(chan held, sources*maxFetch)}
}

// take takes over a message, at once. When ctx has ended, handle is to be called by drain at the latest.
func (c *crew) take(ctx context.Context, h held) {
	h.started.Add(1)
	c.mu.Lock()
	c.taken++
	if c.taken > c.workers && c.workers < c.most {
		c.workers++
		c.wg.Go(func() { c.work(ctx) })
	}
	c.mu.Unlock()
	c.queue <- h
}

// free is how many more messages would find a worker at once; negative when some wait for one.
func (c *crew) free() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most - c.taken
}

func (c *crew) work(ctx context.Context) {
	idle := time.NewTimer(leaveAfter)
	defer idle.Stop()
	var last time.Time // something was done
	for {
		select {
		case h := <-c.queue:
			c.do(h)
			last = time.Now()
			continue
		case <-idle.C:
		case <-ctx.Done():
			c.leave(true)
			return
		}
		if left := leaveAfter - time.Since(last); left > 0 {
			idle.Reset(left)
		} else if c.leave(false) {
			return
		} else {
			idle.Reset(leaveAfter)
		}
	}
}

func (c *crew) do(h held) {
	h.started.Done()
	c.handle(h)
	c.mu.Lock()
	c.taken--
	c.mu.Unlock()
}

// leave takes a worker out of the count, unless a message is on its way to it.
func (c *crew) leave(atAnyRate bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken >= c.workers && !atAnyRate {
		return false
	}
	c.workers--
	return true
}

// drain handles what has found no worker when ctx has ended, until over is closed.
func (c *crew) drain(over <-chan struct{}) {
	for {
		select {
		case h := <-c.queue:
			c.do(h)
		case <-over:
			return
		}
	}
}
