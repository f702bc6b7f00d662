package main

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
)

// tap stands between a client and the server and notes what the client says between two replies.
type tap struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu   sync.Mutex
	said []string
	turn bool // the client spoke last
}

func newTap(t *testing.T, target string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{listener: l, target: target}
	p.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.relay(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); p.wg.Wait() })
	return p
}

func (p *tap) addr() string { return p.listener.Addr().String() }

// bursts is what the client said, cut where the server spoke.
func (p *tap) bursts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said)
}

func (p *tap) relay(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(noting{server, p.heard}, client)
		_ = server.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(noting{client, p.answered}, server)
	_ = client.Close()
	wg.Wait()
}

func (p *tap) heard(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.turn {
		p.said = append(p.said, "")
	}
	p.turn = true
	p.said[len(p.said)-1] += string(b)
}

func (p *tap) answered([]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn = false
}

// noting calls note before each write.
type noting struct {
	to   io.Writer
	note func([]byte)
}

func (n noting) Write(b []byte) (int, error) {
	n.note(b)
	return n.to.Write(b)
}
