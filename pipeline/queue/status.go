package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"
)

// countFor is the least time for which a count is good.
const countFor = 2 * time.Second

// Status is the state of the queue for people and monitors. Counts of deliveries and dead letters may be some seconds
// old, longer the more there are.
type Status struct {
	// Durability is the mode in force: what a commit stands for.
	Durability string
	// External says that the server is not this process, Encrypted that ours encrypts what it stores.
	External, Encrypted bool
	// Shards is the number of mail streams written to.
	Shards, Replicas int
	// SyncLatency is what the disk of the embedded queue took to sync 4 KiB at start.
	SyncLatency time.Duration
	// Server is the version of the NATS server.
	Server string
	// Messages are those not settled; DeadLetters those kept.
	Messages, DeadLetters int64
	// Deliveries that wait, by sink.
	Deliveries map[string]Waiting
	// OldestMessage is the age of the oldest message that is not settled, OldestDelivery that of the message of the
	// oldest delivery that waits, to the minute when that is due; 0 when there is none. With many deliveries waiting it is
	// that of those which have not been touched for longest.
	OldestMessage, OldestDelivery time.Duration
	// StorageUsed, StorageLimit (0: none) and StorageFree in bytes. Free is the least that volume and quota allow, the
	// reserve included; -1 when an external server does not tell.
	StorageUsed, StorageLimit, StorageFree int64
	// StorageReserve is what of it no new message may use.
	StorageReserve int64
}

// Waiting counts the deliveries of a sink: due (attempts under way included) and for later.
type Waiting struct {
	Due, Scheduled int64
}

// storageState is what a look at the account found.
type storageState struct {
	used, limit int64
}

// countCache has the counts that are dear to make.
type countCache struct {
	mu    sync.Mutex
	until time.Time
	last  counts
}

type counts struct {
	deliveries map[string]Waiting
	oldest     time.Time
	dead       int64
}

// Status says how the queue is; an error says that it does not work just now.
func (q *Queue) Status(ctx context.Context) (Status, error) {
	l, err := q.current()
	if err != nil {
		return Status{}, fmt.Errorf("queue status: %w", err)
	}
	s := Status{
		External: q.cfg.URL != "", Encrypted: q.cfg.EncryptionKey != "", StorageReserve: q.cfg.Reserve,
		Durability: q.cfg.Durability, Shards: q.shards, Replicas: q.cfg.Replicas,
		SyncLatency: q.syncLatency, Server: l.ctl.ConnectedServerVersion(),
	}
	heads, err := q.unsettled(ctx, l)
	if err != nil {
		return Status{}, fmt.Errorf("queue status: %w", err)
	}
	now := q.cfg.Now()
	for _, h := range heads {
		s.Messages += h.waiting
		if h.waiting > 0 && !h.oldest.IsZero() {
			s.OldestMessage = max(s.OldestMessage, now.Sub(h.oldest))
		}
	}
	c, err := q.count(ctx, l)
	if err != nil {
		return Status{}, fmt.Errorf("queue status: %w", err)
	}
	s.Deliveries, s.DeadLetters = c.deliveries, c.dead
	if !c.oldest.IsZero() {
		s.OldestDelivery = max(0, now.Sub(c.oldest))
	}
	s.StorageUsed, s.StorageLimit, s.StorageFree = q.room()
	return s, nil
}

// room returns the bytes used, the quota, and what is left of it and of the volume.
func (q *Queue) room() (used, limit, free int64) {
	free = -1
	if s := q.storage.Load(); s != nil {
		used, limit = s.used+q.sinceLook.Load(), s.limit
		if limit > 0 {
			free = max(0, limit-used)
		}
	}
	if q.cfg.URL == "" {
		if disk, err := diskFree(q.cfg.Dir); err == nil && (free < 0 || disk < free) {
			free = disk
		}
	}
	return used, limit, free
}

// look asks the server what is stored; Admit works with that and what was added since.
func (q *Queue) look(ctx context.Context) error {
	l, err := q.current()
	if err != nil {
		return err
	}
	added := q.sinceLook.Load()
	info, err := l.js.AccountInfo(ctx)
	if err != nil {
		return fmt.Errorf("look at storage: %w", err)
	}
	s := storageState{used: int64(info.Store), limit: q.quota}
	if q.cfg.URL != "" {
		s.limit = q.cfg.MaxStore
		if m := info.Limits.MaxStore; m > 0 && (s.limit == 0 || m < s.limit) {
			s.limit = m
		}
	}
	q.storage.Store(&s)
	q.sinceLook.Add(-added)
	return nil
}

