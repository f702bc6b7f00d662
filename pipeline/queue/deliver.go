package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// Deliver calls h for every delivery of the sink that is due, n at once in all processes of the fleet together. It
// returns like Process. The sink may be one that is no longer configured.
//
// The delivery is h's until it returns, with Message's Envelope, Raw and SHA256 read from the store, and Auth and
// Problems as they were when it was enqueued. h sets Attempt and History for the next attempt before it returns:
//   - nil: the delivery is done;
//   - an error with a pipeline.Later mark: it is stored as h left it, and due at that time;
//   - one marked pipeline.Permanent: it becomes a dead letter, as h left it;
//   - any other error: it was not attempted, and comes back soon as it was; a dead letter when that is still so
//     Config.Retention after First.
func (q *Queue) Deliver(ctx context.Context, sink string, n int, h func(context.Context, *pipeline.Delivery) error) error {
	open := func(ctx context.Context, l *link) (jetstream.Consumer, error) { return q.sinkConsumer(ctx, l, sink, n) }
	err := q.work(ctx, n, []source{open}, func(ctx context.Context, l *link, m jetstream.Msg) { q.deliverOne(ctx, l, m, h) })
	if err != nil {
		return fmt.Errorf("deliver to sink %q: %w", sink, err)
	}
	return nil
}

func (q *Queue) deliverOne(ctx context.Context, l *link, m jetstream.Msg, h func(context.Context, *pipeline.Delivery) error) {
	meta, err := m.Metadata()
	if err != nil {
		q.cfg.Log.Error("a delivery of the queue has no metadata", "subject", m.Subject(), "error", err)
		return
	}
	s := deliverySettlement{msg: m, meta: meta, link: l}
	if _, err := decodeFrame(kindDelivery, m.Data(), &s.record); err != nil {
		s.settle(ctx, q, err)
		return
	}
	s.delivery = s.record.delivery()
	head, err := q.head(ctx, s.record.Ref)
	if err != nil {
		s.settle(ctx, q, lostMail(err))
		return
	}
	s.delivery.Message.Envelope = head.Envelope.envelope()
	s.settle(ctx, q, q.along(ctx, func() error {
		return q.withMemory(ctx, head.Size, func() error {
			msg, err := q.load(ctx, head)
			if err != nil {
				return lostMail(err)
			}
			msg.Auth, msg.Problems = s.record.Auth, s.record.Problems
			s.delivery.Message = msg
			return guard(func() error { return h(ctx, s.delivery) })
		})
	}))
}

// lostMail makes the error of a message that is gone or damaged a permanent one.
func lostMail(err error) error {
	if errors.Is(err, pipeline.ErrNotFound) || errors.Is(err, errDamaged) {
		return pipeline.Permanent(err)
	}
	return err
}
