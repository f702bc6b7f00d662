package sinks

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"mxhook/pipeline"
	"mxhook/sinks/file"
	"mxhook/sinks/sinktest"
	"mxhook/sinks/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func deps() Deps { return Deps{Log: slog.New(slog.DiscardHandler), Version: "1.2.3"} }

func hook(url string) *webhook.Options {
	return &webhook.Options{URL: url, Secrets: []string{secret}, AllowPrivate: true}
}

func TestBuildMakesAnOutletOfEachKind(t *testing.T) {
	t.Parallel()
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got = r
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	outlets, err := Build([]Config{
		{Name: "helpdesk", Webhook: hook(server.URL)},
		{Name: "box", File: &file.Options{Dir: filepath.Join(dir, "box")}},
		{Name: "pairs", File: &file.Options{Dir: filepath.Join(dir, "pairs"), Layout: file.EML}},
	}, deps())
	if err != nil {
		t.Fatal(err)
	}
	defer Close(outlets)
	names := []string{}
	for _, o := range outlets {
		names = append(names, o.Name)
		if _, err := o.Sink.Deliver(t.Context(), sinktest.Samples()[1].Delivery); err != nil {
			t.Errorf("%s: %v", o.Name, err)
		}
	}
	if diff := cmp.Diff([]string{"helpdesk", "box", "pairs"}, names); diff != "" {
		t.Error(diff)
	}
	if got == nil || got.UserAgent() != "mxhook/1.2.3" {
		t.Errorf("request %+v", got)
	}
	for pattern, want := range map[string]int{"box/new/*": 1, "pairs/*.eml": 1, "pairs/*.json": 1} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) != want {
			t.Errorf("%s: %q", pattern, found)
		}
	}
}

func TestJSONBesideAMailIsThePayloadWithoutTheAttachments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outlets, err := Build([]Config{{Name: "pairs", File: &file.Options{Dir: dir, Layout: file.EML}}}, deps())
	if err != nil {
		t.Fatal(err)
	}
	d := sinktest.Samples()[1].Delivery
	if _, err := outlets[0].Sink.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	octets, err := os.ReadFile(filepath.Join(dir, d.ID+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Type string
		Data struct {
			Message struct {
				Attachments []struct{ Content, Omitted *string }
			}
		}
	}
	if err := json.Unmarshal(octets, &p); err != nil || p.Type != "mail.received" || len(p.Data.Message.Attachments) != 4 {
		t.Fatalf("%+v, %v", p, err)
	}
	for i, a := range p.Data.Message.Attachments {
		if a.Content != nil || a.Omitted == nil {
			t.Errorf("attachment %d: %+v", i, a)
		}
	}
}

func TestOutletsHaveTheDefaultsOfTheContract(t *testing.T) {
	t.Parallel()
	schedule := pipeline.Schedule{Steps: []time.Duration{time.Second}, Every: time.Minute, MaxAge: time.Hour}
	outlets, err := Build([]Config{
		{Name: "default", Webhook: hook("https://example.com")},
		{Name: "set", Webhook: hook("https://example.com"), Concurrency: 3, Timeout: time.Minute, Schedule: schedule},
	}, deps())
	if err != nil {
		t.Fatal(err)
	}
	for i := range outlets {
		outlets[i].Sink = nil
	}
	want := []pipeline.Outlet{
		{Name: "default", Concurrency: 16, Timeout: 15 * time.Second, Schedule: pipeline.DefaultSchedule()},
		{Name: "set", Concurrency: 3, Timeout: time.Minute, Schedule: schedule},
	}
	if diff := cmp.Diff(want, outlets); diff != "" {
		t.Error(diff)
	}
}

