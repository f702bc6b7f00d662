package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

func TestNewRefusesBadOptions(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for want, change := range map[string]func(*Options){
		"no listeners":                   func(o *Options) { o.Listeners = nil },
		"are required":                   func(o *Options) { o.Spool = nil },
		`smtp hostname ""`:               func(o *Options) { o.Hostname = "" },
		"use the full name of this host": func(o *Options) { o.Hostname = "mx example" },
		"it has no name":                 func(o *Options) { o.Listeners[0].Name = "" },
		`"a": unknown protocol "pop3"; use smtp or lmtp`: func(o *Options) { o.Listeners[0].Protocol = "pop3" },
		`"a": unknown tls mode "ssl"`:                    func(o *Options) { o.Listeners[0].TLS = "ssl" },
		`"a": tls implicit needs a certificate`:          func(o *Options) { o.Listeners[0].TLS = TLSImplicit },
		`"a": the name is used twice`:                    func(o *Options) { o.Listeners = append(o.Listeners, o.Listeners[0]) },
		"need a Resolver":                                func(o *Options) { o.Policy.ReverseDNS = true },
		`bare LF "drop" is unknown`:                      func(o *Options) { o.Policy.BareLF = "drop" },
		`DNS list "a b"`:                                 func(o *Options) { o.Policy.Resolver, o.Policy.DNSLists = &fakeDNS{}, []DNSList{{Zone: "a b"}} },
		"greylisting needs a Memory":                     func(o *Options) { o.Policy.Greylist.Delay = time.Minute },
		`listener "b": listen tcp`: func(o *Options) {
			o.Listeners = append(o.Listeners, Listener{Name: "b", Address: taken.Addr().String()})
		},
	} {
		registry := prometheus.NewRegistry()
		opts := Options{
			Hostname: "mx.example.com", Listeners: []Listener{{Name: "a", Address: "127.0.0.1:0"}}, Recipients: mustDomains(t),
			Spool: &memorySpool{}, Log: slog.New(slog.DiscardHandler), Registerer: registry,
		}
		change(&opts)
		s, err := New(opts)
		if err == nil {
			t.Errorf("%s: no error", want)
			_ = s.Shutdown(context.Background())
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
		if families, _ := registry.Gather(); len(families) > 0 {
			t.Errorf("%s: metrics stay registered", want)
		}
	}
}

func TestSecondServerOnOneRegistryIsRefusedAndHarmless(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	first := serverFor(t, func(o *Options) { o.Registerer = registry })
	before, _ := registry.Gather()
	if _, err := New(first.opts); err == nil || !strings.Contains(err.Error(), "register SMTP metrics") {
		t.Errorf("error %v", err)
	}
	if after, _ := registry.Gather(); len(after) != len(before) || len(before) == 0 {
		t.Errorf("%d metrics before, %d after", len(before), len(after))
	}
	if err := first.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	serverFor(t, func(o *Options) { o.Registerer = registry }) // its place is free
}

func TestShutdownWithoutStart(t *testing.T) {
	t.Parallel()
	s, err := New(Options{
		Hostname: "mx.example.com", Listeners: []Listener{{Name: "a", Address: "127.0.0.1:0"}}, Recipients: mustDomains(t),
		Spool: &memorySpool{}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	s.Serve() // does not serve any more, and returns
	if conn, err := net.Dial("tcp", s.Addrs()["a"].String()); err == nil {
		conn.Close()
		t.Error("the listener is still open")
	}
}

func TestServeReturnsAfterShutdown(t *testing.T) {
	t.Parallel()
	s := serverFor(t, nil)
	served := make(chan struct{})
	go func() { s.Serve(); close(served) }()
	p := s.hello()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	<-served
	p.expect("421 4.3.2 *")
	p.expectClosed()
}

// When patience ends, what is left is closed, and a spool that hangs is cancelled.
func TestShutdownClosesTheRestByForce(t *testing.T) {
	t.Parallel()
	committing := make(chan struct{})
	spool := &memorySpool{commit: func(ctx context.Context) error {
		close(committing)
		<-ctx.Done()
		return ctx.Err()
	}}
	s := serverFor(t, func(o *Options) { o.Spool = spool })
	waiting, stuck := s.transaction(), s.transaction()
	stuck.send("DATA")
	stuck.expect("354 *")
	stuck.send(".")
	<-committing
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := s.Shutdown(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 closed by force") {
		t.Errorf("Shutdown: %v", err)
	}
	waiting.expectClosed()
	stuck.expectClosed()
	if n := len(spool.messages()); n > 0 {
		t.Errorf("%d messages stored", n)
	}
}

func TestShutdownDoesNotWaitForAHandshake(t *testing.T) {
	t.Parallel()
	serverTLS, _ := tlsPair(t)
	s := serverFor(t, func(o *Options) { o.TLSConfig, o.Listeners[0].TLS = serverTLS, TLSImplicit })
	p := s.dial()
	waitFor(t, "the session begins", func() bool { return s.registry.open() == 1 })
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	p.expectClosed()
}

func TestStartTLS(t *testing.T) {
	t.Parallel()
	serverTLS, clientTLS := tlsPair(t)
	s := serverFor(t, func(o *Options) { o.TLSConfig, o.Listeners[0].TLS = serverTLS, TLSStartTLS })
	p := s.dial()
	p.expect("220 *")
	p.send("EHLO client.example.org")
	if !strings.Contains(strings.Join(p.expectEHLO(), " "), "STARTTLS") {
		t.Error("STARTTLS is not announced")
	}
	p.send("STARTTLS now")
	p.expect("501 5.5.4 *")
	p.send("MAIL FROM:<>", "STARTTLS", "RSET", "STARTTLS")
	p.expect("250 *", "503 5.5.1 *", "250 *", "220 2.0.0 *")
	p = newPeer(t, tls.Client(p.conn, clientTLS))
	p.send("MAIL FROM:<>")
	p.expect("503 5.5.1 Say EHLO first") // what was said in clear text is forgotten
	p.send("EHLO again.example.org")
	if strings.Contains(strings.Join(p.expectEHLO(), " "), "STARTTLS") {
		t.Error("STARTTLS is announced under TLS")
	}
	p.send("STARTTLS", "MAIL FROM:<>", "RCPT TO:<support@example.com>", "DATA")
	p.expect("503 5.5.1 *", "250 *", "250 *", "354 *")
	p.send(".")
	p.expect("250 *")
	env := s.spool.messages()[0].Envelope
	if env.Client.TLS == nil || env.Client.TLS.Version != "TLS 1.3" || env.Client.Helo != "again.example.org" {
		t.Errorf("client %+v", env.Client)
	}
	if want := " with ESMTPS id " + env.ID; !strings.Contains(env.Received, want) || !strings.Contains(env.Received, "\ttls TLS_") {
		t.Errorf("trace field %q", env.Received)
	}
	p.send("QUIT")
	p.expect("221 *")
	p.expectClosed()
}

func TestStartTLSIsNotOfferedWithoutCertificate(t *testing.T) {
	t.Parallel()
	s := serverFor(t, func(o *Options) { o.Listeners[0].TLS = TLSStartTLS })
	p := s.dial()
	p.expect("220 *")
	p.send("EHLO client.example.org")
	if strings.Contains(strings.Join(p.expectEHLO(), " "), "STARTTLS") {
		t.Error("STARTTLS is announced")
	}
	p.send("STARTTLS")
	p.expect("502 5.5.1 *")
	if !strings.Contains(s.log.String(), "level=WARN msg=\"no certificate") {
		t.Error("nothing is said about the certificate that is missing")
	}
}

// Commands that arrive in clear text behind STARTTLS may be somebody else's (CVE-2011-0411).
func TestStartTLSRefusesInjectedCommands(t *testing.T) {
	t.Parallel()
	serverTLS, _ := tlsPair(t)
	s := serverFor(t, func(o *Options) { o.TLSConfig, o.Listeners[0].TLS = serverTLS, TLSStartTLS })
	p := s.hello()
	p.send("STARTTLS", "MAIL FROM:<mallory@example.org>")
	p.expect("421 4.7.0 Commands behind STARTTLS*")
	p.expectClosed()
}

// A client that connects to an implicit TLS port and says nothing, and one that sends an octet now and then, are alone
// with their trouble.
func TestSlowClientsDoNotStopOthers(t *testing.T) {
	t.Parallel()
	serverTLS, clientTLS := tlsPair(t)
	s := serverFor(t, func(o *Options) { o.TLSConfig, o.Listeners[0].TLS = serverTLS, TLSImplicit })
	for range 20 {
		s.dial().raw("\x16")
	}
	p := s.dial()
	p = newPeer(t, tls.Client(p.conn, clientTLS))
	p.expect("220 *")
	p.send("EHLO client.example.org")
	p.expectEHLO()
}

func TestSlowCommandLineTimesOut(t *testing.T) {
	t.Parallel()
	s := serverFor(t, func(o *Options) { o.Timeouts.Command = 100 * time.Millisecond })
	p := s.dial()
	p.expect("220 *")
	p.dribbleUntil("421 4.4.2 *")
}

// failingListener fails a few times before it accepts, as when the file descriptors run out.
type failingListener struct {
	*pipeListener
	failures int
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, syscall.EMFILE
	}
	return l.pipeListener.Accept()
}

func TestAcceptGoesOnAfterAnError(t *testing.T) {
	t.Parallel()
	listener := &failingListener{newPipeListener(), 3}
	s := serverFor(t, func(o *Options) { o.Listeners = []Listener{{Name: "mx", Open: listener}} })
	newPeer(t, listener.dial()).expect("220 *")
	if got := strings.Count(s.log.String(), "accept a connection"); got != 3 {
		t.Errorf("%d errors logged, want 3", got)
	}
}

// Many clients at once, each with several messages: every accepted message is stored once, under its own id.
func TestManyClientsAtOnce(t *testing.T) {
	t.Parallel()
	const clients, messages = 40, 10
	s := serverFor(t, nil)
	ids := make(chan string, clients*messages)
	var wg sync.WaitGroup
	for client := range clients {
		p := s.hello()
		wg.Go(func() {
			for number := range messages {
				p.send("MAIL FROM:<>", "RCPT TO:<support@example.com>", "DATA")
				p.expect("250 *", "250 *", "354 *")
				p.send(fmt.Sprintf("%d.%d", client, number), ".")
				ids <- strings.TrimPrefix(p.line(), "250 2.0.0 Ok: queued as ")
			}
		})
	}
	wg.Wait()
	close(ids)
	contents := make(map[string]string)
	for _, m := range s.spool.messages() {
		contents[m.Envelope.ID] = m.Content
	}
	seen := make(map[string]bool)
	for id := range ids {
		if contents[id] == "" || seen[contents[id]] {
			t.Errorf("id %q: stored %q", id, contents[id])
		}
		seen[contents[id]] = true
	}
	if len(seen) != clients*messages {
		t.Errorf("%d messages, want %d", len(seen), clients*messages)
	}
}

func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	for want, limits := range map[string]Limits{
		"421 4.3.2 Too many connections; *":                   {Connections: 2},
		"421 4.7.0 Too many connections from your address; *": {ConnectionsPerIP: 2},
		"421 4.7.0 Too many connections from your network; *": {ConnectionsPerNetwork: 2},
	} {
		s := serverFor(t, func(o *Options) { o.Limits = limits })
		first, second := s.hello(), s.hello()
		refused := s.dial()
		refused.expect(want)
		refused.expectClosed()
		first.send("QUIT")
		first.expect("221 *")
		first.expectClosed()
		waitFor(t, "the place is free", func() bool { return s.registry.open() == 1 })
		s.hello()
		second.send("NOOP")
		second.expect("250 *")
	}
}

func TestConnectionsAreCountedByNetwork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
	} {
		if got := keysOf(netip.MustParseAddr(c.a)).address == keysOf(netip.MustParseAddr(c.b)).address; got != c.same {
			t.Errorf("%s and %s: same %v", c.a, c.b, got)
		}
	}
}

