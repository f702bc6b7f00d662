package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

const (
	// maxList bounds what one list returns; defaultList is what it returns when nothing is said.
	maxList, defaultList = 1000, 100
)

func listLimit(n int) int {
	if n <= 0 {
		return defaultList
	}
	return min(n, maxList)
}

// Messages returns the newest kept messages that the filter selects, newest first, without octets; at most limit of
// them, which is at most 1000 and by default 100.
func (q *Queue) Messages(ctx context.Context, f pipeline.MessageFilter, limit int) ([]*pipeline.KeptMessage, error) {
	l, err := q.current()
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	limit = listLimit(limit)
	var from []streamSubject
	for k, s := range l.mail() {
		from = append(from, streamSubject{s, heads(k)})
	}
	var found []*pipeline.KeptMessage
	err = backwards(ctx, from, uint64(2*limit/len(from)+8), f.Since, func(k int, m jetstream.Msg) error {
		kept, err := keptMessage(k, m)
		if err != nil {
			return nil // it is settled as a dead letter, which is where people find it
		}
		if f.Matches(&kept.Message.Envelope) && original(m, &kept.Message.Envelope) {
			found = append(found, kept)
		}
		return nil
	}, func() bool { return len(found) >= limit })
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	slices.SortStableFunc(found, func(a, b *pipeline.KeptMessage) int { return b.StoredAt.Compare(a.StoredAt) })
	return found[:min(len(found), limit)], nil
}

func keptMessage(shard int, m jetstream.Msg) (*pipeline.KeptMessage, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	s, err := decodeMail(shard, meta.Sequence.Stream, m.Data())
	if err != nil {
		return nil, err
	}
	return s.kept(meta.Timestamp), nil
}

func (s *stored) kept(at time.Time) *pipeline.KeptMessage {
	k := &pipeline.KeptMessage{StoredAt: at.UTC(), Message: &pipeline.Message{
		Envelope: s.Envelope.envelope(), Ref: ref(streamName(mailPrefix, s.shard), s.seq),
	}}
	k.Message.SHA256, _ = sum32(s.SHA256) //nolint:errcheck // zero tells it as well
	return k
}

// Message returns a kept message, with its octets when raw is set; pipeline.ErrNotFound when it is not kept any more.
func (q *Queue) Message(ctx context.Context, id string, raw bool) (*pipeline.KeptMessage, error) {
	k, err := q.message(ctx, id, raw)
	if err != nil {
		return nil, fmt.Errorf("read message %s: %w", id, err)
	}
	return k, nil
}

func (q *Queue) message(ctx context.Context, id string, raw bool) (*pipeline.KeptMessage, error) {
	head, at, err := q.findMessage(ctx, id)
	if err != nil {
		return nil, err
	}
	k := head.kept(at)
	if raw {
		err = q.withMemory(ctx, head.Size, func() error {
			m, err := q.load(ctx, head)
			if err == nil {
				k.Message.Raw = m.Raw
			}
			return err
		})
	}
	return k, err
}

// findMessage looks the head of a message up by its id: it was stored soon after the time in that, under its id, in the
// stream that the id chooses, unless the number of streams was another then, or that one had no leader.
func (q *Queue) findMessage(ctx context.Context, id string) (*stored, time.Time, error) {
	l, err := q.current()
	if err != nil {
		return nil, time.Time{}, err
	}
	since, until := time.Time{}, time.Time{}
	if t := mailTime(id); !t.IsZero() {
		since, until = t.Add(-clockSkew), t.Add(q.cfg.foundWithin())
	}
	mail := l.mail()
	first := shardOf(id, q.shards)
	for i := range mail {
		k := (first + i) % len(mail)
		seq := uint64(0)
		look := func(subject string, until time.Time) error {
			return scanBy(ctx, mail[k], subject, since, scanBatch, true, func(m jetstream.Msg) (bool, error) {
				meta, err := m.Metadata()
				if err != nil {
					return false, err
				}
				if m.Headers().Get(jetstream.MsgIDHeader) == token(id) {
					seq = meta.Sequence.Stream
				}
				return seq == 0 && (until.IsZero() || meta.Timestamp.Before(until)), nil
			})
		}
		err := look(mailIn(k), until)
		if err == nil && seq == 0 { // one that was moved here was stored long after
			err = look(mailKept(k), time.Time{})
		}
		if err != nil {
			return nil, time.Time{}, err
		}
		if seq == 0 {
			continue
		}
		raw, err := q.fetch(ctx, k, seq)
		if err != nil {
			return nil, time.Time{}, err
		}
		head, err := decodeMail(k, seq, raw.Data)
		if err == nil {
			head.onlyKept = raw.Subject == mailKept(k)
		}
		return head, raw.Time, err
	}
	return nil, time.Time{}, pipeline.ErrNotFound
}

