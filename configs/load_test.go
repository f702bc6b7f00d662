package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "rewrite golden files")

const sampleSecret = "whsec_VGhpcyBpcyBhIHNhbXBsZTogbWFrZSB5b3VyIG93biE="

// testEnv is what the examples and the bad files may refer to.
func testEnv() []string {
	return []string{"HELPDESK_SECRET=" + sampleSecret, "APP_SECRET=" + sampleSecret, "OPS_TOKEN=t0ken", "EMPTY="}
}

// load is Load for a text that may refer to files of testdata.
func load(t *testing.T, name, text string, environ ...string) (*Config, []*Mistake, error) {
	t.Helper()
	return parse(name, []byte(text), environ, readBounded)
}

func mustLoad(t *testing.T, name, text string, environ ...string) *Config {
	t.Helper()
	cfg, _, err := load(t, name, text, environ...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// minimal is a file that loads; tests add lines to it.
const minimal = `
domains: [{domain: example.com}]
sinks:
  - name: app
    webhook: {url: "https://app.example.com/", secret: "` + sampleSecret + `"}
default: [app]
`

var comparing = cmp.Options{cmp.AllowUnexported(Secret{}), cmpopts.IgnoreUnexported(Config{}, Relay{}), cmpopts.EquateEmpty()}

// TestReferenceFileIsTheDefault: every key of mxhook.yaml that has a default has it there.
func TestReferenceFileIsTheDefault(t *testing.T) {
	t.Parallel()
	got, _, err := Load("mxhook.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range got.Sinks {
		want := DefaultSink()
		want.Name, want.Webhook, want.File, want.S3, want.Postgres, want.Relay = s.Name, s.Webhook, s.File, s.S3, s.Postgres, s.Relay
		want.NATS, want.Kafka = s.NATS, s.Kafka
		if s.Relay != nil || s.S3 != nil {
			want.Timeout = largeTimeout
		}
		if diff := cmp.Diff(want, s, comparing); diff != "" {
			t.Errorf("sink %d (-default +file):\n%s", i, diff)
		}
	}
	bucket := S3{}.defaulted().(S3)
	bucket.Bucket = got.Sinks[2].S3.Bucket
	if diff := cmp.Diff(&bucket, got.Sinks[2].S3, comparing); diff != "" {
		t.Errorf("s3 (-default +file):\n%s", diff)
	}
	database := Postgres{}.defaulted().(Postgres)
	database.URL = got.Sinks[3].Postgres.URL
	if diff := cmp.Diff(&database, got.Sinks[3].Postgres, comparing); diff != "" {
		t.Errorf("postgres (-default +file):\n%s", diff)
	}
	subject := NATS{}.defaulted().(NATS)
	subject.URL, subject.Subject = got.Sinks[4].NATS.URL, got.Sinks[4].NATS.Subject
	if diff := cmp.Diff(&subject, got.Sinks[4].NATS, comparing); diff != "" {
		t.Errorf("nats (-default +file):\n%s", diff)
	}
	topic := Kafka{}.defaulted().(Kafka)
	topic.Brokers, topic.Topic = got.Sinks[5].Kafka.Brokers, got.Sinks[5].Kafka.Topic
	if diff := cmp.Diff(&topic, got.Sinks[5].Kafka, comparing); diff != "" {
		t.Errorf("kafka (-default +file):\n%s", diff)
	}
	if w := got.Sinks[0].Webhook; w.AllowPrivate || w.Raw || w.OmitAttachments || w.Timeout != 0 {
		t.Errorf("webhook is not at its defaults: %+v", w)
	}
	forward := defaultRelay()
	forward.Address = got.Sinks[len(got.Sinks)-1].Relay.Address
	if diff := cmp.Diff(forward, *got.Sinks[len(got.Sinks)-1].Relay, comparing); diff != "" {
		t.Errorf("relay (-default +file):\n%s", diff)
	}
	domain := defaultDomain()
	domain.Domain, domain.Recipients = got.Domains[0].Domain, got.Domains[0].Recipients
	if diff := cmp.Diff(domain, got.Domains[0], comparing); diff != "" {
		t.Errorf("domain (-default +file):\n%s", diff)
	}
	got.Domains, got.Sinks, got.Rules, got.Tests, got.Default, got.Lists, got.Signed = nil, nil, nil, nil, nil, nil, nil
	if diff := cmp.Diff(Default(), *got, comparing); diff != "" {
		t.Errorf("-default +file:\n%s", diff)
	}
}

// TestReferenceFileHasEveryKey: a new key without a line in mxhook.yaml fails here.
func TestReferenceFileHasEveryKey(t *testing.T) {
	t.Parallel()
	text, err := Examples.ReadFile("mxhook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// A key that only a comment has is read too: the comment sign in front of it is taken away.
	text = bytes.ReplaceAll(text, []byte("# timeout:"), []byte("timeout:"))
	text = bytes.ReplaceAll(text, []byte("# defer:"), []byte("defer:"))
	before, program, ok := bytes.Cut(text, []byte("\n  # - name: program"))
	if !ok {
		t.Fatal("no example of a program")
	}
	program, rest, _ := bytes.Cut(program, []byte("\n\n"))
	program = bytes.ReplaceAll(program, []byte("\n  # "), []byte("\n  "))
	text = slices.Concat(before, []byte("\n  - name: program"), program, []byte("\n\n"), rest)
	text = bytes.ReplaceAll(text, []byte("   (the client tries again)"), nil)
	text = bytes.ReplaceAll(text, []byte("# discard: true   (250, and nothing is kept; default false)"), []byte("discard: true"))
	head, tests, ok := bytes.Cut(text, []byte("\ntests: []\n"))
	if !ok {
		t.Fatal("no example of tests")
	}
	text = slices.Concat(head, []byte("\ntests:\n"), bytes.ReplaceAll(tests, []byte("#  "), []byte("  ")))
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	var collect func(n *yaml.Node, prefix string)
	collect = func(n *yaml.Node, prefix string) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				there[join(prefix, n.Content[i].Value)] = true
				collect(n.Content[i+1], join(prefix, n.Content[i].Value))
			}
		case yaml.SequenceNode:
			for _, e := range n.Content {
				collect(e, prefix)
			}
		}
	}
	collect(root.Content[0], "")
	for _, key := range allKeys(reflect.TypeFor[Config](), "") {
		if strings.HasPrefix(key, "sinks.webhook.headers.") || strings.HasPrefix(key, "sinks.nats.headers.") || strings.HasPrefix(key, "sinks.kafka.headers.") || strings.HasPrefix(key, "auth.trusted_upstreams.") || strings.HasPrefix(key, "smtp.tls.certificates.") ||
			strings.HasPrefix(key, "smtp.policy.dns_lists.") {
			continue // an example of the list stands in its comment
		}
		if !there[key] {
			t.Errorf("%s is not in mxhook.yaml", key)
		}
	}
}

