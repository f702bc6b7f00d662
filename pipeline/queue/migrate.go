package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// Moved counts what a migration has done.
type Moved struct {
	Messages    Count `json:"messages"`
	Deliveries  Count `json:"deliveries_waiting"`
	DeadLetters Count `json:"dead_letters"`
	Delivered   Count `json:"deliveries_delivered"`
	// Again are messages stored that are not settled, or may be: they are processed, under the same ids.
	Again int `json:"messages_to_process"`
	// Verified are messages that were read back from the target with the right SHA-256.
	Verified int `json:"messages_verified"`
}

// Count is how many there are at the source, and how many of them this run has stored: the others were there.
type Count struct {
	Found  int `json:"found"`
	Stored int `json:"stored"`
}

// String is for people.
func (m Moved) String() string {
	return fmt.Sprintf("%d messages (%d copied now, %d to be processed, %d read back and whole), %d deliveries that wait (%d), %d dead letters (%d), %d delivered (%d)",
		m.Messages.Found, m.Messages.Stored, m.Again, m.Verified, m.Deliveries.Found, m.Deliveries.Stored,
		m.DeadLetters.Found, m.DeadLetters.Stored, m.Delivered.Found, m.Delivered.Stored)
}

// migration is a migration under way.
type migration struct {
	src, dst *Queue
	from, to *link
	moved    Moved
	progress func(Moved)
	said     time.Time
	// refs has the place at the target of each message, by that at the source.
	refs map[string]string
	// there has the place of each message that was at the target before, by its key.
	there map[string]string
	// waits has the deliveries that wait at the target, by id; waiting counts by sink those of the source.
	waits   map[string]bool
	waiting map[string]int64
	seen    map[string]bool // deliveries of the source, by id: a crash may have left one twice
}

// Migrate copies all that a queue holds to another one: messages with their ids, deliveries that wait, dead letters, the
// list of what was delivered and which sinks are paused; not what is remembered of clients. Nobody else may use either queue meanwhile. The source
// stays as it is. After an interruption it can be run again, and goes on with what is not there yet. progress, which may
// be nil, is called now and then.
func Migrate(ctx context.Context, from, to Config, progress func(Moved)) (moved Moved, err error) {
	from.idle, to.idle = true, true
	m := &migration{
		progress: progress, refs: map[string]string{}, there: map[string]string{},
		waits: map[string]bool{}, waiting: map[string]int64{}, seen: map[string]bool{},
	}
	if m.src, err = Open(ctx, from); err != nil {
		return m.moved, fmt.Errorf("migrate from: %w", err)
	}
	defer func() { err = errors.Join(err, m.src.Close(context.WithoutCancel(ctx))) }()
	if m.dst, err = Open(ctx, to); err != nil {
		return m.moved, fmt.Errorf("migrate to: %w", err)
	}
	defer func() { err = errors.Join(err, m.dst.Close(context.WithoutCancel(ctx))) }()
	if err := m.run(ctx); err != nil {
		return m.moved, fmt.Errorf("migrate: %w", err)
	}
	return m.moved, nil
}

func (m *migration) run(ctx context.Context) (err error) {
	if m.from, err = m.src.current(); err != nil {
		return err
	}
	if m.to, err = m.dst.current(); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"look at the target", m.lookThere},
		{"move messages", m.messages},
		{"move deliveries", m.deliveries},
		{"move dead letters", m.dead},
		{"move the list of what was delivered", m.delivered},
		{"move the pauses of sinks", m.pauses},
		{"verify", m.verify},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		m.tell(true)
	}
	return nil
}

func (m *migration) tell(now bool) {
	if m.progress != nil && (now || time.Since(m.said) > time.Second) {
		m.said = time.Now()
		m.progress(m.moved)
	}
}

// heads are the subjects of heads, waiting and kept.
func heads(k int) string { return fmt.Sprintf("mxhook.mail.%d.*", k) }

