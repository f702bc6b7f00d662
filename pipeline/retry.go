package pipeline

import "time"

// Schedule is the retry clock of a sink. The zero value is not usable; see DefaultSchedule.
type Schedule struct {
	// Steps are the delays before attempt 2, 3, ...; after the last one every further delay is Every.
	Steps []time.Duration
	Every time.Duration
	// Jitter spreads each delay by up to this fraction in both directions, 0 to 1.
	Jitter float64
	// MaxAge is how long after Delivery.First a delivery is given up.
	MaxAge time.Duration
}

// DefaultSchedule is what the contract promises: 5 s, 1 min, 5 min, 30 min, 2 h, 5 h, 10 h, then every 12 h up to 7 days,
// each ±20 %.
func DefaultSchedule() Schedule {
	return Schedule{
		Steps: []time.Duration{
			5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
		},
		Every:  12 * time.Hour,
		Jitter: 0.2,
		MaxAge: 7 * 24 * time.Hour,
	}
}

// Step returns the delay that follows the failed attempt of that number (from 1), without jitter.
func (s Schedule) Step(attempt int) time.Duration {
	if attempt >= 1 && attempt <= len(s.Steps) {
		return s.Steps[attempt-1]
	}
	return s.Every
}

// Delay returns how long to wait after the failed attempt of that number. asked is what the other side named
// (0: nothing); it is honoured up to twice the schedule's step and never shortens it. random is in [0, 1).
func (s Schedule) Delay(attempt int, asked time.Duration, random float64) time.Duration {
	step := s.Step(attempt)
	d := time.Duration(float64(step) * (1 + s.Jitter*(2*random-1)))
	if asked > d {
		d = min(asked, 2*step)
	}
	return d
}
