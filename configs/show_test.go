package configs

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestShowNamesOriginsAndCutsSecrets(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, "c.yaml", `
smtp: {hostname: mx.example.com}
domains: [{domain: example.com}]
sinks:
  - name: app
    timeout: 20s
    webhook:
      url: "https://user:hunter2@app.example.com/in?key=${KEY}"
      secret: "${APP_SECRET}"
      headers: [{name: X-Key, value: "Bearer hunter3"}]
  - {name: plain, webhook: {url: "https://app.example.com/in?token=hunter8,hunter9&to={tag}&hunter10", secret: "${APP_SECRET}"}}
alerts: {url: "https://app.example.com/alerts?hunter11", secret: "${APP_SECRET}"}
signed_addresses: [{name: reply, address: reply@example.com, keys: ["hunter4 hunter4 hunter4"]}]
default: [app]
queue: {url: "nats://me:hunter5@a:4222,nats://b:4222", durability: replicated}
`, append(testEnv(), "KEY=hunter6", "MXHOOK_OPS_TOKEN=hunter7", "MXHOOK_LOG_LEVEL=debug")...)
	var out bytes.Buffer
	if err := cfg.Show(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"hostname: mx.example.com # c.yaml:2\n",
		"connections: 5000 # default\n",
		"timeout: 20s # c.yaml:6\n",
		"url: https://[secret]@app.example.com/in?key=${KEY} # c.yaml:8\n",
		"value: '[secret]' # c.yaml:10\n",
		"url: https://app.example.com/in?token=[secret]&to={tag}&[secret] # c.yaml:11\n",
		"url: https://app.example.com/alerts?[secret] # c.yaml:12\n",
		"url: nats://[secret]@a:4222,nats://b:4222 # c.yaml:15\n",
		"token: '[secret]' # MXHOOK_OPS_TOKEN\n",
		"level: debug # MXHOOK_LOG_LEVEL\n",
		"default: [app] # c.yaml:14\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(out.String(), "hunter") || strings.Contains(out.String(), sampleSecret) {
		t.Error("a secret is shown")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// TestShownConfigurationIsTheSame: what is shown of a file without secrets loads to the same configuration.
func TestShownConfigurationIsTheSame(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, "c.yaml", `
domains: [{domain: example.com, recipients: [a, "b*"]}]
sinks: [{name: box, file: {dir: /var/mail/in}}]
rules: [{name: r, when: 'size > 1', to: [box], tags: [big], sample: 12.5}]
default: [box]
`)
	var out bytes.Buffer
	if err := cfg.Show(&out); err != nil {
		t.Fatal(err)
	}
	again, _, err := load(t, "d.yaml", out.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if diff := cmp.Diff(cfg, again, comparing); diff != "" {
		t.Error(diff)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(out.Bytes(), &node); err != nil {
		t.Error(err)
	}
}
