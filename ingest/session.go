package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"mxhook/pipeline"
)

// session is one SMTP connection from the greeting to its end. One goroutine owns it.
type session struct {
	srv    *Server
	lst    *listener
	wire   *wire
	log    *slog.Logger
	client pipeline.Client
	// extended says that the client sent EHLO, not HELO. Client.Helo is "" before either.
	extended bool
	// xhelo is the name that XCLIENT gave for the client; it stands in for what the relay says of itself.
	xhelo string
	// mayXclient says that the connection comes from a trusted relay.
	mayXclient bool
	// exempt says that the client is on the allow list.
	exempt     bool
	reputation *reputation // nil before the first recipient
	// tx is the transaction under way, or nil.
	tx *transaction

	began        time.Time
	transactions int  // begun
	unknown      int  // recipients refused as unknown
	slow         bool // the read under way ends early because the message comes too slowly

	errors  int  // 5xx replies since the last accepted message
	idle    int  // commands since the last accepted message that did not carry one
	due     bool // the client waits for a reply
	closing bool // no further command is read
	linger  bool // the client may still be sending
}

func newSession(srv *Server, lst *listener, conn net.Conn) *session {
	s := &session{srv: srv, lst: lst, wire: newWire(conn, srv.opts.Timeouts.Write), began: time.Now()}
	s.client.IP, s.client.Port = remote(conn)
	s.log = srv.opts.Log.With("listener", lst.name, "client", s.client.IP)
	return s
}

// run serves the connection and closes it, whatever happens.
func (s *session) run(ctx context.Context) {
	if refusal := s.srv.registry.enter(s.wire); refusal != nil {
		s.refuse(refusal, nil)
		s.wire.close(false)
		return
	}
	defer s.srv.registry.leave(s.wire)
	defer func() { s.wire.close(s.linger) }()
	defer s.guard(func() { s.abandon("the session ended") })
	s.guard(func() { s.serve(ctx) })
}

// serve is the session proper.
func (s *session) serve(ctx context.Context) {
	if len(s.lst.proxy) > 0 && !s.proxied() || !s.admitClient() {
		return
	}
	s.mayXclient = contains(s.lst.xclient, s.client.IP)
	s.srv.metrics.sessions.WithLabelValues(s.lst.name).Inc()
	s.log.Debug("session begins")
	defer func() { s.log.Debug("session ends") }()
	if s.lst.implicit && !s.handshake(ctx) {
		return
	}
	s.greet()
	for !s.closing {
		s.step(ctx)
	}
}

// guard calls f and keeps a panic inside the session: the client gets a reply, and the session ends.
func (s *session) guard(f func()) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		s.srv.metrics.panics.Inc()
		s.log.Error("panic in an SMTP session", "message", s.messageID(), "panic", cause, "stack", string(debug.Stack()))
		if s.tx != nil && s.tx.failed == nil {
			s.tx.failed, s.tx.cause = replyFailure, fmt.Errorf("panic: %v", cause) // run abandons it
		}
		if s.due {
			s.reply(replyFailure)
		} else if !s.closing {
			s.reply(replyFailureClosing)
		}
		s.closing, s.linger = true, true
	}()
	f()
}

// greet sends the greeting, or refuses a client that does not wait for it.
func (s *session) greet() {
	s.due = true
	if delay := s.srv.opts.Timeouts.GreetDelay; delay > 0 && !s.exempt {
		switch quiet, err := s.wire.quiet(delay); {
		case err != nil:
			s.lost(err)
			return
		case !quiet:
			s.reply(replyEarlyTalker)
			return
		}
	}
	s.reply(s.greeting())
}

func (s *session) greeting() *Reply {
	protocol := " ESMTP"
	if s.lst.lmtp {
		protocol = " LMTP"
	}
	return &Reply{Code: 220, Text: s.srv.opts.Hostname + protocol + " mxhook"}
}

// step reads one command and answers it.
func (s *session) step(ctx context.Context) {
	s.slow = false
	line, bare, err := s.wire.line(s.srv.opts.Limits.CommandLine, s.commandDeadline(), s.tx == nil)
	s.due = true
	switch {
	case errors.Is(err, errLineTooLong):
		s.reply(replyLineTooLong)
	case errors.Is(err, errFlood):
		s.reply(replyFlood)
	case err != nil:
		s.lost(err)
	case bare:
		s.reply(replyBareLF)
	case !isText(line):
		s.reply(replyBadOctets)
	default:
		s.command(ctx, string(line))
	}
}

