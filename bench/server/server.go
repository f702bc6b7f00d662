// Package server runs an mxhook as a process of its own and measures it from outside: processor time, memory, file
// descriptors, disk, and what it says of itself in its metrics.
package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Build builds mxhook from the sources beside this module, into dir.
func Build(dir string) (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("look for the module: %w", err)
	}
	bin := filepath.Join(dir, "mxhook")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/mxhook")
	cmd.Dir = filepath.Dir(filepath.Dir(strings.TrimSpace(string(out))))
	cmd.Env = append(os.Environ(), "GOFLAGS=") // what this module is built with is not for that one
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build mxhook: %w\n%s", err, out)
	}
	return bin, nil
}

// MainJob is the configuration of the main job: mail for example.com to one webhook, authenticated by the name server given.
// more are further groups of keys.
func MainJob(dir, url, dns, more string) string {
	return fmt.Sprintf(`data_dir: %s/data
smtp:
  hostname: mx.example.com
  listeners: [{name: mx, address: "127.0.0.1:0", protocol: smtp, tls: none}]
  limits: {message_size: 100MB, connections: 20000, connections_per_ip: 20000, connections_per_network: 0, transactions: 1000000}
domains: [{domain: example.com}]
dns: {servers: [%q]}
sinks:
  - name: hook
    webhook: {url: %q, secret: "whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs", allow_private: true}
default: [hook]
ops: {address: "127.0.0.1:0"}
log: {level: info, format: json}
%s
`, dir, dns, url, more)
}

// Server is one running mxhook.
type Server struct {
	// SMTP and Ops are where it listens; Ready is how long the start took.
	SMTP, Ops string
	Ready     time.Duration

	dir    string
	cmd    *exec.Cmd
	log    *os.File
	exited chan struct{}
}

// Start starts bin over dir/data with a configuration, whose data_dir and addresses it finds in dir as they were
// written, and waits until it is ready. Its log, which must be JSON with level info or
// debug, is appended to dir/log without the lines of level info.
func Start(bin, dir, config string, args ...string) (*Server, error) {
	file := filepath.Join(dir, "mxhook.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, log: log, exited: make(chan struct{})}
	s.cmd = exec.Command(bin, append([]string{"serve", "-c", file}, args...)...)
	s.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MXHOOK_") }) // the file counts
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go func() {
		defer close(s.exited)
		s.follow(stderr, ready)
		_ = s.cmd.Wait() // it ends by a signal most of the time
		_ = log.Close()
	}()
	select {
	case <-ready:
		s.Ready = time.Since(began)
		return s, nil
	case <-s.exited:
		said, _ := os.ReadFile(log.Name()) //nolint:errcheck // it says why, if it is there
		return nil, fmt.Errorf("mxhook ended before it was ready: %.2000s", said)
	case <-time.After(5 * time.Minute):
		s.Kill()
		return nil, fmt.Errorf("mxhook was not ready after five minutes; see %s", log.Name())
	}
}

func (s *Server) follow(r io.Reader, ready chan<- struct{}) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// Of a load there are millions of lines at this level.
		if !bytes.Contains(lines.Bytes(), []byte(`"level":"INFO"`)) {
			_, _ = fmt.Fprintln(s.log, lines.Text())
		}
		if s.Ops != "" || !bytes.Contains(lines.Bytes(), []byte(`"msg":"ready"`)) {
			continue
		}
		var line struct {
			Msg       string   `json:"msg"`
			Listeners []string `json:"listeners"`
			Ops       string   `json:"ops"`
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Msg != "ready" {
			continue
		}
		s.Ops = line.Ops
		for _, l := range line.Listeners {
			if addr, ok := strings.CutPrefix(l, "mx "); ok {
				s.SMTP = addr
			}
		}
		close(ready)
	}
}

// PID is its process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends it with SIGKILL, Stop with SIGTERM; both wait for its end and return how long that took.
func (s *Server) Kill() time.Duration { return s.end(syscall.SIGKILL) }

// Stop asks it to end in order.
func (s *Server) Stop() time.Duration { return s.end(syscall.SIGTERM) }

func (s *Server) end(sig os.Signal) time.Duration {
	began := time.Now()
	_ = s.cmd.Process.Signal(sig) // it may have ended
	<-s.exited
	return time.Since(began)
}

// Sample is one look at the process.
type Sample struct {
	At time.Time
	// CPU is the processor time used since the start; RSS, Anon and Peak are resident memory in bytes: all, without
	// mapped files, and the most so far.
	CPU             time.Duration
	RSS, Anon, Peak int64
	FDs             int
	// Disk is what the files under its data take.
	Disk int64
	// Metrics are what it says of itself, by name with labels.
	Metrics map[string]float64
}

// clockTick is the unit of processor time in /proc: 1/100 s on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// Sample looks at the process now.
func (s *Server) Sample() (Sample, error) {
	out := Sample{At: time.Now()}
	proc := fmt.Sprintf("/proc/%d/", s.cmd.Process.Pid)
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		return out, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	out.CPU = time.Duration(user+system) * clockTick
	status, err3 := os.ReadFile(proc + "status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) //nolint:errcheck // others are no numbers
		switch name {
		case "VmRSS":
			out.RSS = n << 10
		case "RssAnon":
			out.Anon = n << 10
		case "VmHWM":
			out.Peak = n << 10
		}
	}
	fds, err4 := os.ReadDir(proc + "fd")
	out.FDs = len(fds)
	out.Disk = DiskUse(filepath.Join(s.dir, "data"))
	var err5 error
	out.Metrics, err5 = s.metrics()
	return out, errors.Join(err1, err2, err3, err4, err5)
}

// DiskUse adds up the blocks of all files; those that go meanwhile do not count.
func DiskUse(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it has gone
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	return sum
}

func (s *Server) metrics() (map[string]float64, error) {
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Get("http://" + s.Ops + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 && lines.Text()[0] != '#' {
			if v, err := strconv.ParseFloat(lines.Text()[i+1:], 64); err == nil {
				out[lines.Text()[:i]] = v
			}
		}
	}
	return out, lines.Err()
}

// Sum adds up all series of a metric whose labels contain each of the texts.
func (s Sample) Sum(name string, labels ...string) (sum float64) {
series:
	for series, v := range s.Metrics {
		if series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue series
			}
		}
		sum += v
	}
	return sum
}
