package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The tests of this file are named S1 to S18 after faults that other SMTP servers have had. Each says what went wrong
// elsewhere.

// Elsewhere, BDAT LAST of a million octets and a closed connection after 31 was accepted as a complete message.
func TestS1BdatCutOffIsNotAccepted(t *testing.T) {
	t.Parallel()
	ends := map[string]func(p *peer){
		"close": func(p *peer) { p.conn.Close() },
		"half close": func(p *peer) {
			if err := p.conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Error(err)
			}
			p.expectClosed()
		},
		"TLS close_notify on an open socket": func(p *peer) {
			if err := p.conn.(*tls.Conn).CloseWrite(); err != nil {
				t.Error(err)
			}
			p.expectClosed()
		},
	}
	for name, end := range ends {
		for _, command := range []string{"BDAT 1000000 LAST", "DATA"} {
			t.Run(name+" "+command, func(t *testing.T) {
				t.Parallel()
				serverTLS, clientTLS := tlsPair(t)
				s := serverFor(t, func(o *Options) {
					if strings.HasPrefix(name, "TLS") {
						o.TLSConfig, o.Listeners[0].TLS = serverTLS, TLSImplicit
					}
				})
				p := s.dial()
				if strings.HasPrefix(name, "TLS") {
					p = newPeer(t, tls.Client(p.conn, clientTLS))
				}
				p.expect("220 *")
				p.send("EHLO client.example.org", "MAIL FROM:<>", "RCPT TO:<support@example.com>")
				p.expectEHLO()
				p.expect("250 *", "250 *")
				p.send(command)
				if command == "DATA" {
					p.expect("354 *")
				}
				p.raw("Subject: half of it\r\n\r\nhalf of")
				end(p)
				waitFor(t, "the session ends", func() bool { return s.registry.open() == 0 })
				if got := s.spool.messages(); len(got) > 0 {
					t.Errorf("stored %+v", got)
				}
				if got := s.spool.aborts(); got != 1 {
					t.Errorf("%d writers aborted, want 1", got)
				}
			})
		}
	}
}

