package app

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"mxhook/configs"
)

const (
	// memoryOverhead is what the process needs besides the messages it holds: the embedded server, its caches, sessions;
	// memoryPerScheduled what the embedded server needs for a delivery whose next attempt has a time.
	memoryOverhead     = 256 << 20
	memoryPerScheduled = 1 << 10
	// largePercent is the garbage, in percent of what lives, that may gather while large messages are under way: one of
	// them leaves several times its size, in copies and in blocks that the embedded server reads.
	largePercent = 25
	// largeLinger is how long that outlasts the last of them.
	largeLinger = time.Second
	// leastRoom is what large messages may take at least, however low limits.memory is: a few blocks of the embedded server,
	// and one message. With less the collector would do little but free blocks that are read again at once.
	leastRoom = 128 << 20
	// mostInFlight bounds the octets of messages on their way into the queue.
	mostInFlight = 64 << 20
)

// handled is what the octets of all messages that are worked on may take: the other half of limits.memory is for the work.
func handled(c *configs.Config) int64 { return int64(c.Limits.Memory) / 2 }

// inFlight is what those of messages that come in may take: as much as the queue asks for at least.
func inFlight(c *configs.Config) int64 {
	return max(min(int64(c.Limits.Memory)/4, mostInFlight), 8*int64(c.Queue.Inline))
}

// memoryLimit makes the garbage collector keep the process near what it needs: cold reads of the embedded queue load
// whole blocks, which would otherwise pile up. While large messages are under way it collects early, and while there are many
// keeps what they take to limits.memory above what the process took before. What the environment sets (GOMEMLIMIT, GOGC) stands. Its
// methods are safe for concurrent use.
type memoryLimit struct {
	set        func(int64)
	setPercent func(int) int
	resting    func() int64 // what the process takes without garbage
	linger     time.Duration
	log        *slog.Logger

	mu          sync.Mutex
	base, limit int64 // base is 0 when the limit is not ours
	// room is for large messages: limits.memory less an eighth for what the limit does not count.
	room    int64
	percent int   // what the collector goes by usually; 0 when that is not ours
	octets  int64 // of large messages under way
	many    int64 // the octets above which the limit is lowered
	// rested is what the process took when the first of them came, tight says that the limit is that and room.
	rested int64
	tight  bool
	// early says that the collector collects early, over is what ends it when no message has come by then.
	early bool
	over  *time.Timer
}

func newMemoryLimit(c *configs.Config, log *slog.Logger) *memoryLimit {
	m := &memoryLimit{
		set: func(n int64) { debug.SetMemoryLimit(n) }, setPercent: debug.SetGCPercent, resting: resting,
		linger: largeLinger, log: log, room: max(int64(c.Limits.Memory)/8*7, leastRoom),
		many: handled(c) / 8 * 7,
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		m.base = 2*int64(c.Limits.Memory) + memoryOverhead
		m.scheduled(0)
	}
	if os.Getenv("GOGC") == "" {
		m.percent = 100
	}
	return m
}

// scheduled makes room for what the embedded server keeps of that many deliveries. A collector that is kept below what
// lives does nothing but collect.
func (m *memoryLimit) scheduled(deliveries int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	limit := m.base + deliveries*memoryPerScheduled
	if m.base == 0 || max(limit-m.limit, m.limit-limit) < m.base/16 {
		return
	}
	m.limit = limit
	if !m.tight {
		m.set(limit)
	}
	m.log.Debug("memory limit set", "bytes", limit)
}

// large is told of the octets of large messages that begin to be under way, and, below 0, of those that cease to be. A few
// are left to the collector's percentage: under a limit that is near, it collects for each block that the server reads.
func (m *memoryLimit) large(change int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.octets += change
	if m.octets == 0 {
		if m.early && m.over == nil {
			m.over = time.AfterFunc(m.linger, m.asUsual)
		}
		return
	}
	if m.over != nil {
		m.over.Stop()
		m.over = nil
	}
	if !m.early {
		m.early, m.rested = true, m.resting()
		if m.percent > 0 {
			m.setPercent(largePercent)
		}
	}
	if !m.tight && m.base > 0 && m.octets > m.many {
		m.tight = true
		m.set(min(m.limit, m.rested+m.room))
	}
}

// asUsual ends what large began, unless there is a large message again.
func (m *memoryLimit) asUsual() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.octets > 0 || !m.early {
		return
	}
	m.early, m.over = false, nil
	if m.percent > 0 {
		m.setPercent(m.percent)
	}
	if m.tight {
		m.tight = false
		m.set(m.limit)
	}
}

// resting is what lived when the last collection ended, a quarter more, and what is no heap.
func resting() int64 {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
	}
	metrics.Read(s)
	of := func(i int) int64 { return int64(s[i].Value.Uint64()) } //nolint:gosec // it fits in memory
	return of(0)*5/4 + of(1) - of(2) - of(3) - of(4) - of(5)
}
