package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

const (
	// tidyEvery is how many times longer than between two looks at storage it is between two rounds of the janitor.
	tidyEvery = 10
	// tidyFor bounds one round.
	tidyFor = 10 * time.Minute
	// ageWarning is how close to the retention something unsettled may come before that is an alarm.
	ageWarning = 24 * time.Hour
	// purgeSlice is the share of a short mail stream that is removed at once.
	purgeSlice = 10
	// subjectsPerPage is the number of subjects in one page of the server's answer.
	subjectsPerPage = 100_000
)

// watch looks at storage and at stalled writers until the queue is closed.
func (q *Queue) watch() {
	bound := q.cfg.tryFor
	if q.cfg.URL != "" {
		bound /= lookShare
	}
	q.every(q.cfg.watchEvery, "look at storage", bound, func(ctx context.Context) error {
		q.flushStalled()
		var touched sync.WaitGroup
		if q.cfg.URL != "" {
			touched.Go(func() { q.touch(ctx) })
		}
		err := q.look(ctx)
		touched.Wait()
		q.tellStorage()
		return err
	})
}

// tellStorage says when mail is refused for want of room, and when it is taken again. Only watch calls it.
func (q *Queue) tellStorage() {
	err := q.admit(0)
	low := errors.Is(err, pipeline.ErrStorage)
	switch {
	case low && !q.storageLow:
		q.cfg.Events.Emit(pipeline.Event{Kind: pipeline.EventStorageLow, Reason: err.Error()})
	case err == nil && q.storageLow:
		q.cfg.Events.Emit(pipeline.Event{Kind: pipeline.EventStorageBack, Reason: "there is room again: mail is taken"})
	}
	q.storageLow = low || err != nil && q.storageLow
}

// keepHouse is the janitor. A round may take minutes, which must not keep watch from looking.
func (q *Queue) keepHouse() {
	q.try("keep house", tidyFor, q.tidy)
	q.every(tidyEvery*q.cfg.watchEvery, "keep house", tidyFor, q.tidy)
}

func (q *Queue) every(d time.Duration, what string, bound time.Duration, fn func(context.Context) error) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-q.ending.Done():
			return
		case <-tick.C:
			q.try(what, bound, fn)
		}
	}
}

func (q *Queue) try(what string, bound time.Duration, fn func(context.Context) error) {
	ctx, cancel := context.WithTimeout(q.ending, bound)
	defer cancel()
	err := fn(ctx)
	switch {
	case err == nil:
		q.metrics.up.Set(1)
	case q.ending.Err() == nil:
		q.metrics.up.Set(0)
		if !errors.Is(err, errDown) {
			q.cfg.Log.Error(what, "error", err)
		}
	}
}

// tidy is one round of the janitor.
func (q *Queue) tidy(ctx context.Context) error {
	q.house.Lock()
	defer q.house.Unlock()
	l, err := q.current()
	if err != nil {
		return err
	}
	if err := q.findShards(ctx, l); err != nil {
		return err
	}
	s, err := q.Status(ctx)
	if err != nil {
		return err
	}
	q.metrics.show(s)
	q.warnAge(s)
	return errors.Join(q.purgeSettled(ctx, l), q.dropOldDead(ctx, l), q.wakeOverdue(ctx, l), q.sweep(ctx, l))
}

// warnAge raises the alarm when something unsettled is about to outlive the retention. Nothing happens to it then: the
// streams have no age limit, only what is settled is removed.
func (q *Queue) warnAge(s Status) {
	oldest := max(s.OldestMessage, s.OldestDelivery)
	if oldest < q.cfg.Retention-ageWarning || oldest == 0 {
		q.metrics.ageAlarm.Set(0)
		return
	}
	q.metrics.ageAlarm.Set(1)
	q.cfg.Log.Error("unsettled mail is about as old as the retention; it is kept, but find out why it is not settled",
		"oldest_message", s.OldestMessage, "oldest_delivery", s.OldestDelivery, "retention", q.cfg.Retention)
}

