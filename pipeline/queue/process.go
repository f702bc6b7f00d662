package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// Process calls h for every message that is not settled, n at once, oldest first as far as that goes. It returns when
// ctx has ended, or the queue is closed, and the running calls have returned; their own context ends some time later.
//
// The message is h's until it returns. Nil settles the message. An error brings it back: at the time of a
// pipeline.Later mark, else after a growing delay; one marked pipeline.Permanent puts it into the dead letters, as does
// the fifth attempt. A crash brings it back as well, under the same Ref.
func (q *Queue) Process(ctx context.Context, n int, h func(context.Context, *pipeline.Message) error) error {
	sources := make([]source, q.readShards)
	for k := range sources {
		sources[k] = func(_ context.Context, l *link) (jetstream.Consumer, error) { return l.parse[k], nil }
	}
	err := q.work(ctx, n, sources, func(ctx context.Context, _ *link, m jetstream.Msg) { q.processOne(ctx, m, h) })
	if err != nil {
		return fmt.Errorf("process messages: %w", err)
	}
	return nil
}

func (q *Queue) processOne(ctx context.Context, m jetstream.Msg, h func(context.Context, *pipeline.Message) error) {
	meta, err := m.Metadata()
	if err != nil {
		q.cfg.Log.Error("a message of the queue has no metadata", "subject", m.Subject(), "error", err)
		return
	}
	s := mailSettlement{msg: m, meta: meta}
	shard, _, err := q.parseRef(ref(meta.Stream, meta.Sequence.Stream))
	if err != nil {
		s.settle(ctx, q, err)
		return
	}
	s.head, err = decodeMail(shard, meta.Sequence.Stream, m.Data())
	if errors.Is(err, errNewer) {
		s.settle(ctx, q, pipeline.Later(err, q.cfg.Now().Add(newerWait)))
		return
	}
	if err != nil {
		s.settle(ctx, q, pipeline.Permanent(err))
		return
	}
	if meta.NumDelivered > maxHandouts {
		s.settle(ctx, q, pipeline.Permanent(fmt.Errorf("handed out %d times without being settled", maxHandouts)))
		return
	}
	failed := q.withMemory(ctx, s.head.Size, func() {
		msg, lerr := q.load(ctx, s.head)
		if errors.Is(lerr, errDamaged) {
			lerr = pipeline.Permanent(lerr)
		}
		if lerr == nil {
			lerr = guard(func() error { return h(ctx, msg) })
		}
		s.settle(ctx, q, lerr)
	})
	if failed != nil {
		s.settle(ctx, q, failed)
	}
}
