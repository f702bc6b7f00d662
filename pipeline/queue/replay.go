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

const (
	// inPlaceAge is the age up to which a replay shares the stored octets with the original: the retention is at least
	// that much longer than any sink tries. Those of an older message are stored anew.
	inPlaceAge = 24 * time.Hour
)

// replayRun is one page under way.
type replayRun struct {
	pipeline.Replay
	q       *Queue
	l       *link
	began   time.Time // of the whole replay
	started time.Time // of this page, by the real clock
	seen    int
	page    pipeline.ReplayPage
}

// replayCursor is where a page ended.
type replayCursor struct {
	// Part is the index in the order of work, K that of the stream, Seq the first message that was not looked at to its end.
	Part, K int
	Seq     uint64
	// Done is how many of what that message has are done, After when the rate allows the next one, in milliseconds since 1970.
	Done  int
	After int64
}

// String writes it as "0.3.17", or as "0.3.17.5.1763751600000".
func (c replayCursor) String() string {
	if c.Done == 0 && c.After == 0 {
		return fmt.Sprintf("%d.%d.%d", c.Part, c.K, c.Seq)
	}
	return fmt.Sprintf("%d.%d.%d.%d.%d", c.Part, c.K, c.Seq, c.Done, c.After)
}

func parseReplayCursor(s string) (c replayCursor, err error) {
	if s == "" {
		return replayCursor{Seq: 1}, nil
	}
	n, _ := fmt.Sscanf(s, "%d.%d.%d.%d.%d", &c.Part, &c.K, &c.Seq, &c.Done, &c.After) //nolint:errcheck // compared below
	if n < 3 || c.Part < 0 || c.K < 0 || c.Done < 0 || c.After < 0 || c.String() != s {
		return c, refusef("%q is not the cursor of a replay", s)
	}
	return c, nil
}

// errPageFull ends a page.
var errPageFull = errors.New("the page is full")

// Replay does one page of a replay: it brings back messages or deliveries under new ids that name the old ones. A delivery
// that waits is made due now when it stays at its sink; for another sink it is moved. A dead letter is removed when its
// replay is stored. What came after the replay began is left alone.
func (q *Queue) Replay(ctx context.Context, r pipeline.Replay) (pipeline.ReplayPage, error) {
	run := &replayRun{Replay: r, q: q, started: time.Now()}
	err := run.do(ctx)
	if err != nil {
		return run.page, fmt.Errorf("replay: %w", err)
	}
	return run.page, nil
}

func (r *replayRun) do(ctx context.Context) (err error) {
	if r.l, err = r.q.current(); err != nil {
		return err
	}
	if r.ID == "" { // who is interrupted later knows by what name to go on
		if r.page.ID, err = r.q.beginReplay(ctx, r.l); err == nil {
			r.page.Cursor, err = replayCursor{Seq: 1}.String(), nil
		}
		return err
	}
	id, err := ulid.ParseStrict(r.ID)
	if err != nil {
		return refusef("%q is not the id of a replay", r.ID)
	}
	r.page.ID, r.began = r.ID, ulid.Time(id.Time())
	at, err := parseReplayCursor(r.Cursor)
	if err != nil {
		return err
	}
	if waits, err := r.await(ctx, at.After); waits || err != nil {
		r.page.Cursor = at.String()
		return err
	}
	at.After = 0
	switch {
	case len(r.IDs) > 0:
		err = r.byID(ctx, &at)
	case r.Messages:
		err = r.messages(ctx, &at)
	default:
		err = r.deliveries(ctx, &at)
	}
	if errors.Is(err, errPageFull) {
		if r.paced() {
			at.After = r.due().UnixMilli()
		}
		r.page.Cursor, err = at.String(), nil
	}
	if !r.DryRun && r.page.Replayed > 0 {
		r.q.cfg.Log.Info("replayed", "replay", r.ID, "matched", r.page.Matched, "replayed", r.page.Replayed, "failed", len(r.page.Failed), "to", r.To)
	}
	return err
}