func allKeys(typ reflect.Type, prefix string) []string {
	var keys []string
	for f := range typ.Fields() {
		if !f.IsExported() {
			continue
		}
		key, ft := join(prefix, f.Tag.Get("yaml")), f.Type
		keys = append(keys, key)
		for ft.Kind() == reflect.Slice || ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		if ft.Kind() == reflect.Struct && !isScalar(ft) {
			keys = append(keys, allKeys(ft, key)...)
		}
	}
	return keys
}

func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(Examples, "*.yaml")
	if err != nil || len(names) != 4 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := Examples.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		cfg, warnings, err := load(t, name, string(text), testEnv()...)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for _, w := range warnings {
			// Its default listener has no certificate, and it has no links for its streams.
			if name != "mxhook.yaml" || !slices.Contains([]string{"smtp.listeners[0].tls", "sinks[4].nats", "sinks[5].kafka"}, w.Key) {
				t.Errorf("warning: %v", w)
			}
		}
		if _, err := cfg.Table(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMinimalExampleListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	cfg, _, err := Load("minimal.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Listener{{Name: "mx", Address: "127.0.0.1:2525", Protocol: "smtp", TLS: "none"}}
	if diff := cmp.Diff(want, cfg.SMTP.Listeners); diff != "" {
		t.Error(diff)
	}
	if !cfg.Sinks[0].Webhook.AllowPrivate || cfg.Sinks[0].Concurrency != 16 || cfg.DataDir != "./mxhook-data" {
		t.Errorf("%+v", cfg)
	}
}

// TestBadFiles compares what is said about each testdata/bad-*.yaml (.toml, .json) with the file .err beside it.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "bad-*.[tjy]*"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			cfg, warnings, err := Load(file, testEnv())
			if err == nil && len(warnings) == 0 {
				t.Fatalf("loads: %+v", cfg)
			}
			var got strings.Builder
			if err != nil {
				fmt.Fprintln(&got, err)
			}
			for _, w := range warnings {
				fmt.Fprintln(&got, "warning:", w)
			}
			golden := strings.TrimSuffix(file, filepath.Ext(file)) + ".err"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if strings.Contains(got.String(), "SECRETTEXT") {
				t.Error("a secret is shown")
			}
		})
	}
}

