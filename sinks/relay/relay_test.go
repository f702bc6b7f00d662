package relay

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func harness(change func(*Options, *smtp.Server)) sinktest.Harness {
	return func(t *testing.T, f sinktest.Fault) *sinktest.Instance {
		p := &peer{auth: "user hunter2"}
		var once sync.Once
		free := func() {}
		switch f {
		case sinktest.Failing:
			p.onData = func(string) error { return reply(451, smtp.EnhancedCode{4, 3, 0}, "not now, hunter2") }
		case sinktest.Gone:
			p.onData = func(string) error { return reply(554, smtp.EnhancedCode{5, 7, 1}, "never, hunter2") }
		case sinktest.Hanging:
			p.hang = make(chan struct{})
			free = func() { once.Do(func() { close(p.hang) }) }
		case sinktest.Busy:
			return nil // SMTP knows no delay
		}
		o := Options{Hostname: "mx.example.com", Username: "user", Password: "hunter2", TLS: TLSNone, Idle: 4}
		startPeer(t, p, func(s *smtp.Server) {
			s.LMTP = o.LMTP
			change(&o, s)
		})
		o.Address = p.addr
		r, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return &sinktest.Instance{
			Sink: r, Copies: p.copies, Secrets: []string{"hunter2"},
			Attempts: func(id string) int {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.attempts[id]
			},
			Close: func() {
				free()
				_ = r.Close()
				p.stop()
			},
		}
	}
}

func TestContractOverSMTP(t *testing.T) {
	sinktest.Run(t, harness(func(*Options, *smtp.Server) {}))
}

func TestContractOverLMTP(t *testing.T) {
	sinktest.Run(t, harness(func(o *Options, s *smtp.Server) { o.LMTP, s.LMTP = true, true }))
}

func TestContractOverTLS(t *testing.T) {
	cert, pool := selfSigned(t, "127.0.0.1")
	sinktest.Run(t, harness(func(o *Options, s *smtp.Server) {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		o.TLS, o.RootCAs = TLSVerify, pool
	}))
}

// deliveryTo is a delivery of a mail to some recipients.
func deliveryTo(raw string, to ...string) *pipeline.Delivery {
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0RELAY0")
	d.Message.Raw, d.Message.SHA256 = []byte(raw), sha256.Sum256([]byte(raw))
	d.Recipients = nil
	for _, address := range to {
		local, domain := pipeline.SplitPath(address)
		d.Recipients = append(d.Recipients, pipeline.Recipient{Address: address, Local: local, Domain: domain})
	}
	return d
}

const plain = "From: a@example.org\r\nSubject: hello\r\n\r\n.\r\n..dots\r\n\r\nend\r\n"

func TestMailGoesOutWithTraceFieldsAndItsOctets(t *testing.T) {
	t.Parallel()
	p := startPeer(t, &peer{}, nil)
	r := newRelay(t, Options{Address: p.addr, TLS: TLSNone})
	d := deliveryTo(plain, "support@example.com")
	resp, err := r.Deliver(t.Context(), d)
	if err != nil || !strings.HasPrefix(resp.Status, "250 ") {
		t.Fatalf("%+v, %v", resp, err)
	}
	m := p.taken()[0]
	wantTop := "Delivered-To: support@example.com\r\nX-Mxhook-Delivery: " + d.ID + "\r\nReceived: from mail.example.org"
	if !strings.HasPrefix(m.data, wantTop) || !strings.HasSuffix(m.data, plain) || strings.Contains(m.data, "Return-Path") {
		t.Errorf("sent:\n%s", m.data)
	}
	if m.from != "alice@example.org" || !slices.Equal(m.to, []string{"support@example.com"}) || m.opts.Size != int64(len(m.data)) || m.opts.UTF8 {
		t.Errorf("envelope %+v", m)
	}
	// With more recipients, none learns of the others.
	if _, err := r.Deliver(t.Context(), deliveryTo(plain, "a@example.com", "b@example.com")); err != nil {
		t.Fatal(err)
	}
	if m := p.taken()[1]; strings.Contains(m.data, "Delivered-To") || len(m.to) != 2 {
		t.Errorf("envelope %v, sent:\n%s", m.to, m.data)
	}
}

