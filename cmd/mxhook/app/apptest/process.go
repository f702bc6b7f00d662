package apptest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mxhook/console"
)

func newConsole(base string) *console.Client {
	return &console.Client{Base: base, HTTP: &http.Client{Timeout: 30 * time.Second}}
}

// Build builds the binary into a directory of the test and returns its path.
func Build(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "mxhook")
	if out, err := exec.Command("go", "build", "-o", bin, "mxhook/cmd/mxhook").CombinedOutput(); err != nil {
		t.Fatalf("build mxhook: %v\n%s", err, out)
	}
	return bin
}

// Process is `mxhook serve` as a process of its own, which can be killed and started again over the same data.
type Process struct {
	t        testing.TB
	bin      string
	world    world
	command  func(*exec.Cmd)
	Endpoint *Endpoint

	cmd    *exec.Cmd
	exited chan struct{}
	mu     sync.Mutex
	log    []string // the newest lines
	smtp   string
	ops    string
}

// maxLog bounds the log lines that are kept to be shown when something goes wrong.
const maxLog = 200

// NewProcess prepares a process; Start starts it. It is killed when the test ends.
func NewProcess(t testing.TB, bin string, o Options) *Process {
	t.Helper()
	w := newWorld(t, o)
	p := &Process{t: t, bin: bin, world: w, Endpoint: w.endpoint, command: o.Command}
	t.Cleanup(p.Kill)
	return p
}

// Start starts the process and waits until it is ready.
func (p *Process) Start() {
	p.t.Helper()
	p.cmd = exec.Command(p.bin, "serve", "-c", p.world.file)
	if p.command != nil {
		p.command(p.cmd)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start mxhook: %v", err)
	}
	ready := make(chan struct{})
	p.exited = make(chan struct{})
	go func() {
		defer close(p.exited)
		p.readLog(stderr, ready)
		_ = p.cmd.Wait() // killed most of the time
	}()
	select {
	case <-ready:
	case <-p.exited:
		p.t.Fatalf("mxhook ended before it was ready:\n%s", p.Log())
	case <-time.After(3 * time.Minute):
		p.t.Fatalf("mxhook is not ready after three minutes:\n%s", p.Log())
	}
}

// readLog keeps the newest lines and closes ready at the line that says so.
func (p *Process) readLog(r io.Reader, ready chan<- struct{}) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.log = append(p.log, lines.Text())
		if len(p.log) > maxLog {
			p.log = p.log[len(p.log)-maxLog:]
		}
		p.mu.Unlock()
		var line struct {
			Msg       string   `json:"msg"`
			Listeners []string `json:"listeners"`
			Ops       string   `json:"ops"`
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Msg != "ready" {
			continue
		}
		p.mu.Lock()
		p.ops = line.Ops
		for _, l := range line.Listeners {
			if addr, ok := strings.CutPrefix(l, "mx "); ok {
				p.smtp = addr
			}
		}
		p.mu.Unlock()
		close(ready)
	}
}

// Log returns the newest log lines.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.log, "\n")
}

// SMTP is the address of the listener mx.
func (p *Process) SMTP() string { p.mu.Lock(); defer p.mu.Unlock(); return p.smtp }

// Console is a client of the API.
func (p *Process) Console() *console.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return newConsole("http://" + p.ops)
}

// Kill ends the process with SIGKILL, as a crash would, and waits for its end.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Terminate asks the process to stop in order, and waits for its end.
func (p *Process) Terminate() { p.end(syscall.SIGTERM) }

// Signal sends a signal that does not end the process.
func (p *Process) Signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("signal mxhook: %v", err)
	}
}

func (p *Process) end(sig os.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(sig) // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		p.t.Errorf("mxhook did not end within a minute of %v", sig)
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	p.cmd = nil
}

// PeakMemory returns the largest resident size of the process so far, in bytes.
func (p *Process) PeakMemory() (int64, error) { return p.statusField("VmHWM") }

func (p *Process) statusField(name string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in the status of the process", name)
}
