package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxFetch bounds the messages one pull request asks for.
	maxFetch = 64
	// fetchBytes bounds what one pull request brings into memory.
	fetchBytes = 4 * mib
	// maxRemoteFetch does that with an external server, with messages of up to 1 MB: see fetchFrom.
	maxRemoteFetch = 8
	// fetchPause follows a pull that failed; it doubles up to maxFetchPause.
	fetchPause    = 250 * time.Millisecond
	maxFetchPause = 10 * time.Second
)

// errNoShard says that there is no such mail stream, as yet.
var errNoShard = errors.New("no such mail stream")

// source opens a consumer on a link.
type source func(ctx context.Context, l *link) (jetstream.Consumer, error)

// acceptor takes over a message that was fetched, at once.
type acceptor func(l *link, m jetstream.Msg, started *sync.WaitGroup)

// batcher waits until messages are wanted, and says how many.
type batcher func(ctx context.Context) (int, error)

// work pulls from all sources and calls handle for every message, n at once, until ctx ends or the queue is closed.
// Running calls then have Config.drainFor before their context ends. It returns when all have returned.
//
// It pulls with Fetch: Consume stalls for up to 30 s when it asks for few messages at a time.
//
// Before each pull it asks ready, unless that is nil, which waits until messages are wanted and says how many.
func (q *Queue) work(ctx context.Context, n int, sources []source, ready func(context.Context) (int, error), handle func(context.Context, *link, jetstream.Msg)) error {
	if n < 1 {
		return fmt.Errorf("work with %d slots", n)
	}
	if err := q.enter(); err != nil {
		return err
	}
	defer q.calls.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(q.ending, cancel)()

	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	crew := newCrew(n, len(sources), func(h held) {
		defer q.beats.remove(h.msg)
		if ctx.Err() != nil {
			q.beats.remove(h.msg)
			h.msg.Nak() //nolint:errcheck // it comes back after ack_wait otherwise
			return
		}
		handle(running, h.link, h.msg)
	})
	// A message is kept alive from its arrival on, also while it waits for a worker.
	accept := func(l *link, m jetstream.Msg, started *sync.WaitGroup) {
		q.beats.add(m)
		crew.take(ctx, held{l, m, started})
	}
	var open atomic.Int64 // sources that are fetched from
	// A source asks for its share of the free workers, and for one message when there are none.
	batch := func(ctx context.Context) (int, error) {
		most := maxFetch
		if ready != nil {
			var err error
			if most, err = ready(ctx); err != nil {
				return 0, err
			}
		}
		sharers := max(1, int(open.Load()))
		return min(max(1, (crew.free()+sharers-1)/sharers), most, maxFetch), nil
	}
	var pulls sync.WaitGroup
	for _, s := range sources {
		pulls.Go(func() {
			once := func() { open.Add(1) }
			q.pull(ctx, func(ctx context.Context, l *link) (jetstream.Consumer, error) {
				c, err := s(ctx, l)
				if err == nil {
					once()
					once = func() {}
				}
				return c, err
			}, batch, accept)
		})
	}
	over, drained := make(chan struct{}), make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(drained)
		crew.drain(over)
	})
	pulls.Wait() // they end with ctx
	close(over)
	<-drained
	defer time.AfterFunc(q.cfg.drainFor, stop).Stop()
	crew.wg.Wait()
	return nil
}

// pull hands every message of one source to accept until ctx ends, over any number of links.
func (q *Queue) pull(ctx context.Context, open source, batch batcher, accept acceptor) {
	pause := fetchPause
	for ctx.Err() == nil {
		start := time.Now()
		l, err := q.current()
		if err == nil {
			var c jetstream.Consumer
			if c, err = open(ctx, l); err == nil {
				err = q.pullFrom(ctx, l, c, batch, accept)
			}
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		if errors.Is(err, errNoShard) {
			sleep(ctx, tidyEvery*q.cfg.watchEvery) //nolint:errcheck // the loop looks at ctx
			continue
		}
		if !errors.Is(err, errDown) {
			q.cfg.Log.Warn("fetch from the queue", "error", err)
		}
		if time.Since(start) > maxFetchPause || errors.Is(err, errDown) {
			pause = fetchPause // it worked for a while, or the end of it will be noticed
		}
		if q.rest(ctx, pause) {
			pause = fetchPause
		} else {
			pause = min(2*pause, maxFetchPause)
		}
	}
}

// rest waits for d, at most until a stream that had no leader has one again; then it returns true.
func (q *Queue) rest(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if l := q.link.Load(); l != nil {
		defer context.AfterFunc(l.era.Load().over, cancel)()
	}
	return sleep(ctx, d) != nil
}

// pullFrom pulls until ctx or the link ends (nil), or a pull fails. The end of ctx does not cut a pull off, it has no
// successor: what the server sends to a pull that is no more comes back only after ack_wait. For the same reason it is
// the server that ends a pull; the client gives it a second more.
func (q *Queue) pullFrom(ctx context.Context, l *link, c jetstream.Consumer, batch batcher, accept acceptor) error {
	wanted, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.gone, cancel)()
	for wanted.Err() == nil {
		n, err := batch(wanted)
		if err != nil {
			if wanted.Err() != nil {
				return nil
			}
			return err
		}
		msgs, err := q.fetchFrom(c, n)
		if err != nil {
			return err
		}
		var started sync.WaitGroup
		for m := range msgs.Messages() {
			accept(l, m, &started)
		}
		started.Wait()
		if err := msgs.Error(); err != nil && l.gone.Err() == nil {
			return err
		}
	}
	return nil
}

// fetchFrom asks for n messages. A request that has a bound in bytes ends, when it is filled, with a status message,
// which a replicated consumer sends before the last message: the client would take it for the end, and the message would
// come back only after ack_wait.
func (q *Queue) fetchFrom(c jetstream.Consumer, n int) (jetstream.MessageBatch, error) {
	if q.cfg.URL != "" {
		return c.Fetch(min(n, maxRemoteFetch), jetstream.FetchMaxWait(q.cfg.pullFor))
	}
	return c.Fetch(n, jetstream.FetchMaxWait(q.cfg.pullFor), jetstream.FetchMaxBytes(fetchBytes))
}

// guard calls h and turns a panic into an error, so that one message cannot take the process down.
func guard(h func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return h()
}
