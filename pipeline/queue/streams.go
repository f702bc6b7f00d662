package queue

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	mailPrefix     = "MXHOOK_MAIL_"
	deliveryPrefix = "MXHOOK_DELIVERY_"
	deadStream     = "MXHOOK_DEAD"
	logStream      = "MXHOOK_LOG"
	logSubject     = "mxhook.log.delivered"
	// parseConsumer is the durable consumer of a mail stream: what it has acknowledged is settled.
	parseConsumer = "parse"
	// maxRecord bounds one stored message; with its header it stays below NATS' default max_payload of 1 MiB.
	maxRecord = 1_000_000
	// parsePending bounds the unsettled messages that are handed out of one mail stream at once, those that wait to be tried
	// again included. It is more than the first attempts at slow endpoints can hold: beyond it nobody's mail goes on.
	parsePending = 4096
)

// Subjects. A mail stream has the heads that wait to be processed (in), heads kept for deliveries only (kept), and the
// parts of large messages, with a note (open) from before the first part until the head is stored. A delivery stream has
// deliveries that are due and, as scheduled messages, those for later: see due.go.
func mailIn(shard int) string   { return fmt.Sprintf("mxhook.mail.%d.in", shard) }
func mailKept(shard int) string { return fmt.Sprintf("mxhook.mail.%d.kept", shard) }
func mailPart(shard int, key string) string {
	return fmt.Sprintf("mxhook.mail.%d.part.%s", shard, token(key))
}

func mailOpen(shard int, key string) string {
	return fmt.Sprintf("mxhook.mail.%d.open.%s", shard, token(key))
}

func deadRecord(sink, id string) string { return "mxhook.dead.letter." + token(sink) + "." + token(id) }

func deadRecordAnySink(id string) string {
	return "mxhook.dead.letter.*." + token(id)
}

func deadPart(id string, i int) string {
	return "mxhook.dead.mail." + token(id) + "." + strconv.Itoa(i)
}

// token writes any string as one subject token (and part of a consumer name): letters, digits, '-' and '_' stand for
// themselves, every other octet is '=' and two hexadecimal digits, and the empty string is '='.
func token(s string) string {
	if s == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// untoken undoes token.
func untoken(t string) (string, error) {
	if t == "=" {
		return "", nil
	}
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		if t[i] != '=' {
			b.WriteByte(t[i])
			continue
		}
		if i+3 > len(t) {
			return "", fmt.Errorf("subject token %q ends in an escape", t)
		}
		octet, err := hex.DecodeString(t[i+1 : i+3])
		if err != nil {
			return "", fmt.Errorf("subject token %q: %w", t, err)
		}
		b.Write(octet)
		i += 2
	}
	return b.String(), nil
}

func shardOf(s string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(s))
	return int(h.Sum32() % uint32(n))
}

func streamName(prefix string, shard int) string { return prefix + strconv.Itoa(shard) }

// mailConfig has no max_age: the server would also remove what nobody has processed yet, at the latest when it starts
// after a long pause. The janitor removes what is both old and settled.
func (q *Queue) mailConfig(shard int) jetstream.StreamConfig {
	quota := int64(-1)
	if q.cfg.URL != "" && q.cfg.MaxStore > 0 {
		quota = q.cfg.MaxStore / int64(q.shards)
	}
	return jetstream.StreamConfig{
		Name:        streamName(mailPrefix, shard),
		Description: "mxhook: messages, with their parts",
		Subjects:    []string{mailIn(shard), mailKept(shard), fmt.Sprintf("mxhook.mail.%d.part.*", shard), fmt.Sprintf("mxhook.mail.%d.open.*", shard)},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    quota,
		MaxMsgs:     -1,
		MaxMsgSize:  maxRecord,
		Duplicates:  2 * time.Minute,
		Replicas:    q.cfg.Replicas,
		AllowDirect: q.cfg.Replicas == 1, // a follower may not have it yet
	}
}

