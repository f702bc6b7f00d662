package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// isolationConfig has a sink for each local part.
const isolationConfig = `
data_dir: {{.Dir}}/data
smtp:
  hostname: mx.example.com
  listeners: [{name: mx, address: "127.0.0.1:0"}]
  limits: {connections_per_ip: 5000}
domains: [{domain: example.com}]
sinks:
  - {name: healthy, timeout: 30s, webhook: {url: "{{.Endpoint}}/healthy", secret: "{{.Secret}}", allow_private: true}}
  - {name: hangs, timeout: 30s, webhook: {url: "{{.Endpoint}}/hangs", secret: "{{.Secret}}", allow_private: true}}
  - {name: fails, timeout: 30s, webhook: {url: "{{.Endpoint}}/fails", secret: "{{.Secret}}", allow_private: true}}
  - {name: limits, timeout: 30s, webhook: {url: "{{.Endpoint}}/limits", secret: "{{.Secret}}", allow_private: true}}
rules:
  - {name: healthy, when: 'recipient.local == "healthy"', to: [healthy]}
  - {name: hangs, when: 'recipient.local == "hangs"', to: [hangs]}
  - {name: fails, when: 'recipient.local == "fails"', to: [fails]}
  - {name: limits, when: 'recipient.local == "limits"', to: [limits]}
dns: {servers: ["{{.DNS}}"]}
queue: {reserve: 10MB}
ops: {address: "127.0.0.1:0"}
`

// isolated is an instance whose healthy sink is measured, beside neighbours.
type isolated struct {
	name       string
	neighbours bool // they get mail
	instance   *apptest.Instance

	mu   sync.Mutex
	sent map[string]time.Time // by delivery id, when the transaction began
	took []time.Duration      // until the webhook came
	told []time.Duration      // until the 250
}

// TestAHealthySinkBesideFailingOnes prints how long mails take to a healthy sink: alone, beside neighbours that work, and
// beside one that hangs, one that answers 500 and one that answers 429, in phases that take turns. It demands that all
// arrive, of times it only tells. MXHOOK_ISOLATION=20s makes each phase that long; then there are three rounds.
func TestAHealthySinkBesideFailingOnes(t *testing.T) {
	phase, rounds := 1500*time.Millisecond, 2
	if s := os.Getenv("MXHOOK_ISOLATION"); s != "" {
		var err error
		if phase, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
		rounds = 3
	}
	cases := []*isolated{{name: "alone"}, {name: "beside working ones", neighbours: true}, {name: "beside failing ones", neighbours: true}}
	for i, c := range cases {
		c.sent = map[string]time.Time{}
		endpoint := apptest.NewEndpoint(t)
		endpoint.Forget()
		if i == 2 {
			endpoint.BehaveFunc(trouble)
		}
		c.instance = apptest.Start(t, apptest.Options{Config: isolationConfig, Endpoint: endpoint})
	}
	for range rounds {
		for _, c := range cases {
			c.run(t, phase)
		}
	}
	alone := quantile(cases[0].took, 0.99)
	t.Logf("%-20s %6s %10s %10s %10s %10s %13s", "healthy sink", "mails", "250 p50", "250 p99", "hook p50", "hook p99", "p99 to alone")
	for _, c := range cases {
		t.Logf("%-20s %6d %10v %10v %10v %10v %13.2f", c.name, len(c.took), quantile(c.told, 0.5), quantile(c.told, 0.99),
			quantile(c.took, 0.5), quantile(c.took, 0.99), float64(quantile(c.took, 0.99))/float64(alone))
	}
	sinks := sinksOf(t, cases[2].instance)
	for _, name := range []string{"hangs", "fails", "limits"} {
		t.Logf("%s: %s, %d deliveries wait", name, sinks[name].State, sinks[name].Due+sinks[name].Scheduled)
		if sinks[name].Due+sinks[name].Scheduled == 0 {
			t.Errorf("nothing waits for the sink %s, so there was no trouble", name)
		}
	}
	stopSoon(t, cases[2].instance)
}

func trouble(w apptest.Webhook) apptest.Behaviour {
	switch w.Path {
	case "/hangs":
		return apptest.Behaviour{Hang: true}
	case "/fails":
		return apptest.Behaviour{Status: http.StatusInternalServerError}
	case "/limits":
		return apptest.Behaviour{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"5"}}}
	}
	return apptest.Behaviour{}
}

// run sends 50 mails a second to the healthy sink and, where there are neighbours, 15 to each of them, and waits until
// the healthy sink has all of its mails.
func (c *isolated) run(t *testing.T, phase time.Duration) {
	t.Helper()
	before := len(c.instance.Endpoint.Webhooks())
	var wg sync.WaitGroup
	wg.Go(func() { c.load(t, "healthy", 50, phase) })
	if c.neighbours {
		for _, name := range []string{"hangs", "fails", "limits"} {
			wg.Go(func() { c.load(t, name, 15, phase) })
		}
	}
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	left := len(c.sent)
	c.instance.Endpoint.Wait(t, time.Minute, "the mails of "+c.name, func(hooks []apptest.Webhook) bool {
		for ; before < len(hooks); before++ {
			h := hooks[before]
			if at, ok := c.sent[h.ID]; ok && h.Path == "/healthy" {
				c.took = append(c.took, h.At.Sub(at))
				delete(c.sent, h.ID)
				left--
			}
		}
		return left == 0
	})
}

func (c *isolated) load(t *testing.T, sink string, rate int, phase time.Duration) {
	const connections = 10
	count := rate * int(phase) / int(time.Second)
	start := time.Now()
	began := make([]time.Time, count)
	load := apptest.Load{
		Addr: c.instance.SMTP(), Connections: connections,
		Make: func(n int) apptest.Mail {
			time.Sleep(time.Until(start.Add(time.Duration(n) * time.Second / time.Duration(rate)))) // the pace of the load
			began[n] = time.Now()
			return apptest.Mail{From: "sender@example.org", To: []string{sink + "@example.com"}, Data: apptest.Text(fmt.Sprint("mail ", n), 10<<10)}
		},
		Accepted: func(n int, id string) {
			if sink == "healthy" {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.sent[id+"."+sink] = began[n]
				c.told = append(c.told, time.Since(began[n]))
			}
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), phase+time.Minute)
	defer cancel()
	if err := load.Run(ctx, count); err != nil {
		t.Errorf("%s, mail to %s: %v", c.name, sink, strings.TrimSpace(err.Error()))
	}
}

func quantile(took []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))].Round(10 * time.Microsecond)
}