// Elsewhere, a timeout within DATA was answered and the rest of the body was then read as commands.
func TestS2BodyAfterDataTimeoutIsNotCommands(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"DATA", "BDAT 1000"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s, p := pipeServer(t, func(o *Options) { o.Timeouts = Timeouts{Data: 50 * time.Millisecond} })
			p.send("MAIL FROM:<>", "RCPT TO:<support@example.com>")
			p.expect("250 *", "250 *")
			p.send(command, "Subject: x", "", "half of") // in one write, so that the clock runs for what is missing
			if command == "DATA" {
				p.expect("354 *")
			}
			p.expect("421 4.4.2 *")
			// Nobody reads this any more: either the write fails or nothing answers it.
			_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
			_, _ = p.conn.Write([]byte(".\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<support@example.com>\r\n"))
			p.expectClosed()
			if log := s.log.String(); strings.Contains(log, "result=accepted") || strings.Count(log, "mail transaction") != 1 {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

// The same one layer below: whatever comes after a read error is never read, also when the connection would give it.
func TestS2ReadErrorIsFinal(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	w := newWire(theirs, time.Minute)
	if err := w.fill(time.Unix(1, 0), false); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	_ = ours.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	written := make(chan error)
	go func() {
		_, err := ours.Write([]byte("NOOP\r\n"))
		written <- err
	}()
	err := w.fill(time.Now().Add(patience), false)
	if !errors.Is(err, os.ErrDeadlineExceeded) || len(w.buffered()) > 0 {
		t.Errorf("error %v, read %q", err, w.buffered())
	}
	if err := <-written; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the octets were taken: %v", err)
	}
}

// Elsewhere, any plain error became 554 with its text, and a wrapped SMTP error lost its code.
func TestS3ErrorsOfTheSpoolAreTransientAndSecret(t *testing.T) {
	t.Parallel()
	secret := errors.New("nats://user:hunter2@10.0.0.7: no responders")
	for name, fail := range map[string]func(*memorySpool){
		"admit":  func(s *memorySpool) { s.admit = failWith(secret) },
		"begin":  func(s *memorySpool) { s.begin = failWith(secret) },
		"write":  func(s *memorySpool) { s.write = failWith(secret) },
		"commit": func(s *memorySpool) { s.commit = failWith(secret) },
		// Only Commit, which has seen the whole message, may refuse it.
		"reply": func(s *memorySpool) {
			s.write = failWith(fmt.Errorf("x: %w", &Reply{Code: 554, Status: "5.0.0", Text: "hunter2"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spool := &memorySpool{}
			fail(spool)
			s := serverFor(t, func(o *Options) { o.Spool = spool })
			p := s.hello()
			p.send("MAIL FROM:<>", "RCPT TO:<support@example.com>", "DATA")
			for _, r := range []string{p.line(), p.line(), p.line()} {
				if strings.HasPrefix(r, "354") {
					p.send("text", ".")
					p.expect("451 4.3.0 Cannot take the message now; try again later")
				} else if r[0] == '5' && !strings.HasPrefix(r, "503") || strings.Contains(r, "nats") {
					t.Errorf("reply %q", r)
				}
			}
			if log := s.log.String(); !strings.Contains(log, "hunter2") {
				t.Errorf("the log does not say why:\n%s", log)
			}
		})
	}
}

// The refusal of a whole message, or for some recipients, counts as one: it never becomes the 421 of too many errors,
// which would leave recipients without their replies.
func TestRefusalsOfCommitReachEveryRecipient(t *testing.T) {
	t.Parallel()
	refusal := &Reply{Code: 550, Status: "5.7.26", Text: "no", Reason: "dmarc"}
	some := &Refused{Replies: map[string]*Reply{}}
	var lines, want []string
	for n := range 60 {
		address, reply := fmt.Sprintf("r%d@example.com", n), "250 2.0.0 Ok*"
		if n%3 > 0 {
			some.Replies[address], reply = refusal, "550 5.7.26 no"
		}
		lines, want = append(lines, "RCPT TO:<"+address+">"), append(want, reply)
	}
	spool := &memorySpool{}
	s := serverFor(t, func(o *Options) {
		o.Spool, o.Listeners[0].Protocol, o.Limits.Errors = spool, ProtocolLMTP, 20
	})
	p := s.dial()
	p.expect("220 *")
	p.send("LHLO client.example.org")
	p.expectEHLO()
	for _, commit := range []error{some, fmt.Errorf("judged: %w", refusal)} {
		spool.commit = failWith(commit)
		p.send("MAIL FROM:<>")
		p.expect("250 *")
		for _, line := range lines {
			p.send(line)
			p.expect("250 *")
		}
		p.send("DATA")
		p.expect("354 *")
		p.send("text", ".")
		for n := range lines {
			if commit == error(some) {
				p.expect(want[n])
			} else {
				p.expect("550 5.7.26 no")
			}
		}
	}
	if log := s.log.String(); !strings.Contains(log, "refused for 40 recipients") {
		t.Errorf("the log:\n%s", log)
	}
}

// Elsewhere, the limit of a command line held for lines of the message too.
func TestS4LongBodyLinesPass(t *testing.T) {
	t.Parallel()
	for _, n := range []int{998, 1999, 2048, 8192, bufferSize - 2, bufferSize - 1, bufferSize, bufferSize + 1, 1 << 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s := serverFor(t, nil)
			body := strings.Repeat("x", n) + "\r\n"
			p := s.transaction()
			p.send("DATA")
			p.expect("354 *")
			p.raw(body + ".\r\n")
			p.expect("250 2.0.0 Ok: queued as *")
			if got := s.spool.messages()[0].Content; got != body {
				t.Errorf("stored %d octets, sent %d", len(got), len(body))
			}
		})
	}
}

// Elsewhere, a BDAT command and a chunk with a long line in one packet were refused as a command line too long.
func TestS5BdatWithLongLineInOnePacket(t *testing.T) {
	t.Parallel()
	s := serverFor(t, nil)
	p := s.transaction()
	body := strings.Repeat("x", 12000)
	p.raw(fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body))
	p.expect("250 2.0.0 Ok: queued as *")
	if got := s.spool.messages()[0].Content; got != body {
		t.Errorf("stored %d octets, sent %d", len(got), len(body))
	}
}

// Elsewhere, CR CR LF before the dot was no line end, and the connection hung.
func TestS6EndOfDataAfterCRCRLF(t *testing.T) {
	t.Parallel()
	if got := transfer(t, "text\r\r\n.\r\n"); got != "text\r\r\n" {
		t.Errorf("stored %q", got)
	}
}

