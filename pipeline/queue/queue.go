// Package queue is the durable queue: messages that were taken, deliveries that wait, and dead letters. It keeps them
// in NATS JetStream, embedded or external, and is the only package that knows so.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Queue is an open queue. Its methods may be called concurrently.
type Queue struct {
	cfg     Config
	lock    io.Closer
	quota   int64 // of the embedded server; 0 when external
	metrics *metrics

	// shards are the mail streams written to, readShards those that existed at the first connect, which settles both.
	shards, readShards int
	syncLatency        time.Duration
	started            time.Time

	link       atomic.Pointer[link]
	broken     chan string
	unanswered atomic.Int64

	// leaderless are the mail streams that cannot store anything just now. The others are of watch alone; missed are the
	// looks in a row in which a mail stream had no leader.
	leaderless            [maxShards]atomic.Bool
	missed                [maxShards]int
	inContact, ctlContact contact

	// inFlight bounds octets on their way in, memory those that handlers hold.
	inFlight, memory *semaphore.Weighted
	inFlightBytes    atomic.Int64
	writers          writers
	// reading is held while a message in parts is read from the embedded server, which reads a whole block for each part
	// and forgets it with the next collection: several messages at once would have it read the same blocks again and again.
	reading *semaphore.Weighted

	// trials is what is remembered of messages that came back; together keeps a suspect one apart from all others.
	trials   trials
	together *semaphore.Weighted

	// storage is what the last look found; sinceLook are the bytes stored after it.
	storage   atomic.Pointer[storageState]
	sinceLook atomic.Int64
	counts    countCache
	// noted are the sinks whose names noteSink has kept.
	noted sync.Map
	// expiring is held for a call of Expire, expireFrom where the next one goes on, by sink.
	expiring   sync.Mutex
	expireFrom map[string]uint64
	// storageLow is what tellStorage said last.
	storageLow bool
	// delivered are the successes that are not written down yet.
	delivered deliveredLog
	successes firstSuccesses
	repeats   repeats
	// handoff has the messages that this process has just taken; acked is how its last acknowledgements can be waited for.
	handoff handoff
	acked   lastAcks
	// volume is what the volume had free a moment ago.
	volume volume
	// unreadable are the subjects of dead letters that it was said of.
	unreadable sync.Map

	board *Board

	// house is held for a round of the janitor, whose memory follows.
	house       sync.Mutex
	overdueNext time.Time
	sweepNext   time.Time
	overdueFrom [deliveryShards]uint64

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // of Process, Deliver, Commit: Close waits for them
	ending context.Context
	end    context.CancelFunc
	// beats goes on until those calls have returned.
	beats    beats
	endBeats context.CancelFunc
	tasks    sync.WaitGroup // our own goroutines
}

// Open opens the queue: it starts the embedded server in Dir, or connects to the external one, and returns when
// messages can be taken. Recovery after a crash reads the whole store and takes its time; ctx bounds it.
func Open(ctx context.Context, cfg Config) (*Queue, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q := &Queue{
		cfg:      cfg,
		broken:   make(chan string, 1),
		inFlight: semaphore.NewWeighted(cfg.InFlight),
		memory:   semaphore.NewWeighted(cfg.Memory),
		reading:  semaphore.NewWeighted(1),
		together: semaphore.NewWeighted(everyone),
		started:  cfg.Now(),

		expireFrom: map[string]uint64{},
	}
	q.repeats = repeats{q.Memory(), make(chan struct{}, maxNotes)}
	q.board = newBoard(q)
	q.ending, q.end = context.WithCancel(context.Background())
	if err := q.open(ctx); err != nil {
		q.end()
		if q.lock != nil {
			err = errors.Join(err, q.lock.Close())
		}
		return nil, fmt.Errorf("open queue: %w", err)
	}
	beating, endBeats := context.WithCancel(context.Background())
	q.endBeats = endBeats
	q.tasks.Go(func() { q.beats.run(beating, q.cfg.ackWait/3) })
	q.tasks.Go(q.watch)
	q.tasks.Go(q.board.watch)
	if !q.cfg.idle {
		q.tasks.Go(q.keepHouse)
	}
	q.tasks.Go(q.keepDelivered)
	if cfg.URL == "" {
		q.tasks.Go(q.rebuild)
	}
	return q, nil
}

func (q *Queue) open(ctx context.Context) (err error) {
	start := time.Now()
	if q.cfg.URL == "" {
		if q.lock, err = lockDir(q.cfg.Dir); err != nil {
			return err
		}
		if err = checkKey(q.cfg.Dir, q.cfg.EncryptionKey); err != nil {
			return err
		}
		if err = removeProbes(q.cfg.Dir); err != nil {
			return err
		}
		if q.syncLatency, err = probeSync(q.cfg.Dir); err != nil {
			return err
		}
		if q.quota = q.cfg.MaxStore; q.quota == 0 {
			if q.quota, err = defaultQuota(q.cfg.Dir); err != nil {
				return err
			}
		}
	}
	if q.metrics, err = newMetrics(q); err != nil {
		return err
	}
	l, err := q.connectPatiently(ctx)
	if err != nil {
		q.metrics.unregister()
		return err
	}
	q.link.Store(l)
	if err := q.look(ctx); err != nil {
		q.metrics.unregister()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
		defer cancel()
		return errors.Join(err, l.shut(ctx))
	}
	q.cfg.Log.Info("queue open", "durability", q.cfg.Durability, "encrypted", q.cfg.EncryptionKey != "", "shards", q.shards, "shards_read", q.readShards,
		"replicas", q.cfg.Replicas, "sync_latency", q.syncLatency, "quota", q.quota, "server", l.ctl.ConnectedServerVersion(), "took", time.Since(start))
	if q.cfg.URL != "" && q.cfg.Durability != DurabilityReplicated {
		q.cfg.Log.Warn("the external server decides when it syncs to disk: set its jetstream sync_interval to always",
			"durability", q.cfg.Durability)
	}
	if q.cfg.Durability == DurabilityOS {
		q.cfg.Log.Warn("durability os: a power loss or a crash of the operating system loses messages that were answered with 250")
	}
	return nil
}

// Close ends Process and Deliver, waits for the commits under way, and stops the embedded server cleanly, which makes
// the next start fast; ctx bounds it. A second call does nothing.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil
	}
	q.closed = true
	q.mu.Unlock()
	q.end()
	var errs []error
	done := make(chan struct{})
	go func() {
		defer close(done)
		q.calls.Wait()
		q.endBeats()
		q.board.part()
		q.tasks.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("wait for workers: %w", ctx.Err()))
	}
	if l := q.link.Swap(nil); l != nil {
		if err := q.writeDelivered(ctx, l); err != nil {
			q.cfg.Log.Warn("write down what was delivered last", "error", err)
		}
		errs = append(errs, l.shut(ctx))
	}
	q.metrics.unregister()
	if q.lock != nil {
		errs = append(errs, q.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close queue: %w", err)
	}
	return nil
}

func (q *Queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// enter registers a call that Close has to wait for.
func (q *Queue) enter() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return errClosed
	}
	q.calls.Add(1)
	return nil
}
