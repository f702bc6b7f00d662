package queue

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// restore makes the bucket again when somebody has removed it from the server, with the pauses that this process knows of.
// Breakers open again by themselves. It reports whether there is a new one.
func (b *Board) restore(ctx context.Context, l *link) bool {
	if _, err := l.js.KeyValue(ctx, stateBucket); !errors.Is(err, jetstream.ErrBucketNotFound) {
		return false
	}
	kv, err := l.js.CreateKeyValue(ctx, b.q.stateConfig())
	if err != nil {
		if !errors.Is(err, jetstream.ErrBucketExists) { // another worker was faster
			b.q.cfg.Log.Warn("make the bucket again that somebody removed", "bucket", stateBucket, "error", err)
		}
		return false
	}
	b.mu.Lock()
	pauses := maps.Clone(b.pauses)
	b.mu.Unlock()
	for sink, p := range pauses {
		if !p.live {
			continue
		}
		value, err := json.Marshal(p.value)
		if err == nil {
			_, err = kv.Put(ctx, keyPause+token(sink), value)
		}
		if err != nil {
			b.q.cfg.Log.Error("keep a sink paused in the new bucket", "sink", sink, "error", err)
		}
	}
	b.q.cfg.Log.Warn("somebody removed the bucket of what the workers share; it is there again", "bucket", stateBucket)
	return true
}

// bucketMade returns when the bucket was made.
func bucketMade(ctx context.Context, l *link) (time.Time, error) {
	s, err := l.js.Stream(ctx, "KV_"+stateBucket)
	if err != nil {
		return time.Time{}, err
	}
	return s.CachedInfo().Created, nil
}

// readAnew is called before the bucket is read from its start; again does that once more. In another bucket than the one
// before (removed and made again, or brought back from a backup) revisions begin anew: what is known stays known until
// it is read there.
func (b *Board) readAnew(made time.Time, again func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.made.IsZero() && !made.Equal(b.made) {
		for sink, e := range b.pauses {
			e.revision = 0
			b.pauses[sink] = e
		}
		for sink, e := range b.breaker {
			e.revision = 0
			b.breaker[sink] = e
		}
	}
	b.made, b.again = made, again
}

// compare has the bucket read anew when it is not the one that is watched.
func (b *Board) compare(made time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.again != nil && !made.Equal(b.made) {
		b.q.noted.Clear()
		b.again()
	}
}
