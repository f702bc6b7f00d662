package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"mxhook/pipeline"
)

const (
	// enqueueAtOnce bounds the publishes of one Enqueue that are under way at once.
	enqueueAtOnce = 8
	// deadPartSize is the size of the pieces of a message in a dead letter.
	deadPartSize = 512 * kib
)

// Enqueue implements pipeline.Outbox. A delivery is known by its id, attempt and recipients: enqueued again within two minutes
// it is dropped, later it may be delivered twice, under the same id. Message must be one that Process handed out.
func (q *Queue) Enqueue(ctx context.Context, ds []pipeline.Deferred) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(enqueueAtOnce)
	for _, d := range ds {
		g.Go(func() error {
			return q.defer1(ctx, d, fmt.Sprintf("%s#%d#%x", token(d.Delivery.ID), d.Delivery.Attempt, whoGets(d.Delivery)))
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("enqueue deliveries: %w", err)
	}
	return nil
}

// whoGets is a mark of a delivery's recipients: when the message is processed again after a reload, the same id may be for
// more of them.
func whoGets(d *pipeline.Delivery) []byte {
	h := sha256.New()
	for _, r := range d.Recipients {
		h.Write([]byte(r.Address))
		h.Write([]byte{0})
	}
	return h.Sum(nil)[:8]
}

// defer1 stores one delivery under a message id: due now, or as a scheduled message that the server moves to the due
// ones at its time. There is one schedule for a delivery; a later one replaces it.
func (q *Queue) defer1(ctx context.Context, d pipeline.Deferred, id string) error {
	if d.Delivery.Message == nil || d.Delivery.Message.Ref == "" {
		return pipeline.Permanent(fmt.Errorf("delivery %s has no stored message", d.Delivery.ID))
	}
	frame, err := encodeFrame(kindDelivery, recordDelivery(d.Delivery), nil)
	if err != nil {
		return err
	}
	if err := q.noteSink(ctx, d.Delivery.Sink); err != nil {
		return err
	}
	k := shardOf(d.Delivery.Sink, deliveryShards)
	subject := deliveryDue(k, d.Delivery.Sink, d.Delivery.ID)
	var header nats.Header
	if d.NotBefore.After(q.cfg.Now()) {
		header = nats.Header{
			// Its resolution is one second; rounded up, so that nothing is early.
			jetstream.ScheduleHeader:       {"@at " + ceilSecond(d.NotBefore).Format(time.RFC3339)},
			jetstream.ScheduleTargetHeader: {subject},
		}
		subject = deliveryLater(k, d.Delivery.Sink, d.Delivery.ID)
	}
	_, err = q.publish(ctx, subject, id, header, frame)
	return err
}

func ceilSecond(t time.Time) time.Time { return t.Add(time.Second - 1).UTC().Truncate(time.Second) }

// Bury implements pipeline.Outbox: it stores the delivery with its message, from Message.Raw or else as it is stored
// under Message.Ref, because a dead letter outlives it. What is left of a message that is damaged or gone is kept, and
// the reason says so. A delivery that is buried again replaces its dead letter.
func (q *Queue) Bury(ctx context.Context, d *pipeline.Delivery, reason string) error {
	return q.bury(ctx, d, reason, false)
}

// bury is Bury; at any rate also when the server cannot read the octets that it has.
func (q *Queue) bury(ctx context.Context, d *pipeline.Delivery, reason string, atAnyRate bool) error {
	if d.Message == nil {
		return fmt.Errorf("bury delivery %s: it has no message", d.ID)
	}
	m := d.Message
	rec := deadRecordHead{
		Delivery: recordDelivery(d), Envelope: recordEnvelope(m.Envelope), Reason: reason, At: q.cfg.Now().UTC(),
		Size: m.Envelope.Size, SHA256: m.SHA256[:],
	}
	var err error
	if rec.Parts, err = q.buryMail(ctx, d.ID, m); errors.Is(err, pipeline.ErrNotFound) || errors.Is(err, errDamaged) ||
		atAnyRate && errors.Is(err, errUnreadable) {
		rec.Reason += " (the message could not be kept whole: " + err.Error() + ")"
	} else if err != nil {
		return fmt.Errorf("bury delivery %s: %w", d.ID, err)
	}
	frame, err := encodeFrame(kindDead, rec, nil)
	if err != nil {
		return fmt.Errorf("bury delivery %s: %w", d.ID, err)
	}
	if _, err := q.publish(ctx, deadRecord(d.Sink, d.ID), "", nil, frame); err != nil {
		return fmt.Errorf("bury delivery %s: %w", d.ID, err)
	}
	q.metrics.buried.Inc()
	q.cfg.Events.Emit(pipeline.Event{Kind: pipeline.EventDeadLetter, Sink: d.Sink, Message: m.Envelope.ID, Reason: rec.Reason})
	q.cfg.Log.Warn("dead letter", "message", m.Envelope.ID, "delivery", d.ID, "sink", d.Sink, "attempt", d.Attempt, "reason", rec.Reason)
	return nil
}

// buryMail stores the octets of the message, in pieces, and returns how many.
func (q *Queue) buryMail(ctx context.Context, id string, m *pipeline.Message) (parts int, err error) {
	store := func(piece []byte) error {
		for len(piece) > 0 {
			n := min(len(piece), deadPartSize)
			if _, err := q.publish(ctx, deadPart(id, parts), "", nil, piece[:n]); err != nil {
				return err
			}
			parts++
			piece = piece[n:]
		}
		return nil
	}
	if m.Raw != nil || m.Ref == "" {
		return parts, store(m.Raw)
	}
	s, err := q.head(ctx, m.Ref)
	if err != nil {
		return 0, err
	}
	err = q.eachPart(ctx, s, store)
	return parts, err
}
