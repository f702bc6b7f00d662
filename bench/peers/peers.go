// Package peers runs what people use in place of mxhook: mail servers, and small relays as they write them.
package peers

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Env is what a server is started with.
type Env struct {
	// Dir is a directory of its own, empty; others than root can read it.
	Dir string
	// Cache is where bench/deps has put what is installed.
	Cache string
	// Programs is where the programs of this module are, built.
	Programs string
	// URL is where it delivers to, DNS its name server.
	URL, DNS string
}

// Running is a server that runs.
type Running struct {
	// SMTP is where it listens.
	SMTP string
	// Roots are its processes, without those that they have started.
	Roots []int
	// Stop ends it, and all that it has started. It may be called once.
	Stop func()
}

// Peer is a server that can be started.
type Peer struct {
	// Name is a word, Title is how a table calls it.
	Name, Title string
	// Durable: what it has accepted survives a loss of power. Delivers: mail arrives at Env.URL.
	Durable, Delivers bool
	Start             func(Env) (*Running, error)
}

//go:embed scripts
var scripts embed.FS

// All are the servers beside mxhook.
func All() []Peer {
	return []Peer{
		{Name: "relay", Title: "Go relay: go-smtp, enmime, SPF", Delivers: true, Start: func(e Env) (*Running, error) {
			return program(exec.Command(filepath.Join(e.Programs, "relay"), "-url", e.URL, "-dns", e.DNS))
		}},
		{Name: "bare-relay", Title: "Go relay that checks nothing", Delivers: true, Start: func(e Env) (*Running, error) {
			return program(exec.Command(filepath.Join(e.Programs, "relay"), "-url", e.URL))
		}},
		{Name: "node", Title: "Node: smtp-server, mailparser", Delivers: true, Start: startNode},
		{Name: "haraka", Title: "Haraka with a webhook plugin", Delivers: true, Start: startHaraka},
		{Name: "aiosmtpd", Title: "aiosmtpd with a POST", Delivers: true, Start: startAiosmtpd},
		{Name: "postfix-lmtp", Title: "Postfix → LMTP → HTTP", Durable: true, Delivers: true, Start: startPostfixLMTP},
		{Name: "postfix", Title: "Postfix to its queue (then discarded)", Durable: true, Start: func(e Env) (*Running, error) {
			return startPostfix(e, "default_transport = discard:")
		}},
		{Name: "postfix-hold", Title: "Postfix, all mail on hold", Durable: true, Start: func(e Env) (*Running, error) {
			return startPostfix(e, "smtpd_client_restrictions = check_client_access static:HOLD")
		}},
		{Name: "smtp-sink", Title: "smtp-sink: accept and forget", Start: startSink},
	}
}

// program starts a program that prints the address it listens on as its first line.
func program(cmd *exec.Cmd) (*Running, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var said tail
	cmd.Stderr = &said
	r, err := process(cmd)
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		r.Stop()
		return nil, fmt.Errorf("%s did not say where it listens: %w\n%s", cmd.Path, err, said.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the program
	r.SMTP = strings.TrimSpace(line)
	return r, nil
}

// process starts a program in a group of its own.
func process(cmd *exec.Cmd) (*Running, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	return &Running{Roots: []int{pid}, Stop: func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		timer := time.AfterFunc(3*time.Second, func() { _ = syscall.Kill(-pid, syscall.SIGKILL) })
		_ = cmd.Wait()
		timer.Stop()
		_ = syscall.Kill(-pid, syscall.SIGKILL) // what it left
	}}, nil
}

// tail keeps the last that a program said. It may be used concurrently.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-4096):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// freeAddr is an address on loopback that nobody listened on a moment ago, for programs that cannot choose one.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// greets waits until a server says 220.
func greets(addr string) error {
	err := errors.New("nobody there")
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		var conn net.Conn
		if conn, err = net.DialTimeout("tcp", addr, time.Second); err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		var line string
		line, err = bufio.NewReader(conn).ReadString('\n')
		_, _ = conn.Write([]byte("QUIT\r\n"))
		_ = conn.Close()
		if err == nil && strings.HasPrefix(line, "220") {
			return nil
		}
	}
	return fmt.Errorf("%s does not greet: %w", addr, err)
}

// write puts an embedded script into a file.
func write(script, file string) error {
	text, err := scripts.ReadFile("scripts/" + script)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// writeText writes files by name.
func writeText(dir string, files map[string]string) error {
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
