package pipeline

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"recipients", "domains", "sinks", "rules", "smtp"}
	for word, want := range map[string]string{
		"domain": "domains", "Sinks": "sinks", "rulse": "rules", "smpt": "smtp", "recipient": "recipients", "xyz": "", "": "", strings.Repeat("sinks", 50): "",
	} {
		if got, _ := Nearest(word, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