// DropMessage removes a kept message for good. It refuses one that is not settled or that a delivery waits with. Dead
// letters have their own copy, and stay.
func (q *Queue) DropMessage(ctx context.Context, id string) error {
	if err := q.dropMessage(ctx, id); err != nil {
		return fmt.Errorf("drop message %s: %w", id, err)
	}
	q.cfg.Log.Warn("message dropped", "message", id)
	return nil
}

func (q *Queue) dropMessage(ctx context.Context, id string) error {
	l, err := q.current()
	if err != nil {
		return err
	}
	head, _, err := q.findMessage(ctx, id)
	if err != nil {
		return err
	}
	waiting := 0
	err = q.eachWaiting(ctx, l, waitingCursor{}, "", func(k *pipeline.KeptDelivery, _ *jetstream.RawStreamMsg, _ waitingCursor) (bool, error) {
		if k.Delivery.Message.Ref == ref(streamName(mailPrefix, head.shard), head.seq) {
			waiting++
		}
		return waiting == 0, nil
	})
	if err != nil {
		return err
	}
	if waiting > 0 {
		return refusef("a delivery waits with it: drop that first, `mxhook deliveries list --message %s --state waiting`", id)
	}
	if settled, err := settledAt(ctx, l.parse()[head.shard], head); err != nil || !settled {
		return errors.Join(err, refusef("it has not been processed yet: try again soon"))
	}
	s := l.mail()[head.shard]
	if err := s.DeleteMsg(ctx, head.seq); err != nil {
		return err
	}
	if len(head.Parts) > 0 {
		return s.Purge(ctx, jetstream.WithPurgeSubject(mailPart(head.shard, head.PartKey)))
	}
	return nil
}

// settledAt reports whether everything up to the head has been acknowledged.
func settledAt(ctx context.Context, c jetstream.Consumer, head *stored) (bool, error) {
	if head.onlyKept {
		return true, nil
	}
	info, err := c.Info(ctx)
	if err != nil {
		return false, err
	}
	return info.NumPending+uint64(info.NumAckPending) == 0 || info.AckFloor.Stream >= head.seq, nil
}

// refusal is why something that a person asked for is not done.
func refusef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{pipeline.ErrRefused}, args...)...)
}

type streamSubject struct {
	stream  jetstream.Stream
	subject string
}

// backwards calls fn for the messages of all streams, in windows of time from the newest to the oldest, in each from old to
// new, until one window is done and enough says so. n is how many messages the first window has at least, where a
// stream has them. What was stored before since is left out.
func backwards(ctx context.Context, from []streamSubject, n uint64, since time.Time,
	fn func(k int, m jetstream.Msg) error, enough func() bool,
) error {
	for end := (time.Time{}); ; n *= 4 {
		start, whole := end, true
		for _, s := range from {
			t, all, err := timeBefore(ctx, s.stream, n)
			if err != nil {
				return err
			}
			whole = whole && all
			if !all && (start.IsZero() || t.Before(start)) {
				start = t
			}
		}
		if whole || start.Before(since) {
			start, whole = since, true
		}
		for k, s := range from {
			err := scan(ctx, s.stream, s.subject, start, func(m jetstream.Msg) (bool, error) {
				meta, err := m.Metadata()
				if err != nil {
					return false, err
				}
				if !end.IsZero() && !meta.Timestamp.Before(end) {
					return false, nil
				}
				return true, fn(k, m)
			})
			if err != nil {
				return err
			}
		}
		if whole || enough() {
			return nil
		}
		end = start
	}
}

// timeBefore returns when the n-th message from the end was stored; all says that there are no older ones.
func timeBefore(ctx context.Context, s jetstream.Stream, n uint64) (t time.Time, all bool, err error) {
	info, err := s.Info(ctx)
	if err != nil {
		return t, false, err
	}
	st := info.State
	if st.Msgs == 0 || st.LastSeq < st.FirstSeq+n {
		return t, true, nil
	}
	raw, err := s.GetMsg(ctx, st.LastSeq-n, jetstream.WithGetMsgSubject("mxhook.>"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return t, true, nil
	}
	if err != nil {
		return t, false, err
	}
	return raw.Time, false, nil
}

func newestFirst(ks []*pipeline.KeptDelivery) {
	slices.SortStableFunc(ks, func(a, b *pipeline.KeptDelivery) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Delivery.ID, b.Delivery.ID))
	})
}
