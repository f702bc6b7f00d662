package queue

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// TestMigrationMovesEverythingWithItsIDs moves an embedded queue to an external server, is interrupted, goes on, and is run
// once more.
func TestMigrationMovesEverythingWithItsIDs(t *testing.T) {
	t.Parallel()
	dir, url := t.TempDir(), externalServer(t)
	fromConfig := Config{Dir: dir, Shards: 2, Reserve: 1, Log: slog.New(slog.DiscardHandler)}
	toConfig := Config{URL: url, Durability: DurabilityFsync, Shards: 4, Reserve: 1, Log: slog.New(slog.DiscardHandler)}
	src := mustOpen(t, embedded(t, dir))
	small, large := randomOctets(t, 100), randomOctets(t, 1300*kib)

	done := succeeded(t, src, taken(t, src, large), "box")
	due := sampleDelivery(taken(t, src, small), "box")
	later := sampleDelivery(taken(t, src, large), "box")
	failed(later)
	at := time.Now().Add(time.Hour)
	asBefore(t, src, due, time.Time{}) // a crash left both
	enqueue(t, src, pipeline.Deferred{Delivery: due, NotBefore: at}, pipeline.Deferred{Delivery: later, NotBefore: at})
	deadOne := sampleDelivery(taken(t, src, large), "dead")
	bury(t, src, deadOne)
	unsettled := spool(t, src, newEnvelope("last"), large)
	for _, sink := range []string{"resting.one", "awake"} {
		if err := src.Board().PauseSink(t.Context(), sink, "maintenance"); err != nil {
			t.Fatal(err)
		}
	}
	if err := src.Board().ResumeSink(t.Context(), "awake"); err != nil {
		t.Fatal(err)
	}
	if _, err := Migrate(t.Context(), fromConfig, toConfig, nil); err == nil {
		t.Fatal("migrated a queue that is in use")
	}
	closeQueue(t, src)

	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Migrate(ctx, fromConfig, toConfig, func(m Moved) {
		if m.Messages.Stored > 0 {
			cancel()
		}
	}); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	var last Moved
	moved, err := Migrate(t.Context(), fromConfig, toConfig, func(m Moved) { last = m })
	if err != nil {
		t.Fatal(err)
	}
	if moved.Messages.Found != 5 || moved.Verified != 5 || moved.Deliveries != (Count{2, 2}) || moved.DeadLetters != (Count{1, 1}) ||
		moved.Delivered != (Count{1, 1}) || cmp.Diff(moved, last) != "" {
		t.Errorf("moved %+v", moved)
	}
	again, err := Migrate(t.Context(), fromConfig, toConfig, nil)
	if err != nil || again.Messages != (Count{5, 0}) || again.Deliveries != (Count{2, 0}) || again.Verified != 5 {
		t.Errorf("once more: %+v, %v", again, err)
	}

	dst := mustOpen(t, func(change ...func(*Config)) (*Queue, error) {
		return openWith(t, append([]func(*Config){func(c *Config) { c.URL, c.Durability, c.Shards = url, DurabilityFsync, 4 }}, change...))
	})
	eventually(t, "a paused sink is still paused", func() bool { return dst.Board().State("resting.one").Pause.Reason == "maintenance" })
	if p := dst.Board().State("awake").Pause; !p.Since.IsZero() {
		t.Errorf("a sink that was resumed is paused: %+v", p)
	}
	if st := status(t, dst); st.Messages != 1 || st.DeadLetters != 1 || st.Deliveries["box"] != (Waiting{Due: 1, Scheduled: 1}) {
		t.Errorf("status of the target: %+v", st)
	}
	if got := next(t, dst); got.Envelope.ID != unsettled.ID {
		t.Errorf("%s is processed, not %s", got.Envelope.ID, unsettled.ID)
	} else {
		checkBody(t, got, large)
	}
	if got := expectNext(t, dst, "box"); got.ID != due.ID {
		t.Errorf("%s is due, not %s", got.ID, due.ID)
	} else {
		checkBody(t, got.Message, small)
	}
	k, err := dst.Delivery(t.Context(), later.ID)
	if err != nil || k.Due.Sub(at).Abs() > 2*time.Second || k.Delivery.Attempt != 2 || len(k.Delivery.History) != 1 {
		t.Errorf("scheduled: %+v, %v", k, err)
	}
	letter, err := dst.DeadLetter(t.Context(), deadOne.ID)
	if err != nil {
		t.Fatal(err)
	}
	checkBody(t, letter.Delivery.Message, large)
	if s := replayAll(t, dst, pipeline.Replay{IDs: []string{done.ID}, To: "other", Sinks: []string{"other"}}); s.Replayed != 1 {
		t.Errorf("replay of what was delivered before: %+v", s)
	}
	checkBody(t, expectNext(t, dst, "other").Message, large)
	list, err := dst.Messages(t.Context(), all, 10)
	if err != nil || len(list) != 5 {
		t.Errorf("%d messages are listed, %v", len(list), err)
	}
	if _, err := dst.Message(t.Context(), done.Message.Envelope.ID, true); err != nil {
		t.Error(err)
	}
}

func TestMigrationFindsWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	src := mustOpen(t, embedded(t, dir))
	m := taken(t, src, randomOctets(t, 1300*kib))
	shard, _, err := parseRef(m.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.link.Load().mail()[shard].Purge(t.Context(), jetstream.WithPurgeSubject(mailPart(shard, m.Envelope.ID))); err != nil {
		t.Fatal(err)
	}
	closeQueue(t, src)
	log := slog.New(slog.DiscardHandler)
	_, err = Migrate(t.Context(), Config{Dir: dir, Shards: 2, Reserve: 1, Log: log}, Config{Dir: other, EncryptionKey: testKey, Shards: 2, Reserve: 1, Log: log}, nil)
	if !errors.Is(err, errDamaged) {
		t.Errorf("error %v", err)
	}
}
