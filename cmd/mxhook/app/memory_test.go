package app

import (
	"log/slog"
	"slices"
	"testing"
	"time"
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

func TestLargeMessagesHaveTheCollectorAtWorkEarlyAndLessMemory(t *testing.T) {
	t.Parallel()
	var limits []int64
	var percents []int
	m := &memoryLimit{
		base: 16_000, limit: 16_000, room: 300, many: 75, percent: 100, linger: time.Hour, log: slog.New(slog.DiscardHandler),
		set:        func(n int64) { limits = append(limits, n) },
		setPercent: func(n int) int { percents = append(percents, n); return 0 },
		resting:    func() int64 { return 200 },
	}
	want := func(step string, l []int64, p []int) {
		t.Helper()
		if !slices.Equal(limits, l) || !slices.Equal(percents, p) {
			t.Errorf("%s: limits %v, percents %v, want %v, %v", step, limits, percents, l, p)
		}
	}
	m.large(50)
	m.large(25)
	want("some", nil, []int{largePercent})
	m.large(1)
	m.large(1)
	want("many", []int64{500}, []int{largePercent})
	m.scheduled(0)
	m.large(-50)
	m.large(-27)
	want("none any more, and it lingers", []int64{500}, []int{largePercent})
	m.large(1)
	m.asUsual() // a timer that was late to stop
	want("one again", []int64{500}, []int{largePercent})
	m.large(-1)
	m.over.Stop()
	m.asUsual()
	want("over", []int64{500, 16_000}, []int{largePercent, 100})
	m.resting = func() int64 { return 15_900 }
	m.large(100)
	want("never above the usual limit", []int64{500, 16_000, 16_000}, []int{largePercent, 100, largePercent})
}

func TestWhatTheEnvironmentSetsOfTheCollectorStands(t *testing.T) {
	t.Parallel()
	m := &memoryLimit{
		linger: time.Hour, log: slog.New(slog.DiscardHandler),
		resting:    func() int64 { return 0 },
		set:        func(n int64) { t.Errorf("the limit became %d", n) },
		setPercent: func(n int) int { t.Errorf("the percentage became %d", n); return 0 },
	}
	m.large(1)
	m.large(-1)
	m.over.Stop()
	m.asUsual()
}
