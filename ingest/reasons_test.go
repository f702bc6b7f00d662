package ingest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReasonsAreDocumented: every reason of the table of replies stands in docs/security.md.
func TestReasonsAreDocumented(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("replies.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range regexp.MustCompile(`&Reply\{(\d)\d\d, .*, "([a-z0-9_]*)"\}`).FindAllStringSubmatch(string(source), -1) {
		n++
		switch refusal := m[1] >= "4"; {
		case refusal != (m[2] != ""):
			t.Errorf("%s: only refusals have a reason, and all of them", m[0])
		case refusal && !strings.Contains(string(page), "`"+m[2]+"`"):
			t.Errorf("docs/security.md does not have %s", m[2])
		}
	}
	if n < 60 {
		t.Errorf("only %d replies were found", n)
	}
}
