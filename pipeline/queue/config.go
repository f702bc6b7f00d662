package queue

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

// Durability modes: what a nil error of Writer.Commit stands for.
const (
	// DurabilityFsync is written and synced to the local disk: survives kill -9 and power loss.
	DurabilityFsync = "fsync"
	// DurabilityOS is handed to the operating system: survives the end of the process only.
	DurabilityOS = "os"
	// DurabilityReplicated is acknowledged by a majority of at least three replicas.
	DurabilityReplicated = "replicated"
)

// Config says where the queue lives and what it may use. Zero values mean the defaults given with each field.
type Config struct {
	// URL of an external NATS server or cluster (comma separated). Empty: a server inside this process, in Dir.
	URL string
	// Credentials (a .creds file), NKey (a seed file) and TLS are for an external server only.
	Credentials, NKey string
	TLS               *tls.Config
	// Domain is the JetStream domain of an external server; "" is its default.
	Domain string
	// Replicas of every stream on an external server: 1, 3 or 5. Default 3.
	Replicas int

	// Dir holds the store of the embedded server and its lock; one process at a time.
	Dir string
	// Durability is one of the three modes. Default: fsync embedded, replicated external. On an external server
	// "fsync" and "os" are the operator's word for how that server syncs: a client can neither set nor see it.
	Durability string
	// Retention is how long a settled message is kept. Default 192 h.
	Retention time.Duration
	// DeadKeep is how long a dead letter is kept. Default 30 days.
	DeadKeep time.Duration

	// Reserve is the storage in bytes, of the volume and of the quota, that no new message may use. Default 1 GB.
	Reserve int64
	// MaxStore is the quota in bytes for everything the queue stores. Default, embedded: 70 % of what the volume
	// has free and the queue already uses; external: none of ours.
	MaxStore int64
	// Inline is the size in bytes up to which a message is kept in one piece, and the size of the pieces beyond.
	// Default and maximum 512 KiB.
	Inline int
	// MaxMessageSize in bytes bounds one message, whatever the front end allows. Default 256 MiB.
	MaxMessageSize int64
	// Memory bounds the sizes of all messages that handlers hold at once, in bytes. Default 256 MiB.
	// A message larger than this is handled alone.
	Memory int64
	// InFlight bounds the octets of all messages on their way into the queue, in bytes. Default 64 MiB.
	InFlight int64
	// Large, unless nil, is told of the octets that begin to take memory, and with a minus of the same when they cease to:
	// of a part on its way in, and of a message larger than Inline while a handler has it. It is called concurrently.
	Large func(octets int64)
	// MaxTransaction bounds the time of a message in a writer. Default 45 min. What is unsettled is spared with all that
	// was stored before it for a third longer than this: while messages are kept that took longer, it must not shrink.
	MaxTransaction time.Duration
	// Shards is the number of mail streams. Default: what exists, else 4, 8 or 16 by a measurement of the disk.
	Shards int

	// EncryptionKey encrypts the store of the embedded server (AES-GCM); "" does not. A store stays as it was made.
	EncryptionKey string
	// Compress has the server compress blocks that are full (S2). It may change at any time.
	Compress bool
	// DedupeWindow is how long a message is remembered, so that the same octets under the same envelope are known for a
	// repeat; 0 is not at all.
	DedupeWindow time.Duration

	// Log is never nil; Registerer may be.
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Events hears of dead letters, and when storage is low, the queue slow or mail unreadable; nil: nobody does.
	Events pipeline.Events
	// Now is the clock; default time.Now.
	Now func() time.Time

	// idle keeps the janitor away: a migration has the queue for itself.
	idle bool

	// These are for tests; see the defaults.
	ackWait, drainFor, pullFor, watchEvery, tryFor, backoff, stallFor, replayFor time.Duration
	replayPage, listUpTo, expireAtOnce                                           int
}

const (
	kib = 1 << 10
	mib = 1 << 20
	// maxShards bounds Config.Shards and what is read at start.
	maxShards = 64
	// deliveryShards is the number of delivery streams; a sink lives on one of them.
	deliveryShards = 4
)