// commandDeadline is when the next command must have arrived. A transaction under way may outlive the session's time.
func (s *session) commandDeadline() time.Time {
	deadline := time.Now().Add(s.srv.opts.Timeouts.Command)
	if end, bounded := s.lastMoment(); bounded && s.tx == nil && end.Before(deadline) {
		return end
	}
	return deadline
}

// lost ends the session after a read that failed. What is left of the stream is never looked at: after half a message
// nobody knows any more what is a command.
func (s *session) lost(err error) {
	s.closing = true
	switch {
	case errors.Is(err, errDraining):
		s.abandon("shutdown")
		s.reply(replyDraining)
	case errors.Is(err, os.ErrDeadlineExceeded):
		r := replyTimeout
		if end, bounded := s.lastMoment(); s.slow {
			r = replyTooSlow
		} else if bounded && s.tx == nil && !time.Now().Before(end) {
			r = replySessionTooLong
		}
		s.abandon(r.Reason)
		s.reply(r)
	default:
		s.abandon("connection lost: " + err.Error())
		s.due = false
	}
}

// lastMoment is when the session has lasted long enough, if there is such a time.
func (s *session) lastMoment() (end time.Time, bounded bool) {
	limit := s.srv.opts.Timeouts.Session
	return s.began.Add(limit), limit > 0
}

// refuse ends a session that has not begun. Under implicit TLS nobody would understand a reply in clear text.
func (s *session) refuse(r *Reply, cause error) {
	s.closing = true
	s.srv.refused(s.log, r, "", cause)
	if !s.lst.implicit || s.client.TLS != nil {
		s.wire.write(r.line())
	}
}

// reply answers the client.
func (s *session) reply(r *Reply) { s.replies(r, 1) }

// replies answers the client with n equal replies, which count as one. Too many refusals become the end of the session,
// and so does every 421.
func (s *session) replies(r *Reply, n int) {
	if r.Code >= 500 && r != replyTooLarge {
		if s.errors++; s.errors > s.srv.opts.Limits.Errors {
			r, n = replyTooManyErrors, 1
		}
	}
	if r.Code == 421 {
		s.closing, s.linger = true, true
		n = 1
	}
	if r.Code >= 400 {
		s.srv.refused(s.log, r, s.messageID(), nil)
	}
	if tarpit := s.srv.admission.Tarpit; tarpit > 0 && s.errors >= tarpitFrom && r.Code >= 500 && !s.exempt {
		s.wait(tarpit)
	}
	s.due = false
	for range n {
		s.wire.write(r.line())
	}
}

// tarpitFrom is the number of 5xx replies since the last accepted message from which on they are slow.
const tarpitFrom = 3

// wait makes the client wait, with its replies up to now in hand. It ends early when the server drains.
func (s *session) wait(d time.Duration) {
	if s.wire.flush() == nil {
		s.srv.pause(d)
	}
}

// handshake turns TLS on, and forgets what was said before (RFC 3207 4.2). When it fails the session is over: nothing
// may be said in clear text any more.
func (s *session) handshake(ctx context.Context) bool {
	state, err := s.wire.handshake(ctx, s.srv.opts.TLSConfig, s.srv.opts.Timeouts.Handshake)
	if err != nil {
		s.srv.metrics.tlsFailures.Inc()
		s.log.Debug("TLS handshake failed", "error", err)
		s.closing, s.due = true, false
		return false
	}
	s.client.TLS = &pipeline.TLS{Version: tls.VersionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite)}
	s.client.Helo, s.extended = "", false
	return true
}

// messageID is for logs; "" outside of a transaction.
func (s *session) messageID() string {
	if s.tx == nil {
		return ""
	}
	return s.tx.id
}

// remote returns where a connection comes from; the zero address when that is no IP address.
func remote(conn net.Conn) (netip.Addr, uint16) {
	addr, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}, 0
	}
	return addr.Addr().Unmap().WithZone(""), addr.Port()
}

// isText reports whether a command line has no control octets but tabs.
func isText(line []byte) bool {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