func TestLineEndsOfOthersCannotEndTheMail(t *testing.T) {
	t.Parallel()
	p := startPeer(t, &peer{}, nil)
	r := newRelay(t, Options{Address: p.addr, TLS: TLSNone})
	if _, err := r.Deliver(t.Context(), deliveryTo("Subject: x\r\n\r\na\n.\nb\r.\rc\r\n", "a@example.com")); err != nil {
		t.Fatal(err)
	}
	if m := p.taken()[0]; !strings.HasSuffix(m.data, "\r\n\r\na\r\n.\r\nb\r\n.\r\nc\r\n") {
		t.Errorf("sent %q", m.data)
	}
}

// Each recipient has a result of its own, and only those who have not got the mail are left for the next attempt.
func TestRecipientsAreSettledOneByOne(t *testing.T) {
	t.Parallel()
	for _, lmtp := range []bool{false, true} {
		judge := func(to string) error {
			switch {
			case strings.HasPrefix(to, "gone"):
				return reply(550, smtp.EnhancedCode{5, 1, 1}, "no such user")
			case strings.HasPrefix(to, "full"):
				return reply(452, smtp.EnhancedCode{4, 2, 2}, "mailbox full")
			}
			return nil
		}
		p := &peer{onRcpt: judge}
		if lmtp {
			p = &peer{onData: judge}
		}
		startPeer(t, p, func(s *smtp.Server) { s.LMTP = lmtp })
		r := newRelay(t, Options{Address: p.addr, TLS: TLSNone, LMTP: lmtp})
		for _, c := range []struct {
			to        []string
			left      []string
			permanent bool
			reason    string
		}{
			{[]string{"a@example.com", "b@example.com"}, nil, false, ""},
			{[]string{"a@example.com", "full@example.com"}, []string{"full@example.com"}, false, "452 4.2.2 "},
			{[]string{"gone@example.com", "a@example.com"}, []string{"gone@example.com"}, true, "550 5.1.1 "},
			{[]string{"gone@example.com", "full@example.com", "a@example.com"}, []string{"gone@example.com", "full@example.com"}, false, "1 of 3 recipients have it"},
			{[]string{"gone@example.com"}, []string{"gone@example.com"}, true, "550 5.1.1 "},
		} {
			_, err := r.Deliver(t.Context(), deliveryTo(plain, c.to...))
			rcpts, _ := pipeline.UndeliveredTo(err)
			var left []string
			for _, rc := range rcpts {
				left = append(left, rc.Address)
			}
			if !slices.Equal(left, c.left) || pipeline.IsPermanent(err) != c.permanent || err != nil && !strings.Contains(err.Error(), c.reason) {
				t.Errorf("lmtp %v, %v: left %v, permanent %v, %v", lmtp, c.to, left, pipeline.IsPermanent(err), err)
			}
		}
	}
}

