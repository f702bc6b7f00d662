package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
	"mxhook/pipeline/msgauth"
	"mxhook/pipeline/parse"
	"mxhook/pipeline/queue"
	"mxhook/sinks"
)

// work is everything that the role process is made of, before it runs.
type work struct {
	opts     Options
	registry prometheus.Registerer
	outlets  []pipeline.Outlet
	router   pipeline.Router
	parse    pipeline.Stage
	stages   pipeline.Stages
}

func newWork(o Options, registry prometheus.Registerer) (*work, error) {
	outlets, err := sinks.Build(o.Config.SinkConfigs(), sinks.Deps{Log: o.Log, Registerer: registry, Now: o.Now, Version: o.Version})
	if err != nil {
		return nil, fmt.Errorf("build the sinks: %w", err)
	}
	table, err := o.Config.Table()
	if err != nil {
		return nil, fmt.Errorf("compile the rules: %w", err)
	}
	resolver := o.Resolver
	if resolver == nil {
		if resolver, err = newResolver(o.Config, o.Log, registry); err != nil {
			return nil, err
		}
	}
	w := &work{opts: o, registry: registry, outlets: outlets, router: table}
	if w.parse, err = parse.New(parse.Options{Log: o.Log, Metrics: registry}); err != nil {
		return nil, err
	}
	ao := authOptions(o.Config, resolver, o.Log)
	ao.Now, ao.Registerer = o.Now, registry
	auth := msgauth.New(ao)
	w.stages = pipeline.Stages{auth, w.parse}
	return w, nil
}

// start runs a processor and a deliverer for each sink over q.
func (w *work) start(q *queue.Queue) *workers {
	attempts := pipeline.NewAttempts(pipeline.AttemptsOptions{Outlets: w.outlets, Now: w.opts.Now, Log: w.opts.Log, Registerer: w.registry})
	processor := pipeline.NewProcessor(pipeline.ProcessorOptions{
		Stages: w.stages, Router: w.router, Attempts: attempts, Outbox: q, Now: w.opts.Now, Log: w.opts.Log, Registerer: w.registry,
	})
	deliverer := pipeline.NewDeliverer(w.parse, attempts)

	ctx, cancel := context.WithCancel(context.Background())
	ws := &workers{cancel: cancel, done: make(chan struct{})}
	ws.patience, ws.interrupt = context.WithCancel(context.Background())
	// A first attempt holds its processor until the endpoint has answered, and a sink holds at most `concurrency` of them: with
	// that many more than the workers that were asked for, a hanging sink never keeps another's mail waiting.
	n := w.opts.Config.Workers()
	for _, out := range w.outlets {
		n += out.Concurrency
	}
	ws.run(w.opts.Log, "process", func() error { return q.Process(ctx, n, interruptible(ws.patience, processor.Process)) })
	for _, out := range w.outlets {
		ws.run(w.opts.Log, "deliver "+out.Name, func() error {
			return q.Deliver(ctx, out.Name, out.Concurrency, interruptible(ws.patience, deliverer.Deliver))
		})
	}
	go func() { ws.wg.Wait(); close(ws.done) }()
	return ws
}

// close gives back what the sinks hold, connections for one.
func (w *work) close() { sinks.Close(w.outlets) }

// interruptible ends the context of every call of f when patience ends.
func interruptible[T any](patience context.Context, f func(context.Context, T) error) func(context.Context, T) error {
	return func(ctx context.Context, v T) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(patience, cancel)()
		return f(ctx, v)
	}
}

// workers are the running loops.
type workers struct {
	cancel    context.CancelFunc // fetch no more
	patience  context.Context    // ends when attempts under way have to be cut off
	interrupt context.CancelFunc
	wg        sync.WaitGroup
	done      chan struct{}
}

func (ws *workers) run(log *slog.Logger, what string, loop func() error) {
	ws.wg.Go(func() {
		if err := loop(); err != nil && !errors.Is(err, context.Canceled) {
			log.Error("a worker loop ended", "loop", what, "error", err)
		}
	})
}

// interruptTime is what attempts that are cut off have to write their deliveries down.
const interruptTime = 10 * time.Second

// stop fetches no more and waits for what is under way. When ctx ends first, attempts under way are cut off and their
// deliveries written down as due.
func (ws *workers) stop(ctx context.Context) error {
	ws.cancel()
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
