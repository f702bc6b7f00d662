package msgauth

import (
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"

	"mxhook/pipeline"
)

var fieldCases = []struct{ id, reason, value string }{
	{"mx.example.com", "", "example.org"},
	{"mx.example.com", "matched ip", "alice@example.org"},
	{"mx.example.com", "x\r\nX-Evil: 1", "a\r\nb"},
	{"mx.example.com", `q"u\ote`, `q"; dmarc=pass`},
	{"mx.example.com", "a; dmarc=pass header.from=bank.example", "x; dmarc=pass"},
	{"mx.example.com", "(open", "(open"},
	{"mx.example.com", "naïve", "bücher.example"},
	{"mx.example.com", strings.Repeat("r", 5000), strings.Repeat("v", 5000)},
	{"mx ;evil", "\x00", "2001:db8::1"},
	{"bücher.example", "\\", "\\"},
}

func FuzzResultsField(f *testing.F) {
	for _, c := range fieldCases {
		f.Add(c.id, c.reason, c.value)
	}
	f.Fuzz(checkField)
}

func TestResultsFieldHoldsWhateverIsPutIn(t *testing.T) {
	t.Parallel()
	for _, c := range fieldCases {
		checkField(t, c.id, c.reason, c.value)
	}
}

// checkField writes a field with two methods and reads it back with a reader of its own: there must be two results, and
// no line or octet that does not belong there.
func checkField(t *testing.T, id, reason, value string) {
	field := resultsField(id, []methodResult{
		{"spf", "fail", reason, []property{{"smtp.mailfrom", value}, {"smtp.helo", ""}}},
		{"dkim", "fail", reason, []property{{"header.d", value}}},
	})
	if id == "" {
		if field != "" {
			t.Fatalf("field %q without an id", field)
		}
		return
	}
	n := 0
	for range pipeline.Fields([]byte(field + "\r\n")) {
		n++
	}
	if n != 1 || !strings.HasSuffix(field, "\r\n") || strings.Count(field, "\r\n") != 3 || strings.Count(field, "\r") != 3 || strings.Count(field, "\n") != 3 {
		t.Fatalf("field breaks: %q", field)
	}
	for line := range strings.SplitSeq(field, "\r\n") {
		if len(line) > 998 {
			t.Fatalf("line of %d octets", len(line))
		}
		if i := strings.IndexFunc(line, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }); i >= 0 {
			t.Fatalf("octet %q in %q", line[i], line)
		}
	}
	if parts := splitUnquoted(field); len(parts) != 3 || !strings.HasPrefix(strings.TrimSpace(parts[1]), "spf=fail") || !strings.HasPrefix(strings.TrimSpace(parts[2]), "dkim=fail") {
		t.Fatalf("%d parts in %q", len(parts), field)
	}
}

// splitUnquoted splits at semicolons outside of quoted strings.
func splitUnquoted(s string) []string {
	var parts []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// TestFieldIsReadByOthers reads our field with go-msgauth's parser.
func TestFieldIsReadByOthers(t *testing.T) {
	t.Parallel()
	z := keyZone("example.org TXT v=spf1 ip4:192.0.2.1 -all", "_dmarc.example.org TXT v=DMARC1; p=reject")
	a := authenticate(t, newStage(z), message("2001:db8::1", "[192.0.2.1]", `"odd local"@example.org`, sign(t, plainMail, dkimDefaults())))
	value := strings.ReplaceAll(strings.TrimPrefix(a.Field, "Authentication-Results: "), "\r\n", "")
	id, results, err := authres.Parse(value)
	if err != nil || id != "mx.example.com" {
		t.Fatalf("%q: %v in %q", id, err, value)
	}
	for _, r := range results {
		switch r := r.(type) {
		case *authres.SPFResult:
			if r.Value != "fail" || r.From != "example.org" {
				t.Errorf("spf %+v", r)
			}
		case *authres.DKIMResult:
			if r.Value != "pass" || r.Domain != "example.org" {
				t.Errorf("dkim %+v", r)
			}
		case *authres.DMARCResult:
			if r.Value != "pass" || r.From != "example.org" {
				t.Errorf("dmarc %+v", r)
			}
		}
	}
	if len(results) != 5 {
		t.Errorf("%d results in %q", len(results), value)
	}
}
