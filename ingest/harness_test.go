package ingest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"mxhook/pipeline"
)

// patience is how long a test waits for what must come at once.
const patience = 10 * time.Second

// stored is a message that the spool has taken.
type stored struct {
	Envelope pipeline.Envelope
	Content  string
}

// memorySpool is a Spool that keeps messages in memory and fails where a test wants it to.
type memorySpool struct {
	admit, begin, write, commit func(ctx context.Context) error // nil: no failure

	mu      sync.Mutex
	stored  []stored
	aborted int
	writes  int
}

func (s *memorySpool) Admit(ctx context.Context, _ int64) error { return call(ctx, s.admit) }

func (s *memorySpool) Begin(ctx context.Context, env pipeline.Envelope) (Writer, error) {
	if err := call(ctx, s.begin); err != nil {
		return nil, err
	}
	return &memoryWriter{spool: s, env: env, ctx: ctx}, nil
}

func (s *memorySpool) messages() []stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]stored(nil), s.stored...)
}

func (s *memorySpool) aborts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.aborted
}

func (s *memorySpool) written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

func call(ctx context.Context, f func(context.Context) error) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

func failWith(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

type memoryWriter struct {
	spool *memorySpool
	env   pipeline.Envelope
	ctx   context.Context
	data  bytes.Buffer
	over  bool
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	if err := call(w.ctx, w.spool.write); err != nil {
		return 0, err
	}
	w.spool.mu.Lock()
	w.spool.writes++
	w.spool.mu.Unlock()
	return w.data.Write(p)
}

func (w *memoryWriter) Commit(ctx context.Context) error {
	w.end()
	if err := call(ctx, w.spool.commit); err != nil {
		return err
	}
	w.spool.mu.Lock()
	defer w.spool.mu.Unlock()
	w.spool.stored = append(w.spool.stored, stored{w.env, w.data.String()})
	return nil
}

func (w *memoryWriter) Abort() {
	w.end()
	w.spool.mu.Lock()
	defer w.spool.mu.Unlock()
	w.spool.aborted++
}

// end checks that exactly one of Commit and Abort is called.
func (w *memoryWriter) end() {
	if w.over {
		panic("the writer was ended twice")
	}
	w.over = true
}

// testServer is a running server on a loopback port.
type testServer struct {
	*Server
	t     testing.TB
	spool *memorySpool
	log   *logBuffer
}

func testDomains() []Domain {
	return []Domain{
		{Name: "example.com", Recipients: []string{"support", "reply+*", "/^ticket-(?<id>[0-9]+)$/", "jörg", "r*"}},
		{Name: "bücher.example"},
	}
}

// serverFor starts a server; change may alter the options first.
func serverFor(t testing.TB, change func(*Options)) *testServer {
	t.Helper()
	domains, err := NewDomains(testDomains())
	if err != nil {
		t.Fatal(err)
	}
	spool, log := &memorySpool{}, &logBuffer{}
	opts := Options{
		Hostname:   "mx.example.com",
		Listeners:  []Listener{{Name: "mx", Address: "127.0.0.1:0"}},
		Recipients: domains,
		Spool:      spool,
		Log:        slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&opts)
	}
	if s, ok := opts.Spool.(*memorySpool); ok {
		spool = s
	}
	server, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	s := &testServer{server, t, spool, log}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Shutdown(ctx)
	})
	return s
}

func (s *testServer) addr() string { return s.Addrs()["mx"].String() }

// dial connects and does not read the greeting.
func (s *testServer) dial() *peer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr())
	if err != nil {
		s.t.Fatal(err)
	}
	return newPeer(s.t, conn)
}

// hello connects and says EHLO.
func (s *testServer) hello() *peer {
	s.t.Helper()
	p := s.dial()
	p.expect("220 *")
	p.send("EHLO client.example.org")
	p.expectEHLO()
	return p
}

