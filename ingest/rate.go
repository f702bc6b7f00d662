package ingest

import (
	"sync"
	"time"
)

// maxBuckets bounds the keys that a limiter remembers.
const maxBuckets = 100_000

// limiter lets n things of a key happen in every period, all at once or spread. It is safe for concurrent use.
type limiter[K comparable] struct {
	n      float64
	period time.Duration

	mu      sync.Mutex
	buckets *aging[K, bucket] // one that was not touched for a period is full, and need not be remembered
}

// bucket had that many tokens at that time.
type bucket struct {
	tokens float64
	at     time.Time
}

// newLimiter returns nil, which allows everything, for n = 0.
func newLimiter[K comparable](n int, period time.Duration) *limiter[K] {
	if n <= 0 {
		return nil
	}
	return &limiter[K]{n: float64(n), period: period, buckets: newAging[K, bucket](period, maxBuckets)}
}

// allow reports whether one more may happen, and counts it.
func (l *limiter[K]) allow(key K, now time.Time) bool { return l.ask(key, now, 1) }

// wouldAllow reports whether one more may happen.
func (l *limiter[K]) wouldAllow(key K, now time.Time) bool { return l.ask(key, now, 0) }

func (l *limiter[K]) ask(key K, now time.Time, cost float64) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets.get(key, now)
	if !ok {
		b = bucket{l.n, now}
	}
	if passed := now.Sub(b.at); passed > 0 {
		b.tokens = min(l.n, b.tokens+l.n*float64(passed)/float64(l.period))
		b.at = now
	}
	if b.tokens < 1 {
		l.buckets.put(key, b, now)
		return false
	}
	if b.tokens -= cost; cost > 0 {
		l.buckets.put(key, b, now)
	}
	return true
}