func TestRefusalsAtEveryStepKeepTheirKind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		peer      *peer
		change    func(*smtp.Server)
		raw       string
		permanent bool
		reason    string
	}{
		{"MAIL 5xx", &peer{onMail: func(string) error { return reply(553, smtp.EnhancedCode{5, 1, 8}, "bad sender") }}, nil, plain, true, "MAIL: 553 5.1.8 bad sender"},
		{"MAIL 4xx", &peer{onMail: func(string) error { return reply(450, smtp.EnhancedCode{4, 7, 1}, "greylisted") }}, nil, plain, false, "MAIL: 450 4.7.1 greylisted"},
		{"end of data 5xx", &peer{onData: func(string) error { return reply(550, smtp.EnhancedCode{5, 7, 1}, "spam") }}, nil, plain, true, "end of data: 550 5.7.1 spam"},
		{"too large", &peer{}, func(s *smtp.Server) { s.MaxMessageBytes = 100 }, plain, true, "552"},
		{"greeting", &peer{}, func(s *smtp.Server) { s.Domain = "x\r\n554 go away" }, plain, false, ""},
		{"international without SMTPUTF8", &peer{}, func(s *smtp.Server) { s.EnableSMTPUTF8 = false }, "UTF8", true, "SMTPUTF8"},
	} {
		p := startPeer(t, c.peer, c.change)
		r := newRelay(t, Options{Address: p.addr, TLS: TLSNone, Idle: 1})
		for range 2 { // the second over a session that is kept
			d := deliveryTo(c.raw, "a@example.com")
			if c.raw == "UTF8" {
				d = deliveryTo(plain, "jörg@example.com")
			}
			_, err := r.Deliver(t.Context(), d)
			if c.name == "greeting" {
				continue // whatever it says, it must end
			}
			if err == nil || pipeline.IsPermanent(err) != c.permanent || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%s: permanent %v, %v", c.name, pipeline.IsPermanent(err), err)
			}
		}
		if n := p.opened(); n > 2 {
			t.Errorf("%s: %d sessions", c.name, n)
		}
	}
}

func TestServerThatIsAwayIsTransient(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	r := newRelay(t, Options{Address: addr})
	if _, err := r.Deliver(t.Context(), deliveryTo(plain, "a@example.com")); err == nil || pipeline.IsPermanent(err) {
		t.Errorf("%v", err)
	}
}

// A server is not ours, nor is that of the domain that a bounce goes back to: what it says must end.
func TestServerThatNeverStopsTalkingIsLeft(t *testing.T) {
	for name, at := range map[string]string{"greeting": "", "EHLO": "EHLO", "MAIL": "MAIL", "RCPT": "RCPT", "DATA": "DATA"} {
		for _, policy := range []string{TLSNone, TLSOpportunistic} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					wg.Go(func() { talk(c, at) })
				}
			})
			r := newRelay(t, Options{Address: l.Addr().String(), TLS: policy})
			_, err = r.Deliver(t.Context(), deliveryTo("Subject: x\r\n\r\nbody\r\n", "a@example.org"))
			if err == nil || pipeline.IsPermanent(err) || len(err.Error()) > 4<<10 {
				t.Errorf("%s, tls %s: %v", name, policy, err)
			}
			_ = l.Close()
			wg.Wait()
		}
	}
}

// talk is a server that answers, and once it has read the command at (or before it reads anything) does not stop.
func talk(c net.Conn, at string) {
	defer c.Close()
	lines := bufio.NewScanner(c)
	for begun := false; ; begun = true {
		if begun && !lines.Scan() {
			return
		}
		code := "250"
		switch {
		case !begun:
			code = "220"
		case strings.HasPrefix(lines.Text(), "DATA"):
			code = "354"
		}
		for at == "" && !begun || begun && at != "" && strings.HasPrefix(lines.Text(), at) {
			if _, err := io.WriteString(c, strings.Repeat(code+"-and another thing\r\n", 100)); err != nil {
				return
			}
		}
		if _, err := io.WriteString(c, code+" yes\r\n"); err != nil {
			return
		}
	}
}

