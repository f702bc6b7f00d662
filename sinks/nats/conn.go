package nats

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// conn is a connection to a server. One attempt at a time uses it, so that what the server says against a message, which
// in NATS names no message, can be told to be about it.
type conn struct {
	*nats.Conn
	js  jetstream.JetStream
	net *dialer
}

// dialer opens the one TCP connection of a conn within a context, and can cut it at any time.
type dialer struct {
	ctx context.Context
	net *net.Dialer

	mu  sync.Mutex
	tcp net.Conn
	cut bool
	// failed is why the last connection was not made: the client itself does not say when it was refused.
	failed error
	// refused is what the server says of an operation that this user may not do. It comes instead of an answer.
	refused error
}

// Dial implements nats.CustomDialer. Servers are tried in turn; the last connection is the one that is used.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	c, err := d.net.DialContext(d.ctx, network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
	if err != nil {
		return nil, err
	}
	if d.cut {
		c.Close()
		return nil, d.ctx.Err()
	}
	d.tcp = c
	return c, nil
}

// close cuts the connection, whatever waits for it.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
	if d.tcp != nil {
		d.tcp.Close()
	}
}

// said takes what the server says besides answers.
func (d *dialer) said(_ *nats.Conn, _ *nats.Subscription, err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	d.mu.Lock()
	d.refused = err
	d.mu.Unlock()
	d.close() // nobody has to wait for an answer
}

func (d *dialer) violation() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused
}

// connect opens a connection.
func connect(ctx context.Context, o nats.Options, with *net.Dialer) (*conn, error) {
	d := &dialer{ctx: ctx, net: with}
	o.CustomDialer, o.AsyncErrorCB = d, d.said // without, the client writes to standard error
	stop := context.AfterFunc(ctx, d.close)
	nc, err := o.Connect()
	if !stop() { // the context is done
		if err == nil {
			nc.Close()
		}
		return nil, ctx.Err()
	}
	if errors.Is(err, nats.ErrNoServers) {
		err = cmp.Or(d.failed, err) // nobody dials any more
	}
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &conn{nc, js, d}, nil
}

// pool keeps connections between attempts. Safe for concurrent use.
type pool struct {
	most int

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

// get returns a kept connection that is still open, or nil.
func (p *pool) get() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if c.IsConnected() {
			return c
		}
		c.Close()
	}
	return nil
}

// put keeps a connection, or closes it.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= p.most || !c.IsConnected() {
		c.Close()
		return
	}
	p.idle = append(p.idle, c)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.Close()
	}
	p.idle = nil
}