// beginReplay makes the id of a replay. Its time is by the server's clock, like those of what is stored: everything that is
// there by now is older.
func (q *Queue) beginReplay(ctx context.Context, l *link) (string, error) {
	if err := q.writeDelivered(ctx, l); err != nil {
		return "", err
	}
	info, err := l.log.Info(ctx)
	if err != nil {
		return "", fmt.Errorf("look at stream %s: %w", logStream, err)
	}
	id, err := ulid.New(ulid.Timestamp(info.TimeStamp.Add(time.Millisecond)), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	// What is stored from here on is younger.
	return id.String(), sleep(ctx, 2*time.Millisecond)
}

// byID replays the messages or deliveries that were named.
func (r *replayRun) byID(ctx context.Context, at *replayCursor) error {
	for ; at.K < len(r.IDs); at.K++ {
		if r.full() {
			return errPageFull
		}
		id := r.IDs[at.K]
		if err := r.pace(ctx); err != nil {
			return err
		}
		if r.Messages {
			head, _, err := r.q.findMessage(ctx, id)
			r.each(ctx, id, func() (string, error) {
				if err != nil {
					return "", err
				}
				return r.message(ctx, head)
			})
			continue
		}
		k, raw, err := r.q.delivery(ctx, id)
		r.each(ctx, id, func() (string, error) {
			if err != nil {
				return "", err
			}
			return r.delivery(ctx, k, raw)
		})
	}
	return nil
}

// messages replays what the filter selects, stream by stream.
func (r *replayRun) messages(ctx context.Context, at *replayCursor) error {
	for mail := r.l.mail(); at.K < len(mail); at.K, at.Seq = at.K+1, 1 {
		k := at.K
		err := r.forward(ctx, mail[k], heads(k), at, r.MessageFilter.Since, func(m jetstream.Msg) error {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			head, err := decodeMail(k, meta.Sequence.Stream, m.Data())
			if err != nil {
				return nil // it is a dead letter, or a newer mxhook's
			}
			env := head.Envelope.envelope()
			if !r.MessageFilter.Matches(&env) || !original(m, &env) {
				return nil
			}
			if err := r.pace(ctx); err != nil {
				return err
			}
			r.each(ctx, env.ID, func() (string, error) { return r.message(ctx, head) })
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deliveries replays what the filter selects: first what succeeded, then dead letters, then what waits.
func (r *replayRun) deliveries(ctx context.Context, at *replayCursor) error {
	f := r.DeliveryFilter
	take := func(k *pipeline.KeptDelivery, raw *jetstream.RawStreamMsg) error {
		if !f.Matches(k) || k.State == pipeline.StateRefused && f.State == "" { // its sender was told that nobody has it
			return nil
		}
		if err := r.pace(ctx); err != nil {
			return err
		}
		r.each(ctx, k.Delivery.ID, func() (string, error) { return r.delivery(ctx, k, raw) })
		return nil
	}
	next := func() { at.Part, at.K, at.Seq, at.Done = at.Part+1, 0, 1, 0 }
	if at.Part == 0 {
		if f.State == "" || f.State == pipeline.StateDelivered || f.State == pipeline.StateRefused {
			err := r.forward(ctx, r.l.log, logSubject, at, f.Since, func(m jetstream.Msg) error {
				meta, err := m.Metadata()
				if err != nil {
					return err
				}
				if at.Seq != meta.Sequence.Stream {
					at.Seq, at.Done = meta.Sequence.Stream, 0
				}
				n := 0
				return r.q.eachDelivered(m, func(k *pipeline.KeptDelivery) error {
					if n++; n <= at.Done {
						return nil
					}
					err := take(k, nil)
					if err == nil {
						at.Done = n
					}
					return err
				})
			})
			if err != nil {
				return err
			}
		}
		next()
	}
	if at.Part == 1 {
		if f.State == "" || f.State == pipeline.StateDead {
			err := r.forward(ctx, r.l.dead, "mxhook.dead.letter.>", at, f.Since, func(m jetstream.Msg) error {
				d, _, err := decodeDead(m.Data())
				if err != nil {
					return nil // said when it was found
				}
				return take(keptDead(d), nil)
			})
			if err != nil {
				return err
			}
		}
		next()
	}
	if f.State != "" && f.State != pipeline.StateWaiting {
		return nil
	}
	return r.q.eachWaiting(ctx, r.l, waitingCursor{at.K, at.Seq}, f.Sink, func(k *pipeline.KeptDelivery, raw *jetstream.RawStreamMsg, c waitingCursor) (bool, error) {
		if r.full() {
			return false, errPageFull
		}
		if k.At.Before(r.began) {
			if err := take(k, raw); err != nil {
				return false, err
			}
		}
		at.K, at.Seq = c.K, c.Seq
		return true, nil
	})
}

// forward calls fn for the messages of a stream from the cursor on that may lie within the times, and moves the cursor
// behind each that was done.
func (r *replayRun) forward(ctx context.Context, s jetstream.Stream, subject string, at *replayCursor, since time.Time,
	fn func(jetstream.Msg) error,
) error {
	if !since.IsZero() {
		since = since.Add(-clockSkew)
	}
	visit := func(m jetstream.Msg) (bool, error) {
		meta, err := m.Metadata()
		if err != nil {
			return false, fmt.Errorf("read stream: %w", err)
		}
		if !meta.Timestamp.Before(r.began) {
			return false, nil
		}
		if r.full() {
			return false, errPageFull
		}
		if err := fn(m); err != nil {
			return false, err
		}
		at.Seq, at.Done = meta.Sequence.Stream+1, 0
		return true, nil
	}
	if at.Seq > 1 {
		return scanFrom(ctx, s, subject, at.Seq, visit)
	}
	return scan(ctx, s, subject, since, visit)
}

// full ends a page when it did enough, but not before it did something.
func (r *replayRun) full() bool {
	r.seen++
	return r.page.Matched >= r.q.cfg.replayPage || r.seen > 1 && time.Since(r.started) > r.q.cfg.replayFor
}

func (r *replayRun) paced() bool { return r.Rate > 0 && !r.DryRun }

// due is when the rate allows the next one.
func (r *replayRun) due() time.Time {
	return r.started.Add(time.Duration(float64(r.page.Matched) / r.Rate * float64(time.Second)))
}

// pace keeps to the rate. What is not due within this page is left to the next one.
func (r *replayRun) pace(ctx context.Context) error {
	if !r.paced() {
		return ctx.Err()
	}
	due := r.due()
	if due.Sub(r.started) > r.q.cfg.replayFor {
		return errPageFull
	}
	return sleep(ctx, time.Until(due))
}

// await waits until the rate allows the first one of a page. waits says that this page has no more time for it.
func (r *replayRun) await(ctx context.Context, after int64) (waits bool, err error) {
	if !r.paced() {
		return false, ctx.Err()
	}
	left := time.Until(time.UnixMilli(after))
	err = sleep(ctx, min(left, r.q.cfg.replayFor))
	r.started = time.Now()
	return left > r.q.cfg.replayFor, err
}

// each counts what became of one of them. An error of one does not end the replay.
func (r *replayRun) each(ctx context.Context, id string, replay func() (string, error)) {
	r.page.Matched++
	fresh, err := replay()
	switch {
	case errors.Is(err, errDueAnyway):
		r.page.Skipped++
	case err != nil:
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		r.page.Failed = append(r.page.Failed, pipeline.ReplayFailure{ID: id, Reason: err.Error()})
	case fresh != "":
		r.page.Replayed++
		r.page.Made = append(r.page.Made, pipeline.Replayed{ID: id, New: fresh})
	}
}

var errDueAnyway = errors.New("it is due already")

// key makes the part of an id that tells a replay from its original: always the same one for the same replay of the
// same thing. t is when the octets were stored that it refers to, or a little before.
func (r *replayRun) key(t time.Time, id string) ulid.ULID {
	var u ulid.ULID
	_ = u.SetTime(ulid.Timestamp(t)) // good until the year 10889
	sum := sha256.Sum256([]byte(r.ID + "\x00" + id + "\x00" + r.To))
	_ = u.SetEntropy(sum[:10]) // it is ten bytes
	return u
}

// message stores a message anew, to be processed like one that just came in.
func (r *replayRun) message(ctx context.Context, head *stored) (string, error) {
	if r.To != "" && !slices.Contains(r.Sinks, r.To) {
		return "", refusef("no sink %q is configured", r.To)
	}
	if r.DryRun {
		return "", nil
	}
	env := head.Envelope.envelope()
	key := r.key(r.began, env.ID).String()
	env.ReplayOf, env.ReplayTo, env.ID = env.ID, r.To, key
	shard := shardOf(key, r.q.shards)
	_, err := r.q.storeAgain(ctx, r.copyOf(ctx, head, env, key, mailIn(shard)))
	return key, err
}

// copyOf describes a second copy of a kept message.
func (r *replayRun) copyOf(ctx context.Context, head *stored, env pipeline.Envelope, key, subject string) copied {
	return copied{
		env: env, key: key, subject: subject, size: head.Size, sum: head.SHA256, auth: head.Auth, problems: head.Problems,
		each: func(fn func([]byte) error) error { return r.q.eachPart(ctx, head, fn) },
	}
}

// delivery brings one delivery back, in whatever state it is; raw is what is stored of one that waits.
func (r *replayRun) delivery(ctx context.Context, k *pipeline.KeptDelivery, raw *jetstream.RawStreamMsg) (string, error) {
	to := r.To
	if to == "" {
		to = k.Delivery.Sink
	}
	if to != "" && !slices.Contains(r.Sinks, to) {
		return "", refusef("no sink %q is configured: name another", to)
	}
	if k.State == pipeline.StateWaiting && to == k.Delivery.Sink {
		return r.hurry(ctx, k)
	}
	if r.DryRun {
		return "", nil
	}
	switch k.State {
	case pipeline.StateDead:
		return r.q.replayDead(ctx, k.Delivery.ID, to, r.key(r.began, k.Delivery.ID))
	case pipeline.StateWaiting:
		id, err := r.again(ctx, k.Delivery, to)
		if err != nil {
			return "", err
		}
		if err := forgetAt(ctx, r.l, k.Delivery.Sink, k.Delivery.ID, raw); err != nil {
			return id, fmt.Errorf("it is replayed as %s, but stays: %w", id, err)
		}
		return id, nil
	}
	return r.again(ctx, k.Delivery, to)
}

// hurry makes a delivery due now that waits for its next attempt. It keeps its id: its endpoint may have seen it.
func (r *replayRun) hurry(ctx context.Context, k *pipeline.KeptDelivery) (string, error) {
	if k.Due.IsZero() {
		return "", errDueAnyway
	}
	if r.DryRun {
		return "", nil
	}
	d := k.Delivery
	n := shardOf(d.Sink, deliveryShards)
	raw, err := r.l.delivery[n].GetLastMsgForSubject(ctx, deliveryLater(n, d.Sink, d.ID))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", errDueAnyway
	}
	if err != nil {
		return "", err
	}
	return d.ID, r.q.wake(ctx, raw)
}

// again enqueues a delivery under a new id, due now.
func (r *replayRun) again(ctx context.Context, old *pipeline.Delivery, to string) (string, error) {
	d, m := *old, *old.Message
	d.Message = &m
	head, err := r.q.head(ctx, m.Ref)
	if errors.Is(err, pipeline.ErrNotFound) {
		return "", refusef("its message is not kept any more")
	}
	if err != nil {
		return "", err
	}
	env := head.Envelope.envelope()
	stored := mailTime(d.ID)
	if stored.IsZero() || r.q.cfg.Now().Sub(stored) > inPlaceAge {
		stored = r.began
		key := r.key(stored, d.ID).String()
		shard := shardOf(key, r.q.shards)
		place, err := r.q.storeAgain(ctx, r.copyOf(ctx, head, env, key, mailKept(shard)))
		if err != nil {
			return "", err
		}
		m.Ref = place
	}
	m.Envelope = env
	d.ReplayOf, d.ID = d.ID, replayOfDelivery(env.ID, to, r.key(stored, d.ID))
	d.Sink, d.Attempt, d.First, d.History, d.Held = to, 1, r.q.cfg.Now().UTC(), nil, ""
	return d.ID, r.q.Enqueue(ctx, []pipeline.Deferred{{Delivery: &d}})
}

// replayOfDelivery is the id of a replay. The time in the key is when the octets were stored that it refers to, or a
// little before: mailTime reads it, and the janitor goes by that.
func replayOfDelivery(message, sink string, key ulid.ULID) string {
	return pipeline.DeliveryID(message, sink) + ".r" + key.String()
}