func TestEnvironmentOverridesFile(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, "f.yaml", minimal+"smtp: {hostname: from.file.example, limits: {recipients: 7}}\nlog: {level: warn}\n",
		"MXHOOK_SMTP_HOSTNAME=mx9.example.com", "MXHOOK_SMTP_LIMITS_MESSAGE_SIZE=10MiB", "MXHOOK_DNS_SERVERS=192.0.2.53, 192.0.2.54:5353",
		"MXHOOK_QUEUE_RETENTION=10d", "MXHOOK_LIMITS_WORKERS=3", "MXHOOK_OPS_TOKEN=a=b", "MXHOOK_LOG_LEVEL=")
	if cfg.SMTP.Hostname != "mx9.example.com" || cfg.SMTP.Limits.MessageSize != 10<<20 || cfg.SMTP.Limits.Recipients != 7 {
		t.Errorf("smtp: %+v", cfg.SMTP)
	}
	if diff := cmp.Diff([]string{"192.0.2.53", "192.0.2.54:5353"}, cfg.DNS.Servers); diff != "" {
		t.Error(diff)
	}
	if cfg.Queue.Retention != Duration(10*day) || cfg.Workers() != 3 || cfg.Ops.Token.Reveal() != "a=b" {
		t.Errorf("%+v", cfg)
	}
	if cfg.Log.Level != "warn" {
		t.Errorf("an empty variable overrides: %q", cfg.Log.Level)
	}
	if cfg.SMTP.Limits.Connections != 5000 || cfg.SMTP.Timeouts.Data != Duration(3*time.Minute) {
		t.Errorf("defaults are lost: %+v", cfg.SMTP)
	}
}

func TestMistakesInVariablesNameThem(t *testing.T) {
	t.Parallel()
	_, warnings, err := load(t, "f.yaml", minimal, "MXHOOK_SMTP_LIMITS_RECIPIENTS=many", "MXHOOK_SMTP_HOSTNAM=x", "MXHOOK_LOG_LEVEL=loud", "OTHER=1")
	want := `MXHOOK_LOG_LEVEL: log.level: "loud" is not known here; write debug, info, warn or error
MXHOOK_SMTP_LIMITS_RECIPIENTS: smtp.limits.recipients: "many" is not a whole number`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var unknown string
	for _, w := range warnings {
		if w.Env != "" {
			unknown += w.Error()
		}
	}
	if unknown != "MXHOOK_SMTP_HOSTNAM: the variable sets no key; did you mean MXHOOK_SMTP_HOSTNAME?" {
		t.Errorf("warnings %q", unknown)
	}
}

