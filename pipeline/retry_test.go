package pipeline

import (
	"testing"
	"time"
)

func TestScheduleIsTheOneOfTheContract(t *testing.T) {
	s := DefaultSchedule()
	want := []time.Duration{
		5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
		12 * time.Hour, 12 * time.Hour,
	}
	for i, w := range want {
		if got := s.Delay(i+1, 0, 0.5); got != w {
			t.Errorf("delay after attempt %d = %v, want %v", i+1, got, w)
		}
	}
	if s.MaxAge != 7*24*time.Hour {
		t.Errorf("max age = %v, want 7 days", s.MaxAge)
	}
}

func TestDelayStaysWithinJitter(t *testing.T) {
	s := DefaultSchedule()
	for _, tc := range []struct {
		random float64
		want   time.Duration
	}{{0, 48 * time.Second}, {0.5, time.Minute}, {0.999999, 72 * time.Second}} {
		if got := s.Delay(2, 0, tc.random).Round(time.Millisecond); got != tc.want {
			t.Errorf("random %v: delay %v, want %v", tc.random, got, tc.want)
		}
	}
}

func TestDelayHonoursRetryAfterUpToTwiceTheStep(t *testing.T) {
	s := DefaultSchedule()
	for _, tc := range []struct{ asked, want time.Duration }{
		{0, time.Minute},
		{10 * time.Second, time.Minute}, // never sooner than the schedule
		{90 * time.Second, 90 * time.Second},
		{time.Hour, 2 * time.Minute},
	} {
		if got := s.Delay(2, tc.asked, 0.5); got != tc.want {
			t.Errorf("asked for %v: delay %v, want %v", tc.asked, got, tc.want)
		}
	}
}
