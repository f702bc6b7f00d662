package queue

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// mayBeRepeated reports whether an earlier run may have got part of the way with what was handed out: it was handed out
// before, or is older than the embedded server, which counts from one again when it starts.
func (q *Queue) mayBeRepeated(l *link, meta *jetstream.MsgMetadata) bool {
	return meta.NumDelivered > 1 || l.srv != nil && meta.Timestamp.Before(l.made)
}

// stopClock removes the next attempt of a delivery that has succeeded.
func (q *Queue) stopClock(ctx context.Context, l *link, sink, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.cfg.tryFor)
	defer cancel()
	k := shardOf(sink, deliveryShards)
	if err := l.delivery[k].Purge(ctx, jetstream.WithPurgeSubject(deliveryLater(k, sink, id))); err != nil {
		q.cfg.Log.Warn("stop the retry clock of a finished delivery", "delivery", id, "error", err)
	}
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
