package queue

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// blindStream is a stream whose disk cannot be read: the server then answers that there is no message.
type blindStream struct {
	jetstream.Stream
	blind atomic.Bool
	asked atomic.Int64
}

func (s *blindStream) GetMsg(ctx context.Context, seq uint64, opts ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	if s.blind.Load() {
		s.asked.Add(1)
		return nil, jetstream.ErrMsgNotFound
	}
	return s.Stream.GetMsg(ctx, seq, opts...)
}

func blindly(s jetstream.Stream) *blindStream {
	b := &blindStream{Stream: s}
	b.blind.Store(true)
	return b
}

// blind makes the streams of a queue that nothing uses yet fail to read until the returned function is called.
func blind(streams []jetstream.Stream) (asked func() int64, restore func()) {
	var all []*blindStream
	for k, s := range streams {
		b := blindly(s)
		streams[k] = b
		all = append(all, b)
	}
	asked = func() (n int64) {
		for _, b := range all {
			n += b.asked.Load()
		}
		return n
	}
	return asked, func() {
		for _, b := range all {
			b.blind.Store(false)
		}
	}
}

func TestFailedReadOfADueMessageIsNoDeadLetter(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		for _, size := range []int{100, 700 * kib} {
			q := mustOpen(t, open)
			body := randomOctets(t, size)
			d := sampleDelivery(taken(t, q, body), "box")
			enqueue(t, q, pipeline.Deferred{Delivery: d})
			asked, restore := blind(q.link.Load().mail())
			go func() {
				for asked() == 0 {
					time.Sleep(time.Millisecond)
				}
				restore()
			}()
			done := make(chan struct{})
			deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
				checkBody(t, d.Message, body)
				close(done)
				return nil
			})
			expectIdle(t, q)
			if n := countDead(t, q); n != 0 {
				t.Errorf("size %d: %d dead letters", size, n)
			}
			closeQueue(t, q)
		}
	})
}

func TestFailedReadOfPartsIsNoDeadLetter(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	// Another message is gone from the middle of its stream: the deleted sequences do not include ours.
	for range 4 {
		w, err := q.Begin(t.Context(), newEnvelope())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(randomOctets(t, 700*kib)); err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
	}
	body := randomOctets(t, 700*kib)
	env := spool(t, q, newEnvelope(), body)
	asked, restore := blind(q.link.Load().mail())
	go func() {
		for asked() == 0 {
			time.Sleep(time.Millisecond)
		}
		restore()
	}()
	if got := next(t, q); got.Envelope.ID != env.ID {
		t.Errorf("got %s", got.Envelope.ID)
	} else {
		checkBody(t, got, body)
	}
	if n := countDead(t, q); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestMessageThatCannotBeReadIsNotBuriedWithoutItsOctets(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	d := sampleDelivery(taken(t, q, []byte("x")), "box")
	d.Message.Raw = nil
	_, restore := blind(q.link.Load().mail())
	if err := q.Bury(t.Context(), d, "410 Gone"); !isFault(err) {
		t.Errorf("bury: %v", err)
	}
	if n := countDead(t, q); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	restore()
	bury(t, q, d)
	letter, err := q.DeadLetter(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	checkBody(t, letter.Delivery.Message, []byte("x"))
}

func TestGoneIsOnlyWhatTheStreamNoLongerHas(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	s := q.link.Load().mail()[0]
	for range 5 {
		if _, err := q.publish(t.Context(), mailKept(0), "", nil, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, seq := range []uint64{1, 3} {
		if err := s.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	for seq, want := range map[uint64]bool{1: true, 2: false, 3: true, 4: false, 5: false, 6: true} {
		if got, err := gone(t.Context(), s, seq); err != nil || got != want {
			t.Errorf("gone(%d) = %v, %v", seq, got, err)
		}
	}
}

// muteJetStream stores a head without answering, and then refuses it.
type muteJetStream struct {
	jetstream.JetStream
	heads atomic.Int64
}

func (j *muteJetStream) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if !strings.HasSuffix(m.Subject, ".in") {
		return j.JetStream.PublishMsg(ctx, m, opts...)
	}
	if j.heads.Add(1) > 1 {
		return nil, &jetstream.APIError{Code: 503, ErrorCode: errStreamStore, Description: "maximum bytes exceeded"}
	}
	if _, err := j.JetStream.PublishMsg(ctx, m, opts...); err != nil {
		return nil, err
	}
	return nil, nats.ErrTimeout
}

func TestRefusalOfARepeatLeavesTheParts(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	l := q.link.Load()
	l.inJS = &muteJetStream{JetStream: l.inJS}
	body := randomOctets(t, 700*kib)
	w, err := q.Begin(t.Context(), newEnvelope())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context()); !errors.Is(err, pipeline.ErrStorage) {
		t.Errorf("commit: %v", err)
	}
	checkBody(t, next(t, q), body) // the head was stored
}
