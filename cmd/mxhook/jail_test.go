package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// jail is a directory that a peer takes for the root of the file system. Exim and OpenSMTPD have the names of their users
// and directories built in; in here they find them, and the host stays as it was.
type jail struct {
	t   *testing.T
	dir string
}

// newJail puts the programs (paths inside of .cache/debian) and the libraries that they need into a jail.
func newJail(t *testing.T, programs ...string) jail {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("", "mxhook-jail-") // others than root must get through every folder above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	j := jail{t, dir}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"/tmp", "/etc", "/dev", "/var/run", "/run", "/var/log", "/var/spool", "/var/empty", "/root"} {
		j.mkdir(d, 0, 0o755)
	}
	for _, p := range programs {
		from := filepath.Join("../../.cache/debian", p)
		j.copy(from, p)
		for line := range strings.Lines(command(t, "ldd", from)) {
			for word := range strings.FieldsSeq(line) {
				if strings.HasPrefix(word, "/") {
					j.copy(word, word)
				}
			}
		}
	}
	// 1, 3: the memory device null; 1, 9: urandom.
	for name, minor := range map[string]int{"/dev/null": 3, "/dev/urandom": 9, "/dev/random": 8} {
		if err := syscall.Mknod(dir+name, syscall.S_IFCHR|0o666, 1<<8|minor); err != nil {
			t.Fatalf("make %s of a jail: %v", name, err)
		}
		if err := os.Chmod(dir+name, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	j.write("/etc/passwd", "root:x:0:0::/root:/bin/false\nDebian-exim:x:901:901::/var/spool/exim4:/bin/false\n"+
		"opensmtpd:x:902:902::/var/lib/opensmtpd/empty:/bin/false\nopensmtpq:x:903:903::/var/lib/opensmtpd/empty:/bin/false\n"+
		"nobody:x:65534:65534::/:/bin/false\n")
	j.write("/etc/group", "root:x:0:\nDebian-exim:x:901:\nopensmtpd:x:902:\nopensmtpq:x:903:\nnogroup:x:65534:\n")
	j.write("/etc/nsswitch.conf", "hosts: files\npasswd: files\ngroup: files\n")
	j.write("/etc/hosts", "127.0.0.1 localhost mx.example.com relay.example.org\n")
	j.write("/etc/mailname", "relay.example.org\n")
	return j
}

func (j jail) mkdir(name string, owner int, mode os.FileMode) {
	j.t.Helper()
	if err := os.MkdirAll(j.dir+name, 0o755); err != nil {
		j.t.Fatal(err)
	}
	if err := os.Chown(j.dir+name, owner, owner); err != nil {
		j.t.Fatal(err)
	}
	if err := os.Chmod(j.dir+name, mode); err != nil {
		j.t.Fatal(err)
	}
}

func (j jail) write(name, text string) {
	j.t.Helper()
	writeFile(j.t, j.dir+name, text)
}

func (j jail) read(name string) string {
	j.t.Helper()
	b, err := os.ReadFile(j.dir + name)
	if err != nil {
		j.t.Fatal(err)
	}
	return string(b)
}

// copy takes a file in, once.
func (j jail) copy(from, to string) {
	j.t.Helper()
	if _, err := os.Stat(j.dir + to); err == nil {
		return
	}
	b, err := os.ReadFile(from)
	if err != nil {
		j.t.Fatalf("%v (`make deps` installs what the tests need)", err)
	}
	if err := os.MkdirAll(filepath.Dir(j.dir+to), 0o755); err != nil {
		j.t.Fatal(err)
	}
	if err := os.WriteFile(j.dir+to, b, 0o755); err != nil {
		j.t.Fatal(err)
	}
}

// command is a program inside of the jail.
func (j jail) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Path, cmd.Err = name, nil
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: j.dir}
	return cmd
}

// daemon starts a program that runs until the test ends. It returns what the program has said so far.
func daemon(t *testing.T, cmd *exec.Cmd) func() string {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // what it starts ends with it
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v (`make deps` installs what the tests need)", cmd.Path, err)
	}
	text := func() string {
		b, err := os.ReadFile(log.Name())
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		timer := time.AfterFunc(5*time.Second, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		_ = cmd.Wait()
		timer.Stop()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // children that it left
		_ = log.Close()
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, text())
		}
	})
	return text
}

// within runs cmd, but not longer than 20 s, and returns what it said.
func within(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
		}
	})
	defer stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", fmt.Sprint(cmd.Args), err, out)
	}
	return string(out)
}

// needRoot fails a test that runs a mail server of its own, which nobody but root may do.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test runs a mail server of its own, which takes root: sudo make test")
	}
}
