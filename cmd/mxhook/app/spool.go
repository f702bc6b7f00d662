package app

import (
	"context"
	"errors"
	"slices"
	"sync"

	"mxhook/ingest"
	"mxhook/pipeline"
	"mxhook/pipeline/queue"
)

// spool is the front end's view of the queue: closed until the queue is open.
type spool struct {
	// auth finds out who sent a message before it is taken, where a domain refuses by DMARC; set before anything is served.
	auth pipeline.Stage
	// waits are the senders that wait for an endpoint's answer.
	waits *waits
	// lmtp are the listeners whose clients get a reply for each recipient.
	lmtp map[string]bool

	mu sync.RWMutex
	q  *queue.Queue
}

var errNotOpen = errors.New("the queue is being opened")

func (s *spool) open(q *queue.Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.q = q
}

func (s *spool) get() (*queue.Queue, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.q == nil {
		return nil, errNotOpen
	}
	return s.q, nil
}

// Admit implements ingest.Spool.
func (s *spool) Admit(ctx context.Context, size int64) error {
	q, err := s.get()
	if err != nil {
		return err
	}
	return q.Admit(ctx, size)
}

// Begin implements ingest.Spool.
func (s *spool) Begin(ctx context.Context, env pipeline.Envelope) (ingest.Writer, error) {
	q, err := s.get()
	if err != nil {
		return nil, err
	}
	w, err := q.Begin(ctx, env)
	if err != nil {
		return nil, err // not a nil *queue.Writer inside an interface that is not nil
	}
	t := inTransaction(ctx)
	if t == nil {
		return w, nil
	}
	writer := ingest.Writer(w)
	if slices.ContainsFunc(env.Recipients, t.refuses) {
		writer = &judgedWriter{Writer: w, auth: s.auth, refuses: t.refuses}
	}
	return s.waiting(writer, w, t, &env, s.lmtp[env.Listener]), nil
}
