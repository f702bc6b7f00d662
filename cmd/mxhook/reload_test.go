package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"github.com/emersion/go-smtp"

	"mxhook/cmd/mxhook/app"
	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/configs"
)

// reloadConfig is a configuration that says everywhere which one it is: in the captures of recipients (the front end),
// in the name of the rule and in the sinks (processing). Sinks come and go.
const reloadConfig = `
data_dir: {{.Dir}}/data
smtp:
  hostname: mx.example.com
  listeners: [{name: mx, address: "127.0.0.1:0", protocol: smtp, tls: none}]
  limits: {connections_per_ip: 5000}
domains:
  - {domain: example.com, recipients: ["/^(?<g{{.N}}>u[0-9]+)$/"]}
sinks:
{{range .Sinks}}
  - name: {{.}}
    concurrency: {{$.Concurrency}}
    webhook: {url: "{{$.Endpoint}}/{{.}}", secret: "{{$.Secret}}", allow_private: true}
    retry: {steps: [1s, 1s, 2s], every: 2s}
{{end}}
rules: [{name: g{{.N}}, to: [{{index .Sinks 0}}, {{index .Sinks 1}}]}]
tests: [{name: one, recipient: u1@example.com, expect: [{{index .Sinks 0}}, {{index .Sinks 1}}]}]
queue: {reserve: 10MB}
ops: {address: "127.0.0.1:0"}
dns: {servers: ["{{.DNS}}"]}
`

type reloadable struct {
	Dir, Endpoint, Secret, DNS string
	N, Concurrency             int
	Sinks                      []string
}

func (r reloadable) load(t *testing.T) (*configs.Config, []*configs.Mistake, error) {
	t.Helper()
	var b bytes.Buffer
	if err := template.Must(template.New("").Parse(reloadConfig)).Execute(&b, r); err != nil {
		t.Error(err)
	}
	file := filepath.Join(r.Dir, "reload.yaml")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Error(err)
	}
	return configs.Load(file, nil)
}

// TestReloadUnderLoad: 32 connections send while the configuration is reloaded 200 times. Every accepted message reaches
// both sinks of one generation, by the rule of that generation, and all of its recipients were accepted by one.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	const mails, reloads = 3200, 200
	endpoint := apptest.NewEndpoint(t)
	dir := t.TempDir()
	sinksOf := func(n int) []string { return [][]string{{"one", "two"}, {"two", "three"}, {"three", "one"}}[n%3] }
	var n atomic.Int64
	i := apptest.Start(t, apptest.Options{Endpoint: endpoint, App: func(o *app.Options) {
		dns := o.Config.DNS.Servers[0]
		o.Load = func() (*configs.Config, []*configs.Mistake, error) {
			k := int(n.Load())
			sinks := sinksOf(k)
			if k > reloads { // the last one has them all, for what waits
				sinks = []string{"one", "two", "three"}
			}
			return reloadable{dir, endpoint.URL(), apptest.Secret, dns, k, 4 + k/10%2*4, sinks}.load(t)
		}
		var err error
		if o.Config, _, err = o.Load(); err != nil {
			t.Fatal(err)
		}
	}})

	accepted := make(chan string, mails)
	var count atomic.Int64
	due := make(chan struct{}, reloads)
	load := apptest.Load{
		Addr: i.SMTP(), Connections: 32,
		Make: func(n int) apptest.Mail {
			return textMail(fmt.Sprint("mail ", n), fmt.Sprintf("u%d@example.com", n), "u1@example.com", "u2@example.com")
		},
		Accepted: func(_ int, id string) {
			accepted <- id
			if c := count.Add(1); c%(mails/reloads) == 0 {
				due <- struct{}{}
			}
		},
	}
	reloaded := make(chan error, 1)
	began := time.Now()
	go func() {
		for range reloads {
			<-due
			n.Add(1)
			if _, err := i.App.Reload(t.Context()); err != nil {
				reloaded <- err
				return
			}
		}
		reloaded <- nil
	}()
	if err := load.Run(t.Context(), mails); err != nil {
		t.Fatalf("load: %v", err)
	}
	if err := <-reloaded; err != nil {
		t.Fatalf("reload: %v", err)
	}
	n.Store(reloads + 1)
	generation, err := i.App.Reload(t.Context())
	if err != nil || generation != reloads+2 {
		t.Fatalf("last reload: generation %d, %v", generation, err)
	}
	close(accepted)
	hooks := endpoint.WaitCount(t, 2*mails, 3*time.Minute)
	t.Logf("%d mails, %d reloads, %v", mails, reloads, time.Since(began).Round(time.Millisecond))

	type seen struct {
		rules, captures, sinks map[string]bool
	}
	messages := map[string]*seen{}
	generations := map[string]bool{}
	for _, h := range hooks {
		var p struct {
			Data struct {
				ID       string
				Delivery struct {
					Sink  string
					Rules []string
				}
				Envelope struct {
					Recipients []struct{ Captures map[string]string }
				}
			}
		}
		h.Payload(t, &p)
		s := messages[p.Data.ID]
		if s == nil {
			s = &seen{map[string]bool{}, map[string]bool{}, map[string]bool{}}
			messages[p.Data.ID] = s
		}
		s.rules[strings.Join(p.Data.Delivery.Rules, ",")] = true
		s.sinks[p.Data.Delivery.Sink] = true
		for _, r := range p.Data.Envelope.Recipients {
			for name := range r.Captures {
				s.captures[name] = true
			}
		}
		if len(p.Data.Envelope.Recipients) < 2 {
			t.Errorf("%s has %d recipients", h.ID, len(p.Data.Envelope.Recipients))
		}
	}
	for id := range accepted {
		s := messages[id]
		if s == nil {
			t.Errorf("message %s was lost", id)
			continue
		}
		if len(s.rules) != 1 || len(s.captures) != 1 {
			t.Errorf("message %s mixes generations: rules %v, captures %v", id, s.rules, s.captures)
			continue
		}
		for rule := range s.rules {
			generations[rule] = true
			var k int
			if _, err := fmt.Sscanf(rule, "g%d", &k); err != nil {
				t.Fatal(err)
			}
			want := sinksOf(k)
			if k > reloads {
				want = []string{"one", "two"}
			}
			for _, sink := range want {
				if !s.sinks[sink] {
					t.Errorf("message %s of rule %s went to %v", id, rule, s.sinks)
				}
			}
			if len(s.sinks) != 2 {
				t.Errorf("message %s of rule %s went to %v", id, rule, s.sinks)
			}
		}
	}
	if len(generations) < reloads/4 {
		t.Errorf("only %d generations routed mail", len(generations))
	}
	if dead := i.Dead(t); len(dead) > 0 {
		t.Errorf("%d dead letters, the first: %s", len(dead), dead[0].Reason)
	}
}

