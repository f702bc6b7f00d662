// Package accept runs an mxhook that takes mail and does nothing with it.
package accept

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"mxhook/cmd/mxhook/app"
	"mxhook/configs"
	"mxhook/pipeline/queue"
)

// Serve is `mxhook serve` over an embedded queue that nobody takes mail out of.
func Serve(file string) error {
	cfg, _, err := configs.Load(file, nil)
	if err != nil {
		return err
	}
	a, err := app.New(app.Options{
		Config: cfg, Version: "accept", Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)), Roles: []string{app.RoleIngest}, Queue: func(*queue.Config) {},
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
