package webhook

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzLongText holds our way to write a JSON string against that of encoding/json.
func FuzzLongText(f *testing.F) {
	for _, s := range []string{
		"", "a", `"`, `\`, "\x00\x01\x1f \x7f\x80", "\b\f\n\r\t", "<a href=\"x\">&amp;</a>", "Grüße\u2028\u2029", "\xff\xfe", "12345678\"", "1234567\\89",
		strings.Repeat("lines of text, \"quoted\"\n", 40), "日本語のメール", "!#[]^\x21\x23", "\x9f\xa2\xdc", "ÿ\"", "\u0800 \\u0062ase64",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var want bytes.Buffer
		if err := encodeJSON(&want, s); err != nil {
			t.Fatal(err)
		}
		got, err := appendJSON([]byte("x"), s)
		if err != nil || string(got) != "x"+want.String() {
			t.Errorf("%q: %s, want %s (%v)", s, got, want.String(), err)
		}
	})
}
