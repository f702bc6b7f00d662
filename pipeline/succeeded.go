package pipeline

import (
	"crypto/sha256"
	"sync"
)

// maxSucceeded bounds succeeded: some 4 MB.
const maxSucceeded = 1 << 16

// succeeded remembers the newest deliveries that succeeded in this process. A crash, or an answer of the queue that got
// lost, leaves copies of some that wait, under the same id: they need no attempt any more. A delivery under that id that is
// for others, as rules made it that were reloaded in between, does. It knows id and recipients by half of their
// SHA-256, of which no two are the same by accident. The zero value is ready; safe for concurrent use.
type succeeded struct {
	mu    sync.Mutex
	known map[[16]byte]struct{}
	order [][16]byte
	next  int // the oldest of order, once that is full
}

func (s *succeeded) has(d *Delivery) bool {
	h := markOf(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.known[h]
	return ok
}

func (s *succeeded) add(d *Delivery) {
	h := markOf(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.known[h]; ok {
		return
	}
	if s.known == nil {
		s.known = map[[16]byte]struct{}{}
	}
	s.known[h] = struct{}{}
	if len(s.order) < maxSucceeded {
		s.order = append(s.order, h)
		return
	}
	delete(s.known, s.order[s.next])
	s.order[s.next] = h
	s.next = (s.next + 1) % maxSucceeded
}

func markOf(d *Delivery) (mark [16]byte) {
	h := sha256.New()
	h.Write([]byte(d.ID))
	for _, r := range d.Recipients {
		h.Write([]byte{0})
		h.Write([]byte(r.Address))
	}
	copy(mark[:], h.Sum(nil))
	return mark
}
