package counterpart

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Postgres is a PostgreSQL on loopback with one database.
type Postgres struct {
	server
	// URL is postgres://user@host:port/database without a password; Password is that of the user.
	URL, Password string
}

// StartPostgres starts a database server that ends with the test. It does not run as root: then another user runs it.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "mxhook-postgres-") // not t.TempDir, which other users cannot enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	as := otherUser(t)
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(postgresProgram(t, name), args...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
		if as != nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		}
		return cmd
	}
	p := &Postgres{Password: "the pass/word of a t3st"}
	passwords, data := filepath.Join(dir, "password"), filepath.Join(dir, "data")
	if err := os.WriteFile(passwords, []byte(p.Password+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := command("initdb", "-D", data, "-U", "mxhook", "--pwfile", passwords, "-A", "scram-sha-256", "-E", "UTF8", "--no-sync").CombinedOutput()
	if err != nil {
		t.Fatalf("make a database: %v\n%s", err, out)
	}
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	p.URL = fmt.Sprintf("postgres://mxhook@%s/postgres", address)
	p.server = server{
		t: t, log: filepath.Join(t.TempDir(), "log"),
		command: func() *exec.Cmd {
			os.Remove(filepath.Join(data, "postmaster.pid")) // of one that was killed
			return command("postgres", "-D", data, "-h", "127.0.0.1", "-p", port, "-k", "", "-c", "max_connections=60", "-c", "shared_buffers=16MB")
		},
		ready: func() error {
			if state, _ := os.ReadFile(filepath.Join(data, "postmaster.pid")); !strings.Contains(string(state), "ready") {
				return errors.New("it is starting")
			}
			return answers(address)
		},
	}
	t.Cleanup(p.Kill)
	p.start()
	return p
}

// otherUser is who runs the server when this process is root; nil when it is not.
func otherUser(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: false}
		}
	}
	t.Fatal("PostgreSQL does not run as root, and there is no user postgres or nobody to run it")
	return nil
}

// postgresProgram finds a program of the newest PostgreSQL, which Debian keeps out of the path.
func postgresProgram(t testing.TB, name string) string {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		return slices.Max(found)
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	t.Fatalf("there is no %s; `make deps` installs what the tests need", name)
	return ""
}
