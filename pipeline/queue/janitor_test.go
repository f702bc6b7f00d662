package queue

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

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

func TestDeliveriesThatCannotBeReadKeepTheJanitorFromPurging(t *testing.T) {
	t.Parallel()
	q, _, _ := aged(t)
	m := taken(t, q, []byte("x"))
	for _, id := range []string{"a", "b"} {
		d := sampleDelivery(m, "box")
		d.ID += id
		enqueue(t, q, pipeline.Deferred{Delivery: d})
	}
	k := shardOf("box", deliveryShards)
	s, now := q.link.Load().delivery[k], time.Now()
	want := mailTime(m.Envelope.ID).UTC().Truncate(time.Minute)
	// What lies behind the last delivery is gone, like the deliveries that were made.
	for _, deleted := range []string{"", "b", "a"} {
		if deleted != "" {
			if err := forget(t.Context(), q.link.Load(), "box", pipeline.DeliveryID(m.Envelope.ID, "box")+deleted); err != nil {
				t.Fatal(err)
			}
		}
		if deleted == "a" {
			want = now
		}
		for name, oldest := range map[string]func(context.Context, jetstream.Stream, int, time.Time) (time.Time, error){
			"list": oldestDelivery, "read": oldestByReading,
		} {
			if got, err := oldest(t.Context(), s, k, now); err != nil || !got.Equal(want) {
				t.Errorf("%s without %q: %v, %v, want %v", name, deleted, got, err, want)
			}
		}
		_, err := oldestByReading(t.Context(), blindly(s), k, now)
		if (err == nil) != (deleted == "a") {
			t.Errorf("reading blindly without %q: %v", deleted, err)
		}
	}
}

func TestMessagesThatCannotBeReadAreNotPurged(t *testing.T) {
	t.Parallel()
	q, advance, _ := aged(t)
	for range 4 {
		taken(t, q, []byte("x"))
	}
	expectIdle(t, q)
	n := storedMessages(t, q)
	advance(9 * 24 * time.Hour)
	status(t, q)
	_, restore := blind(q.link.Load().mail())
	if err := q.tidy(t.Context()); err == nil {
		t.Error("the janitor does not say that it cannot read")
	}
	restore()
	if got := storedMessages(t, q); got != n {
		t.Errorf("%d of %d messages left", got, n)
	}
	tidy(t, q)
	if got := storedMessages(t, q); got != 0 {
		t.Errorf("%d messages left", got)
	}
}

func TestScheduleFiresBeyondTheQuota(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.MaxStore = 2 * mib })
	d := sampleDelivery(taken(t, q, []byte("x")), "box")
	enqueue(t, q, pipeline.Deferred{Delivery: d, NotBefore: time.Now().Add(time.Second)})
	for i := range 8 {
		if _, err := q.publish(t.Context(), deadPart("fill", i), "", nil, make([]byte, 400*kib)); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := q.Admit(t.Context(), 0); !errors.Is(err, pipeline.ErrStorage) {
		t.Errorf("admit beyond the quota: %v", err)
	}
	done := make(chan struct{})
	deliver(t, q, "box", done, func(context.Context, *pipeline.Delivery) error {
		close(done)
		return nil
	})
}

func TestMissedScheduleIsMadeDue(t *testing.T) {
	t.Parallel()
	srv := startExternal(t, t.TempDir(), -1, func(o *server.Options) { o.JetStreamMaxStore = 2 * mib })
	var ahead atomic.Int64
	q := mustOpen(t, embedded(t, ""), func(c *Config) {
		c.URL, c.Durability, c.watchEvery = srv.ClientURL(), DurabilityFsync, time.Hour
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	m := taken(t, q, []byte("x"))
	at := time.Now().Add(2 * time.Second)
	missed, future := sampleDelivery(m, "box"), sampleDelivery(m, "box")
	future.ID += ".future"
	enqueue(t, q, pipeline.Deferred{Delivery: missed, NotBefore: at}, pipeline.Deferred{Delivery: future, NotBefore: at.Add(time.Hour)})
	for i, err := 0, error(nil); err == nil; i++ {
		_, err = q.publish(t.Context(), deadPart("fill", i), "", nil, make([]byte, 400*kib))
	}
	eventually(t, "the schedule was to fire", func() bool { return time.Since(at) > 2500*time.Millisecond })
	if err := q.link.Load().dead.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	scheduled := func() Waiting { return status(t, q).Deliveries["box"] }
	if got := scheduled(); got != (Waiting{Scheduled: 2}) {
		t.Fatalf("%+v: the server fired in spite of its limit, the test proves nothing", got)
	}
	ahead.Store(int64(overdue))
	tidy(t, q)
	ahead.Store(int64(2*overdue + overdueEvery))
	tidy(t, q)
	if got := scheduled(); got != (Waiting{Due: 1, Scheduled: 1}) {
		t.Errorf("%+v after the janitor", got)
	}
	done := make(chan struct{})
	deliver(t, q, "box", done, func(_ context.Context, d *pipeline.Delivery) error {
		if d.ID != missed.ID {
			t.Errorf("delivered %s", d.ID)
		}
		close(done)
		return nil
	})
}

// What failed while the clock was a year ahead must not wait for that year when the clock is right again.
func TestScheduleOfAClockThatWasAheadIsMadeDue(t *testing.T) {
	t.Parallel()
	var back atomic.Int64
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) {
		c.watchEvery = time.Hour
		c.Now = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
	})
	m := taken(t, q, []byte("x"))
	for _, id := range []string{"one", "two"} {
		d := sampleDelivery(m, "box")
		d.ID += "." + id
		enqueue(t, q, pipeline.Deferred{Delivery: d, NotBefore: time.Now().Add(time.Hour)})
	}
	tidy(t, q)
	if got := status(t, q).Deliveries["box"]; got != (Waiting{Scheduled: 2}) {
		t.Errorf("%+v: they are woken though the clock was right", got)
	}
	back.Store(int64(365 * 24 * time.Hour))
	q.house.Lock()
	q.overdueNext = time.Time{}
	q.house.Unlock()
	tidy(t, q)
	eventually(t, "they are due", func() bool { return status(t, q).Deliveries["box"] == (Waiting{Due: 2}) })
}

func TestEverythingStoredCountsAgainstTheQuota(t *testing.T) {
	t.Parallel()
	q, _, _ := aged(t)
	d := sampleDelivery(taken(t, q, randomOctets(t, 50_000)), "box")
	for what, store := range map[string]func(){
		"delivery":    func() { enqueue(t, q, pipeline.Deferred{Delivery: d}) },
		"dead letter": func() { bury(t, q, d) },
		"message":     func() { spool(t, q, newEnvelope(), []byte("x")) },
	} {
		before := q.sinceLook.Load()
		if store(); q.sinceLook.Load() <= before {
			t.Errorf("a %s does not count", what)
		}
	}
}

// TestLooksGoOnWhileTheJanitorWorks holds the janitor in a round and watches what admission goes by.
func TestLooksGoOnWhileTheJanitorWorks(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.watchEvery = 20 * time.Millisecond })
	q.house.Lock()
	defer q.house.Unlock()
	for range 3 * tidyEvery {
		last := q.storage.Load()
		eventually(t, "a look", func() bool { return q.storage.Load() != last })
	}
}
