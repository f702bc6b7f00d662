package load

import (
	"math"
	"sync/atomic"
	"time"
)

// Histogram counts times in buckets that grow by 5 %, from 10 µs to some hours. The zero value is empty and ready; it
// may be used concurrently.
type Histogram struct {
	buckets [512]atomic.Int64
	count   atomic.Int64
	longest atomic.Int64
}

const (
	shortest = float64(10 * time.Microsecond)
	growth   = 1.05
)

// Add counts one time.
func (h *Histogram) Add(d time.Duration) {
	i := 0
	if f := float64(d) / shortest; f > 1 {
		i = min(int(math.Log(f)/math.Log(growth))+1, len(h.buckets)-1)
	}
	h.buckets[i].Add(1)
	h.count.Add(1)
	for {
		old := h.longest.Load()
		if int64(d) <= old || h.longest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// Count is how many were counted.
func (h *Histogram) Count() int64 { return h.count.Load() }

// Max is the longest time.
func (h *Histogram) Max() time.Duration { return time.Duration(h.longest.Load()) }

// Quantile returns the time that a share q of all does not exceed, to within 5 %; 0 when there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := int64(math.Ceil(q * float64(h.count.Load())))
	var sum int64
	for i := range h.buckets {
		if sum += h.buckets[i].Load(); sum >= want && sum > 0 {
			return min(time.Duration(shortest*math.Pow(growth, float64(i))), h.Max())
		}
	}
	return 0
}