func TestOneSessionCarriesManyMails(t *testing.T) {
	t.Parallel()
	p := startPeer(t, &peer{}, nil)
	r := newRelay(t, Options{Address: p.addr, Idle: 4})
	for range 20 {
		if _, err := r.Deliver(t.Context(), deliveryTo(plain, "a@example.com")); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.opened(); n != 1 {
		t.Errorf("%d sessions for 20 mails one after the other", n)
	}
	// A kept session that the server has closed meanwhile costs nothing but a new one.
	r.pool.mu.Lock()
	for _, list := range r.pool.idle {
		for _, s := range list {
			s.conn.Close()
		}
	}
	r.pool.mu.Unlock()
	if _, err := r.Deliver(t.Context(), deliveryTo(plain, "a@example.com")); err != nil {
		t.Error(err)
	}
	if n := p.opened(); n != 2 {
		t.Errorf("%d sessions", n)
	}
}

func TestTLSPolicies(t *testing.T) {
	t.Parallel()
	cert, pool := selfSigned(t, "127.0.0.1")
	_, others := selfSigned(t, "other.example")
	offering := func(s *smtp.Server) { s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}} }
	broken := func(s *smtp.Server) {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS11}
	}
	for _, c := range []struct {
		name      string
		server    func(*smtp.Server)
		o         Options
		encrypted bool
		err       string
	}{
		{"none", offering, Options{TLS: TLSNone}, false, ""},
		{"opportunistic", offering, Options{}, true, ""},
		{"opportunistic, no offer", nil, Options{}, false, ""},
		{"opportunistic, broken", broken, Options{}, false, ""},
		{"required", offering, Options{TLS: TLSRequired}, true, ""},
		{"required, no offer", nil, Options{TLS: TLSRequired}, false, "does not offer STARTTLS"},
		{"required, broken", broken, Options{TLS: TLSRequired}, false, "TLS: "},
		{"verify", offering, Options{TLS: TLSVerify, RootCAs: pool}, true, ""},
		{"verify, another authority", offering, Options{TLS: TLSVerify, RootCAs: others}, false, "certificate"},
		{"verify, LMTP", func(s *smtp.Server) { offering(s); s.LMTP = true }, Options{TLS: TLSVerify, RootCAs: pool, LMTP: true}, true, ""},
	} {
		p := startPeer(t, &peer{}, c.server)
		c.o.Address = p.addr
		_, err := newRelay(t, c.o).Deliver(t.Context(), deliveryTo(plain, "a@example.com"))
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) || pipeline.IsPermanent(err) {
				t.Errorf("%s: %v", c.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case p.taken()[0].tls != c.encrypted:
			t.Errorf("%s: encrypted %v", c.name, !c.encrypted)
		}
	}
}

func TestRequireTLSGoesNoOtherWay(t *testing.T) {
	t.Parallel()
	cert, pool := selfSigned(t, "127.0.0.1")
	for _, offered := range []bool{true, false} {
		p := startPeer(t, &peer{}, func(s *smtp.Server) {
			s.TLSConfig, s.EnableREQUIRETLS = &tls.Config{Certificates: []tls.Certificate{cert}}, offered
		})
		for policy, want := range map[string]bool{TLSVerify: offered, TLSRequired: false, TLSNone: false} {
			d := deliveryTo(plain, "a@example.com")
			d.Message.Envelope.RequireTLS = true
			_, err := newRelay(t, Options{Address: p.addr, TLS: policy, RootCAs: pool}).Deliver(t.Context(), d)
			if (err == nil) != want || err != nil && !pipeline.IsPermanent(err) {
				t.Errorf("offered %v, %s: %v", offered, policy, err)
			}
		}
	}
}

func TestPasswordGoesToTheRightServerOnly(t *testing.T) {
	t.Parallel()
	p := startPeer(t, &peer{auth: "user right"}, nil)
	for password, want := range map[string]string{"right": "", "wrong": "535"} {
		r := newRelay(t, Options{Address: p.addr, TLS: TLSNone, Username: "user", Password: password})
		_, err := r.Deliver(t.Context(), deliveryTo(plain, "a@example.com"))
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), password) || pipeline.IsPermanent(err)) {
			t.Errorf("%s: %v", password, err)
		}
	}
	if m := p.taken(); len(m) != 1 || m[0].user != "user" {
		t.Errorf("%+v", m)
	}
	// Not in clear text over a network.
	c := &session{conn: &farAway{}}
	if err := newRelay(t, Options{Address: p.addr, Username: "user", Password: "right"}).authenticate(c, &server{network: "tcp"}); err == nil || !strings.Contains(err.Error(), "not encrypted") {
		t.Errorf("%v", err)
	}
}

