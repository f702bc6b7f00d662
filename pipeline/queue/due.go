package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// What is due shares subjects: there is one for each sink and each minute in which the mail came that waits for it. The
// server needs more than a kilobyte of memory for every subject, as long as something waits under it. What is for later
// has one each, because a schedule needs it. A delivery among others of a subject is found by reading them.

// deliveryDue is the subject of a delivery that is due.
func deliveryDue(shard int, sink, id string) string {
	minute := int64(0)
	if t := mailTime(id); !t.IsZero() {
		minute = t.Unix() / 60
	}
	return fmt.Sprintf("mxhook.delivery.%d.due.%s.%d", shard, token(sink), minute)
}

// deliveryDueAlone is the subject that a delivery which is due had for itself in earlier versions, and has when a
// schedule of theirs fires.
func deliveryDueAlone(shard int, sink, id string) string {
	return fmt.Sprintf("mxhook.delivery.%d.due.%s.%s", shard, token(sink), token(id))
}

func deliveryLater(shard int, sink, id string) string {
	return fmt.Sprintf("mxhook.delivery.%d.later.%s.%s", shard, token(sink), token(id))
}

// deliveryPlace is what the subject of a delivery tells.
type deliveryPlace struct {
	due  bool
	sink string
	// mail is when its message was stored, or a little before; zero when that is not known.
	mail time.Time
}

// splitDelivery reads the subject of a delivery: mxhook.delivery.<shard>.<due|later>.<sink>.<minute or id>. No id is a
// number: the message's and the sink's are joined by a dot.
func splitDelivery(subject string) (p deliveryPlace, err error) {
	f := strings.Split(subject, ".")
	if len(f) != 6 {
		return p, fmt.Errorf("subject %q is not a delivery's", subject)
	}
	if p.sink, err = untoken(f[4]); err != nil {
		return p, err
	}
	p.due = f[3] == "due"
	if minute, err := strconv.ParseUint(f[5], 10, 40); err == nil && p.due {
		if minute > 0 {
			p.mail = time.Unix(int64(minute)*60, 0).UTC()
		}
		return p, nil
	}
	id, err := untoken(f[5])
	p.mail = mailTime(id)
	return p, err
}

// waitingOf returns what is stored of a delivery that waits: what is due before what is for later. A crash may have left
// it more than once. No sink has a dot in its name, so that an id tells it.
func waitingOf(ctx context.Context, l *link, id string) ([]*jetstream.RawStreamMsg, error) {
	_, rest, _ := strings.Cut(id, ".")
	sink, _, _ := strings.Cut(rest, ".")
	k := shardOf(sink, deliveryShards)
	raws, err := dueOf(ctx, l.delivery[k], k, sink, id)
	if err != nil {
		return nil, err
	}
	for _, subject := range []string{deliveryDueAlone(k, sink, id), deliveryLater(k, sink, id)} {
		raw, err := l.delivery[k].GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", subject, err)
		}
		raws = append(raws, raw)
	}
	return raws, nil
}

// dueOf reads what is due of the minute in which the delivery's mail came, and returns what is of this delivery.
func dueOf(ctx context.Context, s jetstream.Stream, k int, sink, id string) (found []*jetstream.RawStreamMsg, err error) {
	subject := deliveryDue(k, sink, id)
	for seq := uint64(1); ; {
		raw, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", subject, err)
		}
		seq = raw.Sequence + 1
		var rec deliveryRecord
		if _, err := decodeFrame(kindDelivery, raw.Data, &rec); err == nil && rec.ID == id {
			found = append(found, raw)
		}
	}
}

// forget removes what is stored of a delivery that waits. A worker may have it in hand: what that attempt comes to is
// written down all the same. What is for later goes first: it does not become due any more then.
func forget(ctx context.Context, l *link, sink, id string) error {
	k := shardOf(sink, deliveryShards)
	if err := forgetAlone(ctx, l.delivery[k], k, sink, id); err != nil {
		return err
	}
	raws, err := dueOf(ctx, l.delivery[k], k, sink, id)
	for _, raw := range raws {
		if err == nil {
			_, err = remove(ctx, l.delivery[k], raw.Sequence)
		}
	}
	return err
}

// forgetAt is forget for one that was just read: it reads no others unless that one is gone.
func forgetAt(ctx context.Context, l *link, sink, id string, raw *jetstream.RawStreamMsg) error {
	k := shardOf(sink, deliveryShards)
	was, err := remove(ctx, l.delivery[k], raw.Sequence)
	if err != nil {
		return err
	}
	if !was {
		return forget(ctx, l, sink, id)
	}
	return forgetAlone(ctx, l.delivery[k], k, sink, id)
}

// forgetAlone removes what is stored of a delivery under subjects of its own.
func forgetAlone(ctx context.Context, s jetstream.Stream, k int, sink, id string) error {
	for _, subject := range []string{deliveryLater(k, sink, id), deliveryDueAlone(k, sink, id)} {
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return fmt.Errorf("remove %s: %w", subject, err)
		}
	}
	return nil
}

// remove removes one message of a stream, and reports whether it was there.
func remove(ctx context.Context, s jetstream.Stream, seq uint64) (was bool, err error) {
	if err = s.DeleteMsg(ctx, seq); err == nil {
		return true, nil
	}
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) { // the client does not tell why
		if lost, gerr := gone(ctx, s, seq); gerr == nil && lost {
			return false, nil
		}
	}
	return false, fmt.Errorf("remove message %d: %w", seq, err)
}
