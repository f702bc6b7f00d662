package ingest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mxhook/pipeline"
)

// TestDialogs plays the scripts in testdata/*.dialog, each on a connection of its own to a server of its own. Lines:
//
//	# a comment
//	@ NAME VALUE    a setting, before the first other line: message_size, drain, recipients, errors, idle_commands,
//	                command_line; admit, begin, write, commit (with VALUE down, short or panic); accept (with VALUE
//	                down, panic or a reply in quotes that the recipients give)
//	C: LINE         send the line with CR LF
//	c: "OCTETS"     send octets in Go's notation; a following *N repeats them. Each C and c is one read for the server.
//	S: LINE         expect a reply line; * stands for anything
//	stored "..."    the next message that the spool took, in Go's notation; a following *N repeats it
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
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dialog"), func(t *testing.T) {
			t.Parallel()
			playDialog(t, file)
		})
	}
}

// dialog is a script being played.
type dialog struct {
	t      *testing.T
	limits Limits
	spool  *memorySpool
	accept func() error
	server *testServer
	conn   io.WriteCloser
	lines  chan string
	stored int
}

func playDialog(t *testing.T, file string) {
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialog{t: t, spool: &memorySpool{}}
	for number, line := range strings.Split(string(script), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, arg, _ := strings.Cut(line, " ")
		if err := d.play(word, arg); err != nil {
			t.Fatalf("%s:%d: %s: %v", file, number+1, line, err)
		}
	}
	if d.conn == nil {
		t.Fatal("the script does nothing")
	}
	_ = d.conn.Close()
	for line := range d.lines {
		t.Errorf("%s: at the end, an unread reply: %q", file, line)
	}
	waitFor(t, "the session ends", func() bool { return d.server.registry.open() == 0 })
	if rest := d.spool.messages()[d.stored:]; len(rest) > 0 {
		t.Errorf("%s: messages stored that the script does not name: %+v", file, rest)
	}
}

func (d *dialog) play(word, arg string) error {
	if word == "@" {
		name, value, _ := strings.Cut(arg, " ")
		return d.set(name, value)
	}
	if d.conn == nil {
		d.connect()
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
		line, ok := d.next()
		if !ok || !matches(arg, line) {
			return fmt.Errorf("got %q (open: %v)", line, ok)
		}
	case "stored":
		return d.expectStored(arg)
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

// set changes one setting.
func (d *dialog) set(name, value string) error {
	failures := map[string]func(context.Context) error{
		"down":  failWith(errors.New("nats: no responders at 10.0.0.7")),
		"short": failWith(fmt.Errorf("reserve of /var/lib/mxhook: %w", pipeline.ErrStorage)),
		"panic": func(context.Context) error { panic("boom") },
	}
	n, _ := strconv.Atoi(value)
	switch name {
	case "message_size":
		d.limits.MessageSize = int64(n)
	case "drain":
		d.limits.Drain = int64(n)
	case "recipients":
		d.limits.Recipients = n
	case "errors":
		d.limits.Errors = n
	case "idle_commands":
		d.limits.IdleCommands = n
	case "command_line":
		d.limits.CommandLine = n
	case "admit":
		d.spool.admit = failures[value]
	case "begin":
		d.spool.begin = failures[value]
	case "write":
		d.spool.write = failures[value]
	case "commit":
		d.spool.commit = failures[value]
	case "accept":
		d.accept = d.accepting(value, failures[value])
	default:
		return errors.New("unknown setting")
	}
	return nil
}

// accepting makes the error of Recipients: a failure, or a reply inside another error.
func (d *dialog) accepting(value string, failure func(context.Context) error) func() error {
	if failure != nil {
		return func() error { return failure(context.Background()) }
	}
	text, err := strconv.Unquote(value)
	if err != nil {
		d.t.Fatal(err)
	}
	code, rest, _ := strings.Cut(text, " ")
	status, rest, _ := strings.Cut(rest, " ")
	number, _ := strconv.Atoi(code)
	return func() error { return fmt.Errorf("secret policy: %w", &Reply{number, status, rest}) }
}

// recipientsFunc fails when its function does.
type recipientsFunc struct {
	Recipients
	fail func() error
}

func (r recipientsFunc) Accepts(ctx context.Context, rcpt Address) (pipeline.Recipient, error) {
	if err := r.fail(); err != nil {
		return pipeline.Recipient{}, err
	}
	return r.Recipients.Accepts(ctx, rcpt)
}

func (d *dialog) connect() {
	listener := newPipeListener()
	d.server = serverFor(d.t, func(o *Options) {
		o.Listeners = []Listener{{Name: "mx", Open: listener}}
		o.Limits, o.Spool = d.limits, d.spool
		if d.accept != nil {
			o.Recipients = recipientsFunc{o.Recipients, d.accept}
		}
	})
	conn := listener.dial()
	_ = conn.SetDeadline(time.Now().Add(patience))
	d.conn, d.lines = conn, make(chan string, 1000)
	go func() {
		defer close(d.lines)
		in := bufio.NewScanner(conn)
		for in.Scan() {
			d.lines <- in.Text()
		}
	}()
}

func (d *dialog) send(octets string) error {
	_, err := io.WriteString(d.conn, octets)
	return err
}

func (d *dialog) next() (string, bool) {
	line, ok := <-d.lines // the connection has a deadline
	return line, ok
}

func (d *dialog) expectStored(arg string) error {
	want, err := unquote(arg)
	if err != nil {
		return err
	}
	messages := d.spool.messages()
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
