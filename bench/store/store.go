// Package store writes into the queue of an mxhook that does not run.
package store

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"mxhook/pipeline"
	"mxhook/pipeline/queue"
)

// Take spools one message for LOCAL@example.com as the SMTP server would.
func Take(ctx context.Context, q *queue.Queue, local string, body []byte) error {
	w, err := q.Begin(ctx, pipeline.Envelope{
		ID: ulid.Make().String(), ReversePath: "s@example.org", ReceivedAt: time.Now().UTC(), Listener: "mx", Hostname: "mx.example.com",
		Recipients: []pipeline.Recipient{{Address: local + "@example.com", Local: local, Domain: "example.com"}},
	})
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(body); err != nil {
		return err
	}
	return w.Commit(ctx)
}
