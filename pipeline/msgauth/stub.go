package msgauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// ResolverConfig says how to reach DNS. Zero values mean the defaults.
type ResolverConfig struct {
	// Servers are recursive resolvers, "host:port" each; empty: those of /etc/resolv.conf, or 127.0.0.1:53 when there
	// is no such file.
	Servers []string
	// Timeout bounds one exchange with one server; 3 s.
	Timeout time.Duration
	// Attempts is how often each server is asked before a lookup fails; 2.
	Attempts int
	// Validating says that the servers validate DNSSEC and that nobody can change their answers on the way, so that what
	// they call authentic (RFC 4035 3.2.3) is.
	Validating bool
	// CacheEntries bounds the answers kept; 10000. An answer above 8 KiB is not kept.
	CacheEntries int
	// Now is the clock of the cache; time.Now.
	Now func() time.Time
	// Log must not be nil.
	Log *slog.Logger
	// Registerer may be nil.
	Registerer prometheus.Registerer
}

// StubResolver asks recursive resolvers and remembers the answers for as long as their TTL says, within 30 s to 1 h
// (no such record: 30 s to 5 min), and failures for ten seconds (RFC 9520), so that a dead server holds up one mail and
// not each. Lookups for the same question that are under way at the
// same time share one exchange. It starts no goroutine, needs no Close, and is safe for concurrent use.
type StubResolver struct {
	servers    []string
	first      atomic.Uint32 // index of the server that answered last
	timeout    time.Duration
	attempts   int
	validating bool
	now        func() time.Time
	log        *slog.Logger
	metrics    *resolverMetrics
	cache      *lru.Cache[question, answer]

	mu      sync.Mutex
	flights map[question]*flight
}

// question is a name in the escaped form of miekg/dns, lower case and absolute, and a type.
type question struct {
	name  string
	qtype uint16
}

// answer is the records of the type asked for; none of them when the name or the type does not exist. err is set when
// all servers failed.
type answer struct {
	rrs []dns.RR
	// noName: there are no records because the name itself does not exist (RFC 8020).
	noName bool
	// authentic: a server that we trust has validated the whole of it by DNSSEC.
	authentic bool
	err       error
	expires   time.Time
}

// flight is a lookup under way; done is closed when answer and err are set.
type flight struct {
	done   chan struct{}
	answer answer
	err    error
}

// NewResolver returns a resolver. It fails only when a server's address or /etc/resolv.conf cannot be read; it asks
// nothing yet.
func NewResolver(cfg ResolverConfig) (*StubResolver, error) {
	servers := cfg.Servers
	if len(servers) == 0 {
		var err error
		if servers, err = systemServers("/etc/resolv.conf"); err != nil {
			return nil, err
		}
	}
	for _, s := range servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, fmt.Errorf("dns server %q: %w", s, err)
		}
	}
	cache, err := lru.New[question, answer](cmp.Or(cfg.CacheEntries, 10000))
	if err != nil {
		return nil, fmt.Errorf("make dns cache: %w", err)
	}
	r := &StubResolver{
		servers:    servers,
		timeout:    cmp.Or(cfg.Timeout, 3*time.Second),
		attempts:   cmp.Or(cfg.Attempts, 2),
		validating: cfg.Validating,
		now:        cfg.Now,
		log:        cfg.Log,
		metrics:    newResolverMetrics(cfg.Registerer),
		cache:      cache,
		flights:    make(map[question]*flight),
	}
	if r.now == nil {
		r.now = time.Now
	}
	return r, nil
}

func systemServers(path string) ([]string, error) {
	conf, err := dns.ClientConfigFromFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return []string{"127.0.0.1:53"}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var servers []string
	for _, s := range conf.Servers {
		servers = append(servers, net.JoinHostPort(s, conf.Port))
	}
	if len(servers) == 0 {
		return []string{"127.0.0.1:53"}, nil
	}
	return servers, nil
}

// LookupTXT implements Resolver: one string per record, its character-strings joined.
func (r *StubResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	rrs, err := r.lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var txts []string
	for _, rr := range rrs {
		if txt, ok := rr.(*dns.TXT); ok {
			txts = append(txts, unescape(strings.Join(txt.Txt, "")))
		}
	}
	return txts, nil
}

