package pipeline

import (
	"crypto/sha256"
	"sync"
)

// maxSucceeded bounds succeeded: some 4 MB.
const maxSucceeded = 1 << 16

// succeeded remembers the newest deliveries that succeeded in this process. A crash, or an answer of the queue that got
// lost, leaves copies of some that wait, under the same id: they need no attempt any more. It knows an id by half of its
// SHA-256, of which no two are the same by accident. The zero value is ready; safe for concurrent use.
type succeeded struct {
	mu    sync.Mutex
	known map[[16]byte]struct{}
	order [][16]byte
	next  int // the oldest of order, once that is full
}

func (s *succeeded) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.known[idHash(id)]
	return ok
}

func (s *succeeded) add(id string) {
	h := idHash(id)
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

func idHash(id string) [16]byte {
	sum := sha256.Sum256([]byte(id))
	return [16]byte(sum[:16])
}
