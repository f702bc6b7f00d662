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
	// tx is the transaction under way, or nil.
	tx *transaction

	errors  int  // 5xx replies since the last accepted message
	idle    int  // commands since the last accepted message that did not carry one
	due     bool // the client waits for a reply
	closing bool // no further command is read
	linger  bool // the client may still be sending
}

func newSession(srv *Server, lst *listener, conn net.Conn) *session {
	s := &session{srv: srv, lst: lst, wire: newWire(conn, srv.opts.Timeouts.Write)}
	s.client.IP, s.client.Port = remote(conn)
	s.log = srv.opts.Log.With("listener", lst.name, "client", s.client.IP)
	return s
}

// run serves the connection and closes it, whatever happens.
func (s *session) run(ctx context.Context) {
	if refusal, reason := s.srv.registry.enter(s.wire, s.client.IP); refusal != nil {
		s.srv.metrics.refused.WithLabelValues(reason).Inc()
		s.log.Debug("connection refused", "reason", reason)
		if !s.lst.implicit { // under implicit TLS nobody would understand it
			s.wire.write(refusal.line())
		}
		s.wire.close(false)
		return
	}
	defer s.srv.registry.leave(s.wire)
	defer func() { s.wire.close(s.linger) }()
	s.srv.metrics.sessions.WithLabelValues(s.lst.name).Inc()
	s.log.Debug("session begins")
	defer s.log.Debug("session ends")
	defer s.guard(func() { s.abandon("the session ended") })
	s.guard(func() { s.serve(ctx) })
}

// serve is the session proper.
func (s *session) serve(ctx context.Context) {
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
	if delay := s.srv.opts.Timeouts.GreetDelay; delay > 0 {
		switch quiet, err := s.wire.quiet(delay); {
		case err != nil:
			s.lost(err)
			return
		case !quiet:
			s.srv.metrics.refused.WithLabelValues("early_talker").Inc()
			s.reply(replyEarlyTalker)
			return
		}
	}
	s.reply(&Reply{Code: 220, Text: s.srv.opts.Hostname + " ESMTP mxhook"})
}

// step reads one command and answers it.
func (s *session) step(ctx context.Context) {
	line, bare, err := s.wire.line(s.srv.opts.Limits.CommandLine, time.Now().Add(s.srv.opts.Timeouts.Command), s.tx == nil)
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

// lost ends the session after a read that failed. What is left of the stream is never looked at: after half a message
// nobody knows any more what is a command.
func (s *session) lost(err error) {
	s.closing = true
	switch {
	case errors.Is(err, errDraining):
		s.abandon("shutdown")
		s.reply(replyDraining)
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.abandon("timeout")
		s.reply(replyTimeout)
	default:
		s.abandon("connection lost: " + err.Error())
		s.due = false
	}
}

// reply answers the client. Too many refusals become the end of the session, and so does every 421.
func (s *session) reply(r *Reply) {
	if r.Code >= 500 && r != replyTooLarge {
		if s.errors++; s.errors > s.srv.opts.Limits.Errors {
			r = replyTooManyErrors
		}
	}
	if r.Code == 421 {
		s.closing, s.linger = true, true
	}
	s.due = false
	s.wire.write(r.line())
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
