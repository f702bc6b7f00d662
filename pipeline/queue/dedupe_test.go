package queue

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"mxhook/pipeline"
)

var all pipeline.MessageFilter

// commit takes a message, or learns that it was taken.
func commit(t *testing.T, q *Queue, env pipeline.Envelope, body []byte) (repeat string) {
	t.Helper()
	w, err := q.Begin(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	err = w.Commit(t.Context())
	var repeated *pipeline.Repeated
	if errors.As(err, &repeated) {
		return repeated.ID
	}
	if err != nil {
		t.Fatal(err)
	}
	return ""
}

func TestRetryOfASenderIsKnownForAWhile(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open, func(c *Config) { c.DedupeWindow = 3 * time.Second })
		for _, size := range []int{100, 1300 * kib} {
			body := randomOctets(t, size)
			first := newEnvelope("support", "sales")
			if id := commit(t, q, first, body); id != "" {
				t.Fatalf("a new message is a repeat of %s", id)
			}
			key := fingerprint(&first, int64(size), sha(body))
			eventually(t, "the message is noted", func() bool { return q.earlier(t.Context(), key) == first.ID })
			before := storedMessages(t, q)
			again := first
			again.ID, again.Client.Port, again.ReceivedAt = ulid.Make().String(), 4, time.Now()
			if id := commit(t, q, again, body); id != first.ID {
				t.Errorf("size %d: the retry is a repeat of %q, want %s", size, id, first.ID)
			}
			if n := storedMessages(t, q); n != before {
				t.Errorf("size %d: the retry left %d messages in the store", size, n-before)
			}
			for name, change := range map[string]func(*pipeline.Envelope) []byte{
				"other octets":       func(*pipeline.Envelope) []byte { return randomOctets(t, size) },
				"other reverse-path": func(e *pipeline.Envelope) []byte { e.ReversePath = "bob@example.org"; return body },
				"fewer recipients":   func(e *pipeline.Envelope) []byte { e.Recipients = e.Recipients[:1]; return body },
			} {
				other := newEnvelope("support", "sales")
				if id := commit(t, q, other, change(&other)); id != "" {
					t.Errorf("%s: taken for a repeat of %s", name, id)
				}
			}
			eventually(t, "the window is over", func() bool { return q.earlier(t.Context(), key) == "" })
		}
	})
}

func TestRepeatsAreMessagesWithoutAWindow(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	for range 2 {
		if id := commit(t, q, newEnvelope(), []byte("hello")); id != "" {
			t.Errorf("a repeat of %s", id)
		}
	}
}

func sha(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