// TestVariablesAreUnambiguous: no two keys share a variable.
func TestVariablesAreUnambiguous(t *testing.T) {
	t.Parallel()
	n := 0
	for _, k := range envKeys(reflect.TypeFor[Config](), "") {
		if k.path == "" {
			t.Errorf("%+v", k)
		}
		n++
	}
	want := 0
	for _, key := range allKeys(reflect.TypeFor[Config](), "") {
		first, _, _ := strings.Cut(key, ".")
		if first == "include" || first == "lists" || first == "signed_addresses" || first == "sinks" || first == "rules" || first == "tests" || first == "domains" || strings.HasPrefix(key, "smtp.listeners") ||
			strings.HasPrefix(key, "smtp.tls.certificates") || strings.HasPrefix(key, "smtp.policy.dns_lists") || strings.HasPrefix(key, "auth.trusted_upstreams") {
			continue
		}
		if typ := typeAt(t, key); isScalar(typ) || typ.Kind() == reflect.Slice {
			want++
		}
	}
	if n != want {
		t.Errorf("%d variables for %d keys", n, want)
	}
}

func typeAt(t *testing.T, key string) reflect.Type {
	t.Helper()
	typ := reflect.TypeFor[Config]()
	for name := range strings.SplitSeq(key, ".") {
		f, ok := fieldOf(typ, name)
		if !ok {
			t.Fatal(key)
		}
		typ = f.Type
	}
	return typ
}

func TestReferences(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte(sampleSecret+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := mustLoad(t, "f.yaml", `
data_dir: "$x$${HOST}"
domains: [{domain: "${DOMAIN}"}]
sinks:
  - name: app
    concurrency: ${N}
    webhook:
      url: "https://${HOST}/mail"
      secrets: ["${S}", "file:`+file+`"]
      headers: [{name: Authorization, value: "Bearer ${S}"}]
rules: [{name: r, when: 'subject contains "${DOMAIN}"', to: [app]}]
`, "DOMAIN=example.com", "HOST=app.example.com", "S="+sampleSecret, "N=3")
	w := cfg.Sinks[0].Webhook
	if cfg.Domains[0].Domain != "example.com" || w.URL != "https://app.example.com/mail" || cfg.DataDir != "$x${HOST}" || cfg.Sinks[0].Concurrency != 3 {
		t.Errorf("%+v %+v", cfg, w)
	}
	if len(w.Secrets) != 2 || w.Secrets[0].Reveal() != sampleSecret || w.Secrets[1].Reveal() != sampleSecret || w.Headers[0].Value.Reveal() != "Bearer "+sampleSecret {
		t.Error("secrets are not what the variable and the file hold")
	}
	if cfg.Rules[0].When != `subject contains "${DOMAIN}"` {
		t.Errorf("a condition was changed: %s", cfg.Rules[0].When)
	}
}

func TestTOMLAndJSONMeanTheSame(t *testing.T) {
	t.Parallel()
	want := mustLoad(t, "f.yaml", minimal+"queue: {retention: 9d, replicas: 1}\nsmtp: {listeners: [{name: a, address: '127.0.0.1:2525'}]}\n")
	toml := mustLoad(t, "f.toml", `
default = ["app"]
[queue]
retention = "9d"
replicas = 1
[[smtp.listeners]]
name = "a"
address = "127.0.0.1:2525"
[[domains]]
domain = "example.com"
[[sinks]]
name = "app"
[sinks.webhook]
url = "https://app.example.com/"
secret = "`+sampleSecret+`"
`)
	json := mustLoad(t, "f.json", `{"default": ["app"], "queue": {"retention": "9d", "replicas": 1},
"smtp": {"listeners": [{"name": "a", "address": "127.0.0.1:2525"}]}, "domains": [{"domain": "example.com"}],
"sinks": [{"name": "app", "webhook": {"url": "https://app.example.com/", "secret": "`+sampleSecret+`"}}]}`)
	if diff := cmp.Diff(want, toml, comparing); diff != "" {
		t.Errorf("TOML:\n%s", diff)
	}
	if diff := cmp.Diff(want, json, comparing); diff != "" {
		t.Errorf("JSON:\n%s", diff)
	}
}

func TestAliasesAreFollowed(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, "f.yaml", strings.Replace(minimal, "    webhook:", "    retry: &slow {max_age: 2d, steps: [1h]}\n    webhook:", 1)+`
rules: [{name: r, to: &all [app]}, {name: s, to: *all, when: size > 1}]
`)
	if cfg.Sinks[0].Retry.MaxAge != Duration(2*day) || len(cfg.Sinks[0].Retry.Steps) != 1 || cfg.Sinks[0].Retry.Every != Duration(12*time.Hour) {
		t.Errorf("%+v", cfg.Sinks[0].Retry)
	}
	if diff := cmp.Diff([]string{"app"}, cfg.Rules[1].To); diff != "" {
		t.Error(diff)
	}
}

