package queue

import (
	"testing"
	"time"
)

func TestMemoryIsSharedAndForgets(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		one, other := q.Memory(), q.Memory()
		ctx := t.Context()
		if _, ok, err := one.Get(ctx, "passed.*>"); ok || err != nil {
			t.Fatalf("found %v, %v", ok, err)
		}
		first, second := time.Unix(1_800_000_000, 5), time.Unix(1_800_000_100, 0)
		for _, at := range []time.Time{first, second} {
			if err := one.Put(ctx, "passed.*>", at, time.Hour); err != nil {
				t.Fatal(err)
			}
			if got, ok, err := other.Get(ctx, "passed.*>"); !ok || err != nil || !got.Equal(at) {
				t.Fatalf("got %v, %v, %v; put %v", got, ok, err, at)
			}
		}
		if err := other.Put(ctx, "brief", first, time.Millisecond); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the server forgets", func() bool {
			_, ok, err := one.Get(ctx, "brief")
			return !ok && err == nil
		})
		if _, ok, _ := one.Get(ctx, "passed.*>"); !ok {
			t.Error("what is to be kept is gone")
		}
	})
}

func TestMemoryOutlivesARestart(t *testing.T) {
	t.Parallel()
	open := embedded(t, t.TempDir())
	q := mustOpen(t, open)
	at := time.Unix(1_800_000_000, 0)
	if err := q.Memory().Put(t.Context(), "k", at, time.Hour); err != nil {
		t.Fatal(err)
	}
	m := q.Memory()
	closeQueue(t, q)
	if _, _, err := m.Get(t.Context(), "k"); err == nil {
		t.Error("a closed queue answers")
	}
	if got, ok, err := mustOpen(t, open).Memory().Get(t.Context(), "k"); !ok || err != nil || !got.Equal(at) {
		t.Errorf("got %v, %v, %v", got, ok, err)
	}
}