type farAway struct{ net.Conn }

func (*farAway) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }

func TestMXRecordsSayWhereMailGoes(t *testing.T) {
	t.Parallel()
	first := startPeer(t, &peer{}, nil)
	_, port, _ := net.SplitHostPort(first.addr)
	n, _ := strconv.Atoi(port)
	dns := stubDNS{
		mx: map[string][]*net.MX{
			"two.example":      {{Host: "b.mx.example.", Pref: 20}, {Host: "a.mx.example.", Pref: 10}},
			"null.example":     {{Host: ".", Pref: 0}},
			"ours.example":     {{Host: "mx.example.com.", Pref: 10}, {Host: "a.mx.example.", Pref: 20}},
			"backup.example":   {{Host: "b.mx.example.", Pref: 5}, {Host: "MX.example.com.", Pref: 10}},
			"nowhere.example":  {{Host: "gone.mx.example.", Pref: 10}},
			"deadmx.example":   {{Host: "dead.mx.example.", Pref: 10}, {Host: "b.mx.example.", Pref: 20}},
			"internal.example": {{Host: "internal.mx.example.", Pref: 10}},
		},
		ips: map[string]string{
			"a.mx.example": "127.0.0.1", "b.mx.example": "127.0.0.1", "plain.example": "127.0.0.1", "dead.mx.example": "127.0.0.2", "internal.mx.example": "127.0.0.3",
		},
	}
	r := newRelay(t, Options{MX: true, Port: n, Resolver: dns, TLS: TLSNone, Idle: 1})
	for to, want := range map[string]string{
		"x@two.example": "", "x@backup.example": "", "x@plain.example": "", "x@deadmx.example": "", "x@[127.0.0.1]": "",
		"x@null.example": "permanent null.example takes no mail", "x@ours.example": "permanent mail loop", "x@nowhere.example": "permanent nowhere.example has no mail server",
		"x@missing.example": "permanent missing.example has no mail server", "x@slow.example": "transient look up the mail servers", "x@internal.example": "transient internal.mx.example",
	} {
		_, err := r.Deliver(t.Context(), deliveryTo(plain, to))
		got := ""
		if err != nil {
			got = "transient " + err.Error()
			if pipeline.IsPermanent(err) {
				got = "permanent " + err.Error()
			}
		}
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", to, got, want)
		}
	}
	// Recipients of several domains: those that can be reached have the mail.
	_, err := r.Deliver(t.Context(), deliveryTo(plain, "a@two.example", "b@slow.example", "c@plain.example"))
	if left, _ := pipeline.UndeliveredTo(err); len(left) != 1 || left[0].Address != "b@slow.example" {
		t.Errorf("left %v, %v", left, err)
	}
}