func TestTimeoutOfWebhookIsTheSinks(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, "f.yaml", strings.Replace(minimal, `"}`, `", timeout: 42s}`, 1))
	if time.Duration(cfg.Sinks[0].Timeout) != 42*time.Second {
		t.Errorf("%v", cfg.Sinks[0].Timeout)
	}
}

// TestContractExampleLoads: the example that the product is described with.
func TestContractExampleLoads(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, "mxhook.yaml", `
data_dir: /var/lib/mxhook
smtp:
  hostname: mx.example.com
  listeners:
    - {name: mx, address: ":25", protocol: smtp, tls: starttls}
  tls: {cert_file: a.crt, key_file: a.key}
  limits: {message_size: 50MB, recipients: 100, connections: 5000, connections_per_ip: 100}
domains:
  - domain: example.com
    recipients: ["support", "reply+*", "/^ticket-(?<id>[0-9]+)$/"]
  - domain: "*.tenants.example.com"
sinks:
  - name: helpdesk
    webhook: {url: "https://app.example.com/mail", secret: "${HELPDESK_SECRET}", timeout: 15s}
  - name: box
    file: {dir: /var/mail/in, layout: maildir}
rules:
  - name: tickets
    when: 'recipient.domain == "example.com" and recipient.local startsWith "ticket-" and sender.verified'
    to: [helpdesk, box]
    stop: true
  - name: everything-else
    to: [box]
tests:
  - {name: tickets reach the helpdesk, mail: testdata/ticket.eml, recipient: ticket-1@example.com, expect: [helpdesk, box]}
queue: {url: "", durability: fsync, retention: 192h, reserve: 1GB}
ops: {address: "127.0.0.1:8025"}
`, testEnv()...)
	if cfg.Queue.Retention != Duration(8*day) || cfg.Sinks[1].File.Layout != "maildir" || len(cfg.Tests) != 1 {
		t.Errorf("%+v", cfg)
	}
	if got := cfg.SinkConfigs(); len(got) != 2 || got[0].Webhook.Secrets[0] != sampleSecret || got[1].File.Dir != "/var/mail/in" {
		t.Errorf("sinks: %+v", got)
	}
}

