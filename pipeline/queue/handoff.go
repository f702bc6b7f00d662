package queue

import (
	"sync"
	"time"
)

const (
	// maxHandoff bounds what is kept in mind of messages that were just taken, in bytes.
	maxHandoff = 16 * mib
	// handoffStale is how long none of them has to be asked for until all are forgotten.
	handoffStale = time.Minute
)

// handoff keeps in mind what this process has just stored, until it is handed out to be processed. The stream decides what
// exists and who handles it: a record that comes out of it as it went in need not be decoded and hashed once more, that is
// all. What is not found here is read as usual. The zero value is ready.
type handoff struct {
	mu    sync.Mutex
	of    map[string]*handed // by the id under which it was published
	bytes int
	last  time.Time // that something was taken, or that it was empty
}

// handed is a stored record. Nothing of it may be changed.
type handed struct {
	record mailRecord
	frame  []byte
	octets int // at the end of frame
}

// put keeps a record in mind, if there is room. What was found out about a message before it was taken is shared with
// whoever did so: such a message is not kept in mind.
func (h *handoff) put(id string, m *handed) {
	if m.record.Auth != nil || len(m.record.Problems) > 0 || len(m.record.Parts) > 0 {
		return
	}
	// As it would come out of the store, without the reading of the monotonic clock.
	m.record.Envelope.ReceivedAt = m.record.Envelope.ReceivedAt.Round(0)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.bytes == 0:
		h.last = time.Now()
		if h.of == nil {
			h.of = map[string]*handed{}
		}
	case h.bytes+cap(m.frame) > maxHandoff:
		if time.Since(h.last) < handoffStale {
			return
		}
		clear(h.of)
		h.bytes = 0
	}
	if old := h.of[id]; old != nil {
		h.bytes -= cap(old.frame)
	}
	h.of[id] = m
	h.bytes += cap(m.frame)
}

// take returns the record and forgets it; nil when it is not there.
func (h *handoff) take(id string) *handed {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.of[id]
	if m == nil {
		return nil
	}
	delete(h.of, id)
	h.bytes -= cap(m.frame)
	h.last = time.Now()
	return m
}
