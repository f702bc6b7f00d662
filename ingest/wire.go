package ingest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// bufferSize is the size of the one read buffer of a connection.
const bufferSize = 16 << 10

// flushSize is how many octets of replies are collected before they are written in any case.
const flushSize = 4 << 10

var (
	errDraining    = errors.New("the server is shutting down")
	errLineTooLong = errors.New("command line too long")
	errFlood       = errors.New("command line without an end")
)

// wire is one connection with its read buffer and its pending replies. Replies are written when the next read would
// block, so that a pipelined group is answered in one packet (RFC 2920 3.2). A read error is final: nothing that
// arrives after one is ever looked at.
//
// One goroutine uses it; drain and abort may be called from others.
type wire struct {
	conn         net.Conn // what is read and written; a *tls.Conn above raw once TLS is on
	raw          net.Conn
	writeTimeout time.Duration

	buf  []byte
	r, w int // buf[r:w] is read and not consumed
	err  error
	out  []byte
	werr error

	mu       sync.Mutex
	idle     bool // blocked in a read that draining may interrupt
	draining bool
}

func newWire(conn net.Conn, writeTimeout time.Duration) *wire {
	return &wire{conn: conn, raw: conn, writeTimeout: writeTimeout}
}

// buffered returns the octets that were read and not consumed.
func (w *wire) buffered() []byte { return w.buf[w.r:w.w] }

// consume drops the first n buffered octets.
func (w *wire) consume(n int) {
	w.r += n
	if w.r == w.w {
		w.r, w.w = 0, 0
	}
}

// fill writes pending replies and reads once. The buffer must not be full. With idle set, the read ends with
// errDraining as soon as the server drains.
func (w *wire) fill(deadline time.Time, idle bool) error {
	if err := w.flush(); err != nil {
		return err
	}
	if w.err != nil {
		return w.err
	}
	if w.r > 0 {
		copy(w.buf, w.buf[w.r:w.w])
		w.r, w.w = 0, w.w-w.r
	}
	if err := w.arm(deadline, idle); err != nil {
		return err
	}
	if w.buf == nil { // a connection that is refused needs none
		w.buf = make([]byte, bufferSize)
	}
	n, err := w.conn.Read(w.buf[w.w:])
	drained := w.disarm()
	w.w += n
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	w.err = err
	switch {
	case n > 0:
		return nil
	case idle && drained && errors.Is(err, os.ErrDeadlineExceeded):
		return errDraining
	}
	return err
}

// readFirst lets read take what comes before everything else off the connection itself. It must not take more.
func (w *wire) readFirst(deadline time.Time, read func(io.Reader) error) error {
	if err := w.arm(deadline, true); err != nil {
		return err
	}
	err := read(w.raw)
	if drained := w.disarm(); drained && errors.Is(err, os.ErrDeadlineExceeded) {
		return errDraining
	}
	return err
}

// quiet waits and reports whether the client said nothing meanwhile. A timeout is no error here.
func (w *wire) quiet(wait time.Duration) (bool, error) {
	err := w.fill(time.Now().Add(wait), true)
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.err = nil
		return true, nil
	}
	return false, err
}

// arm sets the read deadline and notes whether draining may interrupt the read.
func (w *wire) arm(deadline time.Time, idle bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if idle && w.draining {
		return errDraining
	}
	w.idle = idle
	return w.conn.SetReadDeadline(deadline)
}

func (w *wire) disarm() (drained bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = false
	return w.draining
}

// line returns the next command line without its line end; it is valid until the next fill. bare says that it ended
// in LF alone. The whole line must arrive before the deadline. A line longer than limit is consumed up to its end and
// gives errLineTooLong; one that does not end within a few buffers gives errFlood.
func (w *wire) line(limit int, deadline time.Time, idle bool) (line []byte, bare bool, err error) {
	seen, skipped := 0, 0
	for {
		b := w.buffered()
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			end := seen + i
			line = b[:end]
			w.consume(end + 1)
			if skipped+end+1 > limit {
				return nil, false, errLineTooLong
			}
			if end > 0 && line[end-1] == '\r' {
				return line[:end-1], false, nil
			}
			return line, true, nil
		}
		seen = len(b)
		if skipped+seen > limit {
			skipped += seen
			w.consume(seen)
			seen = 0
			if skipped > 4*bufferSize {
				return nil, false, errFlood
			}
		}
		if err := w.fill(deadline, idle); err != nil {
			return nil, false, err
		}
	}
}

// write adds a reply to the pending ones.
func (w *wire) write(reply string) {
	w.out = append(w.out, reply...)
	if len(w.out) >= flushSize {
		_ = w.flush() // kept in werr; the next fill reports it
	}
}

// flush writes the pending replies. Its error is final.
func (w *wire) flush() error {
	if w.werr != nil || len(w.out) == 0 {
		return w.werr
	}
	if w.werr = w.conn.SetWriteDeadline(time.Now().Add(w.writeTimeout)); w.werr == nil {
		_, w.werr = w.conn.Write(w.out)
	}
	w.out = w.out[:0]
	return w.werr
}

// handshake turns the connection into a TLS one. What is buffered was sent in clear text and must be empty.
func (w *wire) handshake(ctx context.Context, config *tls.Config, timeout time.Duration) (tls.ConnectionState, error) {
	conn := tls.Server(w.raw, config)
	w.mu.Lock()
	w.conn = conn
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := w.arm(deadline, true); err != nil {
		return tls.ConnectionState{}, err
	}
	err := errors.Join(conn.SetWriteDeadline(deadline), conn.HandshakeContext(ctx))
	w.disarm()
	return conn.ConnectionState(), err
}

// drain wakes the connection when it is idle.
func (w *wire) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	if w.idle {
		_ = w.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// isDraining reports whether the server drains.
func (w *wire) isDraining() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.draining
}

// abort closes the connection under whatever goes on.
func (w *wire) abort() { _ = w.raw.Close() }

// Bounds of linger.
const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// close writes what is pending and closes. With linger it then reads and drops what the client is still sending, for
// a short while: closing a socket with unread data resets it, and the client would lose our last reply.
func (w *wire) close(linger bool) {
	_ = w.flush()
	if linger && w.werr == nil && w.closeWrite() == nil {
		_ = w.raw.SetReadDeadline(time.Now().Add(lingerTime))
		if w.isDraining() {
			_ = w.raw.SetReadDeadline(time.Now().Add(lingerTime / 10))
		}
		_, _ = io.CopyBuffer(io.Discard, io.LimitReader(onlyReader{w.raw}, lingerBytes), w.buf)
	}
	// Close of a *tls.Conn writes an alert under a deadline of its own and closes the socket.
	_ = w.conn.Close()
}

// onlyReader hides the other methods of a connection, so that io.CopyBuffer uses the buffer it is given.
type onlyReader struct{ io.Reader }

// closeWrite ends our direction: with an alert under TLS, and with a FIN.
func (w *wire) closeWrite() error {
	if conn, ok := w.conn.(*tls.Conn); ok {
		if err := conn.CloseWrite(); err != nil {
			return err
		}
	}
	if half, ok := w.raw.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
