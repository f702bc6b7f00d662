package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// ledger keeps what was answered with 250.
type ledger struct {
	mu  sync.Mutex
	ids []string
}

func (l *ledger) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ids)
}

func (l *ledger) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ids)
}

// missing returns the deliveries of accepted messages to the sinks that the endpoint has not accepted.
func (l *ledger) missing(e *apptest.Endpoint, sinks ...string) []string {
	accepted := e.Accepted()
	var out []string
	for _, id := range l.all() {
		for _, sink := range sinks {
			if accepted[id+"."+sink] == 0 {
				out = append(out, id+"."+sink)
			}
		}
	}
	return out
}

// Every mail that was answered 250 is delivered, however often the process is killed in the middle of the load.
func TestKillNineInMidLoadLosesNothing(t *testing.T) {
	endpoint := apptest.NewEndpoint(t)
	endpoint.Forget()
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Endpoint: endpoint})
	crashLoop(t, p, []string{"hook"}, func() {})
}

// The same with two sinks, of which one fails until the killing is over: the other does not suffer, and the failing one
// gets everything in the end.
func TestKillNineWithAFailingSinkLosesNothing(t *testing.T) {
	endpoint := apptest.NewEndpoint(t)
	endpoint.Forget()
	var healed atomic.Bool
	endpoint.BehaveFunc(func(w apptest.Webhook) apptest.Behaviour {
		if w.Path == "/bad" && !healed.Load() {
			return apptest.Behaviour{Status: http.StatusInternalServerError}
		}
		return apptest.Behaviour{}
	})
	config := strings.NewReplacer(
		"sinks:\n", `sinks:
  - name: bad
    webhook: {url: "{{.Endpoint}}/bad", secret: "{{.Secret}}", allow_private: true}
    retry: {steps: [5s], every: 10s}
`, "to: [hook]", "to: [hook, bad]").Replace(apptest.BasicConfig)
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Endpoint: endpoint, Config: config})
	crashLoop(t, p, []string{"hook", "bad"}, func() { healed.Store(true) })
}

// crashLoop kills the process in the middle of a load of 2,000 mails, round after round over the same data, calls after,
// and waits for the deliveries of everything that was accepted to all of the sinks.
func crashLoop(t *testing.T, p *apptest.Process, sinks []string, after func()) {
	t.Helper()
	rounds := 20
	if testing.Short() {
		rounds = 2
	}
	const mails, connections = 2000, 32
	var accepted ledger
	for round := range rounds {
		p.Start()
		before := accepted.count()
		killAt := before + 100 + rand.IntN(mails-400)
		ctx, cancel := context.WithCancel(t.Context())
		reached := make(chan struct{})
		var once sync.Once
		load := apptest.Load{
			Addr: p.SMTP(), Connections: connections,
			Make: func(n int) apptest.Mail {
				return apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: apptest.Text(fmt.Sprintf("round %d mail %d", round, n), 200<<(n%8))}
			},
			Accepted: func(_ int, id string) {
				accepted.add(id)
				if accepted.count() >= killAt {
					once.Do(func() { close(reached) })
				}
			},
		}
		ended := make(chan error, 1)
		go func() { ended <- load.Run(ctx, mails) }()
		select {
		case <-reached:
		case err := <-ended:
			t.Fatalf("round %d: the load ended before the kill: %v\n%s", round, err, p.Log())
		case <-time.After(2 * time.Minute):
			t.Fatalf("round %d: the load is stuck at %d of %d\n%s", round, accepted.count(), killAt, p.Log())
		}
		p.Kill()
		cancel()
		if err := <-ended; err == nil {
			t.Fatalf("round %d: the load ended before the kill", round)
		}
	}
	p.Start()
	after()
	missing := accepted.missing(p.Endpoint, sinks...)
	for deadline := time.Now().Add(5 * time.Minute); len(missing) > 0 && time.Now().Before(deadline); {
		<-time.After(200 * time.Millisecond)
		missing = accepted.missing(p.Endpoint, sinks...)
	}
	delivered, duplicates := 0, 0
	for _, n := range p.Endpoint.Accepted() {
		delivered++
		duplicates += n - 1
	}
	t.Logf("rounds %d, accepted %d mails × %d sinks, delivered %d, duplicates under the same id %d, lost %d",
		rounds, accepted.count(), len(sinks), delivered, duplicates, len(missing))
	if len(missing) > 0 {
		t.Errorf("lost: %v\n%s", missing[:min(10, len(missing))], p.Log())
	}
}
