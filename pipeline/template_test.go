package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func templateDelivery(rcpts ...Recipient) *Delivery {
	return &Delivery{
		ID: "01KAK5ZV3QW8E6T4Y2N0ABCDEF.archive", Sink: "archive", Rules: []string{"invoices", "rest"}, Recipients: rcpts,
		Message: &Message{
			Envelope: Envelope{ID: "01KAK5ZV3QW8E6T4Y2N0ABCDEF", ReceivedAt: time.Date(2026, 11, 21, 23, 5, 6, 0, time.FixedZone("", -3600))},
			Content:  &Content{Kind: KindBounce},
			Auth:     &AuthResults{Sender: SenderResult{Verified: true, Domain: "Example.org"}},
		},
	}
}

func expand(t *testing.T, text string, place Place, d *Delivery) string {
	t.Helper()
	tpl, err := ParseTemplate(text, place)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return tpl.Expand(d)
}

func TestTemplatesFillInTheirFields(t *testing.T) {
	t.Parallel()
	d := templateDelivery(Recipient{Address: "Support+42@example.com", Local: "Support", Tag: "42", Domain: "example.com", Captures: map[string]string{"tenant": "acme"}})
	for text, want := range map[string]string{
		"{date}/{domain}/":                 "2026-11-22/example.com/",
		"{year}/{month}/{day}/{hour}":      "2026/11/22/00",
		"{message}":                        "01KAK5ZV3QW8E6T4Y2N0ABCDEF",
		"{delivery}":                       "01KAK5ZV3QW8E6T4Y2N0ABCDEF.archive",
		"{sink}-{rule}-{kind}":             "archive-invoices-bounce",
		"{local}_{tag}":                    "support_42",
		"{recipient}":                      "support+42@example.com",
		"{captures.tenant}/{captures.no}":  "acme/_",
		"{sender_domain}":                  "example.org",
		"a {{b}} c":                        "a {b} c",
		"nothing to fill in, with ../ too": "nothing to fill in, with ../ too",
	} {
		if got := expand(t, text, InKey, d); got != want {
			t.Errorf("%s became %q, want %q", text, got, want)
		}
	}
	d.Message.Auth.Sender.Verified = false
	if got := expand(t, "{sender_domain}", InKey, d); got != unverified {
		t.Errorf("a domain that is not proven became %q", got)
	}
}

func TestTemplatesSayWhatIsWrongAndWhere(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ä/{dmain}/":                       "column 3: there is no field {dmain}; did you mean {domain}?",
		"{capture.tenant}":                 "column 1: there is no field {capture.tenant}; did you mean {captures.NAME}?",
		"{captures}":                       "column 1: captures needs the name of a group: {captures.tenant}",
		"{captures.a b}":                   "column 1: captures needs the name of a group: {captures.tenant}",
		"x{domain":                         "column 2: a { without its }; a brace that is meant as such is written {{",
		"x{dom{ain}":                       "column 2: a { without its }; a brace that is meant as such is written {{",
		"x}y":                              "column 2: a } without its {; a brace that is meant as such is written }}",
		"../{domain}":                      "column 1: the path goes by way of ..",
		"a/./{domain}":                     "column 1: the path goes by way of .",
		"a//{domain}":                      "column 1: the path has an empty part: //",
		"a\x00{domain}":                    "column 1: the text has characters that have no place in a path",
		`a\{domain}`:                       "column 1: the text has characters that have no place in a path",
		"{}":                               "column 1: there is no field {}; there are message, delivery, date, year, month, day, hour, kind, sender_domain, sink, rule, recipient, local, tag, domain, captures.NAME",
		strings.Repeat("{day}", 7):         "column 31: more than 6 fields",
		strings.Repeat("a", 300) + "{day}": "column 1: the text is 300 bytes long without its fields, at most 256 are allowed",
	} {
		_, err := ParseTemplate(text, InKey)
		var at *TemplateError
		if !errors.As(err, &at) || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	_, err := ParseTemplate("Bearer {s3cret-token}", InHeader)
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("an error quotes a header value: %v", err)
	}
}