// LookupNetIP implements Resolver. With the network "ip" a temporary failure of either type is the error, because an
// address that is missing for such a reason must not decide anything.
func (r *StubResolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	var types []uint16
	switch network {
	case "ip4":
		types = []uint16{dns.TypeA}
	case "ip6":
		types = []uint16{dns.TypeAAAA}
	default:
		types = []uint16{dns.TypeA, dns.TypeAAAA}
	}
	var addrs []netip.Addr
	var notFound error
	for _, t := range types {
		rrs, err := r.lookup(ctx, host, t)
		if isNotFound(err) {
			notFound = err
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, rr := range rrs {
			if a, ok := rrAddr(rr); ok {
				addrs = append(addrs, a)
			}
		}
	}
	if len(addrs) == 0 {
		return nil, notFound
	}
	return addrs, nil
}

func rrAddr(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		a, ok := netip.AddrFromSlice(rr.A)
		return a.Unmap(), ok
	case *dns.AAAA:
		return netip.AddrFromSlice(rr.AAAA)
	}
	return netip.Addr{}, false
}

// LookupMX implements Resolver, in the order of the answer.
func (r *StubResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	rrs, err := r.lookup(ctx, name, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	var mxs []*net.MX
	for _, rr := range rrs {
		if mx, ok := rr.(*dns.MX); ok {
			mxs = append(mxs, &net.MX{Host: unescape(mx.Mx), Pref: mx.Preference})
		}
	}
	return mxs, nil
}

// LookupAddr implements Resolver. addr is an IP address; names come with a final dot.
func (r *StubResolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	arpa, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "not an IP address", Name: addr, IsNotFound: true}
	}
	rrs, err := r.lookup(ctx, arpa, dns.TypePTR)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, rr := range rrs {
		if ptr, ok := rr.(*dns.PTR); ok {
			names = append(names, unescape(ptr.Ptr))
		}
	}
	return names, nil
}

// What a StubResolver's errors say when there is nothing: other resolvers do not tell the two apart.
const (
	noSuchRecord = "no such record"
	noSuchName   = "no such name"
)

// lookup returns at least one record, or an error.
func (r *StubResolver) lookup(ctx context.Context, name string, qtype uint16) ([]dns.RR, error) {
	start := r.now()
	escaped, ok := escapeName(name)
	if !ok {
		r.metrics.lookup(resultNotFound)
		return nil, &net.DNSError{Err: "not a domain name", Name: name, IsNotFound: true}
	}
	q := question{escaped, qtype}
	a, ok := r.cache.Get(q)
	if ok = ok && start.Before(a.expires); ok {
		r.metrics.cacheHits.Inc()
	} else {
		var err error
		if a, err = r.share(ctx, q); err != nil {
			a.err = err
		}
	}
	if a.err != nil {
		d := dnsError(name, a.err)
		r.metrics.lookup(resultOf(d))
		return nil, d
	}
	if a.authentic {
		r.metrics.authentic.Inc()
	}
	if len(a.rrs) == 0 {
		r.metrics.lookup(resultNotFound)
		err := &net.DNSError{Err: noSuchRecord, Name: name, IsNotFound: true}
		if a.noName {
			err.Err = noSuchName
		}
		return nil, err
	}
	r.metrics.lookup(resultFound)
	return a.rrs, nil
}

// share resolves q, or waits for whoever does so already. The first caller works within its own context; when that ends
// early, one of those who waited takes over.
func (r *StubResolver) share(ctx context.Context, q question) (answer, error) {
	for {
		r.mu.Lock()
		f, found := r.flights[q]
		if !found {
			f = &flight{done: make(chan struct{})}
			r.flights[q] = f
		}
		r.mu.Unlock()
		if !found {
			r.fly(ctx, q, f)
			return f.answer, f.err
		}
		select {
		case <-f.done:
			if !errors.Is(f.err, errGaveUp) {
				return f.answer, f.err
			}
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
}

// errGaveUp marks a flight that ended because its caller's context did.
var errGaveUp = errors.New("gave up")

func (r *StubResolver) fly(ctx context.Context, q question, f *flight) {
	f.err = errGaveUp // stands if resolve panics
	defer func() {
		r.mu.Lock()
		delete(r.flights, q)
		r.mu.Unlock()
		close(f.done)
	}()
	f.answer, f.err = r.resolve(ctx, q)
	switch {
	case f.err == nil && answerSize(f.answer) <= maxCachedAnswer:
		r.cache.Add(q, f.answer)
	case f.err == nil:
	case ctx.Err() != nil:
		f.err = fmt.Errorf("%w: %w", errGaveUp, ctx.Err())
	default:
		r.cache.Add(q, answer{err: f.err, expires: r.now().Add(failureTTL)})
	}
}

const maxCachedAnswer = 8 << 10

func answerSize(a answer) int {
	n := 0
	for _, rr := range a.rrs {
		n += dns.Len(rr)
	}
	return n
}
