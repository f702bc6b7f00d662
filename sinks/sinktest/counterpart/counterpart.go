// Package counterpart starts the real servers that sinks are tested against, on loopback, and kills and restarts them.
package counterpart

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a program under test's control. What it stored outlives it.
type server struct {
	t testing.TB
	// command makes the command anew for each start.
	command func() *exec.Cmd
	// ready is asked until it returns nil.
	ready func() error
	cmd   *exec.Cmd
	log   string
}

// start starts the program and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	if s.log == "" {
		s.log = filepath.Join(s.t.TempDir(), "log")
		s.t.Cleanup(s.Kill)
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = s.command()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start %s: %v", s.cmd.Path, err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := s.ready()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(s.log)
			s.t.Fatalf("%s is not ready: %v\n%s", s.cmd.Path, err, text)
		}
		time.Sleep(20 * time.Millisecond) // between two looks at the condition
	}
}

// Kill ends the program and those that it started at once, as a crash would, and waits until it is gone.
func (s *server) Kill() {
	if s.cmd == nil {
		return
	}
	pid := s.cmd.Process.Pid
	// PostgreSQL's have a session of their own, and would finish what they are at. Stopped, the parent starts no more.
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	_ = syscall.Kill(pid, syscall.SIGKILL)
	children := strings.Fields(string(text))
	for _, child := range children {
		if n, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	}
	_ = s.cmd.Wait()
	s.cmd = nil
	// A child that is still dying holds the shared memory that the next server refuses to start beside.
	deadline := time.Now().Add(30 * time.Second)
	for slices.ContainsFunc(children, alive) {
		if time.Now().After(deadline) {
			s.t.Errorf("processes %v outlive SIGKILL", children)
			return
		}
		time.Sleep(5 * time.Millisecond) // between two looks at the condition
	}
}

// alive reports that a process has not ended, whether or not its parent has taken notice.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ") && !strings.Contains(string(stat), ") X ")
}

// Pause stops the program where it is, so that it hangs, until Resume.
func (s *server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets the program go on.
func (s *server) Resume() { s.signal(syscall.SIGCONT) }

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Restart starts the program again on the same address with what it had stored.
func (s *server) Restart() {
	s.t.Helper()
	s.Kill()
	s.start()
}

// freeAddress is one of loopback that nobody listened on just now, for programs that cannot choose one.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers reports that something accepts connections at the address.
func answers(address string) error {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// Hang is a server that takes connections and never says anything, until end is called.
func Hang(t testing.TB) (address string, end func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
		}
	})
	return l.Addr().String(), func() {
		l.Close()
		wg.Wait()
		for _, c := range conns {
			c.Close()
		}
	}
}

// built returns a program of a Go module that is not one of ours, built once into .cache.
func built(t testing.TB, pkg, version string) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "..", "..", ".cache", "go", version)
	base := path.Base(pkg)
	if regexp.MustCompile(`^v[0-9]+$`).MatchString(base) { // the second version of a module and later ones
		base = path.Base(path.Dir(pkg))
	}
	name := filepath.Join(dir, base)
	if _, err := os.Stat(name); err == nil {
		return name
	}
	cmd := exec.Command("go", "install", pkg+"@"+version)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	cmd.Dir = t.TempDir() // outside of our module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, fmt.Sprintf("%.2000s", out))
	}
	return name
}
