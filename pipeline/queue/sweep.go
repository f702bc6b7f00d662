package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// sweepEvery is how often the janitor looks for what crashes left.
	sweepEvery = time.Hour
	// leftoverAge is how old that has to be: a burial stores the octets first and the letter then.
	leftoverAge = time.Hour
	// aloneAge is how old a note about a message that was handled alone has to be.
	aloneAge = 7 * 24 * time.Hour
)

// sweep removes what crashes left: parts of messages that never became whole and, among the dead letters, octets without
// a letter and notes about messages that were handled alone. What is there it learns from what the server has in memory, not from reading.
func (q *Queue) sweep(ctx context.Context, l *link) error {
	now := q.cfg.Now()
	if now.Before(q.sweepNext) {
		return nil
	}
	q.sweepNext = now.Add(sweepEvery)
	letters, err := deadSubjects(ctx, l, "letter.>")
	if err != nil {
		return err
	}
	parts, err := deadSubjects(ctx, l, "mail.>")
	if err != nil {
		return err
	}
	whole := map[string]bool{}
	for subject := range letters {
		whole[subject[strings.LastIndexByte(subject, '.')+1:]] = true
	}
	var errs []error
	for subject := range parts {
		id := strings.Split(strings.TrimPrefix(subject, "mxhook.dead.mail."), ".")[0]
		if !whole[id] {
			whole[id] = true // its other parts go with it
			errs = append(errs, q.sweepParts(ctx, l, id, subject, now))
		}
	}
	alone, err := deadSubjects(ctx, l, "alone.*")
	for subject := range alone {
		errs = append(errs, removeOlder(ctx, l, subject, subject, now.Add(-aloneAge)))
	}
	return errors.Join(append(errs, err, q.sweepOrphans(ctx, l))...)
}

func deadSubjects(ctx context.Context, l *link, rest string) (map[string]uint64, error) {
	info, err := l.dead.Info(ctx, jetstream.WithSubjectFilter("mxhook.dead."+rest))
	if err != nil {
		return nil, fmt.Errorf("list the dead letters: %w", err)
	}
	return info.State.Subjects, nil
}

// sweepParts removes the parts of an id (a token) that has no letter. A long list of letters may have lacked it, so it
// asks again for this one.
func (q *Queue) sweepParts(ctx context.Context, l *link, id, subject string, now time.Time) error {
	letters, err := deadSubjects(ctx, l, "letter.*."+id)
	if err != nil || len(letters) > 0 {
		return err
	}
	return removeOlder(ctx, l, subject, "mxhook.dead.mail."+id+".*", now.Add(-leftoverAge))
}

// removeOlder removes all when the message of one is older than until.
func removeOlder(ctx context.Context, l *link, one, all string, until time.Time) error {
	raw, err := l.dead.GetLastMsgForSubject(ctx, one)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // it is gone, or cannot be read just now
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", one, err)
	}
	if !raw.Time.Before(until) {
		return nil
	}
	if err := l.dead.Purge(ctx, jetstream.WithPurgeSubject(all)); err != nil {
		return fmt.Errorf("remove %s: %w", all, err)
	}
	return nil
}

// unreadableDead says once that a dead letter cannot be read; it stays.
func (q *Queue) unreadableDead(subject string, err error) {
	if _, said := q.unreadable.LoadOrStore(subject, true); !said {
		q.cfg.Log.Error("a dead letter cannot be read; it is kept", "subject", subject, "error", err)
	}
}

// removeProbes removes what a process left that was killed while it measured the disk. We have the lock.
func removeProbes(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, probePrefix+"*"))
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove a leftover: %w", err)
		}
	}
	return nil
}
