package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"mxhook/configs"
	"mxhook/pipeline/queue"
)

// Migrate copies the queue of one configuration to that of another; see queue.Migrate.
func Migrate(ctx context.Context, from, to *configs.Config, log *slog.Logger, progress func(queue.Moved)) (queue.Moved, error) {
	config := func(c *configs.Config) queue.Config {
		return queueConfig(Options{Config: c, Log: log, Now: time.Now}, nil)
	}
	newMemoryLimit(from, log)
	return queue.Migrate(ctx, config(from), config(to), progress)
}

// MigrationProgress writes how far a migration is.
func MigrationProgress(w io.Writer) func(queue.Moved) {
	return func(m queue.Moved) { fmt.Fprintln(w, m) }
}