// RFC 5321 5.1: what a server has against now, and not against a recipient, the next one is asked for.
func TestServerThatTakesNoMailNowIsPassedOver(t *testing.T) {
	t.Parallel()
	code := 451
	first := startPeer(t, &peer{onMail: func(string) error { return reply(code, smtp.EnhancedCode{code / 100, 3, 2}, "not now") }}, nil)
	_, port, _ := net.SplitHostPort(first.addr)
	second := startPeer(t, &peer{addr: net.JoinHostPort("127.0.0.4", port)}, nil)
	n, _ := strconv.Atoi(port)
	dns := stubDNS{
		mx:  map[string][]*net.MX{"two.example": {{Host: "a.mx.example.", Pref: 10}, {Host: "b.mx.example.", Pref: 20}}},
		ips: map[string]string{"a.mx.example": "127.0.0.1", "b.mx.example": "127.0.0.4"},
	}
	r := newRelay(t, Options{MX: true, Port: n, Resolver: dns, TLS: TLSNone, Idle: 1})
	for range 2 { // the second time over a session that was kept
		if _, err := r.Deliver(t.Context(), deliveryTo(plain, "x@two.example")); err != nil {
			t.Fatal(err)
		}
	}
	if len(second.taken()) != 2 || first.opened() != 1 {
		t.Errorf("the second took %d, sessions with the first: %d", len(second.taken()), first.opened())
	}
	code = 550 // is for good
	if _, err := r.Deliver(t.Context(), deliveryTo(plain, "x@two.example")); !pipeline.IsPermanent(err) || len(second.taken()) != 2 {
		t.Errorf("a refusal: %v, the second took %d", err, len(second.taken()))
	}
	code = 451
	second.onMail = first.onMail
	if _, err := r.Deliver(t.Context(), deliveryTo(plain, "x@two.example")); err == nil || pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "451 4.3.2 not now") {
		t.Errorf("both take no mail now: %v", err)
	}
}

func TestMailThatGoesInCirclesStops(t *testing.T) {
	t.Parallel()
	p := startPeer(t, &peer{}, nil)
	r := newRelay(t, Options{Address: p.addr, TLS: TLSNone, MaxHops: 5, To: []string{"box@inside.example"}})
	received := strings.Repeat("Received: from a by b; x\r\n", 5)
	for raw, want := range map[string]string{
		received + plain: "",
		received + "Received: from c by d; x\r\n" + plain:           "6 servers",
		"Delivered-To: SUPPORT@example.com\r\n" + plain:             "delivered to this recipient before",
		"Delivered-To: somebody.else@example.com\r\n" + plain:       "",
		"X: y\r\n\r\nDelivered-To: support@example.com\r\nbody\r\n": "",
	} {
		_, err := r.Deliver(t.Context(), deliveryTo(raw, "support@example.com"))
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !pipeline.IsPermanent(err)) {
			t.Errorf("%.60q: %v", raw, err)
		}
	}
	if m := p.taken(); !slices.Equal(m[0].to, []string{"box@inside.example"}) {
		t.Errorf("to %v", m[0].to)
	}
}

