package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"mxhook/pipeline"
)

const (
	stateBucket = "MXHOOK_STATE"
	// keyPause, keyBreaker and keyWorker begin the keys of the bucket; the sink's name or the worker's id follows.
	keyPause, keyBreaker, keyWorker = "pause.", "breaker.", "worker."
	// beatEvery is how often a worker says that it lives, liveFor how long that is good for, joinFor how long a new worker
	// waits, so that the others know of it before it begins.
	beatEvery = 5 * time.Second
	liveFor   = 20 * time.Second
	joinFor   = time.Second
	// watchFor is how long the bucket is watched until everything in it is read anew.
	watchFor = 5 * time.Minute
)

// Board is what the processes on this queue know in common: which sinks are paused, the state of their breakers and,
// when the queue is external, which workers live. It is kept in the queue and survives restarts. It implements
// pipeline.Board; its methods are safe for concurrent use.
type Board struct {
	q *Queue
	// id is this worker's.
	id string

	mu      sync.Mutex
	loaded  bool // everything that was stored has been read
	pauses  map[string]entry[pipeline.Pause]
	breaker map[string]entry[pipeline.Breaker]
	workers map[string]time.Time // when a worker was last heard of, by our clock
	joined  time.Time            // when we first said that we live
	beaten  time.Time            // when we last did, and were heard
	leave   func()
	changed chan struct{}
	made    time.Time // when the bucket was, whose revisions these are
	again   func()    // watches the bucket from the start
}

// entry is the value of a key, and its revision; the zero value is that of a key that was removed.
type entry[T any] struct {
	value    T
	revision uint64
	live     bool
}

func newBoard(q *Queue) *Board {
	return &Board{
		q: q, id: ulid.Make().String(), changed: make(chan struct{}),
		pauses: map[string]entry[pipeline.Pause]{}, breaker: map[string]entry[pipeline.Breaker]{}, workers: map[string]time.Time{},
	}
}

// Board returns the board of this queue; there is one.
func (q *Queue) Board() *Board { return q.board }

func (q *Queue) openState(ctx context.Context, l *link) error {
	kv, err := l.js.CreateOrUpdateKeyValue(ctx, q.stateConfig())
	if err != nil {
		return fmt.Errorf("declare bucket %s: %w", stateBucket, err)
	}
	l.state = kv
	return nil
}

func (q *Queue) stateConfig() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: stateBucket, Description: "mxhook: sinks that are paused, circuit breakers, live workers",
		History: 1, Storage: jetstream.FileStorage, Replicas: q.cfg.Replicas, MaxValueSize: 64 * kib, LimitMarkerTTL: time.Hour,
	}
}

