package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// keySink begins the keys of the bucket of states that name a sink for which a delivery was written down.
	keySink = "sink."
	// counterIdle is how long the server keeps a consumer that only counts.
	counterIdle = 10 * time.Minute
)

// noteSink keeps the name of a sink for which a delivery is about to be written down, once.
func (q *Queue) noteSink(ctx context.Context, sink string) error {
	if _, known := q.noted.Load(sink); known {
		return nil
	}
	l, err := q.current()
	if err != nil {
		return err
	}
	if _, err := l.state.Put(ctx, keySink+token(sink), nil); err != nil {
		return fmt.Errorf("note that deliveries wait for sink %q: %w", sink, err)
	}
	q.noted.Store(sink, true)
	return nil
}

// notedSinks returns the names that noteSink kept, in whatever process.
func notedSinks(ctx context.Context, l *link) ([]string, error) {
	keys, err := l.state.ListKeysFiltered(ctx, keySink+"*")
	if err != nil {
		return nil, fmt.Errorf("list sinks: %w", err)
	}
	var sinks []string
	for key := range keys.Keys() {
		sink, err := untoken(strings.TrimPrefix(key, keySink))
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, sink)
	}
	return sinks, nil
}

// countMany adds the deliveries of a stream that has many: a list of their subjects would hold the stream while it is
// made, once for every page of it. It asks instead what the consumers of
// the sinks count: the server keeps that up to date with every message that comes and goes.
func (q *Queue) countMany(ctx context.Context, l *link, k int, c *counts) error {
	sinks, err := notedSinks(ctx, l)
	if err != nil {
		return err
	}
	for _, sink := range sinks {
		if shardOf(sink, deliveryShards) != k {
			continue
		}
		var w Waiting
		if w.Due, err = countWith(ctx, l.delivery[k], q.sinkConsumerConfig(k, sink, 1)); err != nil {
			return err
		}
		later := q.sinkConsumerConfig(k, sink, 1)
		later.Durable, later.FilterSubject = "later-"+token(sink), fmt.Sprintf("mxhook.delivery.%d.later.%s.>", k, token(sink))
		if w.Scheduled, err = countWith(ctx, l.delivery[k], later); err != nil {
			return err
		}
		if w == (Waiting{}) {
			continue
		}
		c.deliveries[sink] = w
		for _, state := range []string{"due", "later"} {
			raw, err := l.delivery[k].GetMsg(ctx, 1, jetstream.WithGetMsgSubject(fmt.Sprintf("mxhook.delivery.%d.%s.%s.>", k, state, token(sink))))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("look at the oldest delivery of sink %q: %w", sink, err)
			}
			if p, err := splitDelivery(raw.Subject); err == nil {
				c.age(p)
			}
		}
	}
	return nil
}

// countWith returns how many messages the consumer has before it, those under way included. It makes the consumer when
// there is none, to go away by itself.
func countWith(ctx context.Context, s jetstream.Stream, cfg jetstream.ConsumerConfig) (int64, error) {
	c, err := s.Consumer(ctx, cfg.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		cfg.InactiveThreshold = counterIdle
		c, err = s.CreateConsumer(ctx, cfg)
	}
	if err != nil {
		return 0, fmt.Errorf("count with consumer %s: %w", cfg.Durable, err)
	}
	info := c.CachedInfo()
	return int64(info.NumPending) + int64(info.NumAckPending), nil
}