// purgeSettled removes from the front of the mail streams what is older than the retention and, while storage is short,
// the oldest beyond that; never what is unsettled.
func (q *Queue) purgeSettled(ctx context.Context, l *link) error {
	now := q.cfg.Now()
	short := errors.Is(q.admit(0), pipeline.ErrStorage)
	mail := l.mail()
	states := make([]jetstream.StreamState, len(mail))
	aged := false
	for k, s := range mail {
		info, err := s.Info(ctx)
		if err != nil {
			return fmt.Errorf("look at stream %s: %w", streamName(mailPrefix, k), err)
		}
		states[k] = info.State
		// A little late, so that one round removes many.
		aged = aged || info.State.Msgs > 0 && info.State.FirstTime.Before(now.Add(-q.cfg.Retention-q.cfg.Retention/100))
	}
	if !aged && !short {
		return nil
	}
	floors, err := q.unsettledSince(ctx, l, now)
	if err != nil {
		return err
	}
	for k := range mail {
		if states[k].Msgs == 0 {
			continue
		}
		until, reason := now.Add(-q.cfg.Retention), "age"
		seq, err := firstSince(ctx, mail[k], earlier(until, floors[k]))
		if err != nil {
			return err
		}
		if short {
			reason = "storage"
			floor, err := firstSince(ctx, mail[k], floors[k])
			if err != nil {
				return err
			}
			slice := states[k].FirstSeq + (states[k].LastSeq-states[k].FirstSeq)/purgeSlice + 1
			seq = max(seq, min(floor, slice))
		}
		if err := q.purgeTo(ctx, l, k, states[k].FirstSeq, seq, reason); err != nil {
			return err
		}
	}
	return nil
}

func (q *Queue) purgeTo(ctx context.Context, l *link, k int, first, seq uint64, reason string) error {
	if seq <= first {
		return nil
	}
	if err := l.mail()[k].Purge(ctx, jetstream.WithPurgeSequence(seq)); err != nil {
		return fmt.Errorf("purge stream %s: %w", streamName(mailPrefix, k), err)
	}
	q.metrics.purged.WithLabelValues(reason).Add(float64(seq - first))
	q.cfg.Log.Info("settled messages removed", "stream", streamName(mailPrefix, k), "reason", reason, "from", first, "below", seq)
	return nil
}

// unsettledSince returns for every mail stream the time before which everything is settled. It looks at the streams
// first and at the deliveries then: a message that is settled in between has its deliveries there already.
func (q *Queue) unsettledSince(ctx context.Context, l *link, now time.Time) ([]time.Time, error) {
	heads, err := q.unsettled(ctx, l)
	if err != nil {
		return nil, err
	}
	oldest := now
	for k := range l.delivery {
		if oldest, err = oldestDelivery(ctx, l.delivery[k], k, oldest); err != nil {
			return nil, err
		}
	}
	floors := make([]time.Time, len(heads))
	for k, h := range heads {
		if h.waiting > 0 {
			floors[k] = earlier(oldest, h.oldest).Add(-q.cfg.spare())
		} else {
			floors[k] = oldest.Add(-q.cfg.spare())
		}
	}
	return floors, nil
}

// oldestDelivery returns the earlier of oldest and the time of the oldest message that a delivery of the stream refers
// to, from the list of subjects that the server has in memory. A longer list comes in pages, which shift while they are
// read; then it reads the deliveries one by one.
func oldestDelivery(ctx context.Context, s jetstream.Stream, k int, oldest time.Time) (time.Time, error) {
	subjects, whole, err := deliverySubjects(ctx, s, k, ">")
	if err != nil {
		return time.Time{}, err
	}
	if !whole {
		return oldestByReading(ctx, s, k, oldest)
	}
	for _, subject := range subjects {
		p, err := splitDelivery(subject)
		if err != nil {
			return time.Time{}, err
		}
		oldest = earlier(oldest, p.mail)
	}
	return oldest, nil
}

