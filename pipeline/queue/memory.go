package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	memoryStream = "MXHOOK_MEMORY"
	// maxMemory bounds what a Memory keeps, in bytes; beyond it the oldest goes first.
	maxMemory = 64 << 20
	// memoryPatience bounds one call: what is remembered is never worth a long wait.
	memoryPatience = 2 * time.Second
)

func memorySubject(key string) string { return "mxhook.memory." + token(key) }

// Memory keeps times by key, for a while, and shares them between all instances on one queue. It promises no durability.
// Its methods are safe for concurrent use.
type Memory struct {
	q *Queue

	mu   sync.Mutex
	made *link // the link that stream belongs to
	kept jetstream.Stream
}

// Memory returns a memory in this queue. All are views of the same one.
func (q *Queue) Memory() *Memory { return &Memory{q: q} }

// Get returns the time that was put, if it is still kept.
func (m *Memory) Get(ctx context.Context, key string) (at time.Time, ok bool, err error) {
	text, ok, err := m.get(ctx, key)
	if err != nil || !ok {
		return time.Time{}, false, err
	}
	if at, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return time.Time{}, false, fmt.Errorf("read the memory: %w", err)
	}
	return at, true, nil
}

func (m *Memory) get(ctx context.Context, key string) (text string, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, memoryPatience)
	defer cancel()
	s, _, err := m.stream(ctx)
	if err != nil {
		return "", false, err
	}
	msg, err := s.GetLastMsgForSubject(ctx, memorySubject(key))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("look something up in the memory: %w", err)
	}
	return string(msg.Data), true, nil
}

// Put keeps a time for that long, at least a second, as far as there is room.
func (m *Memory) Put(ctx context.Context, key string, at time.Time, keep time.Duration) error {
	return m.put(ctx, key, []byte(at.UTC().Format(time.RFC3339Nano)), keep)
}

func (m *Memory) put(ctx context.Context, key string, value []byte, keep time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, memoryPatience)
	defer cancel()
	_, l, err := m.stream(ctx)
	if err != nil {
		return err
	}
	keep = max(keep.Truncate(time.Second), time.Second)
	if _, err := l.js.Publish(ctx, memorySubject(key), value, jetstream.WithMsgTTL(keep)); err != nil {
		return fmt.Errorf("put something into the memory: %w", err)
	}
	return nil
}

// stream returns the stream behind the memory, which is made when it is first used.
func (m *Memory) stream(ctx context.Context) (jetstream.Stream, *link, error) {
	l, err := m.q.current()
	if err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.made == l {
		return m.kept, l, nil
	}
	s, err := m.q.openStream(ctx, l, jetstream.StreamConfig{
		Name:              memoryStream,
		Description:       "mxhook: what is remembered of clients for a while",
		Subjects:          []string{"mxhook.memory.*"},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardOld,
		MaxBytes:          maxMemory,
		MaxMsgs:           -1,
		MaxMsgSize:        1 << 10,
		MaxMsgsPerSubject: 1,
		Replicas:          m.q.cfg.Replicas,
		AllowDirect:       m.q.cfg.Replicas == 1,
		AllowMsgTTL:       true,
	})
	if err != nil {
		return nil, nil, err
	}
	m.made, m.kept = l, s
	return s, l, nil
}
