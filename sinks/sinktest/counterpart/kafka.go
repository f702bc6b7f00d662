package counterpart

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

// Kafka is a broker on loopback that keeps its topics on disk, synced: kfake of franz-go, no Kafka of Apache's.
type Kafka struct {
	server
	// Address is host:port.
	Address string
}

// StartKafka starts a broker that ends with the test. args are those of the program sinks/sinktest/kafka, besides port
// and data.
func StartKafka(t testing.TB, args ...string) *Kafka {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "kafka")
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "mxhook/sinks/sinktest/kafka").CombinedOutput(); err != nil {
		t.Fatalf("build the broker: %v\n%s", err, out)
	}
	k := &Kafka{Address: freeAddress(t)}
	_, port, _ := net.SplitHostPort(k.Address)
	k.server = server{
		t: t,
		command: func() *exec.Cmd {
			return exec.Command(program, append([]string{"-port", port, "-data", filepath.Join(dir, "data")}, args...)...)
		},
		ready: func() error { return answers(k.Address) },
	}
	k.start()
	return k
}
