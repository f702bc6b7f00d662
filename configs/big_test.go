package configs

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestLargeFileLoadsQuickly: 20,000 recipients, 200 sinks and 1,000 rules, and the same with as many mistakes.
func TestLargeFileLoadsQuickly(t *testing.T) {
	t.Parallel()
	for _, bad := range []bool{false, true} {
		local, secret, word := "user", sampleSecret, "recipient.domain"
		if bad {
			local, secret, word = "us er@", "SECRETTEXT", "recipient.domian"
		}
		var b strings.Builder
		b.WriteString("domains:\n  - domain: example.com\n    recipients:\n")
		for i := range 20_000 {
			fmt.Fprintf(&b, "      - %s%d\n", local, i)
		}
		b.WriteString("sinks:\n")
		for i := range 200 {
			fmt.Fprintf(&b, "  - {name: s%d, webhook: {url: 'https://app.example.com/%d', secret: %s}}\n", i, i, secret)
		}
		b.WriteString("rules:\n")
		for i := range 1000 {
			fmt.Fprintf(&b, "  - {name: r%d, when: '%s == \"d%d.example\"', to: [s%d]}\n", i, word, i, i%200)
		}
		start := time.Now()
		_, _, err := load(t, "f.yaml", b.String())
		took := time.Since(start)
		t.Logf("mistakes %v: %v", bad, took)
		if bad {
			if n := len(err.(interface{ Unwrap() []error }).Unwrap()); n != 21_200 {
				t.Errorf("%d mistakes, want 21,200", n)
			}
		} else if err != nil {
			t.Error(err)
		}
		if took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	}
}
