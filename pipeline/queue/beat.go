package queue

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// beats tells the server of messages that are being worked on, so that they are not handed out a second time. The
// zero value is ready.
type beats struct {
	mu   sync.Mutex
	msgs map[jetstream.Msg]struct{}
}

func (b *beats) add(m jetstream.Msg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.msgs == nil {
		b.msgs = map[jetstream.Msg]struct{}{}
	}
	b.msgs[m] = struct{}{}
}

func (b *beats) remove(m jetstream.Msg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.msgs, m)
}

// run tells it every so often until ctx ends. What was settled meanwhile refuses to say so.
func (b *beats) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var msgs []jetstream.Msg
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		b.mu.Lock()
		for m := range b.msgs {
			msgs = append(msgs, m)
		}
		b.mu.Unlock()
		for _, m := range msgs {
			m.InProgress() //nolint:errcheck // settling says what is wrong
		}
		clear(msgs)
		msgs = msgs[:0]
	}
}
