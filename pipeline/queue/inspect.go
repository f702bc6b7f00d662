package queue

import (
	"context"
	"errors"
	"fmt"

	"mxhook/pipeline"
)

// Inspect calls fn with the whole message before it is durable: between the last Write and Commit or Abort. What fn sets
// of Auth, Problems and Envelope.Recipients is stored with the message, and found again by who processes it. The rest
// must not be changed, and nothing of it kept. The error of fn is returned as it is.
//
// A message in parts is read back from the queue, within the bound of Config.Memory that processing shares.
func (w *Writer) Inspect(ctx context.Context, fn func(context.Context, *pipeline.Message) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return errors.New("inspect message: the writer has ended")
	}
	if err := w.q.enter(); err != nil {
		return fmt.Errorf("inspect message: %w", err)
	}
	defer w.q.calls.Done()
	if len(w.parts) > 0 && len(w.buf) > 0 && w.err == nil {
		w.send()
	}
	w.waitParts(0)
	if w.err != nil {
		return w.err
	}
	head := &stored{mailRecord: w.record(), shard: w.shard, inline: w.buf}
	look := func() error { return w.inspect(ctx, head, fn) }
	if len(w.parts) == 0 {
		return look() // the octets are in a buffer that is accounted for
	}
	return w.q.withMemory(ctx, w.size, look)
}

func (w *Writer) inspect(ctx context.Context, head *stored, fn func(context.Context, *pipeline.Message) error) error {
	m, err := w.q.load(ctx, head)
	if err != nil {
		return fmt.Errorf("inspect message: %w", err)
	}
	m.Ref = "" // it has none yet
	if err := guard(func() error { return fn(ctx, m) }); err != nil {
		return err
	}
	w.auth, w.problems, w.env.Recipients = m.Auth, m.Problems, m.Envelope.Recipients
	return nil
}
