package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// Expire gives up the deliveries of a sink that are due and whose first attempt is longer ago than maxAge: they become
// dead letters without another attempt. It is for a sink whose breaker is open: what waits behind it would otherwise
// never come to its turn. A call looks at some thousands of them and the next one goes on behind those, so that a large
// backlog costs no more. A delivery that is being attempted meanwhile may be a dead letter and delivered too.
func (q *Queue) Expire(ctx context.Context, sink string, maxAge time.Duration) (expired int, err error) {
	l, err := q.current()
	if err != nil {
		return 0, fmt.Errorf("expire deliveries of sink %q: %w", sink, err)
	}
	q.expiring.Lock()
	defer q.expiring.Unlock()
	k := shardOf(sink, deliveryShards)
	filter := jetstream.WithGetMsgSubject(fmt.Sprintf("mxhook.delivery.%d.due.%s.>", k, token(sink)))
	until := q.cfg.Now().Add(-maxAge)
	seq := max(q.expireFrom[sink], 1)
	delete(q.expireFrom, sink)
	for range q.cfg.expireAtOnce {
		raw, err := l.delivery[k].GetMsg(ctx, seq, filter)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return expired, nil
		}
		if err != nil {
			return expired, fmt.Errorf("expire deliveries of sink %q: %w", sink, err)
		}
		seq = raw.Sequence + 1
		if p, err := splitDelivery(raw.Subject); err != nil || !p.mail.Before(until) {
			continue // the message came later than that, and so did the delivery
		}
		done, err := q.expireOne(ctx, l.delivery[k], raw, until, maxAge)
		if err != nil {
			return expired, fmt.Errorf("expire deliveries of sink %q: %w", sink, err)
		}
		if done {
			expired++
		}
	}
	q.expireFrom[sink] = seq
	return expired, nil
}

func (q *Queue) expireOne(ctx context.Context, s jetstream.Stream, raw *jetstream.RawStreamMsg, until time.Time, maxAge time.Duration) (bool, error) {
	var record deliveryRecord
	if _, err := decodeFrame(kindDelivery, raw.Data, &record); err != nil || !record.First.Before(until) {
		return false, nil // what cannot be read is a matter of its next turn
	}
	d := record.delivery()
	head, err := q.head(ctx, record.Ref)
	switch {
	case errors.Is(err, pipeline.ErrNotFound), errors.Is(err, errDamaged): // Bury says so
	case errors.Is(err, errUnreadable):
		return false, nil // that may pass, and the others need not wait for it
	case err != nil:
		return false, err
	default:
		d.Message.Envelope = head.Envelope.envelope()
		d.Message.SHA256, _ = sum32(head.SHA256) //nolint:errcheck // zero tells it as well
	}
	reason := fmt.Sprintf("given up after %d attempts: max_age %v was over while the sink's circuit breaker was open", d.Attempt-1, maxAge)
	if n := len(d.History); n > 0 {
		reason += "; last: " + d.History[n-1].Reason
	}
	if err := q.Bury(ctx, d, reason); err != nil {
		return false, err
	}
	if _, err := remove(ctx, s, raw.Sequence); err != nil {
		return false, err
	}
	return true, nil
}
