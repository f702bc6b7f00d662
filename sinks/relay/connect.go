package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// connect opens a session with a server, encrypted as the policy says, and authenticated.
func (r *Relay) connect(ctx context.Context, s *server) (*session, error) {
	var last error
	for _, address := range s.addresses {
		c, err := r.open(ctx, s, address, r.o.TLS)
		var broken *tlsError
		if errors.As(err, &broken) && r.o.TLS == TLSOpportunistic && !r.o.Implicit && ctx.Err() == nil {
			c, err = r.open(ctx, s, address, TLSNone) // RFC 7435 3: better than nothing
		}
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		last = fmt.Errorf("%s (%s): %w", s.host, address, err)
	}
	return nil, last
}

// tlsError is a handshake that failed.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return "TLS: " + e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

func (r *Relay) open(ctx context.Context, s *server, address, policy string) (*session, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	if s.network == "tcp" {
		dialer.Control = r.o.Control
	}
	conn, err := dialer.DialContext(ctx, s.network, address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, err := r.begin(conn, s, policy)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// begin speaks up to the point where a transaction can begin.
func (r *Relay) begin(conn net.Conn, s *server, policy string) (*session, error) {
	_ = conn.SetDeadline(time.Now().Add(stepTimeout))
	encrypted := false
	greeting := ""
	if r.o.Implicit {
		tlsConn, err := handshake(conn, r.tlsConfig(s.host))
		if err != nil {
			return nil, err
		}
		conn, encrypted = tlsConn, true
	} else if policy != TLSNone {
		tlsConn, said, err := r.startTLS(conn, s.host)
		switch {
		case err != nil:
			return nil, err
		case tlsConn != nil:
			conn, encrypted = tlsConn, true
		case policy != TLSOpportunistic:
			return nil, errors.New("the server does not offer STARTTLS, and tls is " + policy)
		}
		greeting = said
	}
	_ = conn.SetDeadline(time.Time{})
	c := &session{server: s, encrypted: encrypted}
	if greeting != "" {
		conn = &greeted{Conn: conn, greeting: strings.NewReader("220 " + greeting + "\r\n")}
	}
	c.replies = &bounded{Conn: conn, left: maxReplies}
	conn = c.replies
	c.conn = conn
	if r.o.LMTP {
		c.Client = smtp.NewClientLMTP(conn)
	} else {
		c.Client = smtp.NewClient(conn)
	}
	c.CommandTimeout, c.SubmissionTimeout = 5*time.Minute, 10*time.Minute // the context ends most attempts before
	if err := c.Hello(r.o.Hostname); err != nil {
		return nil, fmt.Errorf("greeting: %w", err)
	}
	if r.o.Username != "" {
		if err := r.authenticate(c, s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func handshake(conn net.Conn, config *tls.Config) (*tls.Conn, error) {
	c := tls.Client(conn, config)
	if err := c.Handshake(); err != nil {
		return nil, &tlsError{err}
	}
	return c, nil
}

// maxReplies and more for each recipient bound what a server may say in one transaction, in octets: the client gathers the
// lines of a reply, however many there are.
const (
	maxReplies       = 64 << 10
	repliesRecipient = 4 << 10
)

var errTalkative = errors.New("the server's replies are too long")

// bounded is a connection from which no more than left octets are read.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTalkative
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// startTLS reads the greeting and asks for TLS if the server offers it (RFC 3207). Without an offer the connection is nil.
// said is the text of the greeting, which the SMTP client reads again: it knows nothing of what happened before. That is
// done here because the client has no way to ask first, says its name in the first EHLO, and has no TLS for LMTP.
func (r *Relay) startTLS(conn net.Conn, host string) (encrypted *tls.Conn, said string, err error) {
	limited := &io.LimitedReader{R: conn, N: 64 << 10}
	text := textproto.NewConn(struct {
		io.Reader
		io.Writer
		io.Closer
	}{limited, conn, conn})
	if _, said, err = text.ReadResponse(220); err != nil {
		return nil, "", fmt.Errorf("greeting: %w", smtpError(err))
	}
	said, _, _ = strings.Cut(said, "\n")
	verb := "EHLO"
	if r.o.LMTP {
		verb = "LHLO"
	}
	lines, err := command(text, 250, "%s %s", verb, r.o.Hostname)
	if err != nil {
		var refused *textproto.Error
		if errors.As(err, &refused) && refused.Code/100 == 5 { // a server that knows HELO only
			return nil, said, nil
		}
		return nil, "", fmt.Errorf("%s: %w", verb, err)
	}
	offered := false
	for _, line := range strings.Split(lines, "\n")[1:] {
		offered = offered || strings.EqualFold(strings.TrimSpace(line), "STARTTLS")
	}
	if !offered {
		return nil, said, nil
	}
	if _, err := command(text, 220, "STARTTLS"); err != nil {
		return nil, "", &tlsError{err}
	}
	if text.R.Buffered() > 0 {
		return nil, "", errors.New("the server sent more behind its reply to STARTTLS; somebody may have put it there")
	}
	encrypted, err = handshake(conn, r.tlsConfig(host))
	return encrypted, said, err
}

func command(text *textproto.Conn, code int, format string, args ...any) (string, error) {
	if err := text.PrintfLine(format, args...); err != nil {
		return "", err
	}
	_, message, err := text.ReadResponse(code)
	return message, err
}

// smtpError makes a reply an error as the SMTP client has them.
func smtpError(err error) error {
	var t *textproto.Error
	if errors.As(err, &t) {
		return &smtp.SMTPError{Code: t.Code, EnhancedCode: smtp.NoEnhancedCode, Message: t.Msg}
	}
	return err
}

// greeted is a connection whose greeting was read before; it is read again from memory.
type greeted struct {
	net.Conn
	greeting *strings.Reader
}

func (g *greeted) Read(p []byte) (int, error) {
	if g.greeting.Len() > 0 {
		return g.greeting.Read(p)
	}
	return g.Conn.Read(p)
}

// authenticate logs in. A refusal is transient: it is cured here, and the mail waits until it is.
func (r *Relay) authenticate(c *session, s *server) error {
	if !c.encrypted && !local(c.conn, s) {
		return errors.New("the connection is not encrypted, so the password is not sent; set tls: required or verify")
	}
	var mechanism sasl.Client
	switch {
	case c.SupportsAuth(sasl.Plain):
		mechanism = sasl.NewPlainClient("", r.o.Username, r.o.Password)
	case c.SupportsAuth(sasl.Login):
		mechanism = sasl.NewLoginClient(r.o.Username, r.o.Password)
	default:
		return errors.New("the server offers neither AUTH PLAIN nor LOGIN on this connection")
	}
	if err := c.Auth(mechanism); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return nil
}

func local(conn net.Conn, s *server) bool {
	if s.network == "unix" {
		return true
	}
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
