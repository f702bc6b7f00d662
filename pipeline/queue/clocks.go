package queue

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// mayBeRepeated reports whether an earlier run may have got part of the way with what was handed out: it was handed out
// before, or is older than the embedded server, which counts from one again when it starts.
func (q *Queue) mayBeRepeated(l *link, meta *jetstream.MsgMetadata) bool {
	return meta.NumDelivered > 1 || l.srv != nil && meta.Timestamp.Before(l.made)
}

// stopClock removes the next attempt of a delivery that has succeeded, unless that is for others as well: rules that were
// reloaded before its message was processed again may have added some.
func (q *Queue) stopClock(ctx context.Context, l *link, d *pipeline.Delivery) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.cfg.tryFor)
	defer cancel()
	s, k := l.delivery, shardOf(d.Sink, deliveryShards)
	raw, err := s[k].GetLastMsgForSubject(ctx, deliveryLater(k, d.Sink, d.ID))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return
	}
	if err == nil && onlyFor(raw.Data, d.Recipients) {
		_, err = remove(ctx, s[k], raw.Sequence)
	}
	if err != nil {
		q.cfg.Log.Warn("stop the retry clock of a finished delivery", "delivery", d.ID, "error", err)
	}
}

// onlyFor reports whether a stored delivery is for nobody else.
func onlyFor(frame []byte, rs []pipeline.Recipient) bool {
	var record deliveryRecord
	if _, err := decodeFrame(kindDelivery, frame, &record); err != nil {
		return false
	}
	return !slices.ContainsFunc(record.Recipients, func(r recipientRecord) bool {
		return !slices.ContainsFunc(rs, func(has pipeline.Recipient) bool { return has.Address == string(r.Address) })
	})
}

// firstSuccesses collects, for messages that are processed perhaps not for the first time, which of their deliveries
// succeed: an earlier run may have set the retry clock of those.
type firstSuccesses struct {
	mu sync.Mutex
	of map[string][]*pipeline.Delivery // by message
}

func (f *firstSuccesses) note(d *pipeline.Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := d.Message.Envelope.ID
	if ds, ok := f.of[id]; ok {
		f.of[id] = append(ds, d)
	}
}

// during runs fn and returns what succeeded of the message meanwhile.
func (f *firstSuccesses) during(message string, fn func() error) ([]*pipeline.Delivery, error) {
	f.mu.Lock()
	if f.of == nil {
		f.of = map[string][]*pipeline.Delivery{}
	}
	f.of[message] = nil
	f.mu.Unlock()
	err := fn()
	f.mu.Lock()
	defer f.mu.Unlock()
	ds := f.of[message]
	delete(f.of, message)
	return ds, err
}
