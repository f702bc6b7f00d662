package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

const (
	// maxFailures is how often a handler may fail a message before that becomes a dead letter.
	maxFailures = 5
	// maxHandouts is how often a message may have been handed out without a word of what became of it, before it is
	// suspected of ending the process and handled alone.
	maxHandouts = 5
	// maxAlone is how often the process may end while it handles a message alone.
	maxAlone = 3
	// everyone is the weight of a message that is handled alone.
	everyone = 1 << 30
	// maxTrials bounds what is remembered; forgetting means more tries.
	maxTrials = 8 * parsePending
)

// trials is what this process remembers of the messages that came back: that a message was handed out often says
// little, because a shutdown or an acknowledgement that got lost hand it out again as well.
type trials struct {
	mu sync.Mutex
	of map[string]trial
}

type trial struct {
	failures int
	answered uint64 // handouts after which this process was there to answer
	survived bool   // this process handled it alone and went on
}

func (t *trials) get(place string) trial {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of[place]
}

func (t *trials) update(place string, f func(*trial)) trial {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, known := t.of[place]
	for other := range t.of {
		if known || len(t.of) < maxTrials {
			break
		}
		delete(t.of, other)
	}
	if t.of == nil {
		t.of = map[string]trial{}
	}
	f(&v)
	t.of[place] = v
	return v
}

func (t *trials) forget(place string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, place)
}

// suspect reports whether a message may be what ended processes: it was handed out often and nobody knows why.
func (t trial) suspect(delivered uint64) bool {
	return !t.survived && delivered > maxHandouts+t.answered
}

// alone calls h while no other handler of this process runs. Before it does so it stores how often that was tried, so
// that a message which ends the process every time, and only that one, becomes a dead letter.
func (q *Queue) alone(ctx context.Context, place string, h func() error) error {
	if err := q.together.Acquire(ctx, everyone); err != nil {
		return fault(fmt.Errorf("wait to be handled alone: %w", err))
	}
	defer q.together.Release(everyone)
	l, err := q.current()
	if err != nil {
		return fault(err)
	}
	subject := deadAlone(place)
	tries := 0
	switch raw, err := l.dead.GetLastMsgForSubject(ctx, subject); {
	case errors.Is(err, jetstream.ErrMsgNotFound):
	case err != nil:
		return fault(fmt.Errorf("read how often a message was handled alone: %w", err))
	default:
		if tries, err = strconv.Atoi(string(raw.Data)); err != nil {
			return fault(fmt.Errorf("read how often a message was handled alone: %w", err))
		}
	}
	if tries >= maxAlone {
		return pipeline.Permanent(fmt.Errorf("the process ended %d times while it handled this message and no other", tries))
	}
	if _, err := q.publish(ctx, subject, "", nil, []byte(strconv.Itoa(tries+1))); err != nil {
		return err
	}
	q.cfg.Log.Warn("a message was handed out often and never settled; it is handled alone", "place", place, "tries_before", tries)
	err = h()
	q.trials.update(place, func(t *trial) { t.survived = true })
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.cfg.tryFor)
	defer cancel()
	if perr := l.dead.Purge(ctx, jetstream.WithPurgeSubject(subject)); perr != nil {
		q.cfg.Log.Warn("forget that a message was handled alone", "place", place, "error", perr)
	}
	return err
}

// along calls h beside other handlers, when none has to be alone.
func (q *Queue) along(ctx context.Context, h func() error) error {
	if err := q.together.Acquire(ctx, 1); err != nil {
		return fault(fmt.Errorf("wait for a message that is handled alone: %w", err))
	}
	defer q.together.Release(1)
	return h()
}

func deadAlone(place string) string {
	return "mxhook.dead.alone." + token(strings.ToLower(place))
}
