package ingest

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"
)

// refused counts a refusal and writes it into the log, with its one stable reason.
func (s *Server) refused(log *slog.Logger, r *Reply, message string, cause error) {
	reason := cmp.Or(r.Reason, "recipients")
	s.metrics.refusals.WithLabelValues(reason).Inc()
	more, ok := s.refusals.admit(reason, time.Now())
	if !ok {
		return
	}
	attrs := []slog.Attr{slog.String("reason", reason), slog.String("reply", r.Error())}
	if message != "" {
		attrs = append(attrs, slog.String("message", message))
	}
	if cause != nil {
		attrs = append(attrs, slog.Any("error", cause))
	}
	if more > 0 {
		attrs = append(attrs, slog.Int("more_unlogged", more))
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "refused", attrs...)
}

// refusalsPerSecond is how many lines a second one reason may write: a flood must not fill the disk.
const refusalsPerSecond = 20

// refusalLog decides which refusals are written into the log. The zero value is ready.
type refusalLog struct {
	mu      sync.Mutex
	reasons map[string]*refusalCount
}

type refusalCount struct {
	second              int64
	written, suppressed int
}

// admit reports whether a refusal is written, and how many of the same reason were not since the last that was.
func (l *refusalLog) admit(reason string, now time.Time) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reasons == nil {
		l.reasons = make(map[string]*refusalCount)
	}
	c := l.reasons[reason]
	if c == nil {
		c = &refusalCount{}
		l.reasons[reason] = c
	}
	if second := now.Unix(); c.second != second {
		c.second, c.written = second, 0
	}
	if c.written >= refusalsPerSecond {
		c.suppressed++
		return 0, false
	}
	c.written++
	suppressed, c.suppressed = c.suppressed, 0
	return suppressed, true
}
