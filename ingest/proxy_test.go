package ingest

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func FuzzProxyHeader(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 203.0.113.9 198.51.100.1 4711 25\r\nEHLO", "PROXY UNKNOWN\r\n", "PROXY TCP6 2001:db8::7 ::1 1 2\r\n", "PROXY \r\n",
		proxySignature + "\x21\x11\x00\x0c\xcb\x00\x71\x09\xc6\x33\x64\x01\x12\x67\x00\x19EHLO", proxySignature + "\x20\x00\x00\x00",
		proxySignature + "\x21\x21\xff\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		in := bytes.NewReader(octets)
		client, err := readProxyHeader(in)
		if err != nil {
			return
		}
		consumed := len(octets) - in.Len()
		head := octets[:consumed]
		// The header ends where it says that it ends, and the same octets mean the same without what follows.
		switch {
		case bytes.HasPrefix(head, []byte("PROXY ")):
			if !bytes.HasSuffix(head, []byte("\r\n")) || bytes.Count(head, []byte("\n")) != 1 || len(head) > maxProxyLine {
				t.Errorf("consumed %q", head)
			}
		case len(head) != 16+int(head[14])<<8+int(head[15]):
			t.Errorf("consumed %d octets of %q", consumed, octets)
		}
		if again, err := readProxyHeader(bytes.NewReader(head)); err != nil || again != client {
			t.Errorf("%v and %v, %v", client, again, err)
		}
		if client.Addr().Zone() != "" || client.Addr().Is4In6() {
			t.Errorf("address %v", client)
		}
	})
}

// The header comes before the TLS handshake, and nothing behind it is lost.
func TestProxyHeaderBeforeImplicitTLS(t *testing.T) {
	t.Parallel()
	serverTLS, clientTLS := tlsPair(t)
	s := serverFor(t, func(o *Options) {
		o.TLSConfig, o.Listeners[0].TLS = serverTLS, TLSImplicit
		o.Listeners[0].Proxy = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	p := s.dial()
	conn := &headedConn{Conn: p.conn, head: "PROXY TCP4 203.0.113.9 198.51.100.1 4711 25\r\n"}
	c := newPeer(t, tlsClient(t, conn, clientTLS))
	c.expect("220 *")
	c.send("EHLO client.example.org")
	c.expectEHLO()
	c.send("MAIL FROM:<>", "RCPT TO:<support@example.com>", "DATA")
	c.expect("250 *", "250 *", "354 *")
	c.send("x", ".")
	c.expect("250 *")
	if got := s.spool.messages()[0].Envelope.Client; got.IP != netip.MustParseAddr("203.0.113.9") || got.Port != 4711 || got.TLS == nil {
		t.Errorf("client %+v", got)
	}
}

func FuzzParameters(f *testing.F) {
	for _, s := range []string{
		" SIZE=3 BODY=7BIT SMTPUTF8 RET=FULL ENVID=a+2Bb REQUIRETLS", " NOTIFY=NEVER ORCPT=rfc822;a+40b", " ADDR=192.0.2.1 NAME=[UNAVAILABLE]",
		" ADDR=IPV6:2001:db8::1 PORT=25 HELO=x", " ORCPT=utf-8;jörg@example.org", " NOTIFY=SUCCESS,DELAY\tX=1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var tx transaction
		if tx.parseParameters(s) == nil && !printable(tx.envID) {
			t.Errorf("%q: ENVID %q", s, tx.envID)
		}
		if p, refusal := parseRcptParameters(s); refusal == nil && strings.ContainsAny(p.notify+p.original, "\r\n\x00") {
			t.Errorf("%q: %+v", s, p)
		}
		if u, err := parseXclient(s); err == nil && u.helo != nil && !printable(*u.helo) {
			t.Errorf("%q: HELO %q", s, *u.helo)
		}
	})
}

func printable(s string) bool {
	return strings.Trim(s, " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~") == ""
}

// headedConn sends a header in one packet with the first octets.
type headedConn struct {
	net.Conn
	head string
}

func (c *headedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(append([]byte(c.head), p...))
	n, c.head = n-len(c.head), ""
	return n, err
}

func tlsClient(t *testing.T, conn net.Conn, config *tls.Config) net.Conn {
	t.Helper()
	client := tls.Client(conn, config)
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	return client
}
