package queue

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

// What Inspect is shown is the whole message, and what it leaves is what is stored.
func TestInspectedMessageIsStoredAsItWasLeft(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		for _, size := range []int{0, 10_000, 512*kib + 1, 3*mib + 17} {
			body, env := randomOctets(t, size), newEnvelope("support", "sales")
			w, err := q.Begin(t.Context(), env)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(body); err != nil {
				t.Fatal(err)
			}
			auth := &pipeline.AuthResults{Sender: pipeline.SenderResult{Verified: true, Domain: "example.org", By: "dmarc"}}
			problems := []pipeline.Problem{{Code: "found"}}
			err = w.Inspect(t.Context(), func(_ context.Context, m *pipeline.Message) error {
				checkBody(t, m, body)
				if m.Envelope.Size != int64(size) || m.Envelope.ID != env.ID || len(m.Envelope.Recipients) != 2 {
					t.Errorf("size %d: inspected %+v", size, m.Envelope)
				}
				m.Auth, m.Problems, m.Envelope.Recipients = auth, problems, m.Envelope.Recipients[1:]
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := next(t, q)
			checkBody(t, got, body)
			if len(got.Envelope.Recipients) != 1 || got.Envelope.Recipients[0].Address != env.Recipients[1].Address {
				t.Errorf("size %d: recipients %+v", size, got.Envelope.Recipients)
			}
			if diff := cmp.Diff(auth, got.Auth) + cmp.Diff(problems, got.Problems); diff != "" {
				t.Errorf("size %d: %s", size, diff)
			}
		}
	})
}

func TestRefusedAtInspectionLeavesNothing(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	refused := errors.New("refused")
	for _, size := range []int{10_000, 3 * mib} {
		w, err := q.Begin(t.Context(), newEnvelope("support"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(randomOctets(t, size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Inspect(t.Context(), func(context.Context, *pipeline.Message) error { return refused }); !errors.Is(err, refused) {
			t.Errorf("size %d: %v", size, err)
		}
		w.Abort()
		if err := w.Inspect(t.Context(), nil); err == nil {
			t.Error("a writer that has ended was inspected")
		}
	}
	if n := storedMessages(t, q); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
	if n := q.inFlightBytes.Load(); n != 0 {
		t.Errorf("%d bytes are in flight", n)
	}
	if !q.memory.TryAcquire(q.cfg.Memory) {
		t.Error("memory was not given back")
	}
}