func (c Config) withDefaults() Config {
	if c.Durability == "" {
		c.Durability = DurabilityFsync
		if c.URL != "" {
			c.Durability = DurabilityReplicated
		}
	}
	if c.URL == "" {
		c.Replicas = 1
	} else if c.Replicas == 0 && c.Durability == DurabilityReplicated {
		c.Replicas = 3
	}
	setDefault(&c.Replicas, 1)
	setDefault(&c.Retention, 192*time.Hour)
	setDefault(&c.DeadKeep, 30*24*time.Hour)
	setDefault(&c.Reserve, 1_000_000_000)
	setDefault(&c.Inline, 512*kib)
	setDefault(&c.MaxMessageSize, 256*mib)
	setDefault(&c.Memory, 256*mib)
	setDefault(&c.InFlight, 64*mib)
	setDefault(&c.ackWait, 30*time.Second)
	setDefault(&c.MaxTransaction, 45*time.Minute)
	setDefault(&c.drainFor, 30*time.Second)
	setDefault(&c.pullFor, time.Second)
	setDefault(&c.watchEvery, time.Second)
	setDefault(&c.tryFor, 10*time.Second)
	setDefault(&c.backoff, time.Second)
	setDefault(&c.stallFor, 10*time.Second)
	// replayFor and replayPage bound what one page of a replay does.
	setDefault(&c.replayFor, 5*time.Second)
	setDefault(&c.replayPage, 1000)
	setDefault(&c.listUpTo, 10_000)
	setDefault(&c.expireAtOnce, 10_000)
	if c.Events == nil {
		c.Events = pipeline.NoEvents{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// spare is what the janitor leaves between what it removes and the oldest that is unsettled: a head names parts that are
// older than it, by up to MaxTransaction, and clocks differ.
func (c Config) spare() time.Duration { return c.MaxTransaction + c.MaxTransaction/3 }

// foundWithin is how long after the time in its id a message is stored at the latest.
func (c Config) foundWithin() time.Duration { return c.MaxTransaction + 2*clockSkew }

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (c Config) check() error {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Log == nil, "no logger")
	bad(c.URL != "" && c.EncryptionKey != "", "an encryption key is for the embedded queue: an external server has its own")
	bad(c.DedupeWindow < 0, "a negative dedupe window")
	bad(c.URL == "" && c.Dir == "", "the embedded queue needs a directory")
	bad(c.URL == "" && c.Durability == DurabilityReplicated,
		"durability %q needs an external cluster: set queue.url, or use %q", c.Durability, DurabilityFsync)
	bad(c.URL != "" && c.Durability == DurabilityReplicated && c.Replicas < 3,
		"durability %q needs at least 3 replicas, not %d", c.Durability, c.Replicas)
	switch c.Durability {
	case DurabilityFsync, DurabilityOS, DurabilityReplicated:
	default:
		bad(true, "durability %q is none of fsync, os, replicated", c.Durability)
	}
	bad(c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5, "replicas %d is none of 1, 3, 5", c.Replicas)
	bad(c.Retention < 0 || c.DeadKeep < 0 || c.MaxTransaction < 0, "a negative retention or transaction time")
	bad(c.Reserve < 0 || c.MaxStore < 0, "a negative storage limit")
	bad(c.MaxStore > 0 && c.MaxStore <= c.Reserve,
		"max_store %d is not above the reserve of %d bytes: no message could be taken", c.MaxStore, c.Reserve)
	bad(c.Inline < minBuffer || c.Inline > 512*kib, "inline %d is outside of %d to %d bytes", c.Inline, minBuffer, 512*kib)
	bad(c.InFlight < 8*int64(c.Inline), "in_flight %d is below eight times inline (%d)", c.InFlight, c.Inline)
	bad(c.Shards < 0 || c.Shards > maxShards, "shards %d is outside of 0 to %d", c.Shards, maxShards)
	return errors.Join(errs...)
}
