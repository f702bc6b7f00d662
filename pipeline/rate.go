package pipeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate bounds how many attempts start in any stretch of time as long as Per. The zero value is no bound.
type Rate struct {
	Count int
	Per   time.Duration
}

// MaxRateCount bounds Rate.Count: the start of that many attempts is remembered.
const MaxRateCount = 100_000

// ParseRate reads "10/s", "600/m" or "5000/h"; "" is no bound.
func ParseRate(s string) (Rate, error) {
	if s == "" {
		return Rate{}, nil
	}
	count, per, ok := strings.Cut(s, "/")
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}
	n, err := strconv.Atoi(count)
	unit := units[per]
	if !ok || err != nil || unit == 0 {
		return Rate{}, fmt.Errorf("%q is not a rate: write a number and a unit of time, as in 10/s, 600/m or 5000/h", s)
	}
	if n < 1 || n > MaxRateCount {
		return Rate{}, fmt.Errorf("rate %q: the number must be from 1 to %d", s, MaxRateCount)
	}
	return Rate{n, unit}, nil
}

// String writes the rate as ParseRate reads it.
func (r Rate) String() string {
	switch r.Per {
	case time.Second:
		return fmt.Sprintf("%d/s", r.Count)
	case time.Minute:
		return fmt.Sprintf("%d/m", r.Count)
	case time.Hour:
		return fmt.Sprintf("%d/h", r.Count)
	}
	return ""
}

// window remembers when the newest attempts started, oldest first.
type window struct {
	starts []time.Time
}

// free is how many may start now, and next, when that is none, when one may. count 0 is none ever, and next zero.
func (w *window) free(now time.Time, count int, per time.Duration) (n int, next time.Time) {
	gone := 0
	for gone < len(w.starts) && !w.starts[gone].Add(per).After(now) {
		gone++
	}
	w.starts = w.starts[gone:]
	if n = count - len(w.starts); n > 0 {
		return n, time.Time{}
	}
	if count == 0 {
		return 0, time.Time{}
	}
	return 0, w.starts[len(w.starts)-count].Add(per)
}

func (w *window) note(now time.Time) { w.starts = append(w.starts, now) }
