package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddressMakeAndCheck(t *testing.T) {
	t.Setenv("ADDRESS_KEY", "a key for tests, not a secret at all")
	t.Setenv("APP_SECRET", "whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs")
	file := filepath.Join("..", "..", "configs", "examples", "reply-by-mail.yaml")
	address := func(args ...string) (string, string, int) {
		var stdout, stderr bytes.Buffer
		args = append([]string{"address", args[0], "-c", file}, args[1:]...)
		code := run(t.Context(), args, &stdout, &stderr)
		return strings.TrimSpace(stdout.String()), stderr.String(), code
	}
	made, stderr, code := address("make", "reply", "ticket-4711")
	if code != exitFine || !strings.HasPrefix(made, "reply+") || !strings.HasSuffix(made, "@example.com") {
		t.Fatalf("exit %d: %q %s", code, made, stderr)
	}
	if got, stderr, code := address("check", strings.ToUpper(made)); code != exitFine || got != "ticket-4711" {
		t.Errorf("check: exit %d, %q, %s", code, got, stderr)
	}
	for want, args := range map[string][]string{
		"not made with a key of reply":      {"check", "reply+aaaa@example.com"},
		"none of the signed addresses":      {"check", "other@example.com"},
		"did you mean reply?":               {"make", "replay"},
		"--valid":                           {"make", "reply", "x", "--valid", "soon"},
		"the payload has 60 bytes, at most": {"make", "reply", strings.Repeat("x", 60)},
	} {
		if _, stderr, code := address(args...); code == exitFine || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %s", args, code, stderr)
		}
	}
}
