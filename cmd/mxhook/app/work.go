package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
	"mxhook/pipeline/parse"
	"mxhook/pipeline/queue"
	"mxhook/sinks"
)

// work is everything that the role process is made of, before it runs.
type work struct {
	opts     Options
	registry prometheus.Registerer
	current  *atomic.Pointer[generation]
	parse    pipeline.Stage
	stages   pipeline.Stages
}

func newWork(o Options, auth pipeline.Stage, current *atomic.Pointer[generation], registry prometheus.Registerer) (*work, error) {
	w := &work{opts: o, registry: registry, current: current}
	var err error
	if w.parse, err = parse.New(parse.Options{Log: o.Log, Metrics: registry}); err != nil {
		return nil, err
	}
	w.stages = pipeline.Stages{auth, w.parse}
	return w, nil
}

// start runs a processor and a deliverer for each sink over q.
func (w *work) start(q *queue.Queue) *workers {
	plan := func() *pipeline.Plan { return w.current.Load().plan }
	board := q.Board()
	board.Join()
	attempts := pipeline.NewAttempts(pipeline.AttemptsOptions{
		Plan: plan, Board: board, Memory: handled(w.opts.Config), Now: w.opts.Now, Log: w.opts.Log, Registerer: w.registry,
		Record: q.Delivered, Events: w.opts.events,
	})
	processor := pipeline.NewProcessor(pipeline.ProcessorOptions{
		Stages: w.stages, Attempts: attempts, Outbox: q, Front: q, Now: w.opts.Now, Log: w.opts.Log, Registerer: w.registry,
	})
	deliverer := pipeline.NewDeliverer(w.parse, attempts, q)

	ws := &workers{log: w.opts.Log, attempts: attempts, loops: map[string]*loop{}, done: make(chan struct{})}
	ws.patience, ws.interrupt = context.WithCancel(context.Background())
	ws.process = func(ctx context.Context, n int) error {
		return q.Process(ctx, n, interruptible(ws.patience, processor.Process))
	}
	ws.deliver = func(ctx context.Context, g *generation, sink string, n int) error {
		return q.Deliver(ctx, sink, n, courier{deliverer.Courier(sink, g.plan), ws.patience})
	}
	ws.adjust(w.current.Load())
	go func() { ws.wg.Wait(); close(ws.done) }()
	return ws
}

// close gives back what the sinks hold, connections for one.
func (w *work) close() { sinks.Close(w.current.Load().outlets) }

// courier is a courier whose attempts end with patience.
type courier struct {
	*pipeline.Courier
	patience context.Context
}

// Deliver implements queue.Courier.
func (c courier) Deliver(ctx context.Context, t *pipeline.Turn, d *pipeline.Delivery) error {
	return interruptible(c.patience, func(ctx context.Context, d *pipeline.Delivery) error {
		return c.Courier.Deliver(ctx, t, d)
	})(ctx, d)
}

// interruptible ends the context of every call of f when patience ends.
func interruptible[T any](patience context.Context, f func(context.Context, T) error) func(context.Context, T) error {
	return func(ctx context.Context, v T) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(patience, cancel)()
		return f(ctx, v)
	}
}

// workers are the running loops: one that processes, and one for each sink that delivers what waits.
type workers struct {
	log       *slog.Logger
	attempts  *pipeline.Attempts
	process   func(ctx context.Context, n int) error
	deliver   func(ctx context.Context, g *generation, sink string, n int) error
	patience  context.Context // ends when attempts under way have to be cut off
	interrupt context.CancelFunc
	wg        sync.WaitGroup
	done      chan struct{}

	mu         sync.Mutex
	loops      map[string]*loop // those that deliver, by sink
	processing []*loop
	stopped    bool
}

// loop is a running loop of n slots; cancel makes it fetch no more, what is under way goes on.
type loop struct {
	n      int
	cancel context.CancelFunc
}

// adjust makes the loops those that the generation needs. What waits for a sink that is no more stays in the queue.
func (ws *workers) adjust(g *generation) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.stopped {
		return
	}
	ws.attempts.Reloaded()
	// A first attempt holds its processor until the endpoint has answered, and a sink holds at most `concurrency` of them: with
	// that many more than the workers that were asked for, a hanging sink does not keep another's mail waiting.
	// Messages whose senders wait may hold some more while they wait for a slot.
	n := g.config.Workers()
	wanted, waitedFor := map[string]bool{}, g.config.WaitedFor()
	for _, out := range g.outlets {
		n += out.Concurrency
		if waitedFor[out.Name] {
			n += out.Queue()
		}
		wanted[out.Name] = true
		if l := ws.loops[out.Name]; l != nil {
			if l.n == out.Concurrency {
				continue
			}
			l.cancel()
		}
		ws.loops[out.Name] = ws.run(out.Concurrency, func(ctx context.Context) error { return ws.deliver(ctx, g, out.Name, out.Concurrency) })
	}
	for name, l := range ws.loops {
		if !wanted[name] {
			l.cancel()
			delete(ws.loops, name)
		}
	}
	// More slots are one more loop: what a loop has fetched when it is cancelled comes back a moment later.
	for _, l := range ws.processing {
		n -= l.n
	}
	if n > 0 {
		ws.processing = append(ws.processing, ws.run(n, func(ctx context.Context) error { return ws.process(ctx, n) }))
	}
}

func (ws *workers) run(n int, f func(context.Context) error) *loop {
	ctx, cancel := context.WithCancel(context.Background())
	ws.wg.Go(func() {
		if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
			ws.log.Error("a worker loop ended", "error", err)
		}
	})
	return &loop{n, cancel}
}

// interruptTime is what attempts that are cut off have to write their deliveries down.
const interruptTime = 10 * time.Second

// stop fetches no more and waits for what is under way. When ctx ends first, attempts under way are cut off and their
// deliveries written down as due.
func (ws *workers) stop(ctx context.Context) error {
	ws.mu.Lock()
	ws.stopped = true
	for _, l := range ws.loops {
		l.cancel()
	}
	for _, l := range ws.processing {
		l.cancel()
	}
	ws.mu.Unlock()
	defer ws.interrupt()
	select {
	case <-ws.done:
		return nil
	case <-ctx.Done():
	}
	ws.interrupt()
	timer := time.NewTimer(interruptTime)
	defer timer.Stop()
	select {
	case <-ws.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("drain the workers: %w", ctx.Err())
	}
}
