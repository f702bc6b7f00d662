package msgauth

import (
	"fmt"
	"io"
	"mime"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/encoding/htmlindex"

	"mxhook/pipeline"
)

// authorProblems tells of From fields that are made to look like another author's. They are Problems and not results:
// each has honest uses, and DMARC judges the domain, whatever the reader thinks of it.
func authorProblems(raw []byte) []pipeline.Problem {
	var froms []pipeline.RawField
	for f := range pipeline.Fields(raw) {
		if named(f, "From") {
			froms = append(froms, f)
		}
	}
	var t tricks
	if len(froms) > 1 {
		t.add("from-several-fields", "%d From fields", len(froms))
	}
	for _, f := range froms[:min(len(froms), 4)] {
		if len(f.Body) > maxFrom {
			continue
		}
		boxes := mailboxes(string(f.Body))
		if len(boxes) > 1 {
			t.add("from-several-addresses", "%d addresses", len(boxes))
		}
		for _, b := range boxes[:min(len(boxes), 10)] {
			t.look(b)
		}
	}
	return t.problems
}

// tricks collects Problems, one of each kind.
type tricks struct{ problems []pipeline.Problem }

func (t *tricks) add(code, format string, args ...any) {
	for _, p := range t.problems {
		if p.Code == code {
			return
		}
	}
	t.problems = append(t.problems, pipeline.Problem{Code: code, Where: "From", Detail: clean(fmt.Sprintf(format, args...))})
}

func (t *tricks) look(b mailbox) {
	for word := range strings.FieldsFuncSeq(b.name, notAddressRune) {
		at := strings.LastIndexByte(word, '@')
		if at < 1 {
			continue
		}
		shown, ok := multiLabel(strings.Trim(word[at+1:], "."))
		if actual, _ := normalDomain(b.domain); ok && shown != actual {
			t.add("from-address-in-name", "the name shows an address at %s, the address is at %s", shown, b.domain)
		}
	}
	if strings.ContainsFunc(b.name, hidden) {
		t.add("from-hidden-characters", "the name holds characters that are not seen or turn the direction of others")
	}
	if word, mixed := mixedScripts(b.name); mixed {
		t.add("from-mixed-scripts", "%q in the name mixes scripts", word)
	}
	domain, err := idna.ToUnicode(b.domain)
	if err != nil {
		domain = b.domain
	}
	if label, mixed := mixedScripts(domain); mixed {
		t.add("from-mixed-scripts", "%q in the domain %s mixes scripts", label, b.domain)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if looksLatin(label) {
			t.add("from-lookalike-domain", "%q in the domain %s reads like Latin and is not", label, b.domain)
		}
	}
}

func notAddressRune(r rune) bool {
	return unicode.IsSpace(r) || strings.ContainsRune("<>()[]\"',;:", r)
}

// hidden reports runes that are not seen, or that turn the direction of what follows.
func hidden(r rune) bool {
	return r == 0xad || r == 0x61c || r >= 0x200b && r <= 0x200f && r != 0x200d || r >= 0x202a && r <= 0x202e || r >= 0x2060 && r <= 0x2069 || r == 0xfeff
}

// mixedScripts returns the first word that has letters of Latin and of a script whose letters pass for Latin ones.
func mixedScripts(s string) (string, bool) {
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) }) {
		latin, other := 0, 0
		for _, r := range word {
			switch {
			case unicode.Is(unicode.Latin, r):
				latin++
			case unicode.In(r, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee, unicode.Lisu):
				other++
			}
		}
		if latin > 0 && other > 0 {
			return word, true
		}
	}
	return "", false
}

// looksLatin reports a label whose letters are all Cyrillic or Greek ones that look like Latin ones.
func looksLatin(label string) bool {
	letters := 0
	for _, r := range label {
		switch {
		case strings.ContainsRune("асеіјорѕухһԁԛԝӏꙅкмтвнгпԍʏοανικρτυχγω", r):
			letters++
		case unicode.IsLetter(r):
			return false
		}
	}
	return letters > 0
}

// mailbox is one author as a reader sees it: the display name decoded, the domain as written.
type mailbox struct{ name, domain string }

// mailboxes reads an address list forgivingly; of one that cannot be read it returns what was read before.
func mailboxes(body string) []mailbox {
	tokens, err := tokenize(body)
	if err != nil {
		return nil
	}
	var boxes []mailbox
	var name strings.Builder
	domain, angle := "", false
	flush := func() {
		if domain != "" || angle {
			if !angle {
				name.Reset() // the words were the address
			}
			boxes = append(boxes, mailbox{decodeWords(strings.TrimSpace(name.String())), domain})
		}
		name.Reset()
		domain, angle = "", false
	}
	for i, t := range tokens {
		switch {
		case t.kind == ',' || t.kind == ';':
			flush()
		case t.kind == ':':
			name.Reset()
		case t.kind == '<':
			angle, domain = true, ""
		case t.kind == '@':
			if !angle {
				name.WriteByte('@')
			}
			if i+1 < len(tokens) && tokens[i+1].kind == wordAtom {
				domain = tokens[i+1].text
			}
		case t.isWord() && !angle:
			text := t.text
			if t.kind == wordQuoted {
				text = unquote(text[1 : len(text)-1])
			}
			if i > 0 && tokens[i-1].kind != '@' {
				name.WriteByte(' ')
			}
			name.WriteString(text)
		}
	}
	flush()
	return boxes
}

// decodeWords decodes the encoded words of a name (RFC 2047), as readers do inside of quotes too.
func decodeWords(s string) string {
	d := mime.WordDecoder{CharsetReader: func(charset string, in io.Reader) (io.Reader, error) {
		e, err := htmlindex.Get(charset)
		if err != nil {
			return nil, err
		}
		return e.NewDecoder().Reader(in), nil
	}}
	decoded, err := d.DecodeHeader(s)
	if err != nil {
		return s
	}
	return decoded
}