// hostile are values that mail can bring into a field.
var hostile = []string{
	"", ".", "..", "...", "../../etc/passwd", "a/../b", "/", "//", `\`, `..\..\x`, "a\x00b", "a\r\nX-Evil: 1", "a\tb", "\x7f", "%2e%2e", "%2F", "-rf", "~root",
	"a b", "a?b=c&d", "a#b", "CON", "ü/ö", "\u202egpj", "\u2028", "a\xffb", "_", "a.", ".hidden", "a..b", strings.Repeat("x", 5000), strings.Repeat("ü", 400),
	"{domain}", "${HOME}", "$(id)", "`id`", "'; drop table--", "a:b", "a*b", "a|b", "<a>", "a\u0301", "\u0301", "٣", "a@b", "a+b", "a=b,c~d",
}

func checkExpansion(place Place, got string) error {
	if !utf8.ValidString(got) {
		return errors.New("is not UTF-8")
	}
	for _, r := range got {
		if r < ' ' || r == 0x7f || r == '\\' && place != InHeader {
			return fmt.Errorf("has the character %U", r)
		}
		if (place == InPath || place == InQuery || place == InHeader) && r > '~' {
			return fmt.Errorf("has the character %U", r)
		}
	}
	if place == InHeader || place == InQuery {
		return nil
	}
	if place == InSubject || place == InTopic {
		return checkStreamName(place, got)
	}
	parts := strings.Split(got, "/")
	if len(parts) != 4 {
		return fmt.Errorf("has %d parts, want 4", len(parts))
	}
	for _, p := range parts {
		decoded := p
		if place == InPath {
			decoded = strings.ReplaceAll(strings.ToLower(p), "%2e", ".")
			if strings.Contains(decoded, "%2f") || strings.Contains(decoded, "%5c") {
				return fmt.Errorf("part %q has an escaped separator", p)
			}
		}
		if decoded == "" || decoded == "." || strings.Contains(decoded, "..") || strings.HasPrefix(decoded, "-") || strings.HasPrefix(decoded, ".") {
			return fmt.Errorf("has the part %q", p)
		}
		if place != InPath && len(p) > 255 {
			return fmt.Errorf("has a part of %d bytes", len(p))
		}
	}
	if len(got) > 2000 {
		return fmt.Errorf("is %d bytes long", len(got))
	}
	return nil
}

func TestWhateverTheMailSaysAnExpansionStaysInItsPlace(t *testing.T) {
	t.Parallel()
	for _, place := range []Place{InPath, InQuery, InKey, InFile, InHeader, InSubject, InTopic} {
		tpl, err := ParseTemplate(frameOf(place), place)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for _, value := range hostile {
			got := tpl.Expand(templateDelivery(Recipient{Local: value, Tag: value, Captures: map[string]string{"a": value}}))
			if err := checkExpansion(place, got); err != nil {
				t.Errorf("place %d, value %q: %q %v", place, value, got, err)
			}
			if before, taken := seen[got]; taken {
				t.Errorf("place %d: %q and %q both became %q", place, before, value, got)
			}
			seen[got] = value
		}
	}
}

func TestAnEmptyHeaderValueIsEmpty(t *testing.T) {
	t.Parallel()
	if got := expand(t, "{tag}", InHeader, templateDelivery(Recipient{})); got != "" {
		t.Errorf("%q", got)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"{date}/{domain}/", "{captures.tenant}", "a{{b}}", "{", "}", "../{tag}", "{a}{local}x"} {
		for _, value := range []string{"", "..", "a/b", "\r\n", "\xff"} {
			f.Add(text, value, uint8(InKey))
		}
	}
	f.Fuzz(func(t *testing.T, text, value string, at uint8) {
		place := Place(at % uint8(InTopic+1))
		tpl, err := ParseTemplate(text, place)
		if err != nil {
			var e *TemplateError
			if !errors.As(err, &e) || e.Column < 1 || e.Column > utf8.RuneCountInString(text)+1 {
				t.Fatalf("%q: an error without a place: %v", text, err)
			}
			return
		}
		d := templateDelivery(Recipient{Address: value, Local: value, Tag: value, Domain: value, Captures: map[string]string{"tenant": value}})
		d.Rules, d.Sink = []string{value}, value
		if tpl.Fixed() != (tpl.Expand(d) == tpl.Expand(templateDelivery(Recipient{}))) && tpl.Fixed() {
			t.Fatalf("%q is fixed and changes", text)
		}
		frame, err := ParseTemplate(strings.ReplaceAll(frameOf(place), "captures.a", "captures.tenant"), place)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkExpansion(place, frame.Expand(d)); err != nil {
			t.Fatalf("value %q: %q %v", value, frame.Expand(d), err)
		}
	})
}