func TestBuildTellsOfEveryMistakeWithSinkAndRemedy(t *testing.T) {
	t.Parallel()
	ok := hook("https://example.com")
	schedule := func(change func(*pipeline.Schedule)) pipeline.Schedule {
		s := pipeline.DefaultSchedule()
		change(&s)
		return s
	}
	tests := []struct {
		config Config
		want   string
	}{
		{Config{Webhook: ok}, "sink 1: name is missing: use 1 to 40"},
		{Config{Name: "Help Desk", Webhook: ok}, `sink 2: name "Help Desk": use 1 to 40`},
		{Config{Name: "../x", Webhook: ok}, `sink 3: name "../x": use`},
		{Config{Name: strings.Repeat("a", 41), Webhook: ok}, "sink 4: name"},
		{Config{Name: "fine", Webhook: ok}, ""},
		{Config{Name: "fine", Webhook: ok}, `sink "fine": the name is taken`},
		{Config{Name: "none"}, `sink "none": has no kind: add one of webhook, file, s3, postgres, relay, nats, kafka, exec`},
		{Config{Name: "both", Webhook: ok, File: &file.Options{Dir: "x"}}, `sink "both": is of more than one kind (webhook, file)`},
		{Config{Name: "url", Webhook: hook("example.com")}, `sink "url": webhook: url must start with http`},
		{Config{Name: "key", Webhook: &webhook.Options{URL: "https://example.com"}}, `sink "key": webhook: no secret: add one, made with`},
		{Config{Name: "dir", File: &file.Options{}}, `sink "dir": file: dir is missing: set it`},
		{Config{Name: "many", Webhook: ok, Concurrency: 1025}, `sink "many": concurrency 1025: set it to 1 to 1024`},
		{Config{Name: "negative", Webhook: ok, Concurrency: -1}, `sink "negative": concurrency -1`},
		{Config{Name: "slow", Webhook: ok, Timeout: time.Hour}, `sink "slow": timeout 1h0m0s: set it to at most 10m0s`},
		{Config{Name: "age", Webhook: ok, Schedule: schedule(func(s *pipeline.Schedule) { s.MaxAge = 31 * 24 * time.Hour })}, `sink "age": max_age 744h0m0s`},
		{Config{Name: "every", Webhook: ok, Schedule: schedule(func(s *pipeline.Schedule) { s.Every = 0 })}, `sink "every": schedule: the delay`},
		{Config{Name: "jitter", Webhook: ok, Schedule: schedule(func(s *pipeline.Schedule) { s.Jitter = 2 })}, `sink "jitter": schedule: jitter 2`},
		{Config{Name: "step", Webhook: ok, Schedule: schedule(func(s *pipeline.Schedule) { s.Steps = []time.Duration{-1} })}, `sink "step": schedule: step 1`},
	}
	var configs []Config
	for _, tt := range tests {
		configs = append(configs, tt.config)
	}
	outlets, err := Build(configs, deps())
	if err == nil || outlets != nil {
		t.Fatalf("outlets %v, error %v", outlets, err)
	}
	lines := strings.Split(err.Error(), "\n")
	for i, tt := range tests {
		if tt.want == "" {
			continue
		}
		if len(lines) == 0 {
			t.Fatalf("no line for test %d", i)
		}
		if !strings.HasPrefix(lines[0], tt.want) {
			t.Errorf("line %q, want %q", lines[0], tt.want)
		}
		lines = lines[1:]
	}
	if len(lines) > 0 {
		t.Errorf("more lines: %q", lines)
	}
}

func TestBuildAgainSharesTheMetrics(t *testing.T) {
	t.Parallel()
	d := deps()
	d.Registerer = prometheus.NewRegistry()
	for range 2 { // a reload builds all sinks anew
		outlets, err := Build([]Config{{Name: "helpdesk", Webhook: hook("https://example.com")}}, d)
		if err != nil {
			t.Fatal(err)
		}
		Close(outlets)
	}
}

func TestBuildDoesNotChangeTheConfiguration(t *testing.T) {
	t.Parallel()
	c := Config{Name: "helpdesk", Webhook: hook("https://example.com")}
	if _, err := Build([]Config{c}, deps()); err != nil {
		t.Fatal(err)
	}
	if c.Webhook.Sink != "" || c.Webhook.Version != "" || c.Webhook.Metrics != nil {
		t.Errorf("the options were changed: %+v", c.Webhook)
	}
}