// waitFor asks again and again until the answer is yes.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited for %s", what)
		}
	}
}

// fetch returns what an HTTP GET of the URL answers.
func fetch(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestABadConfigurationChangesNothing(t *testing.T) {
	t.Parallel()
	endpoint := apptest.NewEndpoint(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "reload.yaml")
	i := apptest.Start(t, apptest.Options{Endpoint: endpoint, App: func(o *app.Options) {
		good := reloadable{dir, endpoint.URL(), apptest.Secret, o.Config.DNS.Servers[0], 1, 4, []string{"one", "two"}}
		o.Load = func() (*configs.Config, []*configs.Mistake, error) { return configs.Load(file, nil) }
		o.Watch = 10 * time.Millisecond
		var err error
		if o.Config, _, err = good.load(t); err != nil {
			t.Fatal(err)
		}
	}})
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, by string) {
		t.Helper()
		changed := bytes.ReplaceAll(text, []byte(old), []byte(by))
		if bytes.Equal(changed, text) {
			t.Fatalf("no %q in the file", old)
		}
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func() int {
		var n int
		for line := range strings.Lines(fetch(t, i.Ops()+"/metrics")) {
			if rest, ok := strings.CutPrefix(line, `mxhook_config_reloads_total{result="refused"} `); ok {
				if _, err := fmt.Sscan(rest, &n); err != nil {
					t.Fatal(err)
				}
			}
		}
		return n
	}
	replace("rules: [{", "rulez: [{") // the watch finds it
	waitFor(t, "the broken file to be refused", func() bool { return refused() == 1 })
	replace("expect: [one, two]", "expect: [one]") // a test fails
	waitFor(t, "the failing test to be refused", func() bool { return refused() == 2 })
	if g := i.App.Generation(); g != 1 {
		t.Fatalf("generation %d is in force", g)
	}
	send(t, i, textMail("still the first", "u7@example.com"))
	endpoint.WaitCount(t, 2, 20*time.Second)

	replace("name: g1,", "name: fresh,")
	waitFor(t, "the good file", func() bool { return i.App.Generation() == 2 })
	resp, err := http.Post(i.Ops()+"/api/v1/config/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || i.App.Generation() != 3 {
		t.Errorf("reload by the API: %s, generation %d", resp.Status, i.App.Generation())
	}
	send(t, i, textMail("by the new rule", "u8@example.com"))
	hooks := endpoint.WaitCount(t, 4, 20*time.Second)
	if !slices.ContainsFunc(hooks, func(h apptest.Webhook) bool { return bytes.Contains(h.Body, []byte(`"rules":["fresh"]`)) }) {
		t.Error("no webhook by the new rule")
	}
}

// TestARemovedSinkKeepsWhatWaits: deliveries wait for a sink that is taken out of the configuration, and go on when it
// comes back.
func TestARemovedSinkKeepsWhatWaits(t *testing.T) {
	t.Parallel()
	endpoint := apptest.NewEndpoint(t)
	endpoint.BehaveFunc(func(w apptest.Webhook) apptest.Behaviour {
		if w.Path == "/two" {
			return apptest.Behaviour{Status: 503}
		}
		return apptest.Behaviour{}
	})
	dir := t.TempDir()
	var sinks atomic.Pointer[[]string]
	sinks.Store(&[]string{"one", "two"})
	i := apptest.Start(t, apptest.Options{Endpoint: endpoint, App: func(o *app.Options) {
		dns := o.Config.DNS.Servers[0]
		o.Load = func() (*configs.Config, []*configs.Mistake, error) {
			return reloadable{dir, endpoint.URL(), apptest.Secret, dns, 1, 4, *sinks.Load()}.load(t)
		}
		var err error
		if o.Config, _, err = o.Load(); err != nil {
			t.Fatal(err)
		}
	}})
	id := send(t, i, textMail("waits", "u1@example.com"))
	endpoint.WaitCount(t, 2, 20*time.Second)
	reload := func(names ...string) {
		t.Helper()
		sinks.Store(&names)
		if _, err := i.App.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	reload("one", "three")
	endpoint.Behave(apptest.Behaviour{})
	send(t, i, textMail("meanwhile", "u2@example.com"))
	if dead := i.Dead(t); len(dead) > 0 {
		t.Fatalf("%d dead letters", len(dead))
	}
	reload("one", "two")
	endpoint.Wait(t, 30*time.Second, "the delivery that waited", func(hooks []apptest.Webhook) bool {
		return slices.ContainsFunc(hooks, func(h apptest.Webhook) bool { return h.ID == id+".two" && h.Status == http.StatusOK })
	})
}

// TestEarlyRulesAnswerAtRcpt: replies of rules, tokens of signed addresses and what is discarded, over the wire.
func TestEarlyRulesAnswerAtRcpt(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: strings.Replace(apptest.BasicConfig, "rules: [{name: all, to: [hook]}]", `
signed_addresses: [{name: reply, address: reply@example.com, keys: ["0123456789abcdef"]}]
rules:
  - {name: blocked, when: 'envelope.mail_from == "spam@example.org" and recipient.local != "postmaster"', reject: {text: "No spam here"}}
  - {name: later, when: 'recipient.local == "later"', defer: {}}
  - {name: trap, when: 'recipient.local == "trap"', discard: true}
  - {name: replies, when: 'token(recipient.address, "reply") startsWith "ticket-"', to: [hook], tags: [reply], stop: true}
  - {name: all, to: [hook]}`, 1)})
	signed, err := i.Config.SignedAddresses()[0].Make("ticket-7", time.Now().Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	expired, err := i.Config.SignedAddresses()[0].Make("ticket-7", time.Now().Add(-2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"spam@example.org", "a@example.com", "550 5.7.1 No spam here"},
		{"a@example.org", "later@example.com", "451 4.7.1 Not now; try again later"},
		{"a@example.org", "reply@example.com", "550 5.1.1 No such recipient here"},
		{"a@example.org", "reply+aaaa@example.com", "550 5.1.1 No such recipient here"},
		{"a@example.org", expired, "550 5.7.1 This address is no longer valid"},
	} {
		_, err := apptest.SendOne(i.SMTP(), apptest.Mail{From: c.from, To: []string{c.to}, Data: apptest.Text("x", 10)})
		got := ""
		var reply *smtp.SMTPError
		if errors.As(err, &reply) {
			e := reply.EnhancedCode
			got = fmt.Sprintf("%d %d.%d.%d %s", reply.Code, e[0], e[1], e[2], reply.Message)
		}
		if got != c.want {
			t.Errorf("from %s to %s: %q, want %q", c.from, c.to, got, c.want)
		}
	}
	send(t, i, textMail("discarded", "trap@example.com"))
	send(t, i, textMail("reply", strings.ToUpper(signed[:6])+signed[6:]))
	hook := i.Endpoint.WaitCount(t, 1, 20*time.Second)[0]
	for _, want := range []string{`"rules":["replies"]`, `"tags":["reply"]`, `"captures":{"token":"ticket-7"}`} {
		if !bytes.Contains(hook.Body, []byte(want)) {
			t.Errorf("no %s in %s", want, hook.Body)
		}
	}
	for _, want := range []string{`mxhook_deliveries_tagged_total{tag="reply"} 1`, "mxhook_config_generation 1"} {
		waitFor(t, want, func() bool { return strings.Contains(fetch(t, i.Ops()+"/metrics"), want) })
	}
}