// unsettledHeads is what one mail stream has yet to settle. oldest is zero when that cannot be told.
type unsettledHeads struct {
	waiting int64
	oldest  time.Time
}

func (q *Queue) unsettled(ctx context.Context, l *link) ([]unsettledHeads, error) {
	known := l.mails.Load()
	mail := known.streams
	all := make([]unsettledHeads, len(mail))
	for k, c := range known.parse {
		info, err := c.Info(ctx)
		if err != nil {
			return nil, fmt.Errorf("look at consumer %s of stream %s: %w", parseConsumer, streamName(mailPrefix, k), err)
		}
		all[k].waiting = int64(info.NumPending) + int64(info.NumAckPending)
		if all[k].waiting == 0 {
			continue
		}
		raw, err := mail[k].GetMsg(ctx, info.AckFloor.Stream+1, jetstream.WithGetMsgSubject(mailIn(k)))
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("look at the oldest message of stream %s: %w", streamName(mailPrefix, k), err)
		}
		if err == nil {
			all[k].oldest = raw.Time
		}
	}
	return all, nil
}

// count counts deliveries and dead letters, and keeps the result for twenty times as long as that took.
func (q *Queue) count(ctx context.Context, l *link) (counts, error) {
	q.counts.mu.Lock()
	defer q.counts.mu.Unlock()
	start := time.Now()
	if start.Before(q.counts.until) {
		return q.counts.last, nil
	}
	c := counts{deliveries: map[string]Waiting{}}
	for k, s := range l.delivery {
		info, err := s.Info(ctx)
		if err == nil && info.State.NumSubjects <= uint64(q.cfg.listUpTo) {
			err = c.list(ctx, s, k)
		} else if err == nil {
			err = q.countMany(ctx, l, k, &c)
		}
		if err != nil {
			return counts{}, fmt.Errorf("count the deliveries of stream %s: %w", streamName(deliveryPrefix, k), err)
		}
	}
	var err error
	if c.dead, err = countSubject(ctx, l.dead, "mxhook.dead.letter.>"); err != nil {
		return counts{}, err
	}
	q.counts.last, q.counts.until = c, start.Add(max(countFor, 20*time.Since(start)))
	return c, nil
}

// list counts the deliveries of a stream from the list of its subjects.
func (c *counts) list(ctx context.Context, s jetstream.Stream, k int) error {
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(fmt.Sprintf("mxhook.delivery.%d.>", k)))
	if err != nil {
		return err
	}
	for subject, n := range info.State.Subjects {
		c.add(subject, int64(n))
	}
	return nil
}

func (c *counts) add(subject string, n int64) {
	p, err := splitDelivery(subject)
	if err != nil {
		return
	}
	w := c.deliveries[p.sink]
	if p.due {
		w.Due += n
	} else {
		w.Scheduled += n
	}
	c.deliveries[p.sink] = w
	c.age(p)
}

// age takes note of a delivery that waits.
func (c *counts) age(p deliveryPlace) {
	if !p.mail.IsZero() && (c.oldest.IsZero() || p.mail.Before(c.oldest)) {
		c.oldest = p.mail
	}
}

// mailTime returns when the message of a delivery was stored, or a little before: the time in the ULID of the message
// id or, for a replay, of the replay, which stores the message anew. It is zero for an id without.
func mailTime(deliveryID string) time.Time {
	id, rest, _ := strings.Cut(deliveryID, ".")
	if i := strings.LastIndex(rest, ".r"); i >= 0 && len(rest)-i-2 == ulid.EncodedSize {
		id = rest[i+2:]
	}
	u, err := ulid.ParseStrict(id)
	if err != nil {
		return time.Time{}
	}
	return ulid.Time(u.Time())
}

// countSubject counts the messages of a stream (not of a work queue) with that subject filter.
func countSubject(ctx context.Context, s jetstream.Stream, subject string) (int64, error) {
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: subject, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", subject, err)
	}
	info := c.CachedInfo()
	if err := s.DeleteConsumer(ctx, info.Name); err != nil {
		return 0, fmt.Errorf("count %s: %w", subject, err)
	}
	return int64(info.NumPending), nil
}
