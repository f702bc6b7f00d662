package main

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// clusterEnv is how long the faults of TestAClusterLosesNothing go on, such as 5m; unset is one round of a few of them.
const clusterEnv = "MXHOOK_CLUSTER"

// clusterQueue is the queue of the instances.
const clusterQueue = `queue: {url: "URL", replicas: 3, durability: replicated, shards: 4}`

// site is mxhook on several machines: two that receive and three that process, on one NATS cluster.
type site struct {
	t               *testing.T
	nats            *natsCluster
	ingest, process []*apptest.Process
	senders         *persistent
	hold            time.Duration // how long a fault lasts
	endpoint        *apptest.Endpoint
	longest         time.Duration
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, nats: startNATS(t), endpoint: apptest.NewEndpoint(t)}
	s.endpoint.Forget()
	bin := apptest.Build(t)
	config := strings.Replace(apptest.BasicConfig, "queue: {reserve: 10MB}", strings.Replace(clusterQueue, "URL", s.nats.urls(), 1), 1)
	instance := func(role string) *apptest.Process {
		p := apptest.NewProcess(t, bin, apptest.Options{
			Endpoint: s.endpoint, Config: config, Command: func(c *exec.Cmd) { c.Args = append(c.Args, "--roles", role) },
		})
		p.Start()
		return p
	}
	for range 2 {
		s.ingest = append(s.ingest, instance("ingest"))
	}
	for range 3 {
		s.process = append(s.process, instance("process"))
	}
	s.senders = sendPersistently(t, func() string { return s.ingest[rand.IntN(2)].SMTP() }, 8, func(n int) int {
		<-time.After(20 * time.Millisecond) // it is the faults that count, not the load
		return []int{2_000, 20_000, 5_000, 10_000, 800_000}[min(n%50, 4)]
	})
	return s
}

// after waits for mail to be accepted and says how long that took since a majority has been there.
func (s *site) after(what string, majority time.Time) {
	s.t.Helper()
	grows(s.t, what, s.ingest[0], 20, func() int64 { return int64(s.senders.accepted.count()) })
	took := time.Since(majority)
	s.longest = max(s.longest, took)
	s.t.Logf("%s: 20 mails were accepted within %v of a majority being there", what, took.Round(100*time.Millisecond))
}

// faults of the site, in turn. Each ends with everything as it was.
var faults = []struct {
	name  string
	short bool // part of the short form
	do    func(s *site, name string)
}{
	{"kill -9 of a NATS server", true, func(s *site, name string) {
		n := s.nats.nodes[rand.IntN(3)]
		n.end(syscall.SIGKILL)
		s.after(name, time.Now())
		<-time.After(s.hold)
		n.start()
	}},
	{"pause of a NATS server", false, func(s *site, name string) {
		n := s.nats.nodes[rand.IntN(3)]
		n.signal(syscall.SIGSTOP)
		s.after(name, time.Now())
		<-time.After(s.hold)
		n.signal(syscall.SIGCONT)
	}},
	{"partition of a NATS server", true, func(s *site, name string) {
		heal := s.nats.partition(rand.IntN(3))
		s.after(name, time.Now())
		<-time.After(s.hold)
		heal()
	}},
	{"kill -9 of an instance that receives and of one that processes", false, func(s *site, name string) {
		for _, p := range []*apptest.Process{s.ingest[rand.IntN(2)], s.process[rand.IntN(3)]} {
			p.Kill()
			s.after(name, time.Now())
			p.Start()
		}
	}},
	{"pause of an instance that processes", false, func(s *site, name string) {
		p := s.process[rand.IntN(3)]
		p.Signal(syscall.SIGSTOP)
		s.after(name, time.Now())
		<-time.After(s.hold)
		p.Signal(syscall.SIGCONT)
	}},
	{"pause of two NATS servers", false, func(s *site, name string) {
		first := rand.IntN(3)
		for i := range 2 {
			s.nats.nodes[(first+i)%3].signal(syscall.SIGSTOP)
		}
		<-time.After(s.hold)
		for i := range 2 {
			s.nats.nodes[(first+i)%3].signal(syscall.SIGCONT)
		}
		s.after(name, time.Now())
	}},
	{"rolling restart of everything", false, func(s *site, name string) {
		for _, p := range append(append([]*apptest.Process(nil), s.ingest...), s.process...) {
			p.Terminate()
			p.Start()
		}
		for _, n := range s.nats.nodes {
			n.end(syscall.SIGTERM)
			n.start()
			s.nats.healthy()
		}
		s.after(name, time.Now())
	}},
}

// A cluster of three NATS servers with two instances that receive and three that process: whatever is killed, paused or
// cut off, nothing that was accepted is lost, and senders that repeat get everything accepted.
func TestAClusterLosesNothing(t *testing.T) {
	long, _ := time.ParseDuration(os.Getenv(clusterEnv)) //nolint:errcheck // unset is the short form
	s := newSite(t)
	s.hold = 2 * time.Second
	if long > 0 {
		s.hold = 6 * time.Second
	}
	s.after("start", time.Now())
	began := time.Now()
	for round := 0; round == 0 || time.Since(began) < long; round++ {
		for _, f := range faults {
			if long == 0 && !f.short {
				continue
			}
			f.do(s, f.name)
			s.nats.healthy()
			s.after("after "+f.name, time.Now())
		}
	}
	s.senders.stop()
	s.senders.settled(t, s.endpoint, "hook")
	if t.Failed() {
		for i, p := range append(append([]*apptest.Process(nil), s.ingest...), s.process...) {
			t.Logf("instance %d said last:\n%s", i, p.Log())
		}
	}
	t.Logf("%v of faults; the longest time until mail was accepted again %v", time.Since(began).Round(time.Second), s.longest.Round(100*time.Millisecond))
}
