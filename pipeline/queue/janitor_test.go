package queue

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mxhook/pipeline"
)

// aged opens a queue whose clock can be moved ahead, and whose janitor works when asked to.
func aged(t *testing.T, change ...func(*Config)) (q *Queue, advance func(time.Duration), log *lockedBuffer) {
	t.Helper()
	var ahead atomic.Int64
	log = &lockedBuffer{}
	change = append(change, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		c.Log, c.watchEvery = slog.New(slog.NewTextHandler(log, nil)), time.Hour
	})
	q = mustOpen(t, embedded(t, t.TempDir()), change...)
	return q, func(d time.Duration) { ahead.Add(int64(d)) }, log
}

func tidy(t *testing.T, q *Queue) {
	t.Helper()
	status(t, q)
	if err := q.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestOldSettledMessagesGo(t *testing.T) {
	t.Parallel()
	q, advance, _ := aged(t)
	for range 4 {
		taken(t, q, randomOctets(t, 600*kib))
	}
	expectIdle(t, q)
	before := storedMessages(t, q)
	advance(7 * 24 * time.Hour)
	tidy(t, q)
	if n := storedMessages(t, q); n != before {
		t.Errorf("%d of %d stored messages left before the retention ended", n, before)
	}
	advance(2 * 24 * time.Hour)
	tidy(t, q)
	if n := storedMessages(t, q); n != 0 {
		t.Errorf("%d stored messages left after the retention", n)
	}
}

func TestUnsettledMessageIsNeverRemovedByAge(t *testing.T) {
	t.Parallel()
	q, advance, log := aged(t)
	body := randomOctets(t, 1200*kib)
	env := spool(t, q, newEnvelope(), body)
	advance(100 * 24 * time.Hour)
	tidy(t, q)
	if !strings.Contains(log.String(), "as old as the retention") {
		t.Error("no alarm")
	}
	got := next(t, q)
	checkBody(t, got, body)
	if got.Envelope.ID != env.ID {
		t.Errorf("got %s", got.Envelope.ID)
	}
	expectIdle(t, q)
	tidy(t, q)
	if n := storedMessages(t, q); n != 0 {
		t.Errorf("%d stored messages left", n)
	}
}

func TestMessageOfAWaitingDeliveryIsNeverRemovedByAge(t *testing.T) {
	t.Parallel()
	q, advance, log := aged(t)
	body := randomOctets(t, 1200*kib)
	d := sampleDelivery(taken(t, q, body), "box")
	enqueue(t, q, pipeline.Deferred{Delivery: d})
	expectUnsettledOnlyDelivery(t, q)
	advance(100 * 24 * time.Hour)
	tidy(t, q)
	if !strings.Contains(log.String(), "as old as the retention") {
		t.Error("no alarm")
	}
	done := make(chan struct{})
	deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
		checkBody(t, d.Message, body)
		close(done)
		return nil
	})
	expectIdle(t, q)
	tidy(t, q)
	if n := storedMessages(t, q); n != 0 {
		t.Errorf("%d stored messages left", n)
	}
}

func TestReplayedMessageHasItsWholeRetention(t *testing.T) {
	t.Parallel()
	q, advance, _ := aged(t)
	d := sampleDelivery(taken(t, q, []byte("x")), "box")
	bury(t, q, d)
	advance(20 * 24 * time.Hour)
	id, err := q.ReplayDead(t.Context(), d.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	if age := q.cfg.Now().Sub(mailTime(id)); age > time.Minute || age < -time.Minute {
		t.Errorf("the message of %s counts as %v old", id, age)
	}
}

func TestShortStorageTakesTheOldestSettled(t *testing.T) {
	t.Parallel()
	q, advance, _ := aged(t, func(c *Config) { c.MaxStore, c.Reserve = 8*mib, 2*mib })
	var last error
	for last == nil {
		if last = q.Admit(t.Context(), 400*kib); last == nil {
			spool(t, q, newEnvelope(), randomOctets(t, 400*kib))
		}
	}
	if !errors.Is(last, pipeline.ErrStorage) {
		t.Fatal(last)
	}
	if err := q.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	total := storedMessages(t, q)
	advance(2 * time.Hour)
	q.storage.Store(&storageState{used: q.quota, limit: q.quota})
	tidy(t, q)
	if n := storedMessages(t, q); n != total {
		t.Errorf("%d of %d unsettled messages left", n, total)
	}
	var settled atomic.Int64
	done := make(chan struct{})
	process(t, q, 2, done, func(context.Context, *pipeline.Message) error {
		if settled.Add(1) == int64(total) {
			close(done)
		}
		return nil
	})
	expectIdle(t, q)
	q.storage.Store(&storageState{used: q.quota, limit: q.quota})
	tidy(t, q)
	if n := storedMessages(t, q); n >= total || n == 0 {
		t.Errorf("%d of %d settled messages left after one round", n, total)
	}
	for range 2 * purgeSlice {
		if err := q.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if q.Admit(t.Context(), 0) == nil {
			return
		}
		tidy(t, q)
	}
	t.Error("the janitor made no room")
}

func TestMailTimeIsThatOfTheStoredMessage(t *testing.T) {
	t.Parallel()
	const old, fresh = "01KAK5Z3V8Q5W8S0R0J8N2X0AB", "01KBK5Z3V8Q5W8S0R0J8N2X0AB"
	at := func(id string) time.Time { return mailTime(id + ".x") }
	for id, want := range map[string]time.Time{
		old + ".box":           at(old),
		old + ".box.r" + fresh: at(fresh),
		old + ".box.rest":      at(old),
		old + ".":              at(old),
		"not-a-ulid.box":       {},
		"":                     {},
	} {
		if got := mailTime(id); !got.Equal(want) {
			t.Errorf("mailTime(%q) = %v, want %v", id, got, want)
		}
	}
	if !at(old).Before(at(fresh)) {
		t.Error("the samples are not in order")
	}
}

func expectUnsettledOnlyDelivery(t *testing.T, q *Queue) {
	t.Helper()
	eventually(t, "only the delivery is unsettled", func() bool {
		s, err := q.Status(t.Context())
		return err == nil && s.Messages == 0
	})
}
