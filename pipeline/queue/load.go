package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

// errDamaged says that a stored message is not what was taken in. It is permanent.
var errDamaged = errors.New("stored message is damaged")

// errUnreadable says that the server cannot read octets that it has: that may pass, or not.
var errUnreadable = errors.New("it is stored, but the server cannot read it")

// ref names the place of a message's head: "<stream>/<sequence>". It is opaque to everyone else.
func ref(stream string, seq uint64) string { return stream + "/" + strconv.FormatUint(seq, 10) }

func parseRef(s string) (shard int, seq uint64, err error) {
	stream, n, ok := strings.Cut(s, "/")
	if !ok || !strings.HasPrefix(stream, mailPrefix) {
		return 0, 0, pipeline.Permanent(fmt.Errorf("message reference %q is not one", s))
	}
	shard, err = strconv.Atoi(strings.TrimPrefix(stream, mailPrefix))
	if err == nil {
		seq, err = strconv.ParseUint(n, 10, 64)
	}
	if err != nil || shard < 0 || shard >= maxShards {
		return 0, 0, pipeline.Permanent(fmt.Errorf("message reference %q is not one", s))
	}
	return shard, seq, nil
}

// stored is a message's head as it lies in a mail stream.
type stored struct {
	mailRecord
	shard  int
	seq    uint64
	inline []byte
	// compared says that inline is, octet for octet, what SHA256 was taken of.
	compared bool
	// onlyKept says that it is not to be processed; only findMessage sets it.
	onlyKept bool
}

func decodeMail(shard int, seq uint64, b []byte) (*stored, error) {
	s := &stored{shard: shard, seq: seq}
	var err error
	if s.inline, err = decodeFrame(kindMail, b, &s.mailRecord); err != nil {
		if errors.Is(err, errNewer) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if s.Size < 0 || len(s.Parts) == 0 && int64(len(s.inline)) != s.Size {
		return nil, fmt.Errorf("%w: %d octets instead of %d", errDamaged, len(s.inline), s.Size)
	}
	return s, nil
}

// head reads the head that ref names; pipeline.ErrNotFound when it is no longer kept.
func (q *Queue) head(ctx context.Context, ref string) (*stored, error) {
	shard, seq, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	raw, err := q.fetch(ctx, shard, seq)
	if err != nil {
		return nil, err
	}
	return decodeMail(shard, seq, raw.Data)
}

// fetch reads one stored message. Its error wraps pipeline.ErrNotFound only when the stream no longer has the message.
func (q *Queue) fetch(ctx context.Context, shard int, seq uint64) (*jetstream.RawStreamMsg, error) {
	l, err := q.current()
	if err != nil {
		return nil, fault(err)
	}
	mail, at := l.mail(), ref(streamName(mailPrefix, shard), seq)
	if shard >= len(mail) {
		return nil, fault(fmt.Errorf("read message at %s: the stream is not known yet", at))
	}
	raw, err := mail[shard].GetMsg(ctx, seq)
	if err == nil {
		return raw, nil
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fault(fmt.Errorf("read message at %s: %w", at, err))
	}
	switch lost, err := gone(ctx, mail[shard], seq); {
	case err != nil:
		return nil, fault(fmt.Errorf("read message at %s: %w", at, err))
	case lost:
		return nil, fmt.Errorf("message at %s: %w", at, pipeline.ErrNotFound)
	}
	return nil, fault(fmt.Errorf("read message at %s: %w", at, errUnreadable))
}

// eachPart calls fn with the octets of the message, piece by piece and unchecked.
func (q *Queue) eachPart(ctx context.Context, s *stored, fn func([]byte) error) error {
	if len(s.Parts) == 0 {
		return fn(s.inline)
	}
	subject := mailPart(s.shard, s.PartKey)
	for i, seq := range s.Parts {
		raw, err := q.fetch(ctx, s.shard, seq)
		if errors.Is(err, pipeline.ErrNotFound) || err == nil && raw.Subject != subject {
			return fmt.Errorf("%w: part %d of %d is missing", errDamaged, i+1, len(s.Parts))
		}
		if err != nil {
			return err
		}
		if err := fn(raw.Data); err != nil {
			return err
		}
	}
	return nil
}

// load reads the octets and checks them against what was counted and hashed when they were taken in.
func (q *Queue) load(ctx context.Context, s *stored) (*pipeline.Message, error) {
	want, err := sum32(s.SHA256)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	raw := s.inline
	if len(s.Parts) > 0 {
		if q.cfg.URL == "" {
			if err := q.reading.Acquire(ctx, 1); err != nil {
				return nil, fault(fmt.Errorf("wait for the reading of other large messages: %w", err))
			}
			defer q.reading.Release(1)
		}
		raw = make([]byte, 0, min(s.Size, q.cfg.MaxMessageSize))
		err := q.eachPart(ctx, s, func(b []byte) error {
			if int64(len(raw)+len(b)) > s.Size {
				return fmt.Errorf("%w: more than %d octets", errDamaged, s.Size)
			}
			raw = append(raw, b...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	sum := want
	if !s.compared {
		sum = sha256.Sum256(raw)
	}
	if sum != want || int64(len(raw)) != s.Size {
		return nil, fmt.Errorf("%w: %d octets with SHA-256 %x, taken in were %d with %x", errDamaged, len(raw), sum, s.Size, want)
	}
	return &pipeline.Message{
		Envelope: s.Envelope.envelope(),
		Raw:      raw,
		SHA256:   want,
		Auth:     s.Auth,
		Problems: s.Problems,
		Ref:      ref(streamName(mailPrefix, s.shard), s.seq),
		Wait:     s.Wait.wait(),
	}, nil
}

// large tells Config.Large of octets that take memory until the function that it returns is called.
func (q *Queue) large(octets int64) (over func()) {
	if q.cfg.Large == nil {
		return func() {}
	}
	q.cfg.Large(octets)
	return func() { q.cfg.Large(-octets) }
}

// withMemory runs fn while size octets of Config.Memory are ours.
func (q *Queue) withMemory(ctx context.Context, size int64, fn func() error) error {
	n := min(max(size, 1), q.cfg.Memory)
	if err := q.memory.Acquire(ctx, n); err != nil {
		return fault(fmt.Errorf("wait for memory: %w", err))
	}
	defer q.memory.Release(n)
	if size > int64(q.cfg.Inline) {
		defer q.large(size)()
	}
	return fn()
}
