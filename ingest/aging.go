package ingest

import "time"

// aging is a bounded map that forgets what nobody touched for a while: after one period at the earliest, after two at
// the latest, and earlier when it would hold more than max entries. Its owner locks it.
type aging[K comparable, V any] struct {
	period     time.Duration
	max        int
	young, old map[K]V
	turned     time.Time
}

func newAging[K comparable, V any](period time.Duration, limit int) *aging[K, V] {
	return &aging[K, V]{period: period, max: limit, young: make(map[K]V)}
}

// get returns an entry and keeps it young.
func (a *aging[K, V]) get(key K, now time.Time) (V, bool) {
	a.turn(now)
	if v, ok := a.young[key]; ok {
		return v, true
	}
	v, ok := a.old[key]
	if ok {
		a.put(key, v, now)
	}
	return v, ok
}

// put sets an entry.
func (a *aging[K, V]) put(key K, v V, now time.Time) {
	a.turn(now)
	if _, ok := a.young[key]; !ok && len(a.young) >= a.max/2 {
		a.old, a.young, a.turned = a.young, make(map[K]V), now
	}
	a.young[key] = v
}

// turn makes the young entries old when the period is over.
func (a *aging[K, V]) turn(now time.Time) {
	switch age := now.Sub(a.turned); {
	case age >= 2*a.period:
		a.old, a.young, a.turned = nil, make(map[K]V), now
	case age >= a.period:
		a.old, a.young, a.turned = a.young, make(map[K]V), now
	}
}
