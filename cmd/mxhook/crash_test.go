package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// crashesEnv is the number of kills of the test with three sinks; unset is a few.
const crashesEnv = "MXHOOK_CRASHES"

// Every mail that was answered 250 is delivered, however often the process is killed in the middle of the load.
func TestKillNineInMidLoadLosesNothing(t *testing.T) {
	endpoint := apptest.NewEndpoint(t)
	endpoint.Forget()
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Endpoint: endpoint})
	crashes{
		process: p, rounds: 12, mails: 2000, killAfter: func() int { return 100 + rand.IntN(1600) },
		size: func(n int) int { return 200 << (n % 8) }, sinks: []string{"hook"},
	}.loop(t)
}

// The same with mails of 1 KB to 5 MB and three sinks: one that is well, one that fails every third time, and one that
// is dead until the killing is over. Of mails that were cut off nothing stays behind.
func TestKillNineWithThreeSinksLosesNothing(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv(crashesEnv)) //nolint:errcheck // unset is the short form
	if rounds == 0 {
		rounds = 8
	}
	endpoint := apptest.NewEndpoint(t)
	endpoint.Forget()
	var healed atomic.Bool
	endpoint.BehaveFunc(func(w apptest.Webhook) apptest.Behaviour {
		switch {
		case w.Path == "/dead" && !healed.Load():
			return apptest.Behaviour{Reset: true}
		case w.Path == "/flaky" && rand.IntN(3) == 0:
			return apptest.Behaviour{Status: http.StatusServiceUnavailable}
		}
		return apptest.Behaviour{}
	})
	config := strings.NewReplacer(
		"sinks:\n", `sinks:
  - name: flaky
    webhook: {url: "{{.Endpoint}}/flaky", secret: "{{.Secret}}", allow_private: true}
    retry: {steps: [1s, 1s, 2s], every: 2s}
  - name: dead
    webhook: {url: "{{.Endpoint}}/dead", secret: "{{.Secret}}", allow_private: true}
    retry: {steps: [10s], every: 10s}
`, "to: [hook]", "to: [hook, flaky, dead]").Replace(apptest.BasicConfig)
	dir := t.TempDir()
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Endpoint: endpoint, Config: config, Dir: dir})
	crashes{
		process: p, rounds: rounds, mails: 500, killAfter: func() int { return 5 + rand.IntN(100) },
		size: mixedSize, sinks: []string{"hook", "flaky", "dead"}, after: func() { healed.Store(true) },
	}.loop(t)
	p.Terminate()
	left := partsWithoutHead(t, filepath.Join(dir, "data", "queue", "nats"))
	t.Logf("parts without a head: %d", len(left))
	if len(left) > 0 {
		t.Errorf("parts without a head: %v", left)
	}
}

// mixedSize is 1 KB to 5 MB, mostly small.
func mixedSize(n int) int {
	switch n % 32 {
	case 7:
		return 5_000_000
	case 15, 23:
		return 1_000_000 + rand.IntN(1_000_000)
	case 1, 5, 9, 13:
		return 100_000 + rand.IntN(600_000)
	}
	return 1_000 + rand.IntN(30_000)
}

// crashes is a load that is killed again and again over the same data.
type crashes struct {
	process *apptest.Process
	rounds  int
	// mails is the load of a round, killAfter how many of them are accepted before the kill.
	mails     int
	killAfter func() int
	size      func(n int) int
	sinks     []string
	// after, if set, is called when the killing is over.
	after func()
}

// loop kills the process in the middle of the load, round after round, and waits for the deliveries of everything that was
// accepted to all of the sinks.
func (c crashes) loop(t *testing.T) {
	t.Helper()
	if testing.Short() {
		c.rounds = 2
	}
	p := c.process
	var accepted ledger
	for round := range c.rounds {
		p.Start()
		killAt := accepted.count() + c.killAfter()
		ctx, cancel := context.WithCancel(t.Context())
		reached := make(chan struct{})
		var once sync.Once
		load := apptest.Load{
			Addr: p.SMTP(), Connections: 32,
			Make: func(n int) apptest.Mail {
				return apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: apptest.Text(fmt.Sprintf("round %d mail %d", round, n), c.size(n))}
			},
			Accepted: func(_ int, id string) {
				accepted.add(id)
				if accepted.count() >= killAt {
					once.Do(func() { close(reached) })
				}
			},
		}
		ended := make(chan error, 1)
		go func() { ended <- load.Run(ctx, c.mails) }()
		select {
		case <-reached:
		case err := <-ended:
			t.Fatalf("round %d: the load ended before the kill: %v\n%s", round, err, p.Log())
		case <-time.After(2 * time.Minute):
			t.Fatalf("round %d: the load is stuck at %d of %d\n%s", round, accepted.count(), killAt, p.Log())
		}
		<-time.After(time.Duration(rand.IntN(30)) * time.Millisecond) // somewhere between two replies
		p.Kill()
		cancel()
		if err := <-ended; err == nil {
			t.Fatalf("round %d: the load ended before the kill", round)
		}
		if round%10 == 9 {
			t.Logf("%d kills, %d mails accepted", round+1, accepted.count())
		}
	}
	p.Start()
	if c.after != nil {
		c.after()
	}
	missing := accepted.missing(p.Endpoint, c.sinks...)
	for last, fewest := time.Now(), len(missing); len(missing) > 0 && time.Since(last) < 2*time.Minute; {
		<-time.After(200 * time.Millisecond)
		if missing = accepted.missing(p.Endpoint, c.sinks...); len(missing) < fewest {
			last, fewest = time.Now(), len(missing)
		}
	}
	delivered, duplicates := 0, 0
	for _, n := range p.Endpoint.Accepted() {
		delivered++
		duplicates += n - 1
	}
	t.Logf("rounds %d, accepted %d mails × %d sinks, delivered %d, duplicates under the same id %d, lost %d",
		c.rounds, accepted.count(), len(c.sinks), delivered, duplicates, len(missing))
	if len(missing) > 0 {
		t.Errorf("lost: %v\n%s", missing[:min(10, len(missing))], p.Log())
	}
}
