package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// Deliveries returns deliveries that the filter selects, in any state: the newest that succeeded or were given up, and of
// those that wait the ones that have waited longest since they were written down; sorted newest first. At most limit
// are returned, which is at most 1000 and by default 100.
func (q *Queue) Deliveries(ctx context.Context, f pipeline.DeliveryFilter, limit int) ([]*pipeline.KeptDelivery, error) {
	limit = listLimit(limit)
	var all []*pipeline.KeptDelivery
	for _, s := range []struct {
		states []string
		list   func(context.Context, pipeline.DeliveryFilter, int) ([]*pipeline.KeptDelivery, error)
	}{
		{[]string{pipeline.StateWaiting}, q.listWaiting},
		{[]string{pipeline.StateDead}, q.listDead},
		{[]string{pipeline.StateDelivered, pipeline.StateRefused}, q.listLogged},
	} {
		if f.State != "" && !slices.Contains(s.states, f.State) {
			continue
		}
		some, err := s.list(ctx, f, limit)
		if err != nil {
			return nil, fmt.Errorf("list deliveries (%s): %w", s.states[0], err)
		}
		all = append(all, some...)
	}
	newestFirst(all)
	return all[:min(len(all), limit)], nil
}

// listLogged lists those that succeeded, and those that were refused to their senders.
func (q *Queue) listLogged(ctx context.Context, f pipeline.DeliveryFilter, limit int) ([]*pipeline.KeptDelivery, error) {
	l, err := q.current()
	if err != nil {
		return nil, err
	}
	if err := q.writeDelivered(ctx, l); err != nil {
		return nil, err
	}
	since := f.Since
	if t := mailTime(f.Message); f.Message != "" && t.After(since) {
		since = t
	}
	if !since.IsZero() {
		since = since.Add(-clockSkew)
	}
	var found []*pipeline.KeptDelivery
	seen := map[string]bool{} // a crash may have repeated one
	err = backwards(ctx, []streamSubject{{l.log, logSubject}}, uint64(2+limit/8), since, func(_ int, m jetstream.Msg) error {
		return q.eachDelivered(m, func(k *pipeline.KeptDelivery) error {
			if f.Matches(k) && !seen[k.Delivery.ID] {
				seen[k.Delivery.ID] = true
				found = append(found, k)
			}
			return nil
		})
	}, func() bool { return len(found) >= limit })
	newestFirst(found)
	return found[:min(len(found), limit)], err
}

func (q *Queue) listDead(ctx context.Context, f pipeline.DeliveryFilter, limit int) ([]*pipeline.KeptDelivery, error) {
	var found []*pipeline.KeptDelivery
	df := DeadFilter{Sink: f.Sink, MessageID: f.Message, Since: f.Since, Until: f.Until, Limit: limit}
	if f.Sink == pipeline.UnroutedID {
		df.Sink, df.NoSink = "", true
	}
	if f.Rule != "" || f.Recipient != "" {
		df.Limit = maxList // the newest of those, then
	}
	letters, err := q.DeadLetters(ctx, df)
	for _, letter := range letters {
		if k := keptDead(letter); f.Matches(k) {
			found = append(found, k)
		}
	}
	return found[:min(len(found), limit)], err
}

func keptDead(d *pipeline.DeadLetter) *pipeline.KeptDelivery {
	return &pipeline.KeptDelivery{Delivery: d.Delivery, State: pipeline.StateDead, At: d.At, Reason: d.Reason}
}

func (q *Queue) listWaiting(ctx context.Context, f pipeline.DeliveryFilter, limit int) ([]*pipeline.KeptDelivery, error) {
	l, err := q.current()
	if err != nil {
		return nil, err
	}
	var found []*pipeline.KeptDelivery
	err = q.eachWaiting(ctx, l, waitingCursor{}, f.Sink, func(k *pipeline.KeptDelivery, _ *jetstream.RawStreamMsg, _ waitingCursor) (bool, error) {
		if f.Matches(k) {
			found = append(found, k)
		}
		return len(found) < limit, nil
	})
	return found, err
}

// waitingCursor is a place in the delivery streams: read on from there.
type waitingCursor struct {
	K   int
	Seq uint64
}

