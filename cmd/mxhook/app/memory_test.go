package app

import (
	"log/slog"
	"testing"
)

func TestMemoryLimitGrowsWithSchedulesAndShrinksAgain(t *testing.T) {
	t.Parallel()
	set := []int64{}
	m := &memoryLimit{base: 768 << 20, log: slog.New(slog.DiscardHandler), set: func(n int64) { set = append(set, n) }}
	for _, n := range []int64{0, 100, 40_000, 1_000_000, 1_000_100, 0} {
		m.scheduled(n)
	}
	want := []int64{768 << 20, 768<<20 + 1_000_000<<10, 768 << 20}
	if len(set) != len(want) || set[0] != want[0] || set[1] != want[1] || set[2] != want[2] {
		t.Errorf("limits %v, want %v", set, want)
	}
	given := &memoryLimit{set: func(n int64) { t.Errorf("a limit of the environment became %d", n) }}
	given.scheduled(1_000_000)
}
