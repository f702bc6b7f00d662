package apptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/emersion/go-smtp"
)

// Mail is one mail of a load.
type Mail struct {
	From string
	To   []string
	Data []byte
}

// Text makes a plain mail whose body is size octets long.
func Text(subject string, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Sender <sender@example.org>\r\nTo: in@example.com\r\nSubject: %s\r\n"+
		"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%s@example.org>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", subject, strings.ReplaceAll(subject, " ", "-"))
	const line = "The quick brown fox jumps over the lazy dog, and then it jumps again.\r\n"
	for n := 0; n < size; n += len(line) {
		b.WriteString(line)
	}
	return b.Bytes()
}

// Load sends mails over a number of connections at once.
type Load struct {
	// Addr is the SMTP listener.
	Addr        string
	Connections int
	// Make returns the n-th mail, from 0; it is called concurrently.
	Make func(n int) Mail
	// Accepted is called for every 250 at the end of data, with the message id of the reply. It is called concurrently.
	Accepted func(n int, id string)
}

// Run sends count mails. A connection that breaks ends, and so does the load when all have; the error is the first that
// happened, and nil when all mails were accepted.
func (l Load) Run(ctx context.Context, count int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next atomic.Int64
	errs := make([]error, l.Connections)
	var wg sync.WaitGroup
	for i := range l.Connections {
		wg.Go(func() { errs[i] = l.connection(ctx, &next, count) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (l Load) connection(ctx context.Context, next *atomic.Int64, count int) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", l.Addr)
	if err != nil {
		return err
	}
	c := smtp.NewClient(conn)
	defer c.Close()
	for ctx.Err() == nil {
		n := int(next.Add(1)) - 1
		if n >= count {
			return c.Quit()
		}
		id, err := Send(c, l.Make(n))
		if err != nil {
			return fmt.Errorf("mail %d: %w", n, err)
		}
		if l.Accepted != nil {
			l.Accepted(n, id)
		}
	}
	return ctx.Err()
}

// Send makes one transaction on an open connection and returns the message id of the final reply.
func Send(c *smtp.Client, m Mail) (string, error) {
	if err := c.Mail(m.From, nil); err != nil {
		return "", err
	}
	for _, to := range m.To {
		if err := c.Rcpt(to, nil); err != nil {
			return "", err
		}
	}
	w, err := c.Data()
	if err != nil {
		return "", err
	}
	if _, err := w.Write(m.Data); err != nil {
		return "", err
	}
	resp, err := w.CloseWithResponse()
	if err != nil {
		return "", err
	}
	_, id, ok := strings.Cut(resp.StatusText, "queued as ")
	if !ok {
		return "", fmt.Errorf("the final reply names no message id: %q", resp.StatusText)
	}
	return strings.TrimSpace(id), nil
}

// SendOne sends one mail over a connection of its own and returns its message id.
func SendOne(addr string, m Mail) (string, error) {
	c, err := smtp.Dial(addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	id, err := Send(c, m)
	if err != nil {
		return "", err
	}
	return id, c.Quit()
}
