package main

import (
	"bytes"
	"path/filepath"
	"regexp"
	"testing"
)

// passed is what check says in the end.
var passed = regexp.MustCompile(`, (\d+) tests passed\n$`)

// TestExamplesPassTheirOwnCheck runs `mxhook check` on every example.
func TestExamplesPassTheirOwnCheck(t *testing.T) {
	const secret = "whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs"
	for _, name := range []string{"HELPDESK_SECRET", "APP_SECRET", "ACME_SECRET", "STAGING_SECRET", "TICKETS_SECRET"} {
		t.Setenv(name, secret)
	}
	for _, name := range []string{"SLACK_URL", "DISCORD_URL", "TEAMS_URL"} {
		t.Setenv(name, "https://hooks.example.com/services/T0/B0/not-a-secret")
	}
	t.Setenv("ADDRESS_KEY", "a key for tests, not a secret at all")
	files, err := filepath.Glob(filepath.Join("..", "..", "configs", "examples", "*.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), []string{"check", "-c", file}, &stdout, &stderr); code != exitFine || stderr.Len() > 0 {
				t.Fatalf("exit %d\n%s", code, stderr.Bytes())
			}
			if m := passed.FindSubmatch(stdout.Bytes()); m == nil || string(m[1]) < "2" {
				t.Errorf("too few tests: %s", stdout.Bytes())
			}
		})
	}
}