// transaction is hello and an envelope.
func (s *testServer) transaction() *peer {
	s.t.Helper()
	p := s.hello()
	p.send("MAIL FROM:<alice@example.org>", "RCPT TO:<support@example.com>")
	p.expect("250 2.1.0 Ok", "250 2.1.5 Ok")
	return p
}

// peer is a client that sends exactly what it is told.
type peer struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func newPeer(t testing.TB, conn net.Conn) *peer {
	t.Cleanup(func() { conn.Close() })
	return &peer{t, conn, bufio.NewReader(conn)}
}

// send sends lines in one write.
func (p *peer) send(lines ...string) {
	p.t.Helper()
	p.raw(strings.Join(lines, "\r\n") + "\r\n")
}

func (p *peer) raw(octets string) {
	p.t.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(p.conn, octets); err != nil {
		p.t.Fatalf("send %.60q: %v", octets, err)
	}
}

// expect reads one line for each pattern; "*" stands for anything.
func (p *peer) expect(patterns ...string) {
	p.t.Helper()
	for _, pattern := range patterns {
		line := p.line()
		if !matches(pattern, line) {
			p.t.Fatalf("reply %q, want %q", line, pattern)
		}
	}
}

func (p *peer) line() string {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	line, err := p.in.ReadString('\n')
	if err != nil {
		p.t.Fatalf("read a reply: %q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// expectEHLO reads a multiline reply and returns its lines.
func (p *peer) expectEHLO() []string {
	p.t.Helper()
	var lines []string
	for {
		line := p.line()
		if !strings.HasPrefix(line, "250") {
			p.t.Fatalf("reply to EHLO %q", line)
		}
		lines = append(lines, line[4:])
		if line[3] == ' ' {
			return lines
		}
	}
}

// expectClosed checks that nothing more comes but the end.
func (p *peer) expectClosed() {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(p.in)
	if len(rest) > 0 {
		p.t.Fatalf("unexpected %q", rest)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatal("the connection is still open")
	}
}

// dribbleUntil sends an octet every few milliseconds, so that there is always progress, until the server answers and
// closes.
func (p *peer) dribbleUntil(pattern string) {
	p.t.Helper()
	dribbled := make(chan struct{})
	go func() {
		defer close(dribbled)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ; ; <-tick.C {
			if _, err := p.conn.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	p.expect(pattern)
	p.expectClosed()
	p.conn.Close()
	<-dribbled
}

// matches compares with path.Match's rules for "*" alone.
func matches(pattern, line string) bool {
	quoted := strings.NewReplacer(`[`, `\[`, `]`, `\]`, `?`, `\?`, `\`, `\\`, `/`, "\x00").Replace(pattern)
	ok, err := path.Match(quoted, strings.ReplaceAll(line, "/", "\x00"))
	return ok && err == nil
}

// waitFor waits for a condition that another goroutine makes true.
func waitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(time.Millisecond); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// logBuffer collects the log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tlsPair makes a certificate for mx.example.com and a configuration that trusts it.
func tlsPair(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mx.example.com"},
		DNSNames:     []string{"mx.example.com"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: pool, ServerName: "mx.example.com"}
}

// pipeListener is a net.Listener whose connections are net.Pipes: what one write sends is what one read gets, so that a
// test decides where the packets end without waiting.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 25} }

// dial hands the server one end of a pipe and returns the other.
func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- pipeConn{theirs}
	return ours
}

// pipeServer starts a server whose only listener is a pipe, and returns a client that has said EHLO.
func pipeServer(t testing.TB, change func(*Options)) (*testServer, *peer) {
	t.Helper()
	listener := newPipeListener()
	s := serverFor(t, func(o *Options) {
		o.Listeners = []Listener{{Name: "mx", Open: listener}}
		if change != nil {
			change(o)
		}
	})
	p := newPeer(t, listener.dial())
	p.expect("220 *")
	p.send("EHLO client.example.org")
	p.expectEHLO()
	return s, p
}

type pipeConn struct{ net.Conn }

func (pipeConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 41234}
}
