package relay

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// peer is a mail server that takes mail, drops repeats of a delivery, and behaves as a test says.
type peer struct {
	addr string // where it listens; a free port when empty
	stop func()

	mu       sync.Mutex
	mails    []got
	byID     map[string]int // copies that are kept, by delivery
	attempts map[string]int
	sessions int

	// Behaviour; set before the server is used.
	onMail func(from string) error
	onRcpt func(to string) error
	onData func(to string) error // by recipient with LMTP, else "" once
	hang   chan struct{}         // data is never answered until it is closed
	auth   string                // "user password"
}

// got is one mail that was taken.
type got struct {
	from string
	to   []string
	opts smtp.MailOptions
	data string
	tls  bool
	user string
}

var deliveryField = regexp.MustCompile(`(?m)^X-Mxhook-Delivery: (\S+)\r$`)

func startPeer(t testing.TB, p *peer, change func(*smtp.Server)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", cmp.Or(p.addr, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	p.addr, p.byID, p.attempts = l.Addr().String(), map[string]int{}, map[string]int{}
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sessions++
		return &peerSession{peer: p, conn: c}, nil
	}))
	s.Domain, s.AllowInsecureAuth, s.EnableSMTPUTF8, s.EnableDSN = "peer.example", true, true, true
	s.ErrorLog = quietLog{}
	if change != nil {
		change(s)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	p.stop = func() {
		_ = s.Close()
		_ = l.Close() // Close knows of it only when Serve has begun
		wg.Wait()
	}
	t.Cleanup(p.stop)
	return p
}

type quietLog struct{}

func (quietLog) Printf(string, ...any) {}
func (quietLog) Println(...any)        {}

func (p *peer) copies(id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id]
}

func (p *peer) taken() []got {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]got(nil), p.mails...)
}

func (p *peer) opened() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sessions
}

type peerSession struct {
	peer *peer
	conn *smtp.Conn
	now  got
	user string
}

func (s *peerSession) AuthMechanisms() []string {
	if s.peer.auth == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *peerSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user+" "+password != s.peer.auth {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "no: " + password}
		}
		s.user = user
		return nil
	}), nil
}

func (s *peerSession) Mail(from string, opts *smtp.MailOptions) error {
	_, encrypted := s.conn.TLSConnectionState()
	s.now = got{from: from, opts: *opts, tls: encrypted, user: s.user}
	if s.peer.onMail != nil {
		return s.peer.onMail(from)
	}
	return nil
}

func (s *peerSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.peer.onRcpt != nil {
		if err := s.peer.onRcpt(to); err != nil {
			return err
		}
	}
	s.now.to = append(s.now.to, to)
	return nil
}

func (s *peerSession) Data(r io.Reader) error {
	if err := s.read(r); err != nil {
		return err
	}
	if s.peer.onData != nil {
		if err := s.peer.onData(""); err != nil {
			return err
		}
	}
	s.keep()
	return nil
}

// LMTPData implements smtp.LMTPSession.
func (s *peerSession) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	if err := s.read(r); err != nil {
		return err
	}
	to := s.now.to
	s.now.to = nil
	errs := make([]error, len(to))
	for i, rcpt := range to {
		if s.peer.onData != nil {
			errs[i] = s.peer.onData(rcpt)
		}
		if errs[i] == nil {
			s.now.to = append(s.now.to, rcpt)
		}
	}
	s.keep() // before the client hears of it
	for i, rcpt := range to {
		status.SetStatus(rcpt, errs[i])
	}
	return nil
}

func (s *peerSession) read(r io.Reader) error {
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		return err
	}
	s.now.data = b.String()
	s.peer.mu.Lock()
	s.peer.attempts[s.id()]++
	hang := s.peer.hang
	s.peer.mu.Unlock()
	if hang != nil {
		<-hang
		return errors.New("it hung")
	}
	return nil
}

func (s *peerSession) id() string {
	if m := deliveryField.FindStringSubmatch(s.now.data); m != nil {
		return m[1]
	}
	return ""
}

func (s *peerSession) keep() {
	if len(s.now.to) == 0 {
		return
	}
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	s.peer.mails = append(s.peer.mails, s.now)
	s.peer.byID[s.id()] = 1
}

func (s *peerSession) Reset()        { s.now = got{} }
func (s *peerSession) Logout() error { return nil }

func reply(code int, status smtp.EnhancedCode, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: status, Message: text}
}

func newRelay(t testing.TB, o Options) *Relay {
	t.Helper()
	if o.Hostname == "" {
		o.Hostname = "mx.example.com"
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// stubDNS answers for tests: names to mail servers, names to addresses.
type stubDNS struct {
	mx  map[string][]*net.MX
	ips map[string]string
}

func (d stubDNS) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	if mxs := d.mx[name]; mxs != nil {
		return mxs, nil
	}
	if strings.HasPrefix(name, "slow") {
		return nil, &net.DNSError{Err: "timeout", IsTimeout: true}
	}
	return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

func (d stubDNS) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if ip := d.ips[host]; ip != "" {
		return []netip.Addr{netip.MustParseAddr(ip)}, nil
	}
	return nil, &net.DNSError{Err: "no such name", Name: host, IsNotFound: true}
}

// selfSigned makes a certificate for names and a pool that trusts it.
func selfSigned(t testing.TB, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
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
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