// deliveryConfig has no limits: schedules forbid "discard new", and "discard old" would lose deliveries.
func (q *Queue) deliveryConfig(shard int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              streamName(deliveryPrefix, shard),
		Description:       "mxhook: deliveries that wait, and their retry clock",
		Subjects:          []string{fmt.Sprintf("mxhook.delivery.%d.due.>", shard), fmt.Sprintf("mxhook.delivery.%d.later.>", shard)},
		Retention:         jetstream.WorkQueuePolicy,
		Storage:           jetstream.FileStorage,
		MaxBytes:          -1,
		MaxMsgs:           -1,
		MaxMsgSize:        maxRecord,
		Duplicates:        2 * time.Minute,
		Replicas:          q.cfg.Replicas,
		AllowDirect:       q.cfg.Replicas == 1,
		AllowMsgTTL:       true,
		AllowMsgSchedules: true,
	}
}

// deadConfig keeps one message a subject, so that a repeated burial replaces the first.
func (q *Queue) deadConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              deadStream,
		Description:       "mxhook: dead letters, with their messages",
		Subjects:          []string{"mxhook.dead.letter.>", "mxhook.dead.mail.>", "mxhook.dead.alone.*"},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		MaxBytes:          -1,
		MaxMsgs:           -1,
		MaxMsgSize:        maxRecord,
		MaxMsgsPerSubject: 1,
		Duplicates:        time.Minute,
		Replicas:          q.cfg.Replicas,
		AllowDirect:       q.cfg.Replicas == 1,
	}
}

// logConfig gives up the oldest records at its limits: they are for people, and nothing in flight needs them.
func (q *Queue) logConfig() jetstream.StreamConfig {
	most := int64(maxLog)
	if q.cfg.MaxStore > 0 {
		most = min(most, max(q.cfg.MaxStore/10, maxRecord))
	}
	return jetstream.StreamConfig{
		Name:        logStream,
		Description: "mxhook: deliveries that succeeded, for lists and replays",
		Subjects:    []string{logSubject},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardOld,
		MaxAge:      q.cfg.Retention,
		MaxBytes:    most,
		MaxMsgs:     -1,
		MaxMsgSize:  maxRecord,
		Duplicates:  min(2*time.Minute, q.cfg.Retention),
		Replicas:    q.cfg.Replicas,
		AllowDirect: q.cfg.Replicas == 1,
	}
}

// declare creates the streams and the consumers of the mail streams, or brings them up to date.
func (q *Queue) declare(ctx context.Context, l *link) error {
	if err := q.decideShards(ctx, l); err != nil {
		return err
	}
	if err := q.openMail(ctx, l, q.readShards); err != nil {
		return err
	}
	for k := range deliveryShards {
		s, err := q.openStream(ctx, l, q.deliveryConfig(k))
		if err != nil {
			return err
		}
		l.delivery = append(l.delivery, s)
	}
	s, err := q.openStream(ctx, l, q.deadConfig())
	if err != nil {
		return err
	}
	l.dead = s
	if err := q.openState(ctx, l); err != nil {
		return err
	}
	cfg := q.logConfig()
	l.log, err = q.openStream(ctx, l, cfg)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == errStoreResources {
		// A server with a limit sets the bytes of a stream aside, and has not that many left.
		cfg.MaxBytes, cfg.MaxMsgs = -1, maxLogBatches
		l.log, err = q.openStream(ctx, l, cfg)
	}
	return err
}

func (q *Queue) openStream(ctx context.Context, l *link, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	cfg.Compression = q.compression()
	s, err := l.js.CreateOrUpdateStream(ctx, cfg)
	if err == nil {
		err = asDeclared(cfg, s.CachedInfo().Config)
	}
	if err != nil {
		return nil, fmt.Errorf("declare stream %s: %w", cfg.Name, q.remedy(err))
	}
	return s, nil
}

// asDeclared refuses a stream that cannot keep the promise, whoever made it.
func asDeclared(want, got jetstream.StreamConfig) error {
	switch {
	case got.Storage != jetstream.FileStorage:
		return errors.New("it keeps its messages in memory: remove the stream, or move it to file storage")
	case got.Replicas < want.Replicas:
		return fmt.Errorf("it has %d replicas instead of %d: see `nats stream info %s`", got.Replicas, want.Replicas, want.Name)
	}
	return nil
}