func TestMissingFileIsAnError(t *testing.T) {
	t.Parallel()
	if _, _, err := Load(filepath.Join(t.TempDir(), "no.yaml"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestPlacesInConditions(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		rule         string
		line, column int
	}{
		"plain":         {"  - {name: r, to: [app], when: sisze > 1}", 8, 32},
		"single quotes": {"  - name: r\n    to: [app]\n    when: 'true and sisze > 1'", 10, 21},
		"double quotes": {"  - name: r\n    to: [app]\n    when: \"size > 2 and sisze > 1\"", 10, 25},
		"literal":       {"  - name: r\n    to: [app]\n    when: |\n\n      size > 2 and\n        sisze > 1", 13, 9},
		"escapes":       {"  - name: r\n    to: [app]\n    when: 'subject == \"it''s\" and sisze > 1'", 10, 11},
		"folded":        {"  - name: r\n    to: [app]\n    when: >\n      size > 2 and\n      sisze > 1", 10, 11},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(t, "f.yaml", minimal+"rules:\n"+c.rule+"\n")
			var m *Mistake
			if !errors.As(err, &m) || !strings.Contains(m.Text, "there is no sisze") {
				t.Fatalf("got %v", err)
			}
			if m.Line != c.line || m.Column != c.column {
				t.Errorf("%d:%d, want %d:%d\n%v", m.Line, m.Column, c.line, c.column, m)
			}
		})
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	t.Parallel()
	s := NewSecret("hunter2")
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "secret", s, "config", Ops{Token: s})
	j, err := json.Marshal(Ops{Token: s})
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(Ops{Token: s})
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{logged.String(), string(j), string(y), fmt.Sprint(s, &s, Ops{Token: s}), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%#v", Ops{Token: s}), fmt.Sprintf("%x", Ops{Token: s})}
	for _, text := range shown {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") {
			t.Errorf("shown in %s", text)
		}
	}
	if s.Reveal() != "hunter2" || s.String() != "[secret]" || (Secret{}).String() != "" {
		t.Error("a secret is not what it was made of")
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{
		"50MB": 50_000_000, "512KiB": 524_288, "1GB": 1e9, "1.5MB": 1_500_000, "0": 0, "123": 123, "7B": 7, "1 GiB": 1 << 30, "2kB": 2000,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %d, %v, want %d", text, s, err, want)
		}
		var again Size
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%d is written %s and read %d, %v", s, s, again, err)
		}
	}
	for _, text := range []string{"", "MB", "-1MB", "1.5B", "50mb", "1e9", "9999999TB", "NaN", "Inf", "0x10", "50 MB 3"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %d", text, s)
		}
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"15s": 15 * time.Second, "7d": 7 * day, "1d12h": 36 * time.Hour, "192h": 8 * day, "0s": 0, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "0": 0,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v, want %v", text, d, err, want)
		}
		var again Duration
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%v is written %s and read %v, %v", time.Duration(d), d, again, err)
		}
	}
	for _, text := range []string{"", "15", "7days", "-1s", "d", "1.5d", "999999d", "1d-2h", "s"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, d)
		}
	}
	for d, want := range map[Duration]string{Duration(12 * time.Hour): "12h", Duration(5 * time.Minute): "5m", Duration(8 * day): "8d", Duration(90 * time.Second): "1m30s"} {
		if d.String() != want {
			t.Errorf("%v is written %s, want %s", time.Duration(d), d, want)
		}
	}
}

// FuzzLoad: no panic, and every mistake has a place.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "bad-*.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "mxhook.yaml", "minimal.yaml", "cluster.yaml", "storage.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, warnings, err := parse("f.yaml", text, []string{"A=1"}, func(string) ([]byte, error) { return []byte("x"), nil })
		lines := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) + 2 // YAML takes both
		check := func(m *Mistake) {
			if m.Line < 1 || m.Line > lines || m.Column < 1 || m.Text == "" {
				t.Errorf("%+v", m)
			}
		}
		for _, w := range warnings {
			check(w)
		}
		if err == nil {
			if _, err := cfg.Table(); err != nil {
				t.Errorf("loads, but its rules do not compile: %v", err)
			}
			return
		}
		errs := []error{err}
		if j, ok := err.(interface{ Unwrap() []error }); ok {
			errs = j.Unwrap()
		}
		for _, e := range errs {
			var m *Mistake
			if !errors.As(e, &m) {
				t.Fatalf("%T: %v", e, e)
			}
			check(m)
		}
	})
}