func TestSRSOnTheWayOutAndBack(t *testing.T) {
	t.Parallel()
	p := startPeer(t, &peer{}, nil)
	srs := newSRS(t, "srs.example.com", nil, oneKey)
	r := newRelay(t, Options{Address: p.addr, TLS: TLSNone, SRS: srs, To: []string{"box@inside.example"}})
	if _, err := r.Deliver(t.Context(), deliveryTo(plain, "support@example.com")); err != nil {
		t.Fatal(err)
	}
	out := p.taken()[0]
	if !srs.Owns(out.from) {
		t.Fatalf("MAIL FROM:<%s>", out.from)
	}
	bounce := deliveryTo(plain, out.from)
	bounce.Message.Envelope.ReversePath = ""
	if _, err := r.Deliver(t.Context(), bounce); err != nil {
		t.Fatal(err)
	}
	if back := p.taken()[1]; back.from != "" || !slices.Equal(back.to, []string{"alice@example.org"}) {
		t.Errorf("the bounce goes from <%s> to %v", back.from, back.to)
	}
	for name, d := range map[string]*pipeline.Delivery{
		"no bounce": deliveryTo(plain, out.from),
		"forged":    deliveryTo(plain, "SRS0=aaaaaaaa=bb=example.org=alice@srs.example.com"),
	} {
		if _, err := r.Deliver(t.Context(), d); !pipeline.IsPermanent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(p.taken()); n != 2 {
		t.Errorf("%d mails were sent", n)
	}
}

func TestSealIsOnTopAndItsFailureStopsNothing(t *testing.T) {
	t.Parallel()
	p := startPeer(t, &peer{}, nil)
	var sealed string
	seal := func(raw []byte, _ *pipeline.AuthResults) ([]byte, error) {
		sealed = string(raw)
		return []byte("ARC-Seal: i=1\r\n"), nil
	}
	if _, err := newRelay(t, Options{Address: p.addr, TLS: TLSNone, Seal: seal}).Deliver(t.Context(), deliveryTo(plain, "a@example.com")); err != nil {
		t.Fatal(err)
	}
	if m := p.taken()[0]; m.data != "ARC-Seal: i=1\r\n"+sealed {
		t.Errorf("sent:\n%s\nsealed:\n%s", m.data, sealed)
	}
	seal = func([]byte, *pipeline.AuthResults) ([]byte, error) { return nil, errors.New("the ARC chain has ended") }
	resp, err := newRelay(t, Options{Address: p.addr, TLS: TLSNone, Seal: seal}).Deliver(t.Context(), deliveryTo(plain, "a@example.com"))
	if err != nil || !strings.Contains(resp.Detail, "not sealed: the ARC chain has ended") {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestMistakesInTheOptionsAreNamed(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		"address is missing":     {},
		"both set":               {Address: "a:25", MX: true},
		"write host and port":    {Address: "mail.example.net"},
		"by its whole path":      {Address: "unix:lmtp"},
		"LMTP is for":            {MX: true, LMTP: true},
		`tls "maybe" is unknown`: {Address: "a:25", TLS: "maybe"},
		"exclude each other":     {Address: "a:25", TLS: TLSNone, Implicit: true},
		"is not a mail address":  {Address: "a:25", To: []string{"x"}},
		"for one server":         {MX: true, Username: "u"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	for want, o := range map[string]SRSOptions{
		"srs.domain": {Keys: []string{oneKey}}, "srs.keys is missing": {Domain: "a.example"}, "has 3 bytes": {Domain: "a.example", Keys: []string{"abc"}},
	} {
		if _, err := NewSRS(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// A deadline in the middle leaves those recipients for the next attempt that have not got the mail.
func TestDeadlineKeepsWhatIsDone(t *testing.T) {
	t.Parallel()
	quick := startPeer(t, &peer{}, nil)
	_, port, _ := net.SplitHostPort(quick.addr)
	n, _ := strconv.Atoi(port)
	l, err := net.Listen("tcp", "127.0.0.2:"+port) // says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := newRelay(t, Options{MX: true, Port: n, TLS: TLSNone, Resolver: stubDNS{ips: map[string]string{"a.example": "127.0.0.1", "b.example": "127.0.0.2"}}})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = r.Deliver(ctx, deliveryTo(plain, "x@a.example", "x@b.example"))
	left, _ := pipeline.UndeliveredTo(err)
	if !errors.Is(err, context.DeadlineExceeded) || pipeline.IsPermanent(err) || fmt.Sprint(len(left)) != "1" {
		t.Errorf("left %v, %v", left, err)
	}
}

// Several forward-paths stand for the same recipients: those are left once, however many paths fail and however often.
func TestRecipientsBehindSeveralPathsAreLeftOnce(t *testing.T) {
	t.Parallel()
	p := startPeer(t, &peer{onRcpt: func(string) error { return reply(452, smtp.EnhancedCode{4, 2, 2}, "mailbox full") }}, func(*smtp.Server) {})
	r := newRelay(t, Options{Address: p.addr, TLS: TLSNone, To: []string{"x@inside.example", "y@inside.example"}})
	d := deliveryTo(plain, "a@example.com", "b@example.com")
	for range 3 {
		_, err := r.Deliver(t.Context(), d)
		rcpts, ok := pipeline.UndeliveredTo(err)
		if !ok || len(rcpts) != 2 || rcpts[0].Address != "a@example.com" || rcpts[1].Address != "b@example.com" {
			t.Fatalf("left are %+v, %v", rcpts, err)
		}
		d.Recipients = rcpts
	}
}
