// Package ingest is the SMTP front end: it receives mail (RFC 5321, without AUTH and without relaying) and hands each
// message to a spool while it arrives, and it answers 250 only when the spool has taken durable responsibility.
package ingest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// Server accepts SMTP connections. Its methods are safe for concurrent use.
type Server struct {
	opts      Options
	listeners []*listener
	registry  *registry
	admission *admission
	metrics   *metrics
	refusals  refusalLog
	entropy   *ulid.LockedMonotonicReader

	base   context.Context // ends when Shutdown runs out of patience
	cancel context.CancelFunc
	done   chan struct{} // closed when Shutdown begins
	wg     sync.WaitGroup

	mu           sync.Mutex
	started      bool
	stopped      bool
	unregistered sync.Once
}

// listener is a bound Listener.
type listener struct {
	net.Listener
	name     string
	implicit bool
	startTLS bool
	lmtp     bool
	proxy    []netip.Prefix
	xclient  []netip.Prefix
}

// New checks the options, binds every listener and registers the metrics. Nothing is accepted before Start or Serve.
// Whoever got a Server must call Shutdown, also when it was never started.
func New(opts Options) (*Server, error) {
	s, err := newServer(opts)
	if err != nil {
		for _, l := range opts.Listeners {
			if l.Open != nil {
				_ = l.Open.Close()
			}
		}
	}
	return s, err
}

func newServer(opts Options) (*Server, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	opts.Limits, opts.Timeouts = opts.Limits.withDefaults(), opts.Timeouts.withDefaults()
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Server{
		opts:     opts,
		registry: newRegistry(opts.Limits), admission: newAdmission(opts.Policy),
		entropy: &ulid.LockedMonotonicReader{MonotonicReader: ulid.Monotonic(bufio.NewReader(rand.Reader), 0)},
		done:    make(chan struct{}),
	}
	var err error
	if s.metrics, err = newMetrics(opts.Registerer, s.registry.open); err != nil {
		return nil, err
	}
	for _, l := range opts.Listeners {
		bound, err := bind(l, opts.TLSConfig != nil)
		if err != nil {
			unregister(opts.Registerer, s.metrics.collectors())
			s.closeListeners()
			return nil, err
		}
		s.listeners = append(s.listeners, bound)
		if l.TLS == TLSStartTLS && opts.TLSConfig == nil {
			opts.Log.Warn("no certificate: the listener does not offer STARTTLS, and mail arrives in clear text", "listener", l.Name)
		}
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Addrs returns the bound address of each listener by its name.
func (s *Server) Addrs() map[string]net.Addr {
	addrs := make(map[string]net.Addr, len(s.listeners))
	for _, l := range s.listeners {
		addrs[l.name] = l.Addr()
	}
	return addrs
}

// Start begins to accept connections and returns. It does nothing when called again or after Shutdown.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.stopped {
		return
	}
	s.started = true
	for _, l := range s.listeners {
		s.wg.Go(func() { s.accept(l) })
	}
}

// Serve is Start and then waits until Shutdown was called and every session has ended.
func (s *Server) Serve() {
	s.Start()
	<-s.done
	s.wg.Wait()
}

// forceGrace is how long Shutdown waits for sessions whose connection it has closed by force. They can only be
// inside a call of Recipients or Spool that does not honour its context.
const forceGrace = 5 * time.Second

// Shutdown drains the server: listeners are closed, idle sessions get 421 and are closed at once, transactions under
// way are finished, and no new one is started. When ctx ends first, the remaining connections are closed, their calls
// of Recipients and Spool are cancelled, and an error says how many there were. At last the metrics are unregistered.
// It may be called again.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopped {
		s.stopped = true
		close(s.done)
	}
	s.mu.Unlock()
	s.closeListeners()
	s.registry.drain()
	defer s.cancel()
	defer s.unregistered.Do(func() { unregister(s.opts.Registerer, s.metrics.collectors()) })

	ended := make(chan struct{})
	go func() { s.wg.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	n := s.registry.closeAll()
	s.cancel()
	grace := time.NewTimer(forceGrace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
	}
	return fmt.Errorf("drain SMTP sessions: %d closed by force: %w", n, context.Cause(ctx))
}

// accept runs the accept loop of one listener. It never waits for a client: everything that may block, the TLS
// handshake included, happens in the connection's goroutine.
func (s *Server) accept(l *listener) {
	delay := time.Duration(0)
	for {
		conn, err := l.Accept()
		if err != nil {
			if s.isStopped() || errors.Is(err, net.ErrClosed) {
				return
			}
			// Most often out of file descriptors: wait until some session has ended.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.opts.Log.Error("accept a connection", "listener", l.name, "error", err, "again_in", delay)
			if !s.pause(delay) {
				return
			}
			continue
		}
		delay = 0
		if !s.registry.reserve() {
			s.metrics.refusals.WithLabelValues("overload").Inc()
			_ = conn.Close()
			continue
		}
		s.wg.Go(func() {
			defer s.registry.release()
			newSession(s, l, conn).run(s.base)
		})
	}
}

// pause waits for d, and reports false when the server is stopped meanwhile.
func (s *Server) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.done:
		return false
	case <-timer.C:
		return true
	}
}

func (s *Server) isStopped() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		_ = l.Close() // a second close is an error of no interest
	}
}

// newID makes a message id: a ULID, strictly increasing within this server while the clock does not step back.
func (s *Server) newID() (string, error) {
	id, err := ulid.New(ulid.Timestamp(s.opts.Now()), s.entropy)
	if err != nil {
		return "", fmt.Errorf("make a message id: %w", err)
	}
	return id.String(), nil
}

func bind(l Listener, haveTLS bool) (*listener, error) {
	bound := &listener{
		Listener: l.Open, name: l.Name, implicit: l.TLS == TLSImplicit, startTLS: l.TLS == TLSStartTLS && haveTLS,
		lmtp: l.Protocol == ProtocolLMTP, proxy: l.Proxy, xclient: l.Xclient,
	}
	if bound.Listener == nil {
		var err error
		if bound.Listener, err = net.Listen("tcp", l.Address); err != nil {
			return nil, fmt.Errorf("listener %q: %w", l.Name, err)
		}
	}
	return bound, nil
}
