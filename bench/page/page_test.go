package page

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplaceKeepsWhatIsOutsideOfTheMarks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte("above\n<!-- begin x -->\nold\n<!-- end x -->\nbelow\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Replace(file, "x", "\n| new |\n\n"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if want := "above\n<!-- begin x -->\n| new |\n<!-- end x -->\nbelow\n"; err != nil || string(got) != want {
		t.Errorf("%q %v, want %q", got, err, want)
	}
	if Replace(file, "y", "") == nil {
		t.Error("marks that are not there")
	}
}
