package queue

import (
	"context"
	"sync"
)

// lastAcks knows one acknowledgement of each stream that no answer was waited for.
type lastAcks struct {
	mu sync.Mutex
	to map[string]string // the subject of an acknowledgement, by stream
}

func (a *lastAcks) note(stream, subject string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.to == nil {
		a.to = map[string]string{}
	}
	a.to[stream] = subject
}

func (a *lastAcks) all() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	to := a.to
	a.to = nil
	return to
}

// confirmAcks waits until the server has worked through all acknowledgements that were sent: it takes those of a stream in
// turn, and answers when it is told of one again. Without it, a stop in order could make messages come twice.
func (q *Queue) confirmAcks() {
	to := q.acked.all()
	if len(to) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.cfg.tryFor)
	defer cancel()
	l := q.link.Load()
	for stream, subject := range to {
		if l == nil || l.gone.Err() != nil {
			return // its server is gone, and what it did not take comes again
		}
		if _, err := l.ctl.RequestWithContext(ctx, subject, []byte("+ACK")); err != nil {
			q.cfg.Log.Warn("some messages may be processed again: the queue did not confirm that they are settled", "stream", stream, "error", err)
		}
	}
}
