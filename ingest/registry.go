package ingest

import (
	"net/netip"
	"sync"
)

// registry knows every connection: it counts them against the limits and reaches them when the server drains.
type registry struct {
	limit, limitPerIP, limitPerNetwork int // the last two: 0 is no limit

	mu       sync.Mutex
	reserved int // goroutines, with those that only say 421
	conns    map[*wire]clientKeys
	counts   map[netip.Prefix]int
	draining bool
}

// clientKeys are what a client is counted by: its address (IPv6: the /64 that one client usually owns) and the network
// around it, an IPv4 /24 or an IPv6 /48. Zero as long as a connection is not counted by its client.
type clientKeys struct{ address, network netip.Prefix }

// refusals is how many connections beyond the limit may be in the middle of being told 421.
const refusals = 64

func newRegistry(l Limits) *registry {
	return &registry{
		limit: l.Connections, limitPerIP: l.ConnectionsPerIP, limitPerNetwork: l.ConnectionsPerNetwork,
		conns: make(map[*wire]clientKeys), counts: make(map[netip.Prefix]int),
	}
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

// enter registers a connection, or returns the reply that refuses it.
func (r *registry) enter(w *wire) *Reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining:
		return replyDraining
	case len(r.conns) >= r.limit:
		return replyTooManyConnections
	}
	r.conns[w] = clientKeys{}
	return nil
}

// identify counts a connection by its client, instead of the client it was counted by before; or it returns the reply
// that refuses it. It is asked when the client's address is known for certain, behind a balancer too.
func (r *registry) identify(w *wire, ip netip.Addr) *Reply {
	keys := keysOf(ip)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(r.conns[w])
	r.conns[w] = clientKeys{}
	switch {
	case r.limitPerIP > 0 && r.counts[keys.address] >= r.limitPerIP:
		return replyTooManyFromIP
	case r.limitPerNetwork > 0 && r.counts[keys.network] >= r.limitPerNetwork:
		return replyTooManyFromNetwork
	}
	r.conns[w] = keys
	r.counts[keys.address]++
	r.counts[keys.network]++
	return nil
}

// forget takes a client's connection out of the counts.
func (r *registry) forget(keys clientKeys) {
	if keys == (clientKeys{}) {
		return
	}
	for _, key := range []netip.Prefix{keys.address, keys.network} {
		if r.counts[key]--; r.counts[key] == 0 {
			delete(r.counts, key)
		}
	}
}

// leave forgets a connection; it does nothing for one that was refused.
func (r *registry) leave(w *wire) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(r.conns[w])
	delete(r.conns, w)
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

// keysOf returns what a client is counted by. All of unknown address count together.
func keysOf(ip netip.Addr) clientKeys {
	ip = ip.Unmap().WithZone("")
	switch {
	case ip.Is4():
		return clientKeys{prefixOf(ip, 32), prefixOf(ip, 24)}
	case ip.Is6():
		return clientKeys{prefixOf(ip, 64), prefixOf(ip, 48)}
	}
	unknown := netip.PrefixFrom(netip.IPv4Unspecified(), 32)
	return clientKeys{unknown, netip.PrefixFrom(netip.IPv4Unspecified(), 24)}
}

func prefixOf(ip netip.Addr, bits int) netip.Prefix {
	p, _ := ip.Prefix(bits) // the bits fit the family
	return p
}
