package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/console"
)

// limitsEnv makes TestLimitsHoldOverProcesses a long one, with a cluster of three NATS servers; unset is one server.
const limitsEnv = "MXHOOK_LIMITS"

// limitsSinks are a sink with a rate, a narrow one, and one with a breaker that is probed every second or two.
const limitsSinks = `sinks:
  - name: rated
    rate: 20/s
    concurrency: 32
    webhook: {url: "{{.Endpoint}}/rated", secret: "{{.Secret}}", allow_private: true}
  - name: narrow
    concurrency: 4
    webhook: {url: "{{.Endpoint}}/narrow", secret: "{{.Secret}}", allow_private: true}
  - name: down
    webhook: {url: "{{.Endpoint}}/down", secret: "{{.Secret}}", allow_private: true, timeout: 5s}
    retry: {steps: [1s], every: 2s}
`

// Three processes that share a sink: rate and concurrency hold over all of them, a breaker that one opens is open for
// all, and one probe at a time goes through.
func TestLimitsHoldOverProcesses(t *testing.T) {
	t.Parallel()
	mails, watch, queue, servers := 120, 3*time.Second, `queue: {url: "URL", replicas: 1, durability: fsync, shards: 4}`, 1
	if os.Getenv(limitsEnv) != "" {
		mails, watch, queue, servers = 1200, time.Minute, clusterQueue, 3
	}
	const answer = 150 * time.Millisecond // of the endpoint
	nats := startNATS(t, servers)
	endpoint := apptest.NewEndpoint(t)
	endpoint.Forget()
	endpoint.BehaveFunc(func(w apptest.Webhook) apptest.Behaviour {
		if w.Path == "/down" {
			return apptest.Behaviour{Status: http.StatusInternalServerError, Delay: answer}
		}
		return apptest.Behaviour{Delay: answer}
	})
	before, rest, _ := strings.Cut(apptest.BasicConfig, "sinks:\n")
	_, after, _ := strings.Cut(rest, "rules:")
	config := before + limitsSinks + "rules:" + strings.NewReplacer("[hook]", "[rated, narrow, down]",
		"queue: {reserve: 10MB}", strings.Replace(queue, "URL", nats.urls(), 1)).Replace(after)
	bin := apptest.Build(t)
	var all []*apptest.Process
	for _, roles := range []string{"ingest,process", "process", "process"} {
		p := apptest.NewProcess(t, bin, apptest.Options{
			Endpoint: endpoint, Config: config, Command: func(c *exec.Cmd) { c.Args = append(c.Args, "--roles", roles) },
		})
		p.Start()
		all = append(all, p)
	}
	var accepted ledger
	for n := range mails {
		id, err := apptest.SendOne(all[0].SMTP(), apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: apptest.Text(fmt.Sprintf("mail %d", n), 2000)})
		if err != nil {
			t.Fatalf("send: %v\n%s", err, all[0].Log())
		}
		accepted.add(id)
	}

	// The breaker is open for all of them.
	for i, p := range all {
		waitFor(t, fmt.Sprintf("process %d knows of the open breaker", i), func() bool {
			sinks, err := p.Console().Sinks(t.Context())
			return err == nil && slices.ContainsFunc(sinks, func(s console.Sink) bool { return s.Name == "down" && s.State == "breaker_open" })
		})
	}
	<-time.After(2 * answer) // what was under way is over
	open := time.Now()
	<-time.After(watch)
	probes := arrivals(endpoint, "/down", open)
	t.Logf("%v with an open breaker: %d probes, %d at once at most", watch, len(probes), atOnce(probes, answer))
	if len(probes) == 0 || atOnce(probes, answer) > 1 {
		t.Errorf("probes at %v: want one at a time", probes)
	}

	// The endpoint comes back, and gets everything.
	endpoint.Behave(apptest.Behaviour{Delay: answer})
	waitFor(t, "everything is delivered", func() bool { return len(accepted.missing(endpoint, "rated", "narrow", "down")) == 0 })
	rated, narrow := arrivals(endpoint, "/rated", time.Time{}), arrivals(endpoint, "/narrow", time.Time{})
	took := rated[len(rated)-1].Sub(rated[0]).Seconds()
	t.Logf("20/s: %d deliveries in %.1f s, %.1f a second, at most %d in any", len(rated), took, float64(len(rated)-1)/took, atOnce(rated, time.Second))
	t.Logf("concurrency 4: %d deliveries, %d at once at most", len(narrow), atOnce(narrow, answer))
	if n := atOnce(narrow, answer); n > 4 {
		t.Errorf("%d attempts at once, want at most 4", n)
	}
	// What begins in one second may arrive in a later one; over a stretch that evens out.
	for i := range rated {
		for j := i + 1; j < len(rated); j++ {
			if stretch := rated[j].Sub(rated[i]); float64(j-i) > 20*(stretch.Seconds()+3) {
				t.Fatalf("%d attempts within %v: the rate is 20/s", j-i+1, stretch)
			}
		}
	}
}

// arrivals are the times of the webhooks to a path since then, in order.
func arrivals(e *apptest.Endpoint, path string, since time.Time) []time.Time {
	var at []time.Time
	for _, w := range e.Webhooks() {
		if w.Path == path && w.At.After(since) {
			at = append(at, w.At)
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	return at
}

// atOnce is the largest number of times within one stretch of that length.
func atOnce(at []time.Time, length time.Duration) int {
	most := 0
	for i, first := 0, 0; i < len(at); i++ {
		for at[i].Sub(at[first]) >= length {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
