package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// overdue is how late a delivery must be before the retry clock is taken to have missed it.
	overdue = 2 * time.Minute
	// overdueEvery is how often that is looked for, overdueAtOnce how many a round wakes.
	overdueEvery  = time.Minute
	overdueAtOnce = 10_000
)

// wakeOverdue makes deliveries due whose time has passed. The server fires a schedule once: what a limit of storage or
// a failed write keeps it from moving to the due ones then, waits until the server is started anew. So do those that were
// stored while the clock was ahead, which would wait for that time to come.
func (q *Queue) wakeOverdue(ctx context.Context, l *link) error {
	now := q.cfg.Now()
	if now.Before(q.overdueNext) {
		return nil
	}
	q.overdueNext = now.Add(overdueEvery)
	var errs []error
	for k, s := range l.delivery {
		woken, err := q.wakeStream(ctx, s, k, now.Add(-overdue), now.Add(clockSkew))
		if woken > 0 {
			q.cfg.Log.Warn("the retry clock missed deliveries; they are due now", "stream", streamName(deliveryPrefix, k), "deliveries", woken)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// wakeStream wakes what was due until then, or was stored after ahead. It reads the schedules from where it left off, or
// from the oldest on: none is due before it was stored.
func (q *Queue) wakeStream(ctx context.Context, s jetstream.Stream, k int, until, ahead time.Time) (woken int, err error) {
	filter := jetstream.WithGetMsgSubject(fmt.Sprintf("mxhook.delivery.%d.later.>", k))
	seq := max(q.overdueFrom[k], 1)
	q.overdueFrom[k] = 0
	for range overdueAtOnce {
		raw, err := s.GetMsg(ctx, seq, filter)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return woken, nil
		}
		if err != nil {
			return woken, fmt.Errorf("look for overdue deliveries: %w", err)
		}
		wrong := q.cfg.URL == "" && raw.Time.After(ahead) // the times of another server are not by our clock
		if !wrong && !raw.Time.Before(until) {
			return woken, nil
		}
		seq = raw.Sequence + 1
		at, err := time.Parse(time.RFC3339, strings.TrimPrefix(raw.Header.Get(jetstream.ScheduleHeader), "@at "))
		if !wrong && (err != nil || !at.Before(until)) {
			continue
		}
		if err := q.wake(ctx, raw); err != nil {
			return woken, fmt.Errorf("wake an overdue delivery: %w", err)
		}
		woken++
	}
	q.overdueFrom[k] = seq
	return woken, nil
}

// wake moves a scheduled delivery to the due ones in one step, like the server when the schedule fires.
func (q *Queue) wake(ctx context.Context, raw *jetstream.RawStreamMsg) error {
	_, err := q.publish(ctx, raw.Header.Get(jetstream.ScheduleTargetHeader), fmt.Sprintf("overdue@%d", raw.Sequence), nats.Header{
		jetstream.SchedulerHeader:    {raw.Subject},
		jetstream.ScheduleNextHeader: {"purge"},
	}, raw.Data)
	return err
}
