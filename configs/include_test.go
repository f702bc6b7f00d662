package configs

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func loadFiles(t *testing.T, files map[string]string) (*Config, []*Mistake, error) {
	t.Helper()
	return parse("conf/main.yaml", []byte(files["conf/main.yaml"]), nil, func(path string) ([]byte, error) {
		text, ok := files[path]
		if !ok {
			return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
		}
		return []byte(text), nil
	})
}

const includedSinks = `
sinks:
  - {name: a, webhook: &hook {url: "https://a.example.com/", secret: "whsec_VGhpcyBpcyBhIHNhbXBsZTogbWFrZSB5b3VyIG93biE="}}
  - {name: b, webhook: *hook}
`

func TestIncludedFilesArePutTogether(t *testing.T) {
	t.Parallel()
	cfg, warnings, err := loadFiles(t, map[string]string{
		"conf/main.yaml": `
include: [sinks.yaml, more/rules.yaml, /etc/lists.toml]
smtp: {hostname: mx.example.com, listeners: [{name: mx, address: "127.0.0.1:2525"}]}
domains: [{domain: example.com}]
rules: [{name: first, when: 'subject == "1"', to: [a]}]
default: [a]
`,
		"conf/sinks.yaml":      includedSinks,
		"conf/more/rules.yaml": "include: [last.yaml]\nsmtp: {limits: {recipients: 7}}\nrules:\n  - {name: second, when: 'subject == \"2\"', to: [b]}\n",
		"conf/more/last.yaml":  "rules: [{name: third, when: 'envelope.mail_from in list(\"vip\")', to: [b]}]\ndefault: [b]\n",
		"/etc/lists.toml":      "[[lists]]\nname = \"vip\"\nvalues = [\"a@example.org\"]\n",
	})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	var rules []string
	for _, r := range cfg.Rules {
		rules = append(rules, r.Name)
	}
	if want := []string{"first", "second", "third"}; !slices.Equal(rules, want) {
		// The files of rules.yaml are put together before it is put behind main.yaml.
		t.Errorf("rules %q, want %q", rules, want)
	}
	if !slices.Equal(cfg.Default, []string{"a", "b"}) || cfg.SMTP.Limits.Recipients != 7 || cfg.SMTP.Hostname != "mx.example.com" || cfg.Sinks[1].Webhook.URL != "https://a.example.com/" {
		t.Errorf("%+v", cfg)
	}
	if want := []string{"conf/main.yaml", "conf/sinks.yaml", "conf/more/rules.yaml", "conf/more/last.yaml", "/etc/lists.toml"}; !slices.Equal(cfg.Files(), want) {
		t.Errorf("files %q, want %q", cfg.Files(), want)
	}
	var shown bytes.Buffer
	if err := cfg.Show(&shown); err != nil || !strings.Contains(shown.String(), "name: third # conf/more/last.yaml:1") {
		t.Errorf("%v\n%s", err, &shown)
	}
}

func TestMistakesNameTheFileTheyStandIn(t *testing.T) {
	t.Parallel()
	_, _, err := loadFiles(t, map[string]string{
		"conf/main.yaml":  "include: [sinks.yaml, rules.yaml]\nsmtp: {listeners: [{name: mx, address: '127.0.0.1:2525'}]}\ndomains: [{domain: example.com}]\n",
		"conf/sinks.yaml": includedSinks,
		"conf/rules.yaml": "# rules\nrules:\n  - name: x\n    when: 'recipient.domian == \"a\"'\n    to: [a]\n  - {name: y, when: 'subject == 1', to: [c]}\n",
	})
	for _, want := range []string{
		"conf/rules.yaml:4:22: rules[0].when: recipient has no domian; did you mean domain?",
		"conf/rules.yaml:6:30: rules[1].when: a text and a number do not go together with ==",
		"conf/rules.yaml:6:42: rules[1].to[0]: there is no sink \"c\"",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nhas no %s", err, want)
		}
	}
}
