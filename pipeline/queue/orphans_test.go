package queue

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// headless returns the keys of parts in the mail streams that no head names.
func headless(t *testing.T, q *Queue) (keys []string) {
	t.Helper()
	for k, s := range q.link.Load().mail() {
		parts, err := s.Info(t.Context(), jetstream.WithSubjectFilter(mailPart(k, "")[:len(mailPart(k, ""))-1]+"*"))
		if err != nil {
			t.Fatal(err)
		}
		named := map[string]bool{}
		for _, subject := range []string{mailIn(k), mailKept(k)} {
			err := scan(t.Context(), s, subject, q.started.AddDate(-1, 0, 0), func(m jetstream.Msg) (bool, error) {
				head, err := decodeMail(k, 0, m.Data())
				if err == nil {
					named[mailPart(k, head.PartKey)] = true
				}
				return true, err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for subject := range parts.State.Subjects {
			if !named[subject] {
				keys = append(keys, subject)
			}
		}
	}
	return keys
}

func TestPartsOfMessagesThatNeverBecameWholeAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := mustOpen(t, embedded(t, dir), func(c *Config) { c.Shards = 1 })
	body := randomOctets(t, 1500*kib)
	begin := func() *Writer {
		t.Helper()
		w, err := q.Begin(context.Background(), newEnvelope())
		if err == nil {
			_, err = w.Write(body)
		}
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	commit := func(w *Writer) {
		t.Helper()
		if err := w.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	commit(begin())
	if n := notes(t, q); n != 0 {
		t.Errorf("%d notes are left of a message that is whole", n)
	}
	// One that is killed between its head and the removal of its note, and one that is killed in the middle.
	w := begin()
	w.unsure = true
	commit(w)
	killed := begin()
	killed.waitParts(0)
	q.writers.remove(killed)
	q.sweepNext = q.started
	tidy(t, q)
	if n := len(headless(t, q)); n != 1 {
		t.Errorf("%d messages without a head, while their writer may live", n)
	}
	closeQueue(t, q)

	q = mustOpen(t, embedded(t, dir), func(c *Config) { c.Shards = 1 })
	w = begin() // under way now
	tidy(t, q)
	q.sweepNext = q.started
	tidy(t, q)
	commit(w)
	if keys := headless(t, q); len(keys) > 0 {
		t.Errorf("parts without a head: %v", keys)
	}
	if n := notes(t, q); n != 0 {
		t.Errorf("%d notes are left", n)
	}
	for range 3 {
		checkBody(t, next(t, q), body)
	}
}

func notes(t *testing.T, q *Queue) (n int) {
	t.Helper()
	for k, s := range q.link.Load().mail() {
		info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(mailOpen(k, "")[:len(mailOpen(k, ""))-1]+"*"))
		if err != nil {
			t.Fatal(err)
		}
		n += len(info.State.Subjects)
	}
	return n
}