func TestEnvelopeIsComplete(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 20, 17, 3, 0, time.FixedZone("CET", 3600))
	s, p := pipeServer(t, func(o *Options) { o.Now = func() time.Time { return now } })
	p.send("MAIL FROM:<alice@example.org> BODY=8BITMIME SMTPUTF8", "RCPT TO:<ticket-7+x@example.com>", "RCPT TO:<Support@example.com>", "DATA")
	p.expect("250 *", "250 *", "250 *", "354 *")
	p.send("x", ".")
	p.expect("250 *")
	got := s.spool.messages()[0].Envelope
	if len(got.ID) != 26 {
		t.Errorf("id %q", got.ID)
	}
	want := pipeline.Envelope{
		ID:          got.ID,
		ReversePath: "alice@example.org",
		Recipients: []pipeline.Recipient{
			{Address: "ticket-7+x@example.com", Local: "ticket-7", Tag: "x", Domain: "example.com", Captures: map[string]string{"id": "7"}},
			{Address: "Support@example.com", Local: "Support", Domain: "example.com"},
		},
		Client:     pipeline.Client{IP: netip.MustParseAddr("192.0.2.1"), Port: 41234, Helo: "client.example.org"},
		Listener:   "mx",
		Hostname:   "mx.example.com",
		ReceivedAt: now.UTC(),
		BodyType:   "8BITMIME",
		SMTPUTF8:   true,
		Received: "Received: from client.example.org ([192.0.2.1])\r\n\tby mx.example.com with UTF8SMTP id " + got.ID +
			";\r\n\tSat, 21 Nov 2026 19:17:03 +0000\r\n",
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestTraceField(t *testing.T) {
	t.Parallel()
	base := pipeline.Envelope{
		ID: "ID", Hostname: "mx.example.com", ReceivedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Client: pipeline.Client{IP: netip.MustParseAddr("2001:db8::1"), Helo: "client.example.org"},
	}
	const date = ";\r\n\tFri, 02 Jan 2026 03:04:05 +0000\r\n"
	one := []pipeline.Recipient{{Address: "a@example.com"}}
	for _, c := range []struct {
		change   func(*pipeline.Envelope)
		protocol string
		want     string
	}{
		{
			func(*pipeline.Envelope) {}, "ESMTP",
			"Received: from client.example.org ([IPv6:2001:db8::1])\r\n\tby mx.example.com with ESMTP id ID" + date,
		},
		{
			func(e *pipeline.Envelope) { e.Recipients = one }, "SMTP",
			"Received: from client.example.org ([IPv6:2001:db8::1])\r\n\tby mx.example.com with SMTP id ID\r\n\tfor <a@example.com>" + date,
		},
		{
			func(e *pipeline.Envelope) { e.Recipients = append(one, one...) }, "ESMTP", // each must not learn of the other
			"Received: from client.example.org ([IPv6:2001:db8::1])\r\n\tby mx.example.com with ESMTP id ID" + date,
		},
		{
			func(e *pipeline.Envelope) { e.SMTPUTF8, e.Client.TLS = true, &pipeline.TLS{Cipher: "TLS_X"} }, "ESMTP",
			"Received: from client.example.org ([IPv6:2001:db8::1])\r\n\tby mx.example.com with UTF8SMTPS id ID\r\n\ttls TLS_X" + date,
		},
		{
			func(e *pipeline.Envelope) {
				e.Client.Helo, e.Client.IP = "x\r\nX-Evil: 1\x00 (;é", netip.MustParseAddr("::ffff:192.0.2.1")
			}, "ESMTP",
			"Received: from x??X-Evil:?1????? ([192.0.2.1])\r\n\tby mx.example.com with ESMTP id ID" + date,
		},
		{
			func(e *pipeline.Envelope) { e.Client = pipeline.Client{Helo: strings.Repeat("h", 300)} }, "ESMTP",
			"Received: from " + strings.Repeat("h", 255) + "\r\n\tby mx.example.com with ESMTP id ID" + date,
		},
		{
			func(e *pipeline.Envelope) { e.Client.TLS = &pipeline.TLS{Cipher: "TLS_X"} }, "LMTP",
			"Received: from client.example.org ([IPv6:2001:db8::1])\r\n\tby mx.example.com with LMTPS id ID\r\n\ttls TLS_X" + date,
		},
		{
			func(e *pipeline.Envelope) { e.SMTPUTF8 = true }, "LMTP",
			"Received: from client.example.org ([IPv6:2001:db8::1])\r\n\tby mx.example.com with UTF8LMTP id ID" + date,
		},
	} {
		env := base
		c.change(&env)
		if diff := cmp.Diff(c.want, traceField(&env, c.protocol)); diff != "" {
			t.Error(diff)
		}
	}
}
