package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// natsCluster are NATS servers, each a process of its own, whose routes to each other can be cut. One alone is no cluster.
type natsCluster struct {
	t     *testing.T
	nodes []*natsNode
	cuts  []*cutter // of node i to node j, at i*len(nodes)+j
}

// natsNode is one server of a cluster.
type natsNode struct {
	t                      *testing.T
	bin, config, log       string
	client, monitor, route int // ports
	cmd                    *exec.Cmd
	exited                 chan struct{}
}

// startNATS builds nats-server from the module and starts n of them. They end with the test.
func startNATS(t *testing.T, servers int) *natsCluster {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	c := &natsCluster{t: t}
	for i := range servers {
		c.nodes = append(c.nodes, &natsNode{
			t: t, bin: bin, config: filepath.Join(dir, fmt.Sprintf("n%d.conf", i)), log: filepath.Join(dir, fmt.Sprintf("n%d.log", i)),
			client: apptest.FreePort(t), monitor: apptest.FreePort(t), route: apptest.FreePort(t),
		})
	}
	for i, n := range c.nodes {
		var routes []string
		for j, other := range c.nodes {
			cut := newCutter(t, fmt.Sprintf("127.0.0.1:%d", other.route))
			c.cuts = append(c.cuts, cut)
			if i != j {
				routes = append(routes, fmt.Sprintf("nats-route://%s", cut.addr))
			}
		}
		// What is advertised leads nowhere: the servers would find ways around the cutters.
		text := fmt.Sprintf(`server_name: n%d
listen: "127.0.0.1:%d"
http: "127.0.0.1:%d"
jetstream: {store_dir: %q, sync_interval: always}
`, i, n.client, n.monitor, filepath.Join(dir, fmt.Sprintf("n%d", i)))
		if servers > 1 {
			text += fmt.Sprintf("cluster: {name: mx, listen: \"127.0.0.1:%d\", advertise: \"127.0.0.1:%d\", pool_size: -1, routes: [%s]}\n",
				n.route, 1+i, strings.Join(routes, ", "))
		}
		if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.nodes {
		n.start()
		t.Cleanup(func() { n.end(syscall.SIGKILL) })
	}
	c.healthy()
	return c
}

// urls is what clients connect to.
func (c *natsCluster) urls() string {
	var all []string
	for _, n := range c.nodes {
		all = append(all, fmt.Sprintf("nats://127.0.0.1:%d", n.client))
	}
	return strings.Join(all, ",")
}

// healthy waits until every node says that it has caught up.
func (c *natsCluster) healthy() {
	c.t.Helper()
	client := http.Client{Timeout: 2 * time.Second}
	for i, n := range c.nodes {
		for deadline := time.Now().Add(2 * time.Minute); ; <-time.After(100 * time.Millisecond) {
			resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", n.monitor))
			if err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					break
				}
			}
			if time.Now().After(deadline) {
				log, _ := os.ReadFile(n.log) //nolint:errcheck // it is for the message
				c.t.Fatalf("node %d of the cluster does not come up: %v\n%s", i, err, log[max(0, len(log)-4000):])
			}
		}
	}
}

// partition cuts a node off from the others until the returned function is called; clients still reach it.
func (c *natsCluster) partition(node int) (heal func()) {
	set := func(cut bool) {
		for i := range c.nodes {
			c.cuts[node*len(c.nodes)+i].cut(cut)
			c.cuts[i*len(c.nodes)+node].cut(cut)
		}
	}
	set(true)
	return func() { set(false) }
}

func (n *natsNode) start() {
	n.t.Helper()
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd = exec.Command(n.bin, "-c", n.config)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.exited = make(chan struct{})
	go func() {
		defer close(n.exited)
		_ = n.cmd.Wait() // it ends by a signal
		_ = log.Close()
	}()
}

func (n *natsNode) signal(sig syscall.Signal) { _ = n.cmd.Process.Signal(sig) } // it may have ended

func (n *natsNode) end(sig syscall.Signal) {
	n.signal(sig)
	<-n.exited
}

// cutter passes connections on to an address, until it is cut.
type cutter struct {
	addr, to string
	isCut    atomic.Bool
	mu       sync.Mutex
	open     map[net.Conn]bool
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{addr: l.Addr().String(), to: to, open: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.pass(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.cut(true)
		wg.Wait()
	})
	return c
}

// cut breaks every connection, and every new one until it is called with false.
func (c *cutter) cut(yes bool) {
	c.isCut.Store(yes)
	if !yes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		_ = conn.Close()
	}
}

func (c *cutter) pass(in net.Conn) {
	defer in.Close()
	if c.isCut.Load() {
		return
	}
	out, err := net.DialTimeout("tcp", c.to, time.Second)
	if err != nil {
		return
	}
	defer out.Close()
	c.keep(in, out)
	defer c.forget(in, out)
	if c.isCut.Load() {
		return
	}
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			done <- struct{}{}
		}()
	}
	<-done
	_ = in.Close()
	_ = out.Close()
	<-done
}

func (c *cutter) keep(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		c.open[conn] = true
	}
}

func (c *cutter) forget(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		delete(c.open, conn)
	}
}
