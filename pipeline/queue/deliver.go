package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// Courier makes the attempts at the deliveries of one sink, and says when. It is called concurrently.
type Courier interface {
	// Ready waits until deliveries are worth fetching, and returns how many, 1 at least.
	Ready(ctx context.Context) (int, error)
	// Take takes a turn for a delivery that was fetched, before its message of that many octets is read. When the error is
	// one that pipeline.NotNow knows, the delivery goes back as it is.
	Take(ctx context.Context, size int64) (*pipeline.Turn, error)
	// Deliver makes the attempt.
	Deliver(ctx context.Context, t *pipeline.Turn, d *pipeline.Delivery) error
}

// Deliver calls c for every delivery of the sink that is due, n at once in all processes of the fleet together. It
// returns like Process. The sink may be one that is no longer configured.
//
// The delivery is c's until its Deliver returns, with Message's Envelope, Raw and SHA256 read from the store, and Auth and
// Problems as they were when it was enqueued. It sets Attempt and History for the next attempt before it returns:
//   - nil: the delivery is done;
//   - an error with a pipeline.Later mark: it is stored as c left it, and due at that time;
//   - one marked pipeline.Permanent: it becomes a dead letter, as c left it;
//   - any other error: it was not attempted, and comes back soon as it was; a dead letter when that is still so
//     Config.Retention after First.
func (q *Queue) Deliver(ctx context.Context, sink string, n int, c Courier) error {
	open := func(ctx context.Context, l *link) (jetstream.Consumer, error) { return q.sinkConsumer(ctx, l, sink, n) }
	err := q.work(ctx, n, []source{open}, c.Ready, func(running context.Context, l *link, m jetstream.Msg) {
		q.deliverOne(ctx, running, l, m, c)
	})
	if err != nil {
		return fmt.Errorf("deliver to sink %q: %w", sink, err)
	}
	return nil
}

// unknownSize stands for the size of a message that a record does not tell.
const unknownSize = mib

// deliverOne makes one attempt. Nothing new is begun when fetching ends; what runs may go on until running ends.
func (q *Queue) deliverOne(fetching, running context.Context, l *link, m jetstream.Msg, c Courier) {
	meta, err := m.Metadata()
	if err != nil {
		q.cfg.Log.Error("a delivery of the queue has no metadata", "subject", m.Subject(), "error", err)
		return
	}
	s := deliverySettlement{msg: m, meta: meta, link: l}
	if _, err := decodeFrame(kindDelivery, m.Data(), &s.record); err != nil {
		s.settle(running, q, err)
		return
	}
	s.delivery = s.record.delivery()
	size := s.record.Size
	if size == 0 {
		size = unknownSize
	}
	t, err := q.takeTurn(fetching, running, c, size)
	if err != nil {
		if pipeline.NotNow(err) || fetching.Err() != nil || q.ending.Err() != nil {
			s.done(q, "back", m.Nak())
			return
		}
		s.settle(running, q, err)
		return
	}
	defer t.Release()
	head, err := q.head(running, s.record.Ref)
	if err != nil {
		s.settle(running, q, lostMail(err))
		return
	}
	s.delivery.Message.Envelope = head.Envelope.envelope()
	err = q.along(running, func() error {
		return q.withMemory(running, head.Size, func() error {
			msg, err := q.load(running, head)
			if err != nil {
				return lostMail(err)
			}
			msg.Auth, msg.Problems = s.record.Auth, s.record.Problems
			s.delivery.Message = msg
			return guard(func() error { return c.Deliver(running, t, s.delivery) })
		})
	})
	t.Release()
	s.settle(running, q, err)
}

// takeTurn waits for a turn while deliveries are fetched.
func (q *Queue) takeTurn(fetching, running context.Context, c Courier, size int64) (*pipeline.Turn, error) {
	ctx, cancel := context.WithCancel(running)
	defer cancel()
	defer context.AfterFunc(fetching, cancel)()
	defer context.AfterFunc(q.ending, cancel)()
	return c.Take(ctx, size)
}

// lostMail makes the error of a message that is gone or damaged a permanent one.
func lostMail(err error) error {
	if errors.Is(err, pipeline.ErrNotFound) || errors.Is(err, errDamaged) {
		return pipeline.Permanent(err)
	}
	return err
}
