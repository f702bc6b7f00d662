package counterpart

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The server that NATS starts, of the version that mxhook has embedded.
const (
	natsServer        = "github.com/nats-io/nats-server/v2"
	natsServerVersion = "v2.15.2"
)

// NATS is a NATS server on loopback, with JetStream on disk, synced.
type NATS struct {
	server
	// Address is host:port.
	Address string
}

// StartNATS starts a server that ends with the test. more is added to its configuration.
func StartNATS(t testing.TB, more string) *NATS {
	t.Helper()
	program, dir := built(t, natsServer, natsServerVersion), t.TempDir()
	n := &NATS{Address: freeAddress(t)}
	config := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: %q\njetstream: {store_dir: %q, sync_interval: always}\n%s\n", n.Address, filepath.Join(dir, "data"), more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.server = server{
		t:       t,
		command: func() *exec.Cmd { return exec.Command(program, "-c", config) },
		ready:   func() error { return answers(n.Address) },
	}
	n.start()
	return n
}
