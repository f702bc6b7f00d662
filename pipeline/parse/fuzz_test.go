package parse

import (
	"bytes"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// addCases seeds a target with f of every case in testdata.
func addCases(f *testing.F, add func(raw []byte)) {
	f.Helper()
	mails, err := filepath.Glob(filepath.Join("testdata", "*.eml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range mails {
		b, err := os.ReadFile(m)
		if err != nil {
			f.Fatal(err)
		}
		add(b)
	}
}

// addBodies seeds a target with the field bodies of all cases.
func addBodies(f *testing.F) {
	f.Helper()
	addCases(f, func(raw []byte) {
		rd := &reading{raw: raw, limits: Limits{}.withDefaults()}
		for _, p := range rd.scan() {
			for _, fd := range p.fields {
				f.Add(fd.body)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	addCases(f, func(raw []byte) { f.Add(raw) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, l := range []Limits{{}, {Depth: 2, Parts: 4, HeaderBytes: 100, Fields: 3, FieldBytes: 40, Params: 2, TextBytes: 20, HTMLBytes: 30, DecodedBytes: 10, Problems: 2}} {
			run(t, newStage(t, l), bytes.Clone(raw))
		}
	})
}

// FuzzPartsCoverNothingTwice checks the scanner alone: leaves lie within the message, in order, and do not overlap.
func FuzzPartsCoverNothingTwice(f *testing.F) {
	addCases(f, func(raw []byte) { f.Add(raw) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = slices.Clip(bytes.Clone(raw))
		rd := &reading{raw: raw, limits: Limits{}.withDefaults()}
		end := 0
		seen := map[string]bool{}
		for _, p := range rd.scan() {
			if seen[p.id] {
				t.Errorf("id %q twice", p.id)
			}
			seen[p.id] = true
			if p.multipart || len(p.body) == 0 {
				continue
			}
			start := len(raw) - cap(p.body)
			if start < end {
				t.Errorf("part %s begins at %d, before %d", p.id, start, end)
			}
			end = start + len(p.body)
		}
		if end > len(raw) {
			t.Errorf("parts end at %d of %d", end, len(raw))
		}
	})
}

func FuzzAddressList(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		n := &notes{max: 10}
		for _, a := range (words{notes: n, where: "To"}).addresses(body) {
			if !utf8.ValidString(a.Name) || !utf8.ValidString(a.Address) || strings.ContainsAny(a.Name+a.Address, "\r\n") {
				t.Errorf("%q", a)
			}
			if a.Name == "" && a.Address == "" {
				t.Error("an empty entry")
			}
		}
	})
}

func FuzzParams(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		m, over := parseMedia(body, 10)
		if len(m.params) > 10 || over && len(m.params) != 10 {
			t.Errorf("%d parameters, over %v", len(m.params), over)
		}
		for _, p := range m.params {
			name, _, _ := strings.Cut(p.name, "*")
			m.value(name)
		}
		if typ := repairType(m.typ); typ != "" && (strings.Count(typ, "/") != 1 || len(typ) > 255 || !isASCII([]byte(typ))) {
			t.Errorf("type %q", typ)
		}
	})
}

func FuzzEncodedWords(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		n := &notes{max: 10}
		if s := (words{notes: n, where: "Subject"}).decode(body); !utf8.ValidString(s) {
			t.Errorf("%q", s)
		}
	})
}

// FuzzDecoders checks that a decoder yields the same octets in whatever pieces they are read, never more than it was
// given, and for base64 the same as the standard library where that one succeeds.
func FuzzDecoders(f *testing.F) {
	for _, s := range []string{"SGVsbG8=", "SGVs\r\nbG8", "a=3D=\r\nb =\t\r\nc=zz  \r\n", "=", "==", strings.Repeat("=41 ", 3000), strings.Repeat(" ", 9000) + "\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, encoding := range []string{"base64", "quoted-printable", ""} {
			d, _ := newDecoder(encoding, src)
			whole, err := io.ReadAll(d)
			if err != nil {
				t.Fatal(err)
			}
			d, _ = newDecoder(encoding, src)
			single, err := io.ReadAll(iotest.OneByteReader(d))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(whole, single) || len(whole) > len(src) {
				t.Errorf("%s of %q: %q and by single octets %q", encoding, src, whole, single)
			}
		}
		if want, err := base64.StdEncoding.DecodeString(string(src)); err == nil && !bytes.Equal(decodeAll("base64", src), want) {
			t.Errorf("base64 of %q: %q, want %q", src, decodeAll("base64", src), want)
		}
	})
}

func FuzzCharsets(f *testing.F) {
	for _, c := range []string{"utf-8", "utf-7", "utf-16", "iso-2022-kr", "iso-2022-jp-2", "x-mac-ce", "cp949", "gb18030", "x-x-big5", "?"} {
		f.Add(c, []byte("+AAA-\x1b$)C\x0eGQ\x0f\xff\xfe\x00a"))
	}
	f.Fuzz(func(t *testing.T, label string, b []byte) {
		if d := decodeText(label, b); !utf8.ValidString(d.text) {
			t.Errorf("%s: %q", label, d.text)
		}
	})
}

func FuzzHTMLToText(f *testing.F) {
	f.Add("<p>a<br>b<a href='http://x'>y</a><pre>1\n2</pre><blockquote>q</blockquote><script>no</script>")
	f.Fuzz(func(t *testing.T, s string) {
		if out := htmlToText(strings.ToValidUTF8(s, "")); !utf8.ValidString(out) {
			t.Errorf("%q", out)
		}
	})
}

func FuzzDate(f *testing.F) {
	for _, s := range []string{"Sat, 21 Nov 2026 10:00:00 +0100", "Sat Nov 21 10:00:00 2026", "2026-11-21T10:00:00Z", "21-Nov-26 9:00 PM GMT+2", "1 Jan 70 0:0 (x)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := parseDate(s); ok {
			if _, err := d.MarshalJSON(); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
	})
}

func FuzzFlowed(f *testing.F) {
	f.Add("a \nb\n> c \n> d\n>> e\n-- \nsig\n", true)
	f.Fuzz(func(t *testing.T, s string, delSp bool) {
		// Nothing but blanks, quote marks and line ends may come or go.
		drop := strings.NewReplacer(" ", "", ">", "", "\n", "")
		if got := unflow(s, delSp); drop.Replace(got) != drop.Replace(s) {
			t.Errorf("%q became %q", s, got)
		}
	})
}
