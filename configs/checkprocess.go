package configs

import (
	"net/url"
	"strings"
	"time"

	"mxhook/sinks"
)

// Bounds of what is kept.
const (
	minRetention = day // of a message, beyond the longest max_age
	maxRetention = 3650 * day
	minKey       = 24 // characters of the encryption key
)

func (c *checker) queue() {
	q := &c.cfg.Queue
	for _, server := range strings.Split(q.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if q.URL != "" && (err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls") {
			c.add("queue.url", "this is not the URL of a NATS server; write nats://host:4222 or tls://host:4222, several with commas")
			break
		}
	}
	if q.URL == "" && q.Credentials != "" {
		c.add("queue.credentials", "credentials are for an external queue; set queue.url, or remove them")
	}
	if q.Durability != "" {
		c.oneOf("queue.durability", q.Durability, "fsync", "os", "replicated")
	}
	switch {
	case q.Durability == "replicated" && q.URL == "":
		c.add("queue.durability", "replicated needs a cluster; set queue.url, or write fsync")
	case q.URL != "" && q.Replicas < 3 && (q.Durability == "" || q.Durability == "replicated"):
		c.add("queue.replicas", "durability replicated needs 3 or 5 replicas; with one server, write durability: fsync")
	case q.Durability == "os":
		c.warn("queue.durability", "mail that was accepted is lost when the power fails; write fsync unless the loss does not matter")
	}
	if q.Replicas != 1 && q.Replicas != 3 && q.Replicas != 5 {
		c.add("queue.replicas", "%d is none of 1, 3, 5", q.Replicas)
	}
	c.duration("queue.retention", q.Retention, time.Hour, maxRetention)
	longest := Duration(0)
	for _, s := range c.cfg.Sinks {
		longest = max(longest, s.Retry.MaxAge)
	}
	if need := longest + Duration(minRetention); q.Retention < need && longest <= Duration(sinks.MaxAge) {
		c.add("queue.retention", "%v is too short: a sink tries for %v, and the message must outlive that by %v; write at least %v",
			q.Retention, longest, Duration(minRetention), need)
	}
	between(c, "queue.reserve", q.Reserve, 0, 1<<50)
	between(c, "queue.inline", q.Inline, 4*kibibyte, 512*kibibyte)
	between(c, "queue.shards", q.Shards, 0, 64)
	c.oneOf("queue.compression", q.Compression, "none", "s2")
	c.duration("queue.dedupe_window", q.DedupeWindow, 0, 7*day)
	if key := q.EncryptionKey; !key.IsZero() {
		if q.URL != "" {
			c.add("queue.encryption_key", "an external queue is encrypted by its servers; remove the key, and set theirs (jetstream {key, cipher})")
		} else if len(key.Reveal()) < minKey {
			c.add("queue.encryption_key", "it is shorter than %d characters; make one with: openssl rand -base64 32", minKey)
		}
	}
	c.duration("dead_letters.keep", c.cfg.DeadLetters.Keep, time.Hour, maxRetention)
}

// process checks what concerns this process alone.
func (c *checker) process() {
	between(c, "limits.memory", c.cfg.Limits.Memory, 16*megabyte, 1<<50)
	between(c, "limits.workers", c.cfg.Limits.Workers, 0, 4096)
	c.duration("limits.shutdown", c.cfg.Limits.Shutdown, time.Second, time.Hour)
	if host, ok := c.address("ops.address", c.cfg.Ops.Address); ok && !isLoopback(host) && c.cfg.Ops.Token.IsZero() {
		c.add("ops.address", "others than this host could read all mail here; set ops.token, or listen on 127.0.0.1")
	}
	c.alerts()
	c.oneOf("log.level", c.cfg.Log.Level, "debug", "info", "warn", "error")
	c.oneOf("log.format", c.cfg.Log.Format, "text", "json")
}
