package queue

import (
	"sync"
	"time"
)

// writers are those that have begun and not ended.
type writers struct {
	mu  sync.Mutex
	set map[*Writer]struct{}
}

func (ws *writers) add(w *Writer) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.set == nil {
		ws.set = map[*Writer]struct{}{}
	}
	ws.set[w] = struct{}{}
}

func (ws *writers) remove(w *Writer) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.set, w)
}

func (ws *writers) all() []*Writer {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	all := make([]*Writer, 0, len(ws.set))
	for w := range ws.set {
		all = append(all, w)
	}
	return all
}

// has reports whether a message of that key is under way.
func (ws *writers) has(key string) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.set {
		if token(w.key) == key {
			return true
		}
	}
	return false
}

// crowded reports whether more than half of Config.InFlight would be used with n bytes more: memory is then for
// those who send, not for those who hold.
func (q *Queue) crowded(n int64) bool { return q.inFlightBytes.Load()+n > q.cfg.InFlight/2 }

// flushStalled stores, when memory is crowded, what clients have sent that send no more just now, as parts.
func (q *Queue) flushStalled() {
	if !q.crowded(0) || q.admit(0) != nil {
		return
	}
	before := time.Now().Add(-q.cfg.stallFor)
	for _, w := range q.writers.all() {
		w.flush(before)
	}
}

// flush sends the buffer of a writer that took nothing since. One that is at work has its lock, and is not stalled.
func (w *Writer) flush(before time.Time) {
	if !w.mu.TryLock() {
		return
	}
	defer w.mu.Unlock()
	if !w.ended && w.err == nil && len(w.buf) > 0 && w.last.Before(before) && len(w.parts)-w.done < partWindow {
		w.send()
	}
}