// Place implements pipeline.Board. With an embedded queue there is one worker.
func (b *Board) Place() (i, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.loaded {
		return 0, 0
	}
	if b.q.cfg.URL == "" {
		return 0, 1
	}
	now := time.Now()
	if b.joined.IsZero() || now.Sub(b.joined) < joinFor || now.Sub(b.beaten) > liveFor {
		return 0, 0
	}
	ids := []string{b.id}
	for id, at := range b.workers {
		if id != b.id && now.Sub(at) <= liveFor {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Index(ids, b.id), len(ids)
}

// State implements pipeline.Board.
func (b *Board) State(sink string) pipeline.SinkState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return pipeline.SinkState{Pause: b.pauses[sink].value, Breaker: b.breaker[sink].value}
}

// Changed implements pipeline.Board.
func (b *Board) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// notify tells those who wait. b.mu is held.
func (b *Board) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// SetBreaker implements pipeline.Board.
func (b *Board) SetBreaker(ctx context.Context, sink string, from, to pipeline.Breaker) (bool, error) {
	l, err := b.q.current()
	if err != nil {
		return false, err
	}
	b.mu.Lock()
	was := b.breaker[sink]
	b.mu.Unlock()
	if !was.value.Same(from) {
		return false, nil
	}
	key := keyBreaker + token(sink)
	value, err := json.Marshal(to)
	if err != nil {
		return false, fmt.Errorf("encode the breaker of sink %q: %w", sink, err)
	}
	now := entry[pipeline.Breaker]{value: to, live: to.Open(), revision: was.revision}
	switch {
	case !to.Open() && !was.live:
		return true, nil
	case !to.Open():
		err = l.state.Delete(ctx, key, jetstream.LastRevision(was.revision))
	case was.live:
		now.revision, err = l.state.Update(ctx, key, value, was.revision)
	default:
		now.revision, err = l.state.Create(ctx, key, value)
	}
	if conflict(err) {
		// Another worker was faster, and the news has not come yet.
		if e, gerr := l.state.Get(ctx, key); gerr == nil {
			b.take(e)
		}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("store the breaker of sink %q: %w", sink, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.breaker[sink].revision <= now.revision {
		b.breaker[sink] = now
		b.notify()
	}
	return true, nil
}

// conflict reports whether a key was no longer as expected.
func conflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// PauseSink stops a sink in all processes on this queue, until ResumeSink; one that is paused gets the new reason.
func (b *Board) PauseSink(ctx context.Context, sink, reason string) error {
	l, err := b.q.current()
	if err != nil {
		return fmt.Errorf("pause sink %q: %w", sink, err)
	}
	p := pipeline.Pause{Since: b.q.cfg.Now().UTC(), Reason: reason}
	value, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("pause sink %q: %w", sink, err)
	}
	revision, err := l.state.Put(ctx, keyPause+token(sink), value)
	if err != nil {
		return fmt.Errorf("pause sink %q: %w", sink, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pauses[sink].revision < revision {
		b.pauses[sink] = entry[pipeline.Pause]{p, revision, true}
		b.notify()
	}
	return nil
}

// ResumeSink ends a pause; what is not paused stays so.
func (b *Board) ResumeSink(ctx context.Context, sink string) error {
	l, err := b.q.current()
	if err != nil {
		return fmt.Errorf("resume sink %q: %w", sink, err)
	}
	b.mu.Lock()
	was := b.pauses[sink]
	b.mu.Unlock()
	if err := l.state.Delete(ctx, keyPause+token(sink)); err != nil {
		return fmt.Errorf("resume sink %q: %w", sink, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pauses[sink].revision == was.revision {
		b.pauses[sink] = entry[pipeline.Pause]{revision: was.revision}
		b.notify()
	}
	return nil
}

// Join makes this process a worker that the others share with. It ends when the queue is closed.
func (b *Board) Join() {
	if b.q.cfg.URL == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			b.beat(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leave = func() { cancel(); <-done }
}

// beat says that we live, and forgets those that do not.
func (b *Board) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beatEvery)
	defer cancel()
	l, err := b.q.current()
	if err != nil {
		return
	}
	before := time.Now()
	_, err = l.state.Put(ctx, keyWorker+b.id, nil)
	if err != nil && b.restore(ctx, l) {
		_, err = l.state.Put(ctx, keyWorker+b.id, nil)
	}
	if err != nil {
		b.q.cfg.Log.Warn("tell the other workers that this one lives", "error", err)
		return
	}
	if made, err := bucketMade(ctx, l); err == nil {
		b.compare(made)
	}
	dead := b.heard(before)
	for _, id := range dead {
		b.q.cfg.Log.Warn("a worker was not heard of; the others take its share of the sinks", "worker", id, "for", liveFor)
		if err := l.state.Purge(ctx, keyWorker+id, jetstream.PurgeTTL(time.Hour)); err == nil {
			b.mu.Lock()
			delete(b.workers, id)
			b.mu.Unlock()
		}
	}
}

// heard notes that the others have been told at that time that we live, and returns the workers that are dead.
func (b *Board) heard(at time.Time) (dead []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at.Sub(b.beaten) > liveFor {
		// The first time, or the first after a while without the queue: nobody was heard in it, and what is known of the others
		// is as old. They have as long as ever to be heard, and a moment to hear of us.
		for id := range b.workers {
			b.workers[id] = at
		}
		b.joined = time.Now()
		time.AfterFunc(joinFor, func() { b.mu.Lock(); defer b.mu.Unlock(); b.notify() })
	}
	b.beaten = at
	for id, last := range b.workers {
		if id != b.id && at.Sub(last) > liveFor {
			dead = append(dead, id)
		}
	}
	if len(dead) > 0 {
		b.notify()
	}
	return dead
}

// part takes this worker from the board, when its last attempt is over.
func (b *Board) part() {
	b.mu.Lock()
	leave := b.leave
	b.leave, b.joined = nil, time.Time{}
	b.mu.Unlock()
	if leave == nil {
		return
	}
	leave()
	l := b.q.link.Load()
	if l == nil || !l.ctl.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := l.state.Purge(ctx, keyWorker+b.id, jetstream.PurgeTTL(time.Hour)); err != nil {
		b.q.cfg.Log.Warn("tell the other workers that this one leaves", "error", err)
	}
}

// watch keeps the board up to date until the queue is closed.
func (b *Board) watch() {
	for b.q.ending.Err() == nil {
		l, err := b.q.current()
		if err == nil {
			err = b.watchOn(l)
		}
		if err != nil && !errors.Is(err, errDown) && b.q.ending.Err() == nil {
			b.q.cfg.Log.Warn("watch what the workers share", "error", err)
		}
		if err != nil {
			sleep(b.q.ending, fetchPause) //nolint:errcheck // the loop looks at it
		}
	}
}

func (b *Board) watchOn(l *link) error {
	ctx, cancel := context.WithTimeout(b.q.ending, watchFor)
	defer cancel()
	defer context.AfterFunc(l.gone, cancel)()
	made, err := bucketMade(ctx, l)
	if err != nil {
		return err
	}
	b.readAnew(made, cancel)
	w, err := l.state.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer w.Stop() //nolint:errcheck // it ends with its connection otherwise
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			if !ok {
				return nil
			}
			if e != nil {
				b.take(e)
				continue
			}
			b.mu.Lock()
			if !b.loaded {
				b.loaded = true
				b.notify()
			}
			b.mu.Unlock()
		}
	}
}

// take puts what was read of the bucket on the board.
func (b *Board) take(e jetstream.KeyValueEntry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	live := e.Operation() == jetstream.KeyValuePut
	if id, ok := strings.CutPrefix(e.Key(), keyWorker); ok {
		_, known := b.workers[id]
		if !live {
			delete(b.workers, id)
		} else {
			b.workers[id] = time.Now()
		}
		if known != live {
			b.notify()
		}
		return
	}
	var err error
	if sink, ok := strings.CutPrefix(e.Key(), keyPause); ok {
		err = takeInto(b.pauses, sink, e, live)
	} else if sink, ok := strings.CutPrefix(e.Key(), keyBreaker); ok {
		err = takeInto(b.breaker, sink, e, live)
	}
	if err != nil {
		b.q.cfg.Log.Error("read what the workers share", "key", e.Key(), "error", err)
		return
	}
	b.notify()
}

// takeInto keeps an entry that is newer than what is known.
func takeInto[T any](m map[string]entry[T], key string, e jetstream.KeyValueEntry, live bool) error {
	sink, err := untoken(key)
	if err != nil || e.Revision() <= m[sink].revision {
		return err
	}
	v := entry[T]{revision: e.Revision(), live: live}
	if live {
		if err := json.Unmarshal(e.Value(), &v.value); err != nil {
			return err
		}
	}
	m[sink] = v
	return nil
}
