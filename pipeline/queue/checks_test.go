package queue

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

func TestExternalServerThatCannotKeepThePromiseIsRefusedWithTheRemedy(t *testing.T) {
	t.Parallel()
	srv := startExternal(t, t.TempDir(), -1)
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	open := func(c Config) error {
		q, err := openWith(t, []func(*Config){func(cfg *Config) {
			cfg.URL, cfg.Durability, cfg.Replicas = srv.ClientURL(), c.Durability, c.Replicas
		}})
		if err == nil {
			closeQueue(t, q)
		}
		return err
	}
	if err := open(Config{}); err == nil || !strings.Contains(err.Error(), "queue.replicas") {
		t.Errorf("three replicas on one server: %v", err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: logStream, Subjects: []string{logSubject}, Storage: jetstream.MemoryStorage,
	}); err != nil {
		t.Fatal(err)
	}
	if err := open(Config{Durability: DurabilityFsync, Replicas: 1}); err == nil || !strings.Contains(err.Error(), logStream) {
		t.Errorf("a stream in memory: %v", err)
	}
	if err := js.DeleteStream(t.Context(), logStream); err != nil {
		t.Fatal(err)
	}
	if err := open(Config{Durability: DurabilityFsync, Replicas: 1}); err != nil {
		t.Error(err)
	}
}

func TestOldAndNewerRecordsOfEveryKind(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	d := succeeded(t, q, taken(t, q, []byte("hello")), "box")
	enqueue(t, q, pipeline.Deferred{Delivery: sampleDelivery(d.Message, "box")})
	bury(t, q, sampleDelivery(d.Message, "dead"))
	l := q.link.Load()
	if err := q.writeDelivered(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	// A newer mxhook writes one of each beside those.
	for subject, kind := range map[string]byte{
		deliveryDue(shardOf("box", deliveryShards), "box", "newer"): kindDelivery,
		deadRecord("box", "newer"):                                  kindDead,
		logSubject:                                                  kindLog,
		mailKept(0):                                                 kindMail,
	} {
		frame, err := encodeFrame(kind, struct{}{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		frame[4] = frameVersion + 1
		if _, err := q.publish(t.Context(), subject, "", nil, frame); err != nil {
			t.Fatal(err)
		}
	}
	list, err := q.Deliveries(t.Context(), pipeline.DeliveryFilter{}, 10)
	if err != nil || len(list) != 3 {
		t.Errorf("%d deliveries are listed, %v", len(list), err)
	}
	if got := expectNext(t, q, "box"); got.ID != d.ID {
		t.Errorf("delivered %s", got.ID)
	}
	q.cfg.Now = func() time.Time { return time.Now().Add(1000 * time.Hour) }
	tidy(t, q)
	if n := status(t, q).Deliveries["box"]; n != (Waiting{Due: 1}) {
		t.Errorf("the newer delivery is not kept: %+v", n)
	}
	if _, err := l.dead.GetLastMsgForSubject(t.Context(), deadRecord("box", "newer")); err != nil {
		t.Errorf("the newer dead letter: %v", err)
	}
}
