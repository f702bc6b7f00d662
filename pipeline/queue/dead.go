package queue

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"mxhook/pipeline"
)

// clockSkew is how far the clocks of a cluster may differ.
const clockSkew = 5 * time.Minute

// DeadFilter selects dead letters; the zero value selects the newest hundred.
type DeadFilter struct {
	// Sink and NoSink: of that sink; or those that no rule matched or that could not be processed.
	Sink   string
	NoSink bool
	// MessageID selects the dead letters of one message.
	MessageID string
	// Since and Until bound the time of burial, [Since, Until). Until is also how to page: the At of the last one seen.
	Since, Until time.Time
	// Limit is at most 1000; 0 is 100.
	Limit int
}

// DeadLetters returns the newest dead letters that the filter selects, newest first. Their messages have an envelope
// but no octets.
func (q *Queue) DeadLetters(ctx context.Context, f DeadFilter) ([]*pipeline.DeadLetter, error) {
	l, err := q.current()
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	limit := min(f.Limit, 1000)
	if limit <= 0 {
		limit = 100
	}
	subject := "mxhook.dead.letter.>"
	if f.Sink != "" || f.NoSink {
		subject = "mxhook.dead.letter." + token(f.Sink) + ".>"
	}
	var found []*pipeline.DeadLetter
	since := f.Since
	if !since.IsZero() {
		since = since.Add(-clockSkew)
	}
	err = scan(ctx, l.dead, subject, since, func(m jetstream.Msg) (bool, error) {
		d, _, err := decodeDead(m.Data())
		if err != nil {
			q.unreadableDead(m.Subject(), err)
			return true, nil
		}
		if f.matches(d) {
			if found = append(found, d); len(found) > 2*limit {
				found = slices.Delete(found, 0, len(found)-limit)
			}
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	found = found[max(0, len(found)-limit):]
	slices.Reverse(found)
	return found, nil
}

func (f DeadFilter) matches(d *pipeline.DeadLetter) bool {
	return (f.MessageID == "" || d.Delivery.Message.Envelope.ID == f.MessageID) &&
		(f.Since.IsZero() || !d.At.Before(f.Since)) && (f.Until.IsZero() || d.At.Before(f.Until))
}

// DeadLetter returns one dead letter with its message; pipeline.ErrNotFound when there is none of that delivery id.
// Message.Raw is what was kept, also when that is not whole; Reason says so then.
func (q *Queue) DeadLetter(ctx context.Context, deliveryID string) (*pipeline.DeadLetter, error) {
	l, d, rec, err := q.deadHead(ctx, deliveryID)
	if err != nil {
		return nil, fmt.Errorf("read dead letter %s: %w", deliveryID, err)
	}
	raw := make([]byte, 0, min(max(rec.Size, 0), q.cfg.MaxMessageSize)) // a damaged record names any size
	err = eachDeadPart(ctx, l, deliveryID, rec.Parts, func(b []byte) error {
		raw = append(raw, b...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read dead letter %s: %w", deliveryID, err)
	}
	d.Delivery.Message.Raw = raw
	return d, nil
}

func (q *Queue) deadHead(ctx context.Context, id string) (*link, *pipeline.DeadLetter, deadRecordHead, error) {
	l, err := q.current()
	if err != nil {
		return nil, nil, deadRecordHead{}, err
	}
	raw, err := l.dead.GetLastMsgForSubject(ctx, deadRecordAnySink(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil, deadRecordHead{}, pipeline.ErrNotFound
	}
	if err != nil {
		return nil, nil, deadRecordHead{}, err
	}
	d, rec, err := decodeDead(raw.Data)
	return l, d, rec, err
}

func decodeDead(b []byte) (*pipeline.DeadLetter, deadRecordHead, error) {
	var rec deadRecordHead
	if _, err := decodeFrame(kindDead, b, &rec); err != nil {
		return nil, rec, err
	}
	sum, err := sum32(rec.SHA256)
	if err != nil {
		return nil, rec, err
	}
	d := &pipeline.DeadLetter{Delivery: rec.Delivery.delivery(), Reason: rec.Reason, At: rec.At}
	d.Delivery.Message.Envelope = rec.Envelope.envelope()
	d.Delivery.Message.SHA256 = sum
	return d, rec, nil
}

func eachDeadPart(ctx context.Context, l *link, id string, n int, fn func([]byte) error) error {
	for i := range n {
		raw, err := l.dead.GetLastMsgForSubject(ctx, deadPart(id, i))
		if err != nil {
			return fmt.Errorf("read part %d of %d: %w", i+1, n, err)
		}
		if err := fn(raw.Data); err != nil {
			return err
		}
	}
	return nil
}

// ReplayDead brings a dead letter back and removes it, in that order, and returns the id it goes by now.
//
// For a sink ("" is the one it was for) that is a new delivery, due now, which names the old one. The message is stored
// anew, so that it has its whole retention before it. A dead letter that was for no sink, replayed to none, is processed
// like a message that just came in, under a new message id, for the recipients that the dead letter has.
func (q *Queue) ReplayDead(ctx context.Context, deliveryID, sink string) (string, error) {
	fresh, err := ulid.New(ulid.Timestamp(q.cfg.Now()), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("replay dead letter %s: make an id: %w", deliveryID, err)
	}
	id, err := q.replayDead(ctx, deliveryID, sink, fresh)
	if err != nil {
		return "", fmt.Errorf("replay dead letter %s: %w", deliveryID, err)
	}
	return id, nil
}

func (q *Queue) replayDead(ctx context.Context, deliveryID, sink string, fresh ulid.ULID) (string, error) {
	l, letter, rec, err := q.deadHead(ctx, deliveryID)
	if err != nil {
		return "", err
	}
	d := letter.Delivery
	if sink == "" {
		sink = d.Sink
	}
	env := d.Message.Envelope
	key, subject := fresh.String(), mailKept
	if sink == "" {
		env.ReplayOf, env.ID, env.Recipients, subject = env.ID, key, d.Recipients, mailIn
	}
	place, err := q.storeAgain(ctx, copied{
		env: env, key: key, subject: subject(shardOf(key, q.shards)), size: rec.Size, sum: rec.SHA256,
		each: func(fn func([]byte) error) error { return eachDeadPart(ctx, l, deliveryID, rec.Parts, fn) },
	})
	if err != nil {
		return "", err
	}
	newID := env.ID
	if sink != "" {
		d.ReplayOf, newID = d.ID, replayOfDelivery(env.ID, sink, fresh)
		d.ID, d.Sink, d.Attempt, d.First, d.History, d.Held = newID, sink, 1, q.cfg.Now().UTC(), nil, ""
		d.Message.Ref = place
		if err := q.Enqueue(ctx, []pipeline.Deferred{{Delivery: d}}); err != nil {
			return "", err
		}
	}
	q.cfg.Log.Info("dead letter replayed", "message", letter.Delivery.Message.Envelope.ID, "delivery", deliveryID, "sink", sink, "new_id", newID)
	if err := q.removeDead(ctx, l, deliveryID); err != nil {
		return newID, fmt.Errorf("it is replayed as %s, but stays: %w", newID, err)
	}
	return newID, nil
}

// copied is a message that is stored once more: under which key and subject, and what its octets must be.
type copied struct {
	env          pipeline.Envelope
	key, subject string
	size         int64
	sum          []byte
	auth         *pipeline.AuthResults
	problems     []pipeline.Problem
	each         func(func([]byte) error) error
}

// storeAgain stores the octets of a kept message once more and returns where.
func (q *Queue) storeAgain(ctx context.Context, c copied) (string, error) {
	w, err := q.begin(ctx, c.env, c.key, shardOf(c.key, q.shards), c.subject)
	if err != nil {
		return "", err
	}
	defer w.Abort()
	w.limit = max(w.limit, c.size) // what was taken once stays within bounds when they are drawn in
	w.auth, w.problems = c.auth, c.problems
	sum := sha256.New()
	err = c.each(func(b []byte) error {
		sum.Write(b)
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return "", err
	}
	if got := sum.Sum(nil); string(got) != string(c.sum) {
		return "", fmt.Errorf("%w: its SHA-256 is %x, taken in was %x", errDamaged, got, c.sum)
	}
	ack, err := w.commit(ctx)
	if err != nil {
		return "", err
	}
	return ref(ack.Stream, ack.Sequence), nil
}

// DropDead removes a dead letter for good; pipeline.ErrNotFound when there is none of that delivery id.
func (q *Queue) DropDead(ctx context.Context, deliveryID string) error {
	l, d, _, err := q.deadHead(ctx, deliveryID)
	if err == nil {
		err = q.removeDead(ctx, l, deliveryID)
	}
	if err != nil {
		return fmt.Errorf("drop dead letter %s: %w", deliveryID, err)
	}
	q.cfg.Log.Info("dead letter dropped", "message", d.Delivery.Message.Envelope.ID, "delivery", deliveryID)
	return nil
}

// removeDead removes the record first: what a crash leaves behind then is octets that nothing names.
func (q *Queue) removeDead(ctx context.Context, l *link, id string) error {
	for _, subject := range []string{deadRecordAnySink(id), "mxhook.dead.mail." + token(id) + ".*"} {
		if err := l.dead.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return fmt.Errorf("remove %s: %w", subject, err)
		}
	}
	return nil
}