// Elsewhere, the CR of CR LF "." CR X was dropped, which breaks DKIM.
func TestS7CRBehindADotIsKept(t *testing.T) {
	t.Parallel()
	if got := transfer(t, "a\r\n.\rX\r\n..\r.\r\n.\r\n"); got != "a\r\n\rX\r\n.\r.\r\n" {
		t.Errorf("stored %q", got)
	}
}

// transfer sends octets behind DATA and returns what was stored.
func transfer(t *testing.T, octets string) string {
	t.Helper()
	s := serverFor(t, nil)
	p := s.transaction()
	p.send("DATA")
	p.expect("354 *")
	p.raw(octets)
	p.expect("250 2.0.0 Ok: queued as *")
	return s.spool.messages()[0].Content
}

// Elsewhere, RSET or a lost connection between BDAT chunks ran beside the reader of the message: a data race.
// Here one goroutine owns all of it; the race detector watches.
func TestS8ResetBetweenChunksAbortsOnce(t *testing.T) {
	t.Parallel()
	s := serverFor(t, nil)
	p := s.transaction()
	p.raw("BDAT 5\r\nhelloRSET\r\n")
	p.expect("250 2.0.0 5 octets received", "250 2.0.0 Ok")
	p.send("MAIL FROM:<>", "RCPT TO:<support@example.com>")
	p.expect("250 *", "250 *")
	p.raw("BDAT 5\r\nworld")
	p.expect("250 2.0.0 5 octets received")
	p.conn.Close()
	waitFor(t, "both writers are aborted", func() bool { return s.spool.aborts() == 2 })
	if got := s.spool.messages(); len(got) > 0 {
		t.Errorf("stored %+v", got)
	}
}

// Elsewhere, a second MAIL began a new transaction and the recipients of the first stayed.
func TestS9NestedMailIsRefused(t *testing.T) {
	t.Parallel()
	s := serverFor(t, nil)
	p := s.transaction()
	p.send("MAIL FROM:<mallory@example.org>", "DATA")
	p.expect("503 5.5.1 *", "354 *")
	p.send(".")
	p.expect("250 *")
	if env := s.spool.messages()[0].Envelope; env.ReversePath != "alice@example.org" || len(env.Recipients) != 1 {
		t.Errorf("envelope %+v", env)
	}
}

// Elsewhere, RCPT TO:<postmaster> was a syntax error.
func TestS10PostmasterWithoutDomain(t *testing.T) {
	t.Parallel()
	s := serverFor(t, nil)
	p := s.hello()
	p.send("MAIL FROM:<>", "RCPT TO:<PostMaster>", "DATA")
	p.expect("250 *", "250 *", "354 *")
	p.send(".")
	p.expect("250 *")
	got := s.spool.messages()[0].Envelope.Recipients[0]
	if got.Address != "PostMaster@example.com" || got.Domain != "example.com" {
		t.Errorf("recipient %+v", got)
	}
}

// Elsewhere, addresses were not checked: control octets, bad UTF-8, two @, empty labels, 900-octet local parts.
func TestS11BadAddressesAreRefused(t *testing.T) {
	t.Parallel()
	s := serverFor(t, func(o *Options) { o.Limits.Errors = 1000 })
	p := s.hello()
	p.send("MAIL FROM:<alice@example.org> SMTPUTF8")
	p.expect("250 *")
	for _, a := range []string{
		"a@b@example.com", "r@example..com", "r@..", "r@.example.com", "r@example.com.", "", "@example.com", "r@",
		strings.Repeat("r", 900) + "@example.com", "r\x80@example.com", "r\xc3\x28@example.com", "r\u0085@example.com",
		"r @example.com", "r@exa mple.com", "r@example.com(x)", `"r@example.com`, `"r" x@example.com`, "r@-example.com",
		"r@" + strings.Repeat("a", 64) + ".example.com", "r@[192.0.2.256]", "r@[192.0.2.1", "r..r@example.com", ".r@example.com",
	} {
		p.send("RCPT TO:<" + a + ">")
		if r := p.line(); !strings.HasPrefix(r, "501 ") {
			t.Errorf("%q: reply %q", a, r)
		}
	}
	p.send("RCPT TO:<\"a@b\"@example.com>")
	p.expect("550 5.1.1 *") // an address all right, and not a@b@example.com
}

