package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/pipeline"
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
	senders         []*persistent // of each instance that receives
	hold            time.Duration // how long a fault lasts
	endpoint        *apptest.Endpoint
	longest         time.Duration // until every instance accepted again
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, nats: startNATS(t, 3), endpoint: apptest.NewEndpoint(t)}
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
		p := instance("ingest")
		s.ingest = append(s.ingest, p)
		s.senders = append(s.senders, sendSteadily(t, p.SMTP, 100*time.Millisecond, func(n int) int {
			return []int{2_000, 20_000, 5_000, 10_000, 800_000}[min(n%50, 4)]
		}))
	}
	for range 3 {
		s.process = append(s.process, instance("process"))
	}
	return s
}

// after waits until every instance that receives has accepted mail that was sent since a majority has been there, and says
// how long that took and what the instances said of it.
func (s *site) after(what string, majority time.Time, without ...*apptest.Process) {
	s.t.Helper()
	var took []string
	for i, p := range s.ingest {
		if slices.Contains(without, p) {
			continue
		}
		grows(s.t, what, p, 10, func() int64 { return int64(len(s.senders[i].since(majority))) })
		first := s.senders[i].since(majority)[0].ended.Sub(majority)
		s.longest = max(s.longest, first)
		slowest := time.Duration(0)
		for _, tr := range s.senders[i].since(time.Time{}) {
			if tr.ended.After(majority) {
				slowest = max(slowest, tr.ended.Sub(tr.began))
			}
		}
		took = append(took, fmt.Sprintf("instance %d accepted again after %.1f s, its slowest transaction took %.1f s", i, first.Seconds(), slowest.Seconds()))
	}
	s.t.Logf("%s: %s%s", what, strings.Join(took, "; "), s.phases(majority))
}

// phases are what the instances that receive have said of the queue since then, in the order of time.
func (s *site) phases(since time.Time) string {
	var said []string
	for i, p := range s.ingest {
		for text := range strings.Lines(p.Log()) {
			var line struct {
				Time               time.Time
				Msg, Server, Error string
			}
			if json.Unmarshal([]byte(text), &line) == nil && line.Time.After(since) && strings.Contains(line.Msg, "queue") {
				said = append(said, fmt.Sprintf("\n  %5.1f s, instance %d: %s %s %.120s", line.Time.Sub(since).Seconds(), i, line.Msg, line.Server, line.Error))
			}
		}
	}
	slices.Sort(said)
	return strings.Join(said, "")
}

// tellOf says what the instances know of deliveries that are missing.
func (s *site) tellOf(missing []string) {
	for _, delivery := range missing {
		id, _, _ := strings.Cut(delivery, ".")
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
		kept, err := s.ingest[0].Console().Message(ctx, id)
		s.t.Logf("message %s: %+v, %v", id, kept, err)
		deliveries, err := s.ingest[0].Console().Deliveries(ctx, pipeline.DeliveryFilter{Message: id}, 10)
		s.t.Logf("deliveries of message %s: %+v, %v", id, deliveries, err)
		cancel()
	}
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
			s.after(name, time.Now(), p)
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
	for _, p := range s.senders {
		p.stop()
	}
	took := time.Since(began)
	for _, p := range s.senders {
		p.settled(t, s.endpoint, "hook")
	}
	if t.Failed() {
		for _, p := range s.senders {
			s.tellOf(p.accepted.missing(s.endpoint, "hook"))
		}
		for i, p := range append(append([]*apptest.Process(nil), s.ingest...), s.process...) {
			t.Logf("instance %d said last:\n%s", i, p.Log())
		}
	}
	t.Logf("%v of faults; the longest time until both instances accepted mail again %v", took.Round(time.Second), s.longest.Round(100*time.Millisecond))
}
