package queue

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

func pid() int { return os.Getpid() }

func TestOpenRefusesBadConfig(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, want string
		change     func(*Config)
	}{
		{"no directory", "needs a directory", func(c *Config) { c.Dir = "" }},
		{"replicated without a cluster", "needs an external cluster", func(c *Config) { c.Durability = DurabilityReplicated }},
		{"replicated with one replica", "at least 3 replicas", func(c *Config) {
			c.URL, c.Replicas = "nats://127.0.0.1:1", 1
		}},
		{"unknown durability", "none of fsync", func(c *Config) { c.Durability = "perhaps" }},
		{"quota within the reserve", "above the reserve", func(c *Config) { c.MaxStore, c.Reserve = 100, 100 }},
		{"inline above 512 KiB", "inline", func(c *Config) { c.Inline = mib }},
		{"too little in flight", "in_flight", func(c *Config) { c.InFlight = mib }},
		{"nobody listens", "connect to the queue", func(c *Config) {
			c.URL, c.Durability = "nats://127.0.0.1:1", DurabilityFsync
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := embedded(t, t.TempDir())(tc.change)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestOpenSaysThatJetStreamIsMissing(t *testing.T) {
	t.Parallel()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the server is not ready")
	}
	_, err = embedded(t, "")(func(c *Config) {
		c.URL, c.Durability, c.Replicas = srv.ClientURL(), DurabilityFsync, 1
	})
	if err == nil || !strings.Contains(err.Error(), "jetstream {store_dir") {
		t.Errorf("got %v", err)
	}
}

func TestServerVersionIsCompared(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.11.9": false, "2.12.0": true, "2.12.0-RC.1": true, "2.15.2": true, "3.0.0": true, "1.99.0": false, "": false, "v2.13.1": true,
	} {
		if got := atLeast(version, 2, 12); got != want {
			t.Errorf("atLeast(%q, 2, 12) = %v", version, got)
		}
	}
}

func TestShardsFollowTheDiskAndTheStore(t *testing.T) {
	t.Parallel()
	for latency, want := range map[time.Duration]int{
		100 * time.Microsecond: 4, time.Millisecond: 4, 3 * time.Millisecond: 8, 6 * time.Millisecond: 16,
	} {
		if got := shardsFor(latency); got != want {
			t.Errorf("shardsFor(%v) = %d, want %d", latency, got, want)
		}
	}
	dir := t.TempDir()
	q := mustOpen(t, embedded(t, dir), func(c *Config) { c.Shards = 6 })
	ids := map[string]bool{}
	for range 20 {
		ids[spool(t, q, newEnvelope(), []byte("x")).ID] = true
	}
	closeQueue(t, q)
	q = mustOpen(t, embedded(t, dir), func(c *Config) { c.Shards = 2 })
	if q.shards != 2 || q.readShards != 6 {
		t.Errorf("writes to %d shards and reads %d, want 2 and 6", q.shards, q.readShards)
	}
	var mu sync.Mutex
	done := make(chan struct{})
	process(t, q, 2, done, func(_ context.Context, m *pipeline.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if delete(ids, m.Envelope.ID); len(ids) == 0 {
			close(done)
		}
		return nil
	})
	closeQueue(t, q)
	if q = mustOpen(t, embedded(t, dir), func(c *Config) { c.Shards = 0 }); q.shards != 6 {
		t.Errorf("shards are %d, want the 6 that exist", q.shards)
	}
}

func TestMetricsAreRegisteredOnceAndGivenBack(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	withReg := func(c *Config) { c.Registerer = reg }
	dir := t.TempDir()
	q := mustOpen(t, embedded(t, dir), withReg)
	spool(t, q, newEnvelope(), []byte("x"))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range families {
		found[f.GetName()] = true
	}
	for _, name := range []string{"mxhook_queue_up", "mxhook_queue_commit_seconds", "mxhook_queue_messages_waiting", "mxhook_queue_rebuilds_total"} {
		if !found[name] {
			t.Errorf("no metric %s", name)
		}
	}
	if _, err := embedded(t, t.TempDir())(withReg); err == nil {
		t.Error("two queues share one registerer")
	}
	closeQueue(t, q)
	mustOpen(t, embedded(t, dir), withReg)
}

func TestEmbeddedServerSyncsAsTheDurabilitySays(t *testing.T) {
	t.Parallel()
	for durability, want := range map[string]bool{"": true, DurabilityFsync: true, DurabilityOS: false} {
		q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.Durability = durability })
		if got := q.link.Load().srv.JetStreamConfig().SyncAlways; got != want {
			t.Errorf("durability %q: the server syncs every write: %v", durability, got)
		}
	}
}

func TestOSDurabilityIsNamed(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) {
		c.Durability, c.Log = DurabilityOS, slog.New(slog.NewTextHandler(&log, nil))
	})
	s, err := q.Status(t.Context())
	if err != nil || s.Durability != DurabilityOS {
		t.Errorf("status says %q, %v", s.Durability, err)
	}
	if !strings.Contains(log.String(), "power loss") {
		t.Error("the log does not warn of durability os")
	}
}

func TestShardsThatAnotherProcessAddsAreRead(t *testing.T) {
	t.Parallel()
	url := externalServer(t)
	open := func(shards int) *Queue {
		return mustOpen(t, embedded(t, ""), func(c *Config) {
			c.URL, c.Durability, c.Shards, c.watchEvery = url, DurabilityFsync, shards, 20*time.Millisecond
		})
	}
	before := open(2)
	const messages = 20
	go func() {
		more := open(12)
		for range messages {
			spool(t, more, newEnvelope(), []byte("x"))
		}
	}()
	var mu sync.Mutex
	seen, added := map[string]bool{}, 0
	done := make(chan struct{})
	process(t, before, 4, done, func(_ context.Context, m *pipeline.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if shard, _, err := parseRef(m.Ref); err == nil && shard >= 2 {
			added++
		}
		if seen[m.Envelope.ID] = true; len(seen) == messages {
			close(done)
		}
		return nil
	})
	if added == 0 {
		t.Error("nothing came from the shards that were added")
	}
	// A delivery may come before the janitor has seen the stream of its message.
	for ref, permanent := range map[string]bool{"MXHOOK_MAIL_40/1": false, "MXHOOK_MAIL_64/1": true, "MXHOOK_MAIL_x/1": true, "else": true} {
		if _, err := before.head(t.Context(), ref); pipeline.IsPermanent(err) != permanent || isFault(err) == permanent {
			t.Errorf("message at %s: %v", ref, err)
		}
	}
}
