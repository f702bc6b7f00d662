package ingest

import (
	"net/netip"
	"sync"
)

// registry knows every connection: it counts them against the limits and reaches them when the server drains.
type registry struct {
	limit, limitPerIP int

	mu       sync.Mutex
	reserved int // goroutines, with those that only say 421
	conns    map[*wire]netip.Prefix
	perIP    map[netip.Prefix]int
	draining bool
}

// refusals is how many connections beyond the limit may be in the middle of being told 421.
const refusals = 64

func newRegistry(limit, limitPerIP int) *registry {
	return &registry{limit: limit, limitPerIP: limitPerIP, conns: make(map[*wire]netip.Prefix), perIP: make(map[netip.Prefix]int)}
}

// reserve takes a place for a connection's goroutine; false means that not even a refusal can be afforded.
func (r *registry) reserve() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reserved >= r.limit+refusals {
		return false
	}
	r.reserved++
	return true
}

func (r *registry) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reserved--
}

// enter registers a connection, or returns the reply that refuses it and the reason as a metric label.
// It is asked in the connection's goroutine, where the client's address is known for certain.
func (r *registry) enter(w *wire, ip netip.Addr) (refusal *Reply, reason string) {
	key := ipKey(ip)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining:
		return replyDraining, "draining"
	case len(r.conns) >= r.limit:
		return replyTooManyConnections, "limit"
	case r.perIP[key] >= r.limitPerIP:
		return replyTooManyFromIP, "limit_per_ip"
	}
	r.conns[w] = key
	r.perIP[key]++
	return nil, ""
}

// leave forgets a connection; it does nothing for one that was refused.
func (r *registry) leave(w *wire) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, ok := r.conns[w]
	if !ok {
		return
	}
	delete(r.conns, w)
	if r.perIP[key]--; r.perIP[key] == 0 {
		delete(r.perIP, key)
	}
}

// drain lets no one in any more and wakes every session that is idle.
func (r *registry) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
	for w := range r.conns {
		w.drain()
	}
}

// closeAll closes every connection by force and returns their number.
func (r *registry) closeAll() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.conns {
		w.abort()
	}
	return len(r.conns)
}

// open returns the number of sessions.
func (r *registry) open() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return float64(len(r.conns))
}

// ipKey is what connections are counted by: an IPv4 address, or the /64 that one IPv6 client usually owns.
func ipKey(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits) // the zero address gives the zero prefix: all of unknown address count together
	return prefix
}
