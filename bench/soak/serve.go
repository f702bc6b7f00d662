package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"mxhook/cmd/mxhook/app"
	"mxhook/configs"
	"mxhook/pipeline/queue"
)

// What is kept, in minutes in place of days.
const (
	retention      = 4 * time.Minute
	maxTransaction = time.Minute
)

// serve is `mxhook serve` with a retention that no configuration allows.
func serve(file string) error {
	cfg, _, err := configs.Load(file, nil)
	if err != nil {
		return err
	}
	a, err := app.New(app.Options{
		Config: cfg, Version: "soak", Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
		Queue: func(c *queue.Config) {
			c.Retention, c.DeadKeep, c.MaxTransaction = retention, retention, maxTransaction
		},
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := a.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.Background(), cfg.ShutdownTimeout())
	defer cancel()
	return a.Stop(grace)
}
