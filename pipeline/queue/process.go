package queue

import (
	"bytes"
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
// the fifth error or panic that this process sees. Errors of the queue itself and context.Canceled, an interruption,
// do not count. A crash brings the message back as well, under the same Ref; after several it is handled alone, and
// becomes a dead letter when the process ended three times in doing so.
func (q *Queue) Process(ctx context.Context, n int, h func(context.Context, *pipeline.Message) error) error {
	shards := q.readShards
	if q.cfg.URL != "" {
		shards = maxShards // another process may add some
	}
	sources := make([]source, shards)
	for k := range sources {
		sources[k] = func(_ context.Context, l *link) (jetstream.Consumer, error) {
			if parse := l.parse(); k < len(parse) {
				return parse[k], nil
			}
			return nil, errNoShard
		}
	}
	err := q.work(ctx, n, sources, nil, func(ctx context.Context, l *link, m jetstream.Msg) { q.processOne(ctx, l, m, h) })
	q.confirmAcks()
	if err != nil {
		return fmt.Errorf("process messages: %w", err)
	}
	return nil
}

func (q *Queue) processOne(ctx context.Context, l *link, m jetstream.Msg, h func(context.Context, *pipeline.Message) error) {
	meta, err := m.Metadata()
	if err != nil {
		q.cfg.Log.Error("a message of the queue has no metadata", "subject", m.Subject(), "error", err)
		return
	}
	s := mailSettlement{msg: m, meta: meta}
	shard, _, err := parseRef(ref(meta.Stream, meta.Sequence.Stream))
	if err != nil {
		s.settle(ctx, q, err)
		return
	}
	s.head, err = q.readMail(shard, meta.Sequence.Stream, m)
	if errors.Is(err, errNewer) {
		s.settle(ctx, q, pipeline.Later(err, q.cfg.Now().Add(newerWait*q.cfg.backoff)))
		return
	}
	if err != nil {
		s.settle(ctx, q, pipeline.Permanent(err))
		return
	}
	handle := func() error {
		return q.withMemory(ctx, s.head.Size, func() error { return q.handleMail(ctx, s.head, h) })
	}
	if once := handle; q.mayBeRepeated(l, meta) {
		handle = func() error {
			ds, err := q.successes.during(s.head.Envelope.ID, once)
			for _, d := range ds {
				q.stopClock(ctx, l, d)
			}
			return err
		}
	}
	if q.trials.get(s.place()).suspect(meta.NumDelivered) {
		err = q.alone(ctx, s.place(), handle)
	} else {
		err = q.along(ctx, handle)
	}
	s.settle(ctx, q, err)
}

// readMail reads the record of a message that was handed out, unless it is one that this process still has in mind.
func (q *Queue) readMail(shard int, seq uint64, m jetstream.Msg) (*stored, error) {
	if h := q.handoff.take(m.Headers().Get(jetstream.MsgIDHeader)); h != nil && bytes.Equal(h.frame, m.Data()) {
		return &stored{mailRecord: h.record, shard: shard, seq: seq, inline: h.frame[len(h.frame)-h.octets:], compared: true}, nil
	}
	return decodeMail(shard, seq, m.Data())
}

func (q *Queue) handleMail(ctx context.Context, head *stored, h func(context.Context, *pipeline.Message) error) error {
	msg, err := q.load(ctx, head)
	if errors.Is(err, errDamaged) {
		return pipeline.Permanent(err)
	}
	if err != nil {
		return err
	}
	return guard(func() error { return h(ctx, msg) })
}