// deliverySubjects lists the subjects of the deliveries of a stream that end in rest; not whole, it may lack some.
func deliverySubjects(ctx context.Context, s jetstream.Stream, k int, rest string) (subjects []string, whole bool, err error) {
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(fmt.Sprintf("mxhook.delivery.%d.%s", k, rest)))
	if err != nil {
		return nil, false, fmt.Errorf("list the deliveries of stream %s: %w", streamName(deliveryPrefix, k), err)
	}
	return slices.Collect(maps.Keys(info.State.Subjects)), len(info.State.Subjects) < subjectsPerPage, nil
}

// oldestByReading reads on behind the end it found first, until nothing can be there that it has not read: a message
// that the server could not read is an error.
func oldestByReading(ctx context.Context, s jetstream.Stream, k int, oldest time.Time) (time.Time, error) {
	for seq, misses := uint64(1), 0; ; {
		raw, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(fmt.Sprintf("mxhook.delivery.%d.>", k)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			end, err := allGone(ctx, s, seq)
			if end && err == nil {
				return oldest, nil
			}
			if misses++; err == nil && misses < 3 {
				continue // something may have come behind what was the end
			}
			return time.Time{}, fmt.Errorf("read stream %s: a delivery at %d or later cannot be read: %w",
				streamName(deliveryPrefix, k), seq, errors.Join(err, jetstream.ErrMsgNotFound))
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("read stream %s: %w", streamName(deliveryPrefix, k), err)
		}
		p, err := splitDelivery(raw.Subject)
		if err != nil {
			return time.Time{}, err
		}
		oldest = earlier(oldest, p.mail)
		seq, misses = raw.Sequence+1, 0
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// firstSince returns the sequence of the first message stored at or after t, or the one after the last. What the
// server cannot read it may take for older than t; so the message before the found one must be readable and older.
func firstSince(ctx context.Context, s jetstream.Stream, t time.Time) (uint64, error) {
	if t.Before(time.Unix(0, 0)) {
		return 0, nil
	}
	info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return 0, fmt.Errorf("look at stream: %w", err)
	}
	found := info.State.LastSeq + 1
	err = scanBy(ctx, s, "", t, 1, true, func(m jetstream.Msg) (bool, error) {
		meta, err := m.Metadata()
		if err != nil {
			return false, fmt.Errorf("read stream: %w", err)
		}
		found = meta.Sequence.Stream
		return false, nil
	})
	if err != nil {
		return 0, err
	}
	before := min(found, info.State.LastSeq+1) - 1
	for before >= info.State.FirstSeq && before > 0 && slices.Contains(info.State.Deleted, before) {
		before--
	}
	if before < info.State.FirstSeq || before == 0 {
		return found, nil
	}
	raw, err := s.GetMsg(ctx, before)
	if err != nil {
		return 0, fmt.Errorf("read message %d before those to be kept: %w", before, err)
	}
	if !raw.Time.Before(t) {
		return 0, fmt.Errorf("read stream: message %d is not older than what is to be kept", before)
	}
	return found, nil
}

// dropOldDead removes the dead letters that have been kept long enough, and says so for each.
func (q *Queue) dropOldDead(ctx context.Context, l *link) error {
	until := q.cfg.Now().Add(-q.cfg.DeadKeep)
	return scanBy(ctx, l.dead, "mxhook.dead.letter.>", time.Time{}, 16, false, func(m jetstream.Msg) (bool, error) {
		d, _, err := decodeDead(m.Data())
		if err != nil {
			q.unreadableDead(m.Subject(), err)
			return true, nil
		}
		if !d.At.Before(until) {
			return false, nil
		}
		q.cfg.Log.Warn("dead letter removed: it was kept long enough", "message", d.Delivery.Message.Envelope.ID,
			"delivery", d.Delivery.ID, "sink", d.Delivery.Sink, "kept", q.cfg.DeadKeep, "reason", d.Reason)
		return true, q.removeDead(ctx, l, d.Delivery.ID)
	})
}
