package queue

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mxhook/pipeline"
)

// TestMessageInMindIsWhatTheStoreHas hands out a message twice: at first this process has it in mind, then no more.
func TestMessageInMindIsWhatTheStoreHas(t *testing.T) {
	t.Parallel()
	odd := newEnvelope("support", "b\xff\xfeb", "<&>\u2028")
	odd.ReversePath, odd.Client.Helo, odd.ReceivedAt = "\x80@example.org", "[\xff]", time.Now().UTC()
	many := newEnvelope()
	for range 3000 {
		many.Recipients = append(many.Recipients, pipeline.Recipient{Address: "x@example.com", Local: "x", Domain: "example.com"})
	}
	bare := pipeline.Envelope{ID: newEnvelope().ID, ReceivedAt: time.Now().UTC()}
	for _, c := range []struct {
		name string
		env  pipeline.Envelope
		body []byte
	}{
		{"plain", newEnvelope(), []byte("Subject: hello\r\n\r\nhello\r\n")},
		{"odd octets", odd, randomOctets(t, 100)},
		{"no octets", newEnvelope(), nil},
		{"a head that is larger than its room", many, randomOctets(t, 10*kib)},
		{"grown", newEnvelope(), randomOctets(t, 100*kib)},
		{"parts", newEnvelope(), randomOctets(t, 700*kib)},
		{"little in the envelope", bare, []byte("x")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := mustOpen(t, embedded(t, t.TempDir()), hasty)
			spool(t, q, c.env, c.body)
			inMind := len(q.handoff.of)
			if want := len(c.body) <= q.cfg.Inline; (inMind == 1) != want {
				t.Errorf("%d messages in mind", inMind)
			}
			var got []*pipeline.Message
			done := make(chan struct{})
			process(t, q, 1, done, func(_ context.Context, m *pipeline.Message) error {
				if got = append(got, m); len(got) == 1 {
					return pipeline.Later(errors.New("once more"), time.Now())
				}
				close(done)
				return nil
			})
			if diff := cmp.Diff(got[1], got[0], cmpopts.EquateEmpty(), cmpopts.EquateComparable(pipeline.Client{}.IP)); diff != "" {
				t.Errorf("from the store (-) and from memory (+):\n%s", diff)
			}
			if got[0].Envelope.ReceivedAt != got[1].Envelope.ReceivedAt {
				t.Error("the times are not the same")
			}
			if n := len(q.handoff.of) + q.handoff.bytes; n != 0 {
				t.Errorf("%d is left in mind", n)
			}
		})
	}
}

func TestMessageOfOtherOctetsIsReadFromTheStore(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	env := newEnvelope()
	spool(t, q, env, []byte("as stored"))
	h := q.handoff.take(token(env.ID))
	h.frame = append([]byte(nil), h.frame...)
	h.frame[len(h.frame)-1] ^= 1
	q.handoff.put(token(env.ID), h)
	if m := next(t, q); string(m.Raw) != "as stored" {
		t.Errorf("handed out %q", m.Raw)
	}
}

func TestWhatIsInMindHasABound(t *testing.T) {
	t.Parallel()
	var h handoff
	frame := make([]byte, mib)
	id := func(i int) string { return strings.Repeat("x", i+1) }
	for i := range 40 {
		h.put(id(i), &handed{frame: frame})
	}
	if h.bytes != maxHandoff || len(h.of) != maxHandoff/mib {
		t.Errorf("%d messages of %d bytes in mind", len(h.of), h.bytes)
	}
	if h.take(id(0)) == nil || h.take(id(0)) != nil || h.take("") != nil {
		t.Error("a message is there once")
	}
	h.put(id(50), &handed{frame: frame})
	h.last = h.last.Add(-2 * handoffStale) // nobody has asked since
	h.put(id(51), &handed{frame: frame})
	if len(h.of) != 1 || h.bytes != mib || h.take(id(51)) == nil {
		t.Errorf("%d messages of %d bytes in mind after a long pause", len(h.of), h.bytes)
	}
}

// TestStopInOrderSettlesAll: acknowledgements that nobody waits for have been worked through when Process returns.
func TestStopInOrderSettlesAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := mustOpen(t, embedded(t, dir))
	const messages = 200
	for range messages {
		spool(t, q, newEnvelope(), []byte("x"))
	}
	var n atomic.Int32
	done := make(chan struct{})
	process(t, q, 8, done, func(context.Context, *pipeline.Message) error {
		if n.Add(1) == messages {
			close(done)
		}
		return nil
	})
	closeQueue(t, q)
	q = mustOpen(t, embedded(t, dir))
	if s := status(t, q); s.Messages != 0 {
		t.Errorf("%d messages would be processed again", s.Messages)
	}
}
