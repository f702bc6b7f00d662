package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"
)

// session is one SMTP session, opened when it is first needed.
type session struct {
	conn net.Conn
	in   *bufio.Reader
	sent int
	// offers are the keywords of the reply to EHLO.
	offers map[string]bool
}

// replyError is a refusal: the server's words.
type replyError string

func (e replyError) Error() string { return string(e) }

// silence is the patience of one session with a server that says nothing.
const silence = 2 * time.Minute

func (s *session) open(ctx context.Context, o Options) error {
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", o.Addr)
	if err != nil {
		return err
	}
	s.conn, s.in, s.sent = conn, bufio.NewReader(conn), 0
	_ = conn.SetDeadline(time.Now().Add(silence))
	if err := s.expect("220"); err != nil {
		return err
	}
	if o.TLS != nil {
		if err := s.command("EHLO load.example.org\r\n", "250"); err != nil {
			return err
		}
		if err := s.command("STARTTLS\r\n", "220"); err != nil {
			return err
		}
		s.conn = tls.Client(conn, o.TLS)
		s.in = bufio.NewReader(s.conn)
	}
	s.offers = map[string]bool{}
	return s.command("EHLO load.example.org\r\n", "250")
}

func (s *session) close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// send makes one transaction, its commands pipelined (RFC 2920), and returns what the final reply calls it.
func (s *session) send(ctx context.Context, o Options, mail []byte) (string, error) {
	if s.conn != nil && o.PerConnection > 0 && s.sent >= o.PerConnection {
		_ = s.command("QUIT\r\n", "221")
		s.close()
	}
	if s.conn == nil {
		if err := s.open(ctx, o); err != nil {
			return "", err
		}
	}
	conn := s.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	s.sent++
	if err := s.envelope(o, len(mail)); err != nil {
		return "", err
	}
	if _, err := s.conn.Write(mail); err != nil {
		return "", err
	}
	if _, err := s.conn.Write([]byte(".\r\n")); err != nil {
		return "", err
	}
	line, err := s.reply()
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(line, "250") {
		return "", replyError(line)
	}
	_, id, _ := strings.Cut(line, "queued as ")
	return id, nil
}

// envelope brings the transaction to where the mail comes.
func (s *session) envelope(o Options, size int) error {
	from := "MAIL FROM:<sender@" + Domain + ">\r\n"
	if s.offers["SIZE"] {
		from = fmt.Sprintf("MAIL FROM:<sender@%s> SIZE=%d\r\n", Domain, size)
	}
	to := "RCPT TO:<" + o.Recipient + ">\r\n"
	_ = s.conn.SetDeadline(time.Now().Add(silence))
	if !o.StepByStep && s.offers["PIPELINING"] {
		if _, err := s.conn.Write([]byte(from + to + "DATA\r\n")); err != nil {
			return err
		}
		for _, code := range []string{"250", "250", "354"} {
			if err := s.expect(code); err != nil {
				return err
			}
		}
		return nil
	}
	for _, step := range [][2]string{{from, "250"}, {to, "250"}, {"DATA\r\n", "354"}} {
		if err := s.command(step[0], step[1]); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) command(line, code string) error {
	_ = s.conn.SetDeadline(time.Now().Add(silence))
	if _, err := s.conn.Write([]byte(line)); err != nil {
		return err
	}
	return s.expect(code)
}

func (s *session) expect(code string) error {
	line, err := s.reply()
	if err == nil && !strings.HasPrefix(line, code) {
		err = replyError(line)
	}
	return err
}

// reply reads one reply and returns its last line. What the lines say is noted while offers is new.
func (s *session) reply() (string, error) {
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimRight(line, "\r\n")
		if s.sent == 0 && s.offers != nil && len(line) > 4 {
			keyword, _, _ := strings.Cut(line[4:], " ")
			s.offers[strings.ToUpper(keyword)] = true
		}
		if len(line) < 4 || line[3] != '-' {
			return line, nil
		}
	}
}
