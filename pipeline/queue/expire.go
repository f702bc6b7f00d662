package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// expireAtOnce is how many deliveries one call of Expire gives up.
const expireAtOnce = 10_000

// Expire gives up the deliveries of a sink that are due and whose first attempt is longer ago than maxAge: they become
// dead letters without another attempt. It is for a sink whose breaker is open: what waits behind it would otherwise
// never come to its turn. A delivery that is being attempted meanwhile may be a dead letter and delivered too.
func (q *Queue) Expire(ctx context.Context, sink string, maxAge time.Duration) (expired int, err error) {
	l, err := q.current()
	if err != nil {
		return 0, fmt.Errorf("expire deliveries of sink %q: %w", sink, err)
	}
	k := shardOf(sink, deliveryShards)
	subjects, _, err := deliverySubjects(ctx, l.delivery[k], k, "due."+token(sink)+".>")
	if err != nil {
		return 0, fmt.Errorf("expire deliveries of sink %q: %w", sink, err)
	}
	until := q.cfg.Now().Add(-maxAge)
	for _, subject := range subjects {
		if _, _, id, err := splitDelivery(subject); err != nil || !mailTime(id).Before(until) {
			continue // the message came later than that, and so did the delivery
		}
		done, err := q.expireOne(ctx, l.delivery[k], subject, until, maxAge)
		if err != nil {
			return expired, fmt.Errorf("expire deliveries of sink %q: %w", sink, err)
		}
		if done {
			expired++
		}
		if expired >= expireAtOnce {
			break
		}
	}
	return expired, nil
}

func (q *Queue) expireOne(ctx context.Context, s jetstream.Stream, subject string, until time.Time, maxAge time.Duration) (bool, error) {
	raw, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var record deliveryRecord
	if _, err := decodeFrame(kindDelivery, raw.Data, &record); err != nil || !record.First.Before(until) {
		return false, nil // what cannot be read is a matter of its next turn
	}
	d := record.delivery()
	head, err := q.head(ctx, record.Ref)
	switch {
	case errors.Is(err, pipeline.ErrNotFound), errors.Is(err, errDamaged): // Bury says so
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
	if err := s.DeleteMsg(ctx, raw.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, err
	}
	return true, nil
}
