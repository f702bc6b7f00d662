package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	scanBatch = 256
	scanWait  = 5 * time.Second
)

// scan calls fn for the messages of a stream (not of a work queue) with that subject filter, stored at or after since,
// in order, until fn returns false or the end as it was when scan began.
func scan(ctx context.Context, s jetstream.Stream, subject string, since time.Time, fn func(jetstream.Msg) (bool, error)) error {
	return scanBy(ctx, s, subject, since, scanBatch, false, fn)
}

// scanBy is scan with so many messages fetched at a time, if need be without their bodies.
func scanBy(ctx context.Context, s jetstream.Stream, subject string, since time.Time, size uint64, headersOnly bool,
	fn func(jetstream.Msg) (bool, error),
) error {
	cfg := jetstream.ConsumerConfig{
		FilterSubject:     subject,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		InactiveThreshold: time.Minute,
		Replicas:          1,
		HeadersOnly:       headersOnly,
	}
	if !since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	return scanAs(ctx, s, cfg, size, fn)
}

// scanFrom is scan from a sequence on.
func scanFrom(ctx context.Context, s jetstream.Stream, subject string, seq uint64, fn func(jetstream.Msg) (bool, error)) error {
	return scanAs(ctx, s, jetstream.ConsumerConfig{
		FilterSubject:     subject,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		InactiveThreshold: time.Minute,
		Replicas:          1,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       seq,
	}, scanBatch, fn)
}

func scanAs(ctx context.Context, s jetstream.Stream, cfg jetstream.ConsumerConfig, size uint64, fn func(jetstream.Msg) (bool, error)) error {
	c, err := s.CreateConsumer(ctx, cfg)
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	info := c.CachedInfo()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scanWait)
		defer cancel()
		s.DeleteConsumer(ctx, info.Name) //nolint:errcheck // it goes by itself after a minute
	}()
	for left := info.NumPending; left > 0; {
		n, more, err := scanOnce(c, min(left, size), fn)
		if err != nil || !more {
			return err
		}
		if n == 0 {
			return ctx.Err() // what was left has been removed meanwhile
		}
		left -= min(n, left)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read stream: %w", err)
		}
	}
	return nil
}

func scanOnce(c jetstream.Consumer, n uint64, fn func(jetstream.Msg) (bool, error)) (seen uint64, more bool, err error) {
	batch, err := c.Fetch(int(n), jetstream.FetchMaxWait(scanWait), jetstream.FetchMaxBytes(fetchBytes))
	if err != nil {
		return 0, false, fmt.Errorf("read stream: %w", err)
	}
	more = true
	for m := range batch.Messages() {
		seen++
		if !more || err != nil {
			continue
		}
		more, err = fn(m)
	}
	if err == nil {
		if err = batch.Error(); errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
	}
	return seen, more, err
}
