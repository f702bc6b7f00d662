package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// systemd holds the port: mxhook takes it over, says when it is ready, and a client that comes while it is restarted
// waits instead of being refused.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	file, err := held.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dir, err := os.MkdirTemp("", "mxhook-sd-") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "notify")
	states, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer states.Close()

	names := "mx"
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Command: func(cmd *exec.Cmd) {
		// LISTEN_PID is that of the process itself, so that a shell has to set it.
		cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES="+names, "NOTIFY_SOCKET="+path)
		cmd.ExtraFiles = []*os.File{file}
	}})
	p.Start()
	if p.SMTP() != held.Addr().String() {
		t.Errorf("mxhook listens on %s, systemd holds %s", p.SMTP(), held.Addr())
	}
	if got := heardState(t, states); got != "READY=1" {
		t.Errorf("systemd hears %q", got)
	}
	if _, err := apptest.SendOne(held.Addr().String(), textMail("by the socket of systemd")); err != nil {
		t.Error(err)
	}
	p.Terminate()
	if got := heardState(t, states); got != "STOPPING=1" {
		t.Errorf("systemd hears %q", got)
	}
	waiting, err := net.Dial("tcp", held.Addr().String())
	if err != nil {
		t.Fatalf("a client is refused while mxhook is down: %v", err)
	}
	defer waiting.Close()
	p.Start()
	_ = waiting.SetDeadline(time.Now().Add(20 * time.Second))
	greeting := make([]byte, 4)
	if _, err := io.ReadFull(waiting, greeting); err != nil || string(greeting) != "220 " {
		t.Errorf("the client that waited hears %q (%v)", greeting, err)
	}
	p.Endpoint.WaitCount(t, 1, 20*time.Second)
	p.Terminate()
}

func TestSocketActivationRefusesANameThatNothingHas(t *testing.T) {
	t.Parallel()
	i := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" serve -c ../../configs/minimal.yaml`, apptest.Build(t))
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	file, err := held.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	i.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=mxhook.socket")
	i.ExtraFiles = []*os.File{file}
	out, err := i.CombinedOutput()
	if err == nil || !strings.Contains(string(out), `a listener named "mxhook.socket"`) || !strings.Contains(string(out), "FileDescriptorName=") {
		t.Errorf("%v: %s", err, out)
	}
}

func heardState(t *testing.T, states *net.UnixConn) string {
	t.Helper()
	_ = states.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 256)
	n, err := states.Read(b)
	if err != nil {
		t.Fatalf("systemd hears nothing: %v", err)
	}
	return string(b[:n])
}
