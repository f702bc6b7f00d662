package kafka

import (
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// shared is the client that all attempts of a sink use, made at the first. It is safe for concurrent use.
type shared struct {
	opts []kgo.Opt

	mu      sync.Mutex
	current *client
	closed  bool // attempts that begin now have a client each, closed when they end
}

// client is one client, and how many attempts use it.
type client struct {
	*kgo.Client
	trouble *trouble
	users   int
	dropped bool
}

// acquire returns the client. Its user calls release.
func (s *shared) acquire() (*client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.current
	if c == nil {
		t := &trouble{}
		made, err := kgo.NewClient(append(append([]kgo.Opt(nil), s.opts...), kgo.WithHooks(t))...)
		if err != nil {
			return nil, err
		}
		c = &client{Client: made, trouble: t, dropped: s.closed}
		if !s.closed {
			s.current = c
		}
	}
	c.users++
	return c, nil
}

// release gives back what acquire gave.
func (s *shared) release(c *client) {
	s.mu.Lock()
	c.users--
	last := c.dropped && c.users == 0
	s.mu.Unlock()
	if last {
		c.Close()
	}
}

// close closes the client when the last attempt that uses it has ended.
func (s *shared) close() {
	s.mu.Lock()
	c := s.current
	s.current, s.closed = nil, true
	idle := false
	if c != nil {
		c.dropped = true
		idle = c.users == 0
	}
	s.mu.Unlock()
	if idle {
		c.Close()
	}
}

// trouble is what was last in the way of a connection: the client's own words for a record that it gives up do not say.
type trouble struct {
	mu  sync.Mutex
	err error
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (t *trouble) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// last returns it; nil when the last connection was made.
func (t *trouble) last() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
