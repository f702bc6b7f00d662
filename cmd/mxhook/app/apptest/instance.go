package apptest

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"text/template"
	"time"

	"github.com/foxcpp/go-mockdns"

	"mxhook/cmd/mxhook/app"
	"mxhook/configs"
	"mxhook/console"
)

// BasicConfig takes mail for example.com and sends all of it to one webhook, with a retry clock of seconds.
const BasicConfig = `
data_dir: {{.Dir}}/data
smtp:
  hostname: mx.example.com
  listeners: [{name: mx, address: "127.0.0.1:0", protocol: smtp, tls: none}]
  limits: {connections_per_ip: 5000}
domains: [{domain: example.com}]
sinks:
  - name: hook
    webhook: {url: "{{.Endpoint}}/hook", secret: "{{.Secret}}", allow_private: true}
    retry: {steps: [1s, 1s, 2s], every: 2s}
rules: [{name: all, to: [hook]}]
dns: {servers: ["{{.DNS}}"]}
queue: {reserve: 10MB}
ops: {address: "127.0.0.1:0"}
log: {level: info, format: json}
`

// Options are what an Instance or a Process is started with.
type Options struct {
	// Config is the configuration as YAML; it is a template over Dir, Endpoint, Secret and DNS. "" is BasicConfig.
	Config string
	// Endpoint gets the webhooks; nil: one is started.
	Endpoint *Endpoint
	// Zones are what the DNS knows; every other name does not exist.
	Zones map[string]mockdns.Zone
	// Dir is where the configuration and the data are; "": a directory of the test.
	Dir string
	// App changes what the app is made of; an Instance only.
	App func(*app.Options)
	// Command changes the command before it is started (Process only).
	Command func(*exec.Cmd)
}

// world is what surrounds an mxhook in a test.
type world struct {
	dir, file string
	endpoint  *Endpoint
}

func newWorld(t testing.TB, o Options) world {
	t.Helper()
	w := world{dir: o.Dir, endpoint: o.Endpoint}
	if w.dir == "" {
		w.dir = t.TempDir()
	}
	if w.endpoint == nil {
		w.endpoint = NewEndpoint(t)
	}
	dns, err := mockdns.NewServerWithLogger(o.Zones, discard{}, false)
	if err != nil {
		t.Fatalf("start the DNS: %v", err)
	}
	t.Cleanup(func() { _ = dns.Close() })
	text := o.Config
	if text == "" {
		text = BasicConfig
	}
	var b bytes.Buffer
	err = template.Must(template.New("config").Parse(text)).Execute(&b, map[string]string{
		"Dir": w.dir, "Endpoint": w.endpoint.URL(), "Secret": Secret, "DNS": dns.LocalAddr().String(),
	})
	if err != nil {
		t.Fatalf("fill the configuration: %v", err)
	}
	w.file = filepath.Join(w.dir, "mxhook.yaml")
	if err := os.WriteFile(w.file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// discard is a logger that says nothing.
type discard struct{}

func (discard) Printf(string, ...any) {}

// Instance is a whole mxhook inside the test process.
type Instance struct {
	t        testing.TB
	Endpoint *Endpoint
	Dir      string
	Config   *configs.Config
	App      *app.App
	options  Options
}

// Start starts an instance; it is stopped when the test ends.
func Start(t testing.TB, o Options) *Instance {
	t.Helper()
	w := newWorld(t, o)
	cfg, _, err := configs.Load(w.file, nil)
	if err != nil {
		t.Fatalf("load the configuration: %v", err)
	}
	i := &Instance{t: t, Endpoint: w.endpoint, Dir: w.dir, Config: cfg, options: o}
	i.start()
	t.Cleanup(i.Stop)
	return i
}

func (i *Instance) start() {
	i.t.Helper()
	o := app.Options{Config: i.Config, Version: "test", Log: slog.New(slog.NewTextHandler(testWriter{i.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if i.options.App != nil {
		i.options.App(&o)
	}
	a, err := app.New(o)
	if err != nil {
		i.t.Fatalf("make the app: %v", err)
	}
	i.App = a
	if err := a.Start(i.t.Context()); err != nil {
		i.t.Fatalf("start the app: %v", err)
	}
}

// Stop stops the instance in order; it may be called twice.
func (i *Instance) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := i.App.Stop(ctx); err != nil {
		i.t.Errorf("stop the app: %v", err)
	}
}

// Restart stops the instance in order and starts it again over the same data, on new ports.
func (i *Instance) Restart() {
	i.t.Helper()
	i.Stop()
	i.start()
}

// SMTP is the address of the listener mx.
func (i *Instance) SMTP() string { return i.App.SMTPAddr("mx").String() }

// Ops is the base URL of the ops listener.
func (i *Instance) Ops() string { return "http://" + i.App.OpsAddr().String() }

// Console is a client of the API.
func (i *Instance) Console() *console.Client { return newConsole(i.Ops()) }

// Dead returns the dead letters.
func (i *Instance) Dead(t testing.TB) []console.DeadLetter {
	t.Helper()
	dead, err := i.Console().DeadLetters(t.Context(), console.DeadFilter{Limit: 1000})
	if err != nil {
		t.Fatalf("list the dead letters: %v", err)
	}
	return dead
}

// WaitDead waits for at least n dead letters.
func (i *Instance) WaitDead(t testing.TB, n int, most time.Duration) []console.DeadLetter {
	t.Helper()
	return poll(t, most, "dead letters", func() ([]console.DeadLetter, bool) {
		dead := i.Dead(t)
		return dead, len(dead) >= n
	})
}

// WaitUntil asks again and again until the answer is yes, and fails the test when that takes longer than half a minute.
func WaitUntil(t testing.TB, what string, done func() bool) {
	t.Helper()
	poll(t, 30*time.Second, what, func() (bool, bool) { ok := done(); return ok, ok })
}

// poll asks again and again until the answer is right, and fails the test when that takes longer than most.
func poll[T any](t testing.TB, most time.Duration, what string, ask func() (T, bool)) T {
	t.Helper()
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		v, ok := ask()
		if ok {
			return v
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v for %s; last seen: %v", most, what, v)
		}
	}
}

// testWriter sends log lines to the test's log.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimRight(b, "\n"))
	return len(b), nil
}