// eachWaiting calls fn for the deliveries that wait for a sink ("" is any), with what is stored of each and the place
// behind it, in the order in which they were written down, stream by stream, until fn returns false.
func (q *Queue) eachWaiting(ctx context.Context, l *link, at waitingCursor, sink string,
	fn func(*pipeline.KeptDelivery, *jetstream.RawStreamMsg, waitingCursor) (bool, error),
) error {
	which := "*"
	if sink != "" {
		which = token(sink)
	}
	for ; at.K < len(l.delivery); at.K, at.Seq = at.K+1, 0 {
		if sink != "" && shardOf(sink, deliveryShards) != at.K {
			continue
		}
		filter := jetstream.WithGetMsgSubject(fmt.Sprintf("mxhook.delivery.%d.*.%s.*", at.K, which))
		for {
			raw, err := l.delivery[at.K].GetMsg(ctx, max(at.Seq, 1), filter)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil {
				return fmt.Errorf("read stream %s: %w", streamName(deliveryPrefix, at.K), err)
			}
			at.Seq = raw.Sequence + 1
			k, err := keptWaiting(raw)
			if err != nil {
				continue // whoever delivers it makes a dead letter of it, or leaves it to a newer mxhook
			}
			if more, err := fn(k, raw, at); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

func keptWaiting(raw *jetstream.RawStreamMsg) (*pipeline.KeptDelivery, error) {
	var rec deliveryRecord
	if _, err := decodeFrame(kindDelivery, raw.Data, &rec); err != nil {
		return nil, err
	}
	d := rec.delivery()
	d.Message.Envelope.ID, _, _ = strings.Cut(d.ID, ".")
	k := &pipeline.KeptDelivery{Delivery: d, State: pipeline.StateWaiting, At: raw.Time.UTC(), Reason: d.Held}
	if k.Reason == "" && len(d.History) > 0 {
		k.Reason = d.History[len(d.History)-1].Reason
	}
	if at := raw.Header.Get(jetstream.ScheduleHeader); at != "" {
		k.Due, _ = time.Parse(time.RFC3339, strings.TrimPrefix(at, "@at ")) //nolint:errcheck // zero is now
	}
	return k, nil
}

// Delivery returns one delivery in whatever state it is; pipeline.ErrNotFound when the queue knows of none of that id.
func (q *Queue) Delivery(ctx context.Context, id string) (*pipeline.KeptDelivery, error) {
	k, _, err := q.delivery(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read delivery %s: %w", id, err)
	}
	if k.State == pipeline.StateWaiting {
		if head, err := q.head(ctx, k.Delivery.Message.Ref); err == nil {
			k.Delivery.Message.Envelope = head.Envelope.envelope()
		}
	}
	return k, nil
}

// delivery also returns what is stored of one that waits.
func (q *Queue) delivery(ctx context.Context, id string) (*pipeline.KeptDelivery, *jetstream.RawStreamMsg, error) {
	_, d, _, err := q.deadHead(ctx, id)
	if err == nil {
		return keptDead(d), nil, nil
	}
	if !errors.Is(err, pipeline.ErrNotFound) {
		return nil, nil, err
	}
	l, err := q.current()
	if err != nil {
		return nil, nil, err
	}
	raws, err := waitingOf(ctx, l, id)
	if err != nil {
		return nil, nil, err
	}
	if len(raws) > 0 {
		k, err := keptWaiting(raws[0])
		return k, raws[0], err
	}
	var f pipeline.DeliveryFilter
	f.Message, _, _ = strings.Cut(id, ".")
	found, err := q.listLogged(ctx, f, maxList)
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(found, func(k *pipeline.KeptDelivery) bool { return k.Delivery.ID == id })
	if i < 0 {
		return nil, nil, pipeline.ErrNotFound
	}
	return found[i], nil, nil
}

// DropDelivery removes a delivery that waits, for good; its message stays kept. A dead letter is for DropDead.
func (q *Queue) DropDelivery(ctx context.Context, id string) error {
	d, err := q.removeWaiting(ctx, id, func(*pipeline.Delivery) error { return nil })
	if err != nil {
		return fmt.Errorf("drop delivery %s: %w", id, err)
	}
	q.cfg.Log.Warn("delivery dropped", "message", d.Message.Envelope.ID, "delivery", id, "sink", d.Sink)
	return nil
}

// BuryDelivery makes a dead letter of a delivery that waits, with what can be read of its message, whatever is wrong
// with that.
func (q *Queue) BuryDelivery(ctx context.Context, id, reason string) error {
	_, err := q.removeWaiting(ctx, id, func(d *pipeline.Delivery) error {
		if head, err := q.head(ctx, d.Message.Ref); err == nil {
			d.Message.Envelope = head.Envelope.envelope()
			d.Message.SHA256, _ = sum32(head.SHA256) //nolint:errcheck // zero tells it as well
		}
		return q.bury(ctx, d, reason, true)
	})
	if err != nil {
		return fmt.Errorf("bury delivery %s: %w", id, err)
	}
	return nil
}

// removeWaiting removes a delivery that waits after first was done with it.
func (q *Queue) removeWaiting(ctx context.Context, id string, first func(*pipeline.Delivery) error) (*pipeline.Delivery, error) {
	k, _, err := q.delivery(ctx, id)
	if err != nil {
		return nil, err
	}
	if k.State != pipeline.StateWaiting {
		return nil, refusef("it does not wait, it is %s", k.State)
	}
	l, err := q.current()
	if err != nil {
		return nil, err
	}
	if err := first(k.Delivery); err != nil {
		return nil, err
	}
	return k.Delivery, forget(ctx, l, k.Delivery.Sink, id)
}

// BuryMessage makes a dead letter of a message that was never settled, because it cannot be read for one, with what can
// be read of it.
func (q *Queue) BuryMessage(ctx context.Context, id, reason string) error {
	if err := q.buryMessage(ctx, id, reason); err != nil {
		return fmt.Errorf("bury message %s: %w", id, err)
	}
	return nil
}

func (q *Queue) buryMessage(ctx context.Context, id, reason string) error {
	l, err := q.current()
	if err != nil {
		return err
	}
	head, at, err := q.findMessage(ctx, id)
	if err != nil {
		return err
	}
	if settled, err := settledAt(ctx, l.parse()[head.shard], head); err != nil || settled {
		return errors.Join(err, refusef("it is settled: what became of it is in the list of deliveries"))
	}
	m := head.kept(at).Message
	d := &pipeline.Delivery{
		ID: pipeline.DeliveryID(id, pipeline.UnroutedID), Attempt: 1, First: at, Recipients: m.Envelope.Recipients, Message: m,
	}
	if err := q.bury(ctx, d, reason, true); err != nil {
		return err
	}
	return l.mail()[head.shard].DeleteMsg(ctx, head.seq)
}
