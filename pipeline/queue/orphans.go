package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// sweepOrphans removes the parts of messages that never became whole: a crash, or a purge that failed, has left them.
// Nobody ever sees them, but they take room until the retention is over. It finds them by the note that is stored before
// the first part and removed after the head.
func (q *Queue) sweepOrphans(ctx context.Context, l *link) error {
	var errs []error
	removed := 0
	for k, s := range l.mail() {
		n, err := q.sweepNotes(ctx, s, k)
		removed += n
		errs = append(errs, err)
	}
	if removed > 0 {
		q.metrics.orphans.Add(float64(removed))
		q.cfg.Log.Info("parts of messages that never became whole were removed", "messages", removed)
	}
	return errors.Join(errs...)
}

// sweepNotes looks at the notes of one stream that nobody will remove any more, and returns how many were of messages
// that have no head.
func (q *Queue) sweepNotes(ctx context.Context, s jetstream.Stream, k int) (orphans int, err error) {
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(fmt.Sprintf("mxhook.mail.%d.open.*", k)))
	if err != nil {
		return 0, fmt.Errorf("list the messages under way of stream %s: %w", streamName(mailPrefix, k), err)
	}
	left := map[string]bool{} // keys, as tokens
	first := uint64(0)
	for subject := range info.State.Subjects {
		key := subject[strings.LastIndexByte(subject, '.')+1:]
		seq, err := q.abandoned(ctx, s, subject, key)
		if err != nil {
			return 0, err
		}
		if seq > 0 {
			left[key] = true
			if first == 0 || seq < first {
				first = seq
			}
		}
	}
	if len(left) == 0 {
		return 0, nil
	}
	whole, err := headsAmong(ctx, s, k, first, info.State.LastSeq, left)
	if err != nil {
		return 0, err
	}
	for key := range left {
		kinds := []string{"part", "open"} // the note last: without it nobody finds the parts
		if whole[key] {
			kinds = kinds[1:]
		}
		if err := purgeLarge(ctx, s, k, key, kinds...); err != nil {
			return orphans, err
		}
		if !whole[key] {
			orphans++
		}
	}
	return orphans, nil
}

// purgeLarge removes what a stream has of a large message: its parts (part), its note (open), in that order.
func purgeLarge(ctx context.Context, s jetstream.Stream, k int, key string, kinds ...string) error {
	for _, kind := range kinds {
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(fmt.Sprintf("mxhook.mail.%d.%s.%s", k, kind, key))); err != nil {
			return fmt.Errorf("remove what is left of a message under way: %w", err)
		}
	}
	return nil
}

// abandoned returns the sequence of a note whose writer has ended, and 0 for one whose message may yet get its head: from
// a writer, or from a publish that got no answer.
func (q *Queue) abandoned(ctx context.Context, s jetstream.Stream, subject, key string) (uint64, error) {
	raw, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil // it is gone, or cannot be read just now
	}
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", subject, err)
	}
	until := q.cfg.Now().Add(-q.cfg.spare())
	if q.cfg.URL == "" && q.started.After(until) {
		until = q.started // whoever wrote before that is dead
	}
	if q.writers.has(key) || !raw.Time.Before(until) {
		return 0, nil
	}
	return raw.Sequence, nil
}

// headsAmong returns which of the keys have a head from one sequence to another. It reads everything there: a message
// that the server cannot read might be the head, and is an error.
func headsAmong(ctx context.Context, s jetstream.Stream, k int, first, last uint64, keys map[string]bool) (map[string]bool, error) {
	found := map[string]bool{}
	for seq := first; seq <= last && len(found) < len(keys); seq++ {
		raw, err := s.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			var lost bool
			if lost, err = gone(ctx, s, seq); err == nil && !lost {
				err = errors.New("it is stored, but the server cannot read it")
			}
			if err == nil {
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("look for the heads of messages in parts: read message at %s: %w", ref(streamName(mailPrefix, k), seq), err)
		}
		if raw.Subject != mailIn(k) && raw.Subject != mailKept(k) {
			continue
		}
		if id := raw.Header.Get(jetstream.MsgIDHeader); keys[id] {
			found[id] = true
		}
	}
	return found, nil
}
