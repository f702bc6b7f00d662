package queue

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// serverLog hands the embedded server's log to ours and listens for the lines that say that a stream can no longer
// be written to: the server stays up then and does not answer (disk full, I/O error).
type serverLog struct {
	log     *slog.Logger
	broken  func(reason string)
	fatally atomic.Pointer[string]
}

// Noticef is for the server's start and stop: of use when one looks for it.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(l.line(format, v)) }

// Warnf passes a warning on.
func (l *serverLog) Warnf(format string, v ...any) { l.log.Warn(l.line(format, v)) }

// Errorf passes an error on, and reports a broken store.
func (l *serverLog) Errorf(format string, v ...any) {
	line := l.line(format, v)
	l.log.Error(line)
	if low := strings.ToLower(line); strings.Contains(low, "critical write error") ||
		strings.Contains(low, "no space left") || strings.Contains(low, "jetstream out of") ||
		strings.Contains(low, "read-only file system") || strings.Contains(low, "input/output error") {
		l.broken(line)
	}
}

// Fatalf remembers why the server could not start; it does not end the process.
func (l *serverLog) Fatalf(format string, v ...any) {
	line := l.line(format, v)
	l.log.Error(line)
	l.fatally.Store(&line)
}

// Debugf and Tracef are never asked for.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef does nothing.
func (l *serverLog) Tracef(string, ...any) {}

func (l *serverLog) line(format string, v []any) string {
	return "nats-server: " + strings.TrimSpace(fmt.Sprintf(format, v...))
}
