package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mxhook/bench/store"
	"mxhook/pipeline"
	"mxhook/pipeline/queue"
)

// fillStore stops mxhook, writes what it would have written for mails whose first attempt failed, and starts it again.
func (b *bench) fillStore(ctx context.Context, n int) (rate float64, err error) {
	b.server.Stop()
	q, err := queue.Open(ctx, queue.Config{
		Dir: filepath.Join(b.dir, "data", "queue"), Durability: queue.DurabilityOS, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return 0, err
	}
	began, want := time.Now(), n-int(b.waiting.Count())
	if err = b.write(ctx, q, want); err == nil {
		err = q.Close(ctx)
	}
	if err != nil {
		return 0, err
	}
	rate = float64(want) / time.Since(began).Seconds()
	if err := b.start(); err != nil {
		return 0, err
	}
	fmt.Printf("started over %d waiting deliveries in %s\n", n, b.server.Ready.Round(time.Millisecond))
	return rate, nil
}

// write spools that many messages and settles each as a delivery that waits.
func (b *bench) write(ctx context.Context, q *queue.Queue, n int) error {
	ctx, done := context.WithCancelCause(ctx)
	defer done(nil)
	finished := fmt.Errorf("all are written")
	var begun, settled atomic.Int64
	var wg sync.WaitGroup
	body := []byte("From: s@example.org\r\nTo: dead@example.com\r\nSubject: it waits\r\n\r\n" + strings.Repeat("It waits, and waits, and waits.\r\n", 25))
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil && begun.Add(1) <= int64(n) {
				if err := store.Take(ctx, q, "dead", body); err != nil {
					done(err)
				}
			}
		})
	}
	wg.Go(func() {
		err := q.Process(ctx, 32, func(ctx context.Context, m *pipeline.Message) error {
			var at time.Time
			if b.due > 0 {
				at = time.Now().Add(time.Duration(float64(b.due) * (0.8 + 0.4*rand.Float64())))
			}
			d := &pipeline.Delivery{
				ID: pipeline.DeliveryID(m.Envelope.ID, "dead"), Sink: "dead", Rules: []string{"dead"}, Recipients: m.Envelope.Recipients, Message: m, Attempt: 2, First: time.Now(),
				History: []pipeline.AttemptRecord{{Attempt: 1, At: time.Now(), Reason: "dial tcp 127.0.0.1:1: connect: connection refused"}},
			}
			if err := q.Enqueue(ctx, []pipeline.Deferred{{Delivery: d, NotBefore: at}}); err != nil {
				return err
			}
			b.waiting.Add(m.Envelope.ID)
			if settled.Add(1) == int64(n) {
				time.AfterFunc(time.Second, func() { done(finished) })
			}
			return nil
		})
		if err != nil {
			done(err)
		}
	})
	wg.Wait()
	if err := context.Cause(ctx); err != finished {
		return err
	}
	return nil
}
