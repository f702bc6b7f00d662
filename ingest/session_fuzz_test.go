package ingest

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// fuzzConn is a connection whose client has said everything beforehand. It gives at most step octets a read, and
// keeps the read deadlines.
type fuzzConn struct {
	in        io.Reader
	out       bytes.Buffer
	step      int
	deadlines []time.Time
}

func (c *fuzzConn) Read(p []byte) (int, error) {
	if c.step > 0 && len(p) > c.step {
		p = p[:c.step]
	}
	return c.in.Read(p)
}
func (c *fuzzConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *fuzzConn) Close() error                     { return nil }
func (c *fuzzConn) LocalAddr() net.Addr              { return pipeConn{}.RemoteAddr() }
func (c *fuzzConn) RemoteAddr() net.Addr             { return pipeConn{}.RemoteAddr() }
func (c *fuzzConn) SetDeadline(time.Time) error      { return nil }
func (c *fuzzConn) SetWriteDeadline(time.Time) error { return nil }

func (c *fuzzConn) SetReadDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

// Modes of FuzzSession: the kind of the session in the low bits, the state that it starts from in the others.
const (
	fuzzLMTP      = 1 << iota
	fuzzProxy     // the octets begin with the header
	fuzzProxied   // a header stands before the octets
	fuzzXclient   // and every policy
	fuzzStartTLS  // the octets come after STARTTLS
	fuzzFromEHLO  // and the states behind it, each with the one before
	fuzzFromRcpt  // two recipients
	fuzzFromChunk // one chunk
)

// fuzzPreamble is what is said before the octets.
func fuzzPreamble(mode uint8) string {
	var b strings.Builder
	hello := "EHLO client.example.org\r\n"
	if mode&fuzzLMTP != 0 {
		hello = "LHLO client.example.org\r\n"
	}
	if mode&(fuzzFromEHLO|fuzzFromRcpt|fuzzFromChunk) != 0 {
		b.WriteString(hello)
	}
	if mode&(fuzzFromRcpt|fuzzFromChunk) != 0 {
		b.WriteString("MAIL FROM:<> BODY=BINARYMIME SMTPUTF8\r\nRCPT TO:<a@example.com> NOTIFY=NEVER\r\nRCPT TO:<b@example.com>\r\n")
	}
	if mode&fuzzFromChunk != 0 {
		b.WriteString("BDAT 3\r\nab\r")
	}
	return b.String()
}

// FuzzSession plays any octets to a session: over SMTP and LMTP, behind a balancer or a relay, after STARTTLS, and from
// several states. Whatever they are and wherever the packets end: no panic, well-formed replies, 250 for exactly the
// messages that were stored, every writer ended, no goroutine left, and the same replies for the same octets.
func FuzzSession(f *testing.F) {
	modes := []uint8{
		0, fuzzLMTP, fuzzProxy, fuzzProxied, fuzzXclient, fuzzStartTLS, fuzzStartTLS | fuzzLMTP | fuzzFromChunk,
		fuzzFromEHLO, fuzzFromRcpt, fuzzFromChunk, fuzzFromChunk | fuzzLMTP,
	}
	for i, seed := range dialogOctets(f) {
		if len(seed) < 4<<10 {
			f.Add(seed, uint8(7), modes[i%len(modes)])
		}
	}
	serverTLS, clientTLS := tlsPair(f)
	f.Fuzz(func(t *testing.T, octets []byte, step, mode uint8) {
		player := &octetPlayer{mode: mode, serverTLS: serverTLS, clientTLS: clientTLS}
		if mode&fuzzStartTLS != 0 {
			player.playTLS(t, octets)
			return
		}
		octets = append([]byte(fuzzPreamble(mode)), octets...)
		if mode&(fuzzProxy|fuzzProxied) == fuzzProxied {
			octets = append([]byte("PROXY TCP4 192.0.2.9 192.0.2.25 4711 25\r\n"), octets...)
		}
		whole, pieces := player.play(t, octets, 0), player.play(t, octets, int(step))
		if whole, pieces = withoutIDs(whole), withoutIDs(pieces); whole != pieces {
			t.Errorf("mode %b: replies depend on where the packets end (%d octets each):\n%s\nand:\n%s", mode, step, whole, pieces)
		}
	})
}

// withoutIDs drops the message ids, which differ from one run to the next.
func withoutIDs(replies string) string {
	var b strings.Builder
	for line := range strings.Lines(replies) {
		head, _, _ := strings.Cut(line, "queued as ")
		b.WriteString(head)
	}
	return b.String()
}

// wellFormed reports whether a line is an SMTP reply of at most 512 octets.
func wellFormed(line string) bool {
	text, ended := strings.CutSuffix(line, "\r\n")
	return ended && len(line) <= 512 && len(text) > 3 && text[0] >= '2' && text[0] <= '5' && (text[3] == ' ' || text[3] == '-') &&
		isASCII(text) && isText([]byte(text))
}

// octetPlayer runs sessions of one mode.
type octetPlayer struct {
	mode                 uint8
	serverTLS, clientTLS *tls.Config
}

