package ingest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestDialogs plays the cases in testdata/*.dialog, each on a connection of its own to a server of its own, and then
// proves that every reply that the server can give was given. Lines:
//
//	# a comment
//	== NAME         a case begins; a file without one is one case
//	@ NAME VALUE    a setting, before the first other line: see set in dialogset_test.go
//	C: LINE         send the line with CR LF
//	c: "OCTETS"     send octets in Go's notation; a following *N repeats them. Each C and c is one read for the server.
//	S: LINE         expect a reply line; * stands for anything
//	EHLO reply      expect a reply of many lines to EHLO or LHLO
//	TLS             turn TLS on
//	stored "..."    the next message that the spool took, in Go's notation; a following *N repeats it
//	envelope "..."  what the last stored message's envelope says, as envelopeText writes it
//	log "..."       what the log has, somewhere
//	shutdown        shut the server down
//	closed          expect the end of the connection, and nothing before it
//	close           close the connection
//
// At the end every stored message must have been named, and nothing unread may be left.
func TestDialogs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.dialog")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogs: %v", err)
	}
	given := &replyBook{}
	cases := 0
	t.Run("cases", func(t *testing.T) {
		for _, file := range files {
			for _, c := range readDialogs(t, file) {
				cases++
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.play(t, given)
				})
			}
		}
	})
	t.Logf("%d cases", cases)
	if cases < 150 {
		t.Errorf("%d cases, fewer than 150", cases)
	}
	for _, pattern := range allReplies(t) {
		if !given.has(pattern) {
			t.Errorf("no dialog has the reply %q", pattern)
		}
	}
}

// replyBook collects the reply lines of all dialogs.
type replyBook struct {
	mu    sync.Mutex
	lines map[string]struct{}
}

func (b *replyBook) add(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lines == nil {
		b.lines = make(map[string]struct{})
	}
	b.lines[line] = struct{}{}
}

func (b *replyBook) has(pattern string) bool {
	for line := range b.lines {
		if matches(pattern, line) {
			return true
		}
	}
	return false
}

// allReplies reads every reply out of the source: the literals of the table in replies.go, with * for what is computed.
// A literal elsewhere fails the test, unless it is one of those that have no table entry.
func allReplies(t *testing.T) []string {
	t.Helper()
	patterns := []string{"220 mx.example.com ESMTP mxhook", "220 mx.example.com LMTP mxhook", "250 mx.example.com", "250 CHUNKING"}
	elsewhere := 0
	sources, _ := filepath.Glob("*.go")
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if name, ok := literal.Type.(*ast.Ident); !ok || name.Name != "Reply" {
				return true
			}
			if source != "replies.go" {
				elsewhere++
				return true
			}
			var words []string
			for _, e := range literal.Elts[:3] {
				word := "*"
				if basic, ok := e.(*ast.BasicLit); ok {
					if word = basic.Value; basic.Kind == token.STRING {
						word, _ = strconv.Unquote(word)
					}
				}
				if word != "" {
					words = append(words, word)
				}
			}
			patterns = append(patterns, strings.Join(words, " "))
			return true
		})
	}
	if len(patterns) < 60 {
		t.Fatalf("only %d replies were found", len(patterns))
	}
	if elsewhere != 2 { // the greeting and the reply to HELO
		t.Errorf("%d replies are made outside of replies.go", elsewhere)
	}
	return patterns
}

// dialogCase is one case of a file.
type dialogCase struct {
	file, name string
	first      int // line number
	lines      []string
}

func readDialogs(t testing.TB, file string) []dialogCase {
	t.Helper()
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSuffix(filepath.Base(file), ".dialog")
	cases := []dialogCase{{file: file, name: name, first: 1}}
	for number, line := range strings.Split(string(script), "\n") {
		if title, ok := strings.CutPrefix(line, "== "); ok {
			cases = append(cases, dialogCase{file: file, name: name + "/" + title, first: number + 2})
			continue
		}
		last := &cases[len(cases)-1]
		last.lines = append(last.lines, line)
	}
	if len(cases) > 1 {
		for _, line := range cases[0].lines {
			if line != "" && !strings.HasPrefix(line, "#") {
				t.Fatalf("%s: %q stands before the first case", file, line)
			}
		}
		cases = cases[1:]
	}
	return cases
}

// dialog is a case being played.
type dialog struct {
	t        *testing.T
	given    *replyBook
	settings dialogSettings
	server   *testServer
	conn     net.Conn
	raw      net.Conn
	clientTL *tls.Config
	lines    chan string
	stored   int
}

func (c *dialogCase) play(t *testing.T, given *replyBook) {
	d := &dialog{t: t, given: given}
	d.settings.spool = &memorySpool{}
	for i, line := range c.lines {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, arg, _ := strings.Cut(line, " ")
		if err := d.play(word, arg); err != nil {
			t.Fatalf("%s:%d: %s: %v", c.file, c.first+i, line, err)
		}
	}
	if d.conn == nil { // all of it is said by the setting "from"
		if err := d.connect(); err != nil || d.settings.from == "" {
			t.Fatalf("%s:%d: %v", c.file, c.first, err)
		}
	}
	_ = d.conn.Close()
	for line := range d.lines {
		t.Errorf("%s:%d: at the end, an unread reply: %q", c.file, c.first, line)
	}
	waitFor(t, "the session ends", func() bool { return int(d.server.registry.open()) <= d.settings.others })
	if rest := d.settings.spool.messages()[d.stored:]; len(rest) > 0 {
		t.Errorf("%s:%d: messages stored that the script does not name: %+v", c.file, c.first, rest)
	}
}

func (d *dialog) play(word, arg string) error {
	if word == "@" {
		name, value, _ := strings.Cut(arg, " ")
		return d.settings.set(name, value)
	}
	if d.conn == nil {
		if err := d.connect(); err != nil {
			return err
		}
	}
	switch word {
	case "C:":
		return d.send(arg + "\r\n")
	case "c:":
		octets, err := unquote(arg)
		if err != nil {
			return err
		}
		return d.send(octets)
	case "S:":
		return d.expect(arg)
	case "EHLO":
		return d.expectMany()
	case "TLS":
		return d.startTLS()
	case "stored":
		return d.expectStored(arg)
	case "envelope":
		want, err := strconv.Unquote(arg)
		messages := d.settings.spool.messages()
		if err != nil || len(messages) == 0 {
			return fmt.Errorf("%d messages: %v", len(messages), err)
		}
		if got := envelopeText(messages[len(messages)-1].Envelope); got != want {
			return fmt.Errorf("got %q", got)
		}
	case "log":
		want, err := strconv.Unquote(arg)
		if err != nil || !strings.Contains(d.server.log.String(), want) {
			return fmt.Errorf("the log is %s", d.server.log)
		}
	case "shutdown":
		go func() { _ = d.server.Shutdown(context.Background()) }()
	case "closed":
		if line, ok := d.next(); ok {
			return fmt.Errorf("got %q", line)
		}
	case "close":
		return d.conn.Close()
	default:
		return errors.New("unknown kind of line")
	}
	return nil
}

// connect starts the server, opens the other connections and then ours, and says what the setting "from" skips.
func (d *dialog) connect() error {
	listener := newPipeListener()
	serverTLS, clientTLS := tlsPair(d.t)
	d.clientTL = clientTLS
	d.server = serverFor(d.t, func(o *Options) { d.settings.apply(d.t, o, listener, serverTLS) })
	for range d.settings.others {
		conn := listener.dial()
		d.t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			return err
		}
		go func() { _, _ = io.Copy(io.Discard, conn) }()
	}
	d.raw = listener.dial()
	_ = d.raw.SetDeadline(time.Now().Add(patience))
	if d.settings.listener.TLS == TLSImplicit {
		if err := d.secure(); err != nil {
			return err
		}
	} else {
		d.read(d.raw)
	}
	return d.preamble()
}

// preamble brings the session into the state of the setting "from".
func (d *dialog) preamble() error {
	hello := "EHLO client.example.org"
	if d.settings.listener.Protocol == ProtocolLMTP {
		hello = "LHLO client.example.org"
	}
	steps := []struct{ state, send, want string }{
		{"greeting", "", "220 *"},
		{"ehlo", hello, ""},
		{"mail", "MAIL FROM:<alice@example.org>", "250 2.1.0 Ok"},
		{"rcpt", "RCPT TO:<support@example.com>", "250 2.1.5 Ok"},
		{"data", "DATA", "354 *"},
	}
	if d.settings.from == "" {
		return nil
	}
	for _, s := range steps {
		if s.send != "" {
			if err := d.send(s.send + "\r\n"); err != nil {
				return err
			}
		}
		expect := d.expectMany
		if s.want != "" {
			expect = func() error { return d.expect(s.want) }
		}
		if err := expect(); err != nil {
			return err
		}
		if s.state == d.settings.from {
			return nil
		}
	}
	return errors.New("unknown state " + d.settings.from)
}

// read makes conn the connection and reads its lines.
func (d *dialog) read(conn net.Conn) {
	lines := make(chan string, 1000)
	d.conn, d.lines = conn, lines
	go func() {
		defer close(lines)
		in := bufio.NewScanner(conn)
		for in.Scan() {
			d.given.add(in.Text())
			lines <- in.Text()
		}
	}()
}

// startTLS stops to read in clear text, and turns TLS on.
func (d *dialog) startTLS() error {
	_ = d.raw.SetReadDeadline(time.Unix(1, 0))
	for line := range d.lines {
		return fmt.Errorf("unread reply %q", line)
	}
	_ = d.raw.SetReadDeadline(time.Now().Add(patience))
	return d.secure()
}

func (d *dialog) secure() error {
	conn := tls.Client(d.raw, d.clientTL)
	err := conn.Handshake()
	d.read(conn)
	return err
}

func (d *dialog) send(octets string) error {
	_, err := io.WriteString(d.conn, octets)
	return err
}

func (d *dialog) next() (string, bool) {
	line, ok := <-d.lines // the connection has a deadline
	return line, ok
}

func (d *dialog) expect(pattern string) error {
	line, ok := d.next()
	if !ok || !matches(pattern, line) {
		return fmt.Errorf("got %q (open: %v), want %q", line, ok, pattern)
	}
	return nil
}

func (d *dialog) expectMany() error {
	for {
		line, ok := d.next()
		switch {
		case !ok || !strings.HasPrefix(line, "250"):
			return fmt.Errorf("got %q (open: %v)", line, ok)
		case line[3] == ' ':
			return nil
		}
	}
}

func (d *dialog) expectStored(arg string) error {
	want, err := unquote(arg)
	if err != nil {
		return err
	}
	messages := d.settings.spool.messages()
	if len(messages) <= d.stored {
		return errors.New("nothing was stored")
	}
	if got := messages[d.stored].Content; got != want {
		return fmt.Errorf("stored %.300q", got)
	}
	d.stored++
	return nil
}

// unquote reads "..." or "..."*N.
func unquote(s string) (string, error) {
	quoted, times := s, 1
	if i := strings.LastIndex(s, `"*`); i > 0 {
		n, err := strconv.Atoi(s[i+2:])
		if err != nil {
			return "", err
		}
		quoted, times = s[:i+1], n
	}
	text, err := strconv.Unquote(quoted)
	return strings.Repeat(text, times), err
}
