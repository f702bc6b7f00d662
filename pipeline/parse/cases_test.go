package parse

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected results in testdata")

// TestCases parses testdata/*.eml and compares with the .want beside it. The files have bare line feeds; they are
// parsed with both line ends, which must not matter.
func TestCases(t *testing.T) {
	t.Parallel()
	mails, err := filepath.Glob(filepath.Join("testdata", "*.eml"))
	if err != nil || len(mails) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	s := newStage(t, Limits{})
	for _, mail := range mails {
		t.Run(strings.TrimSuffix(filepath.Base(mail), ".eml"), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(mail)
			if err != nil {
				t.Fatal(err)
			}
			got := encodeView(t, viewOf(run(t, s, toCRLF(raw))))
			want := strings.TrimSuffix(mail, ".eml") + ".want"
			if *update {
				if err := os.WriteFile(want, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(expected), string(got)); d != "" {
				t.Errorf("differs from %s (-want +got):\n%s", want, d)
			}
			var crlf, lf view
			mustDecode(t, got, &crlf)
			mustDecode(t, encodeView(t, viewOf(run(t, s, raw))), &lf)
			for _, v := range []*view{&crlf, &lf} {
				for i := range v.Attachments {
					// The octets of attachments that are not encoded do differ.
					v.Attachments[i].SHA256, v.Attachments[i].Size = "", 0
				}
			}
			if d := cmp.Diff(crlf, lf); d != "" {
				t.Errorf("line ends matter (-CRLF +LF):\n%s", d)
			}
		})
	}
}

func encodeView(t *testing.T, v view) []byte {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

func mustDecode(t *testing.T, b []byte, v *view) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}