// Elsewhere, 421 did not close the connection. See also the dialogs too-many-errors and too-many-idle-commands.
func TestS12A421ClosesTheConnection(t *testing.T) {
	t.Parallel()
	s := serverFor(t, func(o *Options) {
		o.Recipients = recipientsFunc{o.Recipients, func() error { return &Reply{Code: 421, Status: "4.7.0", Text: "Go away"} }}
	})
	p := s.hello()
	p.send("MAIL FROM:<>", "RCPT TO:<support@example.com>", "NOOP")
	p.expect("250 *", "421 4.7.0 Go away")
	p.expectClosed()
}

// Elsewhere, a shutdown waited for idle clients for ever, told them nothing, and let them send more messages.
func TestS13ShutdownDrains(t *testing.T) {
	t.Parallel()
	s := serverFor(t, nil)
	idle, busy, quiet, silent := s.hello(), s.transaction(), s.transaction(), s.dial()
	silent.expect("220 *")

	ended := make(chan error, 2)
	for range cap(ended) {
		go func() { ended <- s.Shutdown(context.Background()) }()
	}
	idle.expect("421 4.3.2 *")
	idle.expectClosed()
	silent.expect("421 4.3.2 *")
	silent.expectClosed()
	waitFor(t, "the listener is closed", func() bool {
		conn, err := net.Dial("tcp", s.addr())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	busy.send("DATA")
	busy.expect("354 *")
	select {
	case err := <-ended:
		t.Fatalf("Shutdown did not wait for the transaction: %v", err)
	default:
	}
	busy.send("text", ".", "MAIL FROM:<>", "RCPT TO:<support@example.com>")
	busy.expect("250 2.0.0 Ok: queued as *", "421 4.3.2 *")
	busy.expectClosed()
	quiet.raw("BDAT 4 LAST\r\ntext")
	quiet.expect("250 2.0.0 Ok: queued as *", "421 4.3.2 *") // idle from now on
	quiet.expectClosed()
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
	if got := len(s.spool.messages()); got != 2 {
		t.Errorf("%d messages stored, want 2", got)
	}
}

// Elsewhere, the time for one command was also the time for a whole message. Here a command line has one deadline, and
// every read of the message has a new one, but none behind the end of the whole transfer.
func TestS14DataMayTakeLongerThanOneRead(t *testing.T) {
	t.Parallel()
	const envelope = "EHLO client.example.org\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\n"
	for name, c := range map[string]struct {
		timeouts Timeouts
		octets   string
		renewed  bool
	}{
		"command line":     {Timeouts{}, "NOOP " + strings.Repeat("x", 100), false},
		"DATA":             {Timeouts{}, strings.Repeat("x", 100), true},
		"end of transfer":  {Timeouts{Transfer: time.Minute}, strings.Repeat("x", 100), false},
		"BDAT":             {Timeouts{}, strings.Repeat("x", 100), true},
		"refused BDAT":     {Timeouts{}, strings.Repeat("x", 100), true},
		"BDAT to its end":  {Timeouts{Transfer: time.Minute}, strings.Repeat("x", 100), false},
		"line of envelope": {Timeouts{}, "RCPT TO:<" + strings.Repeat("x", 100), false},
	} {
		before := envelope
		switch {
		case name == "refused BDAT":
			before = "BDAT 1000\r\n"
		case strings.HasPrefix(name, "BDAT"):
			before += "BDAT 1000\r\n"
		case c.timeouts != Timeouts{} || name == "DATA":
			before += "DATA\r\n"
		}
		s := serverFor(t, func(o *Options) { o.Timeouts = c.timeouts })
		conn := &fuzzConn{in: strings.NewReader(before + c.octets), step: 1}
		newSession(s.Server, s.listeners[0], conn).run(context.Background())
		deadlines := conn.deadlines[len(before)+1 : len(before)+len(c.octets)]
		for i, deadline := range deadlines[1:] {
			if deadline.After(deadlines[i]) != c.renewed || deadline.Before(deadlines[i]) {
				t.Errorf("%s: deadline %v after %v", name, deadline, deadlines[i])
			}
		}
	}
}

// And the other side of it: progress alone does not keep a transfer alive for ever.
func TestS14ATransferHasAnEnd(t *testing.T) {
	t.Parallel()
	s, p := pipeServer(t, func(o *Options) { o.Timeouts = Timeouts{Transfer: 100 * time.Millisecond} })
	p.send("MAIL FROM:<>", "RCPT TO:<support@example.com>", "DATA")
	p.expect("250 *", "250 *", "354 *")
	p.dribbleUntil("421 4.4.2 *")
	waitFor(t, "the writer is aborted", func() bool { return s.spool.aborts() == 1 })
}

// Elsewhere, a failed TLS handshake was answered in clear text, and the session went on in clear text.
func TestS15FailedHandshakeEndsTheSession(t *testing.T) {
	t.Parallel()
	serverTLS, _ := tlsPair(t)
	s := serverFor(t, func(o *Options) { o.TLSConfig, o.Listeners[0].TLS = serverTLS, TLSStartTLS })
	p := s.hello()
	p.send("STARTTLS")
	p.expect("220 2.0.0 Ready to start TLS")
	p.send("EHLO still.in.clear", "MAIL FROM:<>")
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	rest := new(strings.Builder)
	_, err := p.in.WriteTo(rest)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is still open")
	}
	if strings.Contains(rest.String(), "250") || strings.Contains(rest.String(), "550") {
		t.Errorf("clear text behind a failed handshake: %q", rest)
	}
}

// Elsewhere, nothing could be decided before the greeting, and clients that talked first were served.
func TestS16EarlyTalkersAreRefused(t *testing.T) {
	t.Parallel()
	s := serverFor(t, func(o *Options) { o.Timeouts.GreetDelay = time.Hour })
	early := s.dial()
	early.send("EHLO spam.example.org")
	early.expect("421 4.7.0 You talked before the greeting")
	early.expectClosed()

	serverFor(t, func(o *Options) { o.Timeouts.GreetDelay = 20 * time.Millisecond }).hello()
}

// Elsewhere, each reply line was a packet of its own.
func TestS17RepliesOfAGroupAreOneWrite(t *testing.T) {
	t.Parallel()
	_, p := pipeServer(t, nil)
	buf := make([]byte, 4096)
	packet := func() []string { // a Read of a pipe returns what one Write sent
		_ = p.conn.SetReadDeadline(time.Now().Add(patience))
		n, err := p.conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		for line := range strings.Lines(string(buf[:n])) {
			codes = append(codes, line[:3])
		}
		return codes
	}
	p.send("EHLO client.example.org")
	if got := packet(); len(got) < 6 {
		t.Errorf("EHLO in several writes: %q", got)
	}
	p.send("MAIL FROM:<>", "RCPT TO:<support@example.com>", "RCPT TO:<nobody@example.com>", "RCPT TO:<reply+1@example.com>", "DATA")
	if diff := cmp.Diff([]string{"250", "250", "550", "250", "354"}, packet()); diff != "" {
		t.Error(diff)
	}
	p.raw("text\r\n.\r\nMAIL FROM:<>\r\nRSET\r\n")
	if diff := cmp.Diff([]string{"250"}, packet()); diff != "" { // the answer to a message waits for nothing
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"250", "250"}, packet()); diff != "" {
		t.Error(diff)
	}
}

// Elsewhere, a message that is too large was read to its end, however far that was.
func TestS18OversizeIsNotDrainedWithoutLimit(t *testing.T) {
	t.Parallel()
	s := serverFor(t, func(o *Options) { o.Limits.MessageSize, o.Limits.Drain = 10_000, 100_000 })
	p := s.transaction()
	p.send("DATA")
	p.expect("354 *")
	var wg sync.WaitGroup
	wg.Go(func() {
		chunk := []byte(strings.Repeat("0123456789abcdef89\r\n", 1000))
		for {
			if _, err := p.conn.Write(chunk); err != nil {
				return
			}
		}
	})
	p.expect("552 5.3.4 Message is larger than this server takes")
	p.conn.Close()
	wg.Wait()
	waitFor(t, "the session ends", func() bool { return s.registry.open() == 0 })
	if got := len(s.spool.messages()); got > 0 {
		t.Errorf("%d messages stored", got)
	}
}
