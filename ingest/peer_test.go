package ingest

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

// lineMessage makes a message of about n octets with everything a client has to stuff or keep.
func lineMessage(random *rand.Rand, n int) []byte {
	var b bytes.Buffer
	b.WriteString("Subject: " + fmt.Sprint(n) + "\r\n\r\n")
	for b.Len() < n {
		switch random.IntN(5) {
		case 0:
			b.WriteString(strings.Repeat(".", 1+random.IntN(3)))
		case 1:
			b.WriteString("..From \xff\x80 \x01")
		}
		b.WriteString(strings.Repeat("x", random.IntN(200)) + "\r\n")
	}
	return b.Bytes()
}

// TestPeerDeliversTheSameOctets sends messages of many sizes with another project's client, in clear text, with
// STARTTLS and with implicit TLS, and compares what arrived.
func TestPeerDeliversTheSameOctets(t *testing.T) {
	t.Parallel()
	for mode, dial := range map[string]func(addr string, config *tls.Config) (*smtp.Client, error){
		TLSNone:     func(addr string, _ *tls.Config) (*smtp.Client, error) { return smtp.Dial(addr) },
		TLSStartTLS: smtp.DialStartTLS,
		TLSImplicit: smtp.DialTLS,
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			serverTLS, clientTLS := tlsPair(t)
			s := serverFor(t, func(o *Options) { o.TLSConfig, o.Listeners[0].TLS = serverTLS, mode })
			c, err := dial(s.addr(), clientTLS)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if size, ok := c.MaxMessageSize(); !ok || size != 50_000_000 {
				t.Errorf("SIZE %d, %v", size, ok)
			}
			random := rand.New(rand.NewPCG(1, 2))
			var sent [][]byte
			for _, n := range []int{0, 100, 3000, bufferSize - 1, bufferSize, bufferSize + 1, 30_000, 300_000, 2_700_000} {
				message := lineMessage(random, n)
				sent = append(sent, message)
				sendWithPeer(t, c, message)
			}
			if err := c.Quit(); err != nil {
				t.Error(err)
			}
			got := s.spool.messages()
			if len(got) != len(sent) {
				t.Fatalf("%d messages arrived, %d sent", len(got), len(sent))
			}
			for i, m := range got {
				if m.Content != string(sent[i]) {
					t.Errorf("message %d differs: %d octets arrived, %d sent", i, len(m.Content), len(sent[i]))
				}
				if (m.Envelope.Client.TLS != nil) != (mode != TLSNone) || m.Envelope.BodyType != "8BITMIME" {
					t.Errorf("message %d: envelope %+v", i, m.Envelope)
				}
			}
		})
	}
}

func sendWithPeer(t *testing.T, c *smtp.Client, message []byte) {
	t.Helper()
	if err := c.Mail("alice@example.org", &smtp.MailOptions{Size: int64(len(message)), Body: smtp.Body8BitMIME}); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("support@example.com", nil); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(message); err != nil {
		t.Fatal(err)
	}
	response, err := w.CloseWithResponse()
	if err != nil {
		t.Fatal(err)
	}
	if text := response.StatusText; !strings.HasPrefix(text, "2.0.0 Ok: queued as ") {
		t.Errorf("final reply %q", text)
	}
}

// TestPeerServerReadsTheSameMessage is differential: the same octets behind DATA go to our server and to another
// project's. Where that one has no known fault (S6, S7), both must see the same messages.
func TestPeerServerReadsTheSameMessage(t *testing.T) {
	t.Parallel()
	backend := &peerBackend{}
	other := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &peerSession{backend}, nil }))
	other.Domain, other.MaxLineLength = "mx.example.com", 1<<20
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { _ = other.Serve(listener); close(served) }()
	t.Cleanup(func() { other.Close(); <-served })
	s := serverFor(t, func(o *Options) { o.Policy.BareLF = LinesKeep })

	random := rand.New(rand.NewPCG(3, 4))
	pieces := []string{"\r\n", "\n", ".", "..", "x", "\r\n.", "\r\n..", "\n.\n", "\x00", "text", " ", "\r\n.\n"}
	ours, theirs := s.hello(), (&testServer{Server: nil, t: t}).helloAt(listener.Addr().String())
	for range 300 {
		var message strings.Builder
		for range random.IntN(12) {
			message.WriteString(pieces[random.IntN(len(pieces))])
		}
		stream := message.String() + "\r\n.\r\n"
		if i := strings.Index("\r\n"+stream, "\r\n.\r\n"); i < len(stream)-3 {
			continue // it would end early, and the rest would be commands
		}
		for _, p := range []*peer{ours, theirs} {
			p.send("MAIL FROM:<alice@example.org>", "RCPT TO:<support@example.com>", "DATA")
			p.expect("250 *", "250 *", "354 *")
			p.raw(stream)
			p.expect("250 *")
		}
		messages := s.spool.messages()
		if got, want := messages[len(messages)-1].Content, backend.last; got != want {
			t.Errorf("%q: ours %q, theirs %q", stream, got, want)
		}
	}
}

func (s *testServer) helloAt(addr string) *peer {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	p := newPeer(s.t, conn)
	p.expect("220 *")
	p.send("EHLO client.example.org")
	p.expectEHLO()
	return p
}

// peerBackend keeps the last message of the other server.
type peerBackend struct{ last string }

type peerSession struct{ backend *peerBackend }

func (*peerSession) Mail(string, *smtp.MailOptions) error { return nil }
func (*peerSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (*peerSession) Reset()                               {}
func (*peerSession) Logout() error                        { return nil }

func (s *peerSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.backend.last = string(b)
	return err
}