// lookThere finds what an earlier run has moved.
func (m *migration) lookThere(ctx context.Context) error {
	for k, s := range m.to.mail() {
		err := scanBy(ctx, s, heads(k), time.Time{}, scanBatch, true, func(msg jetstream.Msg) (bool, error) {
			meta, err := msg.Metadata()
			if err != nil {
				return false, err
			}
			m.there[msg.Headers().Get(jetstream.MsgIDHeader)] = ref(meta.Stream, meta.Sequence.Stream)
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return m.dst.eachWaiting(ctx, m.to, waitingCursor{}, "", func(k *pipeline.KeptDelivery, _ *jetstream.RawStreamMsg, _ waitingCursor) (bool, error) {
		m.waits[k.Delivery.ID] = true
		return true, nil
	})
}

func (m *migration) messages(ctx context.Context) error {
	for k, s := range m.from.mail() {
		info, err := m.from.parse()[k].Info(ctx)
		if err != nil {
			return err
		}
		floor, idle := info.AckFloor.Stream, info.NumPending+uint64(info.NumAckPending) == 0
		err = scan(ctx, s, heads(k), time.Time{}, func(msg jetstream.Msg) (bool, error) {
			meta, err := msg.Metadata()
			if err != nil {
				return false, err
			}
			settled := msg.Subject() != mailIn(k) || idle || meta.Sequence.Stream <= floor
			return true, m.message(ctx, k, msg, meta.Sequence.Stream, settled)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// message moves one message under its key. One that is settled becomes one that is only kept.
func (m *migration) message(ctx context.Context, k int, msg jetstream.Msg, seq uint64, settled bool) error {
	m.moved.Messages.Found++
	defer m.tell(false)
	place, key := ref(streamName(mailPrefix, k), seq), msg.Headers().Get(jetstream.MsgIDHeader)
	if at, ok := m.there[key]; ok && key != "" {
		m.refs[place] = at
		return nil
	}
	head, err := decodeMail(k, seq, msg.Data())
	if err != nil {
		return fmt.Errorf("message at %s: %w", place, err)
	}
	name, err := untoken(key)
	if err != nil || key == "" {
		name = head.Envelope.ID
	}
	subject := mailKept
	if !settled {
		subject = mailIn
		m.moved.Again++
	}
	at, err := m.dst.storeAgain(ctx, copied{
		env: head.Envelope.envelope(), key: name, subject: subject(shardOf(name, m.dst.shards)), size: head.Size, sum: head.SHA256,
		auth: head.Auth, problems: head.Problems, each: func(fn func([]byte) error) error { return m.src.eachPart(ctx, head, fn) },
	})
	if errors.Is(err, errDamaged) {
		return fmt.Errorf("message %s: %w: drop or bury it at the source first (mxhook messages drop, mxhook messages bury)", head.Envelope.ID, err)
	}
	if err != nil {
		return fmt.Errorf("message %s: %w", head.Envelope.ID, err)
	}
	m.refs[place] = at
	m.moved.Messages.Stored++
	return nil
}

// deliveries moves those that wait, each with its time.
func (m *migration) deliveries(ctx context.Context) error {
	for k, s := range m.from.delivery {
		info, err := s.Info(ctx)
		if err != nil {
			return err
		}
		found := uint64(0)
		filter := jetstream.WithGetMsgSubject(fmt.Sprintf("mxhook.delivery.%d.>", k))
		for seq := uint64(1); ; {
			raw, err := s.GetMsg(ctx, seq, filter)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil {
				return err
			}
			seq, found = raw.Sequence+1, found+1
			if err := m.delivery(ctx, raw); err != nil {
				return err
			}
		}
		if found != info.State.Msgs {
			return fmt.Errorf("stream %s has %d deliveries, and %d could be read", info.Config.Name, info.State.Msgs, found)
		}
	}
	return nil
}

func (m *migration) delivery(ctx context.Context, raw *jetstream.RawStreamMsg) error {
	defer m.tell(false)
	var rec deliveryRecord
	if _, err := decodeFrame(kindDelivery, raw.Data, &rec); err != nil {
		return fmt.Errorf("delivery under %s: %w", raw.Subject, err)
	}
	if m.seen[rec.ID] {
		return nil
	}
	m.seen[rec.ID] = true
	m.moved.Deliveries.Found++
	m.waiting[rec.Sink]++
	if m.waits[rec.ID] {
		return nil
	}
	if at, ok := m.refs[rec.Ref]; ok {
		rec.Ref = at
	} // else its message is gone, and it will be a dead letter that says so
	frame, err := encodeFrame(kindDelivery, rec, nil)
	if err != nil {
		return fmt.Errorf("delivery %s: %w", rec.ID, err)
	}
	if err := m.dst.noteSink(ctx, rec.Sink); err != nil {
		return err
	}
	k := shardOf(rec.Sink, deliveryShards)
	subject, header := deliveryDue(k, rec.Sink, rec.ID), nats.Header{}
	if at := raw.Header.Get(jetstream.ScheduleHeader); at != "" {
		header.Set(jetstream.ScheduleHeader, at)
		header.Set(jetstream.ScheduleTargetHeader, subject)
		subject = deliveryLater(k, rec.Sink, rec.ID)
	}
	if _, err := m.dst.publish(ctx, subject, fmt.Sprintf("%s#%d", token(rec.ID), rec.Attempt), header, frame); err != nil {
		return fmt.Errorf("delivery %s: %w", rec.ID, err)
	}
	m.moved.Deliveries.Stored++
	return nil
}

// dead moves the octets before the letters; there is one of each under its subject, so that a repeat changes nothing.
func (m *migration) dead(ctx context.Context) error {
	for _, subject := range []string{"mxhook.dead.mail.>", "mxhook.dead.letter.>"} {
		err := scan(ctx, m.from.dead, subject, time.Time{}, func(msg jetstream.Msg) (bool, error) {
			if subject == "mxhook.dead.letter.>" {
				m.moved.DeadLetters.Found++
			}
			if _, err := m.dst.publish(ctx, msg.Subject(), "", nil, msg.Data()); err != nil {
				return false, err
			}
			if subject == "mxhook.dead.letter.>" {
				m.moved.DeadLetters.Stored++
			}
			m.tell(false)
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// delivered moves the list of what succeeded; what is in it twice after an interruption is listed once.
func (m *migration) delivered(ctx context.Context) error {
	return scan(ctx, m.from.log, logSubject, time.Time{}, func(msg jetstream.Msg) (bool, error) {
		var rec logRecord
		if _, err := decodeFrame(kindLog, msg.Data(), &rec); err != nil {
			return false, err
		}
		for i := range rec.Deliveries {
			if at, ok := m.refs[rec.Deliveries[i].Delivery.Ref]; ok {
				rec.Deliveries[i].Delivery.Ref = at
			}
		}
		m.moved.Delivered.Found += len(rec.Deliveries)
		if err := m.dst.writeBatch(ctx, m.to, rec.Deliveries); err != nil {
			return false, err
		}
		m.moved.Delivered.Stored += len(rec.Deliveries)
		m.tell(false)
		return true, nil
	})
}

// pauses moves which sinks are paused: deliveries that wait for one must not go out because they have moved. Breakers
// find out for themselves.
func (m *migration) pauses(ctx context.Context) error {
	keys, err := m.from.state.ListKeysFiltered(ctx, keyPause+">")
	if err != nil {
		return err
	}
	defer keys.Stop() //nolint:errcheck // it ends with its connection otherwise
	for key := range keys.Keys() {
		e, err := m.from.state.Get(ctx, key)
		if err == nil {
			_, err = m.to.state.Put(ctx, key, e.Value())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return ctx.Err()
}

// verify reads every message back and compares counts.
func (m *migration) verify(ctx context.Context) error {
	for from, at := range m.refs {
		head, err := m.dst.head(ctx, at)
		if err == nil {
			err = m.dst.withMemory(ctx, head.Size, func() error {
				_, err := m.dst.load(ctx, head)
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("message of %s: %w", from, err)
		}
		m.moved.Verified++
		m.tell(false)
	}
	if m.moved.Verified != m.moved.Messages.Found {
		return fmt.Errorf("%d messages of %d are at the target", m.moved.Verified, m.moved.Messages.Found)
	}
	a, err := m.src.count(ctx, m.from)
	if err != nil {
		return err
	}
	b, err := m.dst.count(ctx, m.to)
	if err != nil {
		return err
	}
	if b.dead < a.dead {
		return fmt.Errorf("%d dead letters of %d are at the target", b.dead, a.dead)
	}
	for sink, n := range m.waiting {
		if got := b.deliveries[sink]; got.Due+got.Scheduled < n {
			return fmt.Errorf("%d deliveries of %d for sink %s are at the target", got.Due+got.Scheduled, n, sink)
		}
	}
	return nil
}

// original reports whether a head is the message itself and not a second copy that a replay refers to.
func original(msg jetstream.Msg, env *pipeline.Envelope) bool {
	return msg.Headers().Get(jetstream.MsgIDHeader) == token(env.ID)
}