// play runs one session over octets in packets of step octets (0: as large as can be) and returns its replies.
func (p *octetPlayer) play(t *testing.T, octets []byte, step int) string {
	t.Helper()
	conn := &fuzzConn{in: bytes.NewReader(octets), step: step}
	p.session(t, conn, conn.out.String)
	return conn.out.String()
}

// playTLS says STARTTLS, and the octets under TLS.
func (p *octetPlayer) playTLS(t *testing.T, octets []byte) {
	t.Helper()
	ours, theirs := net.Pipe()
	_ = ours.SetDeadline(time.Now().Add(patience))
	var replies string
	var client sync.WaitGroup
	client.Go(func() {
		defer ours.Close()
		in := newPeer(t, ours)
		for _, step := range []struct{ send, want string }{{"", "220 *"}, {"STARTTLS", "220 2.0.0 *"}} {
			if step.send != "" {
				if _, err := io.WriteString(ours, step.send+"\r\n"); err != nil {
					t.Error(err)
					return
				}
			}
			line, err := in.in.ReadString('\n')
			if err != nil || !matches(step.want, strings.TrimSpace(line)) {
				t.Errorf("%q, %v", line, err)
				return
			}
		}
		conn := tls.Client(ours, p.clientTLS)
		var writing sync.WaitGroup
		writing.Go(func() {
			_, _ = io.WriteString(conn, fuzzPreamble(p.mode))
			_, _ = conn.Write(octets) // the server may have closed
			_ = conn.CloseWrite()
		})
		b, _ := io.ReadAll(conn)
		replies = string(b)
		ours.Close()
		writing.Wait()
	})
	p.session(t, pipeConn{theirs}, func() string { client.Wait(); return replies })
}

// queuedID finds the message ids in replies; with LMTP one stands in several.
var queuedID = regexp.MustCompile(`Ok: queued as (\w+)`)

// session runs a session over conn and checks what must be true of every one.
func (p *octetPlayer) session(t *testing.T, conn net.Conn, answered func() string) {
	t.Helper()
	began := 0
	spool := &memorySpool{begin: func(context.Context) error { began++; return nil }}
	log := &logBuffer{}
	listener := Listener{Name: "mx", Open: newPipeListener()}
	options := Options{
		Hostname: "mx.example.com", Recipients: mustDomains(t, Domain{Name: "example.com"}), Spool: spool,
		Log: slog.New(slog.NewTextHandler(log, nil)), Limits: Limits{MessageSize: 1000, Recipients: 3},
		Policy: Policy{BareLF: LinesKeep},
	}
	network := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	if p.mode&fuzzStartTLS != 0 { // elsewhere STARTTLS would have to be one packet
		listener.TLS, options.TLSConfig = TLSStartTLS, p.serverTLS
	}
	if p.mode&fuzzLMTP != 0 {
		listener.Protocol = ProtocolLMTP
	}
	if p.mode&(fuzzProxy|fuzzProxied) != 0 && p.mode&fuzzStartTLS == 0 {
		listener.Proxy = network
	}
	if p.mode&fuzzXclient != 0 {
		listener.Xclient = network
		options.Limits.UnknownRecipients, options.Limits.Transactions, options.Limits.MinRate = 2, 3, 1
		options.Policy = Policy{
			Rates: Rates{Connections: 2, Messages: 3, Recipients: 4}, ReverseDNS: true, DNSLists: []DNSList{{Zone: "bl.example"}},
			Resolver: &fakeDNS{records: [][2]string{{"192.0.2.1", "a.example"}, {"a.example", "192.0.2.1"}}}, BareCR: LinesReject,
		}
	}
	options.Listeners = []Listener{listener}
	server, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown(context.Background())
	newSession(server, server.listeners[0], conn).run(context.Background())

	replies := answered()
	if strings.Contains(log.String(), "panic") {
		t.Errorf("panic: %s", log)
	}
	ids := map[string]bool{}
	for _, m := range queuedID.FindAllStringSubmatch(replies, -1) {
		ids[m[1]] = true
	}
	if n := len(spool.messages()); n < len(ids) || p.mode&fuzzStartTLS == 0 && n != len(ids) || n+spool.aborts() != began {
		t.Errorf("%d accepted, %d stored, %d aborted, %d begun", len(ids), n, spool.aborts(), began)
	}
	for line := range strings.Lines(replies) {
		if !wellFormed(line) && p.mode&fuzzStartTLS == 0 { // under TLS the last reply may be cut off
			t.Errorf("reply line %q", line)
		}
	}
}

// dialogOctets returns what the client sends in each case.
func dialogOctets(t testing.TB) [][]byte {
	t.Helper()
	files, _ := filepath.Glob("testdata/*.dialog")
	var all [][]byte
	for _, file := range files {
		for _, c := range readDialogs(t, file) {
			var octets []byte
			for _, line := range c.lines {
				if text, ok := strings.CutPrefix(line, "C: "); ok {
					octets = append(octets, text+"\r\n"...)
				} else if quoted, ok := strings.CutPrefix(line, "c: "); ok {
					text, err := unquote(quoted)
					if err != nil {
						t.Fatal(err)
					}
					octets = append(octets, text...)
				}
			}
			all = append(all, octets)
		}
	}
	return all
}
