package configs

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mxhook/pipeline"
	"mxhook/sinks"
)

// TestWhatReferencesBringInIsNoTemplate: braces of a secret are part of the secret, those of the configuration are fields.
func TestWhatReferencesBringInIsNoTemplate(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("from {a} file}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := mustLoad(t, "t.yaml", `
domains: [{domain: example.com}]
sinks:
  - name: hook
    webhook:
      url: "https://app.example.com/${TOKEN}/{domain}?key=${TOKEN}"
      secret: "whsec_VGhpcyBpcyBhIHNhbXBsZTogbWFrZSB5b3VyIG93biE="
      headers:
        - {name: X-Key, value: "${TOKEN} of {domain}"}
        - {name: X-File, value: "file:`+key+`"}
        - {name: X-Doubled, value: "{{as such}}"}
  - {name: box, file: {dir: "/var/mail/${TOKEN}", name: "{delivery}-${TOKEN}", layout: eml}}
rules: [{name: all, to: [hook, box]}]
`, "TOKEN=a{domain}b{")
	d := &pipeline.Delivery{
		ID: "m.hook", Recipients: []pipeline.Recipient{{Address: "in@example.com", Domain: "example.com"}}, Message: &pipeline.Message{Envelope: pipeline.Envelope{ID: "m"}},
	}
	want := map[string]string{
		"url": "/a{domain}b{/example.com", "url query": "key=a{domain}b{", "headers[0].value": "a{domain}b{ of example.com",
		"dir": "/var/mail/a{domain}b{", "name": "m.hook-a{domain}b{",
	}
	outlets, err := sinks.Build(cfg.SinkConfigs(), sinks.Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sinks.Close(outlets) })
	seen := 0
	for _, o := range outlets {
		for _, option := range pipeline.TemplatesOf(o.Sink) {
			if seen++; option.Template.Expand(d) != want[option.Option] {
				t.Errorf("%s %s: %q, want %q", o.Name, option.Option, option.Template.Expand(d), want[option.Option])
			}
		}
	}
	if seen == 0 {
		t.Error("no templates")
	}
	headers := cfg.SinkConfigs()[0].Webhook.Headers
	if got := headers[1].Value; got != "from {{a}} file}}" {
		t.Errorf("the header of a file: %q", got)
	}
}

func TestUnknownFieldsAreRefusedWithASuggestion(t *testing.T) {
	t.Parallel()
	_, _, err := load(t, "t.yaml", `
domains: [{domain: example.com}]
sinks:
  - name: hook
    webhook:
      url: "https://app.example.com/{domian}"
      secret: "whsec_VGhpcyBpcyBhIHNhbXBsZTogbWFrZSB5b3VyIG93biE="
      headers: [{name: X-Key, value: "{recipiant}"}]
rules: [{name: all, to: [hook]}]
`)
	if err == nil || !strings.Contains(err.Error(), "did you mean {domain}?") || !strings.Contains(err.Error(), "did you mean {recipient}?") {
		t.Errorf("%v", err)
	}
}