// compression is that of every stream.
func (q *Queue) compression() jetstream.StoreCompression {
	if q.cfg.Compress {
		return jetstream.S2Compression
	}
	return jetstream.NoCompression
}

// remedy adds to the refusal of a stream what an operator can do about it.
func (q *Queue) remedy(err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch api.ErrorCode {
	case errNotClustered, errNoPeers:
		return fmt.Errorf("%w: the server has no %d JetStream nodes for replicas: start more, or set queue.replicas: 1 and queue.durability: fsync", err, q.cfg.Replicas)
	case errStoreResources:
		return fmt.Errorf("%w: raise the JetStream storage limits (max_file_store) of the servers or of the account", err)
	}
	return err
}

// openMail makes the first n mail streams known to the link, with their consumers.
func (q *Queue) openMail(ctx context.Context, l *link, n int) error {
	known := *l.mails.Load()
	for k := len(known.streams); k < n; k++ {
		s, err := q.openStream(ctx, l, q.mailConfig(k))
		if err != nil {
			return err
		}
		c, err := s.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable:       parseConsumer,
			FilterSubject: mailIn(k),
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       q.cfg.ackWait,
			MaxDeliver:    -1,
			MaxAckPending: parsePending,
		})
		if err != nil {
			return fmt.Errorf("declare consumer %s of stream %s: %w", parseConsumer, streamName(mailPrefix, k), err)
		}
		known.streams, known.parse = append(slices.Clip(known.streams), s), append(slices.Clip(known.parse), c)
	}
	l.mails.Store(&known)
	return nil
}

// findShards looks for mail streams that another process has added: this one reads them too.
func (q *Queue) findShards(ctx context.Context, l *link) error {
	known := len(l.mail())
	if q.cfg.URL == "" {
		return nil // there is no other process
	}
	n, err := existingShards(ctx, l)
	if err != nil || n <= known {
		return err
	}
	if err := q.openMail(ctx, l, n); err != nil {
		return err
	}
	q.cfg.Log.Info("another process has added mail streams; they are read too", "shards_read", n, "before", known)
	return nil
}

func existingShards(ctx context.Context, l *link) (n int, err error) {
	names := l.js.StreamNames(ctx)
	for name := range names.Name() {
		k, err := strconv.Atoi(strings.TrimPrefix(name, mailPrefix))
		if strings.HasPrefix(name, mailPrefix) && err == nil && k >= 0 && k < maxShards {
			n = max(n, k+1)
		}
	}
	if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return 0, fmt.Errorf("list streams: %w", err)
	}
	return n, nil
}

// decideShards settles, once, how many mail streams are written to and how many are read. A store that has more
// streams than are asked for is read to the end.
func (q *Queue) decideShards(ctx context.Context, l *link) error {
	if q.readShards > 0 {
		return nil
	}
	existing, err := existingShards(ctx, l)
	if err != nil {
		return err
	}
	switch {
	case q.cfg.Shards > 0:
		q.shards = q.cfg.Shards
	case existing > 0:
		q.shards = existing
	default:
		q.shards = shardsFor(q.syncLatency)
	}
	q.readShards = max(q.shards, existing)
	return nil
}

// sinkConsumer opens the one consumer of a sink: its max_ack_pending is the limit on attempts under way in the whole
// fleet. Embedded it lives in memory: nothing is lost with it, because what is not settled is still in the stream,
// and what a killed process had in flight is due again at once.
func (q *Queue) sinkConsumer(ctx context.Context, l *link, sink string, n int) (jetstream.Consumer, error) {
	k := shardOf(sink, deliveryShards)
	c, err := l.delivery[k].CreateOrUpdateConsumer(ctx, q.sinkConsumerConfig(k, sink, n))
	if err != nil {
		return nil, fmt.Errorf("declare consumer of sink %q: %w", sink, err)
	}
	return c, nil
}

func (q *Queue) sinkConsumerConfig(k int, sink string, n int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       "sink-" + token(sink),
		FilterSubject: fmt.Sprintf("mxhook.delivery.%d.due.%s.>", k, token(sink)),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       q.cfg.ackWait,
		MaxDeliver:    -1,
		MaxAckPending: n,
		MemoryStorage: q.cfg.URL == "",
	}
}
