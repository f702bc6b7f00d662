package queue

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"mxhook/pipeline"
)

const (
	// askFor bounds one question to the front end that a sender waits at, or its answer.
	askFor = 3 * time.Second
	// rememberFor is how long a message is recognised that was taken when its sender waited no more: senders try again for
	// days, most of them within hours.
	rememberFor = 24 * time.Hour
)

// waitSubject is where the front end hears of one message; nobody who cannot read its head can guess it.
func waitSubject(id string) string { return "mxhook.wait." + token(id) + "." + rand.Text() }

// waitRequest is what a processor says to the front end, waitAnswer what that says back. They are core NATS messages.
type waitRequest struct {
	// Verdicts end the wait; without them it is only asked about.
	Verdicts []pipeline.Verdict `json:"verdicts,omitempty"`
}

type waitAnswer struct {
	// Patience is how long the sender will wait, in milliseconds; 0 is no more.
	Patience int64 `json:"patience_ms"`
	// Heard says that the verdicts are what the sender is told.
	Heard bool `json:"heard"`
}

// Question is the wait of one message's sender for its verdicts. Its methods are safe for concurrent use.
type Question struct {
	w     *Writer
	sub   *nats.Subscription
	gone  context.Context // of the link that it is asked over
	limit time.Duration
	heard chan struct{}

	mu       sync.Mutex
	until    time.Time // zero before the message is durable
	over     bool
	verdicts []pipeline.Verdict
}

// Ask makes the message one whose sender waits for verdicts about the recipients of wait, and for limit at the most once
// it is durable. It is called before Commit; To and Key of wait are set by it. The caller calls Close.
//
// Such a message is always looked up among those taken before, and noted only by Taken.
func (w *Writer) Ask(wait pipeline.Wait, limit time.Duration) (*Question, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, err := w.q.current()
	if err != nil {
		return nil, fmt.Errorf("wait for an answer: %w", err)
	}
	x := &Question{w: w, gone: l.gone, limit: limit, heard: make(chan struct{})}
	wait.To = waitSubject(w.env.ID)
	if x.sub, err = l.ctl.Subscribe(wait.To, x.hear); err != nil {
		return nil, fmt.Errorf("wait for an answer: %w", err)
	}
	if err := l.ctl.FlushTimeout(askFor); err != nil { // the server knows of it before anybody can answer
		x.Close()
		return nil, fmt.Errorf("wait for an answer: %w", err)
	}
	w.wait = &wait
	return x, nil
}

// hear answers a processor.
func (x *Question) hear(m *nats.Msg) {
	var in waitRequest
	if err := json.Unmarshal(m.Data, &in); err != nil {
		x.w.q.cfg.Log.Warn("a worker's answer for a sender who waits cannot be read", "error", err)
		return
	}
	out := x.take(in)
	text, err := json.Marshal(out)
	if err == nil {
		err = m.Respond(text)
	}
	if err != nil {
		x.w.q.cfg.Log.Warn("answer a worker", "error", err)
	}
}

func (x *Question) take(in waitRequest) waitAnswer {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.over:
		return waitAnswer{}
	case len(in.Verdicts) > 0:
		x.over, x.verdicts = true, in.Verdicts
		close(x.heard)
		return waitAnswer{Heard: true}
	case x.until.IsZero(): // it is durable, but that is not known here yet
		return waitAnswer{Patience: x.limit.Milliseconds()}
	}
	return waitAnswer{Patience: max(0, time.Until(x.until).Milliseconds())}
}

// Answer waits, after Commit, for the verdicts; nil when there were none in time, before ctx ended, or before the link to
// the queue was lost. Nobody's verdicts are heard after it.
func (x *Question) Answer(ctx context.Context) []pipeline.Verdict {
	x.mu.Lock()
	x.until = time.Now().Add(x.limit)
	x.mu.Unlock()
	timer := time.NewTimer(x.limit)
	defer timer.Stop()
	select {
	case <-x.heard:
	case <-timer.C:
	case <-ctx.Done():
	case <-x.gone.Done():
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	return x.verdicts
}

// Taken says that the sender is told that the message is accepted: its repeats are recognised from now on, where the
// queue looks for them.
func (x *Question) Taken() {
	if x.w.q.cfg.DedupeWindow > 0 && x.w.repeatKey != "" && x.w.q.enter() == nil {
		defer x.w.q.calls.Done()
		x.w.q.noteTaken(x.w.repeatKey, x.w.env.ID)
	}
}

// Close ends the question.
func (x *Question) Close() {
	x.mu.Lock()
	x.over = true
	x.mu.Unlock()
	_ = x.sub.Unsubscribe() // of a connection that is gone, it is gone as well
}

// Waiting implements pipeline.Front.
func (q *Queue) Waiting(ctx context.Context, w *pipeline.Wait) (time.Duration, bool) {
	out, err := q.askFront(ctx, w, waitRequest{})
	if err != nil || out.Patience <= 0 {
		return 0, false
	}
	return time.Duration(out.Patience) * time.Millisecond, true
}

// Tell implements pipeline.Front.
func (q *Queue) Tell(ctx context.Context, w *pipeline.Wait, vs []pipeline.Verdict) bool {
	out, err := q.askFront(ctx, w, waitRequest{Verdicts: vs})
	return err == nil && out.Heard
}

// Remember implements pipeline.Front.
func (q *Queue) Remember(ctx context.Context, w *pipeline.Wait, id string) {
	if w.Key == "" {
		return
	}
	if err := q.repeats.memory.put(ctx, w.Key, []byte(id), rememberFor); err != nil {
		q.cfg.Log.Warn("a message was taken that would not be recognised when it is sent again", "message", id, "error", err)
	}
}

func (q *Queue) askFront(ctx context.Context, w *pipeline.Wait, in waitRequest) (waitAnswer, error) {
	var out waitAnswer
	l, err := q.current()
	if err != nil {
		return out, err
	}
	text, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	m, err := l.ctl.RequestWithContext(ctx, w.To, text)
	if err == nil {
		err = json.Unmarshal(m.Data, &out)
	}
	if err != nil && !errors.Is(err, nats.ErrNoResponders) {
		q.cfg.Log.Warn("ask the front end that a sender waits at", "error", err)
	}
	return out, err
}

// waitRecord is a pipeline.Wait in the head of a message.
type waitRecord struct {
	Recipients []octets `json:"recipients"`
	Together   bool     `json:"together,omitempty"`
	Defers     bool     `json:"defers,omitempty"`
	To         string   `json:"to"`
	Key        string   `json:"key,omitempty"`
}

func recordWait(w *pipeline.Wait) *waitRecord {
	if w == nil {
		return nil
	}
	r := &waitRecord{Together: w.Together, Defers: w.Defers, To: w.To, Key: w.Key}
	for _, address := range w.Recipients {
		r.Recipients = append(r.Recipients, octets(address))
	}
	return r
}

func (r *waitRecord) wait() *pipeline.Wait {
	if r == nil {
		return nil
	}
	w := &pipeline.Wait{Together: r.Together, Defers: r.Defers, To: r.To, Key: r.Key}
	for _, address := range r.Recipients {
		w.Recipients = append(w.Recipients, string(address))
	}
	return w
}
