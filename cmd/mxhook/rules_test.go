package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// TestRulesDiffTellsWhatWouldChange compares configurations on what an instance keeps.
func TestRulesDiffTellsWhatWouldChange(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	load := apptest.Load{Addr: i.SMTP(), Connections: 1, Make: func(n int) apptest.Mail {
		return textMail(fmt.Sprintf("number %d", n%2))
	}}
	const n = 6
	if err := load.Run(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	i.Endpoint.WaitCount(t, n, time.Minute)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		text = "smtp: {listeners: [{name: mx, address: '127.0.0.1:0'}]}\ndns: {servers: ['127.0.0.1:1'], timeout: 100ms}\ndomains: [{domain: example.com}]\n" +
			"sinks: [{name: a, file: {dir: '" + dir + "/a'}}, {name: b, file: {dir: '" + dir + "/b'}}]\n" + text
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	was := file("old.yaml", "default: [a]\n")
	will := file("new.yaml", "default: [a]\nrules: [{name: odd, when: 'subject contains \"1\"', to: [b], tags: [odd]}]\n")
	drops := file("drops.yaml", "rules: [{name: all, drop: true}]\n")
	diff := func(args ...string) string {
		t.Helper()
		var out, errs strings.Builder
		if code := run(t.Context(), append([]string{"rules", "diff", "--api", i.Ops()}, args...), &out, &errs); code != exitFine {
			t.Fatalf("exit %d: %s", code, errs.String())
		}
		return out.String()
	}
	if said := diff(was, was); !strings.HasPrefix(said, "6 messages, 6 recipients: 0 would change") {
		t.Errorf("the same twice: %s", said)
	}
	if said := diff(was, will, "--last", "2"); !strings.HasPrefix(said, "2 messages") {
		t.Errorf("the last two: %s", said)
	}
	var report diffReport
	if err := json.Unmarshal([]byte(diff(was, will, "--json", "--since", "1h")), &report); err != nil {
		t.Fatal(err)
	}
	if report.Changed != 3 || len(report.Groups) != 1 || report.Groups[0].Was != "a" || report.Groups[0].Will != "b tagged odd" || len(report.Groups[0].Examples) != 3 {
		t.Errorf("%+v", report)
	}
	if said := diff(was, drops); !strings.Contains(said, "6 times\n  was:  a\n  will: dropped by rule all\n") {
		t.Errorf("dropped: %s", said)
	}
	var explanation struct{ Deliveries []struct{ Sink string } }
	resp, err := http.Get(i.Ops() + "/api/v1/messages/" + report.Groups[0].Examples[0].Message + "/explain")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&explanation); err != nil || len(explanation.Deliveries) != 1 || explanation.Deliveries[0].Sink != "hook" {
		t.Errorf("the API explains %+v %v", explanation, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
		t.Error("a comparison has delivered something")
	}
}
