package relay

import (
	"net"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// session is a connection that has said EHLO. One transaction at a time uses it.
type session struct {
	*smtp.Client
	conn      net.Conn
	replies   *bounded // conn, or what is below it
	server    *server
	encrypted bool
	used      int // transactions before this one
	expire    *time.Timer
}

// keepFor is how long a session waits for the next mail, keepUses how many it carries: servers count both.
const (
	keepFor  = 20 * time.Second
	keepUses = 100
)

// pool keeps sessions for the next mail to the same server. Safe for concurrent use.
type pool struct {
	most int // for each server

	mu     sync.Mutex
	idle   map[string][]*session
	closed bool
}

// get returns a kept session, or nil.
func (p *pool) get(key string) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for list := p.idle[key]; len(list) > 0; list = p.idle[key] {
		s := list[len(list)-1]
		p.idle[key] = list[:len(list)-1]
		if s.expire.Stop() {
			return s
		}
	}
	return nil
}

// put keeps a session, or closes it.
func (p *pool) put(key string, s *session) {
	s.used++
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle[key]) >= p.most || s.used >= keepUses {
		s.conn.Close()
		return
	}
	if p.idle == nil {
		p.idle = map[string][]*session{}
	}
	s.expire = time.AfterFunc(keepFor, func() { p.drop(key, s) })
	p.idle[key] = append(p.idle[key], s)
}

// drop closes a session that has waited long enough.
func (p *pool) drop(key string, s *session) {
	s.conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, kept := range p.idle[key] {
		if kept == s {
			p.idle[key] = append(p.idle[key][:i:i], p.idle[key][i+1:]...)
		}
	}
	if len(p.idle[key]) == 0 {
		delete(p.idle, key)
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, list := range p.idle {
		for _, s := range list {
			if s.expire.Stop() {
				s.conn.Close()
			}
		}
	}
	p.idle = nil
}
