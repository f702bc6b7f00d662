package queue

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

func TestALeaderNeedsToHearFromAMajority(t *testing.T) {
	t.Parallel()
	peer := func(active time.Duration) *jetstream.PeerInfo { return &jetstream.PeerInfo{Active: active} }
	for name, c := range map[string]struct {
		info *jetstream.ClusterInfo
		want bool
	}{
		"no cluster":             {nil, true},
		"no leader":              {&jetstream.ClusterInfo{}, false},
		"one replica":            {&jetstream.ClusterInfo{Leader: "a"}, true},
		"all are there":          {&jetstream.ClusterInfo{Leader: "a", Replicas: []*jetstream.PeerInfo{peer(0), peer(2 * time.Second)}}, true},
		"one of two is silent":   {&jetstream.ClusterInfo{Leader: "a", Replicas: []*jetstream.PeerInfo{peer(0), peer(time.Minute)}}, true},
		"both are silent":        {&jetstream.ClusterInfo{Leader: "a", Replicas: []*jetstream.PeerInfo{peer(4 * time.Second), peer(time.Minute)}}, false},
		"one silent, one off":    {&jetstream.ClusterInfo{Leader: "a", Replicas: []*jetstream.PeerInfo{peer(time.Minute), {Offline: true}}}, false},
		"two of four are silent": {&jetstream.ClusterInfo{Leader: "a", Replicas: []*jetstream.PeerInfo{peer(0), peer(0), peer(time.Minute), peer(time.Minute)}}, true},
	} {
		if got := hasMajority(c.info); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A stream that has lost its leader, and a server that is cut off from its cluster while clients still reach it: new
// mail goes to the streams that have a leader, by a server that has contact.
func TestMailGoesWhereTheClusterWorks(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	q, err := openWith(t, []func(*Config){func(cfg *Config) {
		cfg.URL, cfg.Durability, cfg.Replicas, cfg.Shards = c.urls(), DurabilityReplicated, 3, 4
	}})
	if err != nil {
		t.Fatal(err)
	}
	spool(t, q, newEnvelope(), []byte("before"))

	// Another server than ours leads a mail stream and is cut off. Until the others lead it, mail that would go there goes
	// elsewhere.
	l := q.link.Load()
	at := func() int { return c.index(l.in.ConnectedServerName()) }
	k, lead := 0, 0
	eventually(t, "another server leads a mail stream", func() bool {
		for k = range 4 {
			if lead = c.leader(t, q, k); l.in.IsConnected() && lead >= 0 && lead != at() {
				return true
			}
		}
		c.move(t, l.in)
		return false
	})
	c.cut(lead, true)
	eventually(t, "the stream is known to have no leader", func() bool { return q.leaderless[k].Load() })
	env := newEnvelope()
	for shardOf(env.ID, 4) != k {
		env = newEnvelope()
	}
	spool(t, q, env, []byte("elsewhere"))
	eventually(t, "the stream has a leader again", func() bool { return !q.leaderless[k].Load() })
	c.cut(lead, false)
	c.healthy(t, q)
	var kept *pipeline.KeptMessage
	eventually(t, "the message can be read", func() bool { kept, err = q.Message(t.Context(), env.ID, true); return err == nil })
	if string(kept.Message.Raw) != "elsewhere" || strings.HasPrefix(kept.Message.Ref, streamName(mailPrefix, k)+"/") {
		t.Fatalf("a message that had to go to another stream than %d is at %s: %q", k, kept.Message.Ref, kept.Message.Raw)
	}

	// The connection for mail is with a server that is cut off, the other one is not.
	eventually(t, "the connections are with two servers", func() bool {
		if l.ctl.IsConnected() && l.in.IsConnected() && l.ctl.ConnectedServerName() != l.in.ConnectedServerName() {
			return true
		}
		c.move(t, l.ctl)
		return false
	})
	alone := at()
	c.cut(alone, true)
	eventually(t, "mail goes by another server", func() bool { return l.in.IsConnected() && at() != alone })
	for range 8 {
		spool(t, q, newEnvelope(), []byte("while one is cut off"))
	}
	c.cut(alone, false)
}

// A server that takes octets no more, and does not close the connection either, does not hold up what is written to it.
func TestAServerThatHangsIsLeft(t *testing.T) {
	t.Parallel()
	to := mustURL(t, externalServer(t)).Host
	doors := []*door{newDoor(t, to), newDoor(t, to)}
	q, err := openWith(t, []func(*Config){func(cfg *Config) {
		cfg.URL = fmt.Sprintf("nats://%s,nats://%s", doors[0].addr, doors[1].addr)
		cfg.Durability, cfg.Replicas = DurabilityFsync, 1
	}})
	if err != nil {
		t.Fatal(err)
	}
	l := q.link.Load()
	i := slices.IndexFunc(doors, func(d *door) bool { return d.addr == mustURL(t, l.in.ConnectedUrl()).Host })
	doors[i].hang()
	body := randomOctets(t, 4*mib)
	var all sync.WaitGroup
	for range 12 { // more at once than fits into what lies between two sockets
		all.Go(func() {
			w, err := q.Begin(t.Context(), newEnvelope())
			if err == nil {
				_, err = w.Write(body)
			}
			if err == nil {
				err = w.Commit(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// memoryCluster are three servers in this process, the routes between which can be cut.
type memoryCluster struct {
	servers []*server.Server
	options []server.Options
	doors   []*door // from server i to j at i*3+j
}

func startCluster(t *testing.T) *memoryCluster {
	t.Helper()
	c := &memoryCluster{servers: make([]*server.Server, 3)}
	routes := make([]string, 3)
	for i := range routes {
		routes[i] = freeAddr(t)
	}
	for i := range 3 {
		host, port := splitAddr(t, routes[i])
		_, client := splitAddr(t, freeAddr(t))
		o := server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: client, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			// What is advertised leads nowhere: servers would find ways around the doors.
			Cluster: server.ClusterOpts{Name: "test", Host: host, Port: port, Advertise: fmt.Sprintf("127.0.0.1:%d", 1+i), PoolSize: -1},
		}
		for j := range 3 {
			d := newDoor(t, routes[j])
			c.doors = append(c.doors, d)
			if i != j {
				o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: d.addr})
			}
		}
		c.options = append(c.options, o)
	}
	for i := range 3 {
		c.start(t, i)
	}
	t.Cleanup(func() {
		for _, s := range c.servers {
			s.Shutdown()
			s.WaitForShutdown()
		}
	})
	eventually(t, "the cluster is up", func() bool {
		return slices.ContainsFunc(c.servers, func(s *server.Server) bool { return s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == 3 })
	})
	return c
}

func (c *memoryCluster) start(t *testing.T, i int) {
	t.Helper()
	o := c.options[i]
	srv, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		t.Fatalf("server %d is not ready", i)
	}
	c.servers[i] = srv
}

func (c *memoryCluster) urls() string {
	return c.servers[0].ClientURL() + "," + c.servers[1].ClientURL() + "," + c.servers[2].ClientURL()
}

func (c *memoryCluster) index(name string) int {
	return slices.IndexFunc(c.servers, func(s *server.Server) bool { return s.Name() == name })
}

// move sends a connection to the next server.
func (c *memoryCluster) move(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
}

func (c *memoryCluster) leader(t *testing.T, q *Queue, k int) int {
	t.Helper()
	s, err := q.link.Load().js.Stream(t.Context(), streamName(mailPrefix, k))
	if err != nil {
		t.Fatal(err)
	}
	return c.index(s.CachedInfo().Cluster.Leader)
}

// healthy waits until the replicas of all mail streams have caught up.
func (c *memoryCluster) healthy(t *testing.T, q *Queue) {
	t.Helper()
	eventually(t, "all replicas have caught up", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, s := range q.link.Load().mail() {
			info, err := s.Info(ctx)
			if err != nil || info.Cluster.Leader == "" || slices.ContainsFunc(info.Cluster.Replicas, func(r *jetstream.PeerInfo) bool { return !r.Current || r.Offline }) {
				return false
			}
		}
		return true
	})
}

func (c *memoryCluster) cut(node int, yes bool) {
	for i := range 3 {
		c.doors[node*3+i].cut(yes)
		c.doors[i*3+node].cut(yes)
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func splitAddr(t *testing.T, addr string) (host string, port int) {
	t.Helper()
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return a.Addr().String(), int(a.Port())
}

// freeAddr is a loopback address that nobody listens on just now.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// door passes connections on to an address, while it is open.
type door struct {
	addr         string
	hangs, ended chan struct{} // closed: nothing is read any more; the test is over

	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

func newDoor(t *testing.T, to string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{addr: l.Addr().String(), hangs: make(chan struct{}), ended: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil || !d.keep(in, out) {
				_ = in.Close()
				continue
			}
			all.Go(func() { d.pass(in, out) })
			all.Go(func() { d.pass(out, in) })
		}
	})
	t.Cleanup(func() {
		close(d.ended)
		_ = l.Close()
		d.cut(true)
		all.Wait()
	})
	return d
}

func (d *door) keep(in, out net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isCut {
		_ = out.Close()
		return false
	}
	d.conns = append(d.conns, in, out)
	return true
}

// cut breaks what is connected, and everything new until it is called with false.
func (d *door) cut(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.isCut = yes
	if yes {
		for _, c := range d.conns {
			_ = c.Close()
		}
		d.conns = nil
	}
}

// hang keeps the connections and reads nothing of them any more.
func (d *door) hang() { close(d.hangs) }

func (d *door) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32*kib)
	for {
		n, err := from.Read(buf)
		select {
		case <-d.hangs:
			<-d.ended
			return
		default:
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
