package parse

import (
	"bytes"
	"encoding/base64"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"mxhook/pipeline"
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

// addCorpus seeds a target with f of the files of a corpus, when it is there, that have that ending and are short: long
// seeds make slow targets.
func addCorpus(f *testing.F, folder, ending string, add func(b []byte)) {
	f.Helper()
	err := filepath.WalkDir(filepath.Join(corpus, folder), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ending) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err == nil && len(b) <= 6<<10 {
			add(b)
		}
		return err
	})
	if err != nil {
		f.Fatal(err)
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
	addCorpus(f, "mime", ".eml", func(b []byte) { f.Add(toCRLF(b)) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, l := range []Limits{{}, {Depth: 2, Parts: 4, HeaderBytes: 100, Fields: 3, FieldBytes: 40, Params: 2, TextBytes: 20, HTMLBytes: 30, DecodedBytes: 10, Problems: 2}} {
			fuzzMail(t, l, raw)
		}
	})
}

// FuzzRepeated looks for bombs: it makes a mail of a beginning and of what is repeated behind it until the mail is large,
// so that work which grows faster than its input shows.
func FuzzRepeated(f *testing.F) {
	for _, s := range []struct{ head, unit string }{
		{"Subject: ", "=?utf-8?q?a?= "},
		{"To: ", "a <b@c>, \"d\" ("},
		{"X: y\r\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"},
		{"Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\n\r\nx\r\n"},
		{"Content-Type: application/x", "; name*1*=a"},
		{"Content-Type: text/html\r\n\r\n", "<a href='http://b'><blockquote>c&amp;"},
		{"Content-Transfer-Encoding: base64\r\n\r\n", "YQ=="},
		{"Content-Type: text/plain; charset=utf-7; format=flowed\r\n\r\n", "+AAA- \n>"},
		{"\r\n", "From: a\nTo: b\n\nOn 1 Jan a@b.c wrote:\n-----\n"},
		{"\r\n", "begin 644 a\r\n#0V%T\r\n`\r\nend\r\n"},
		{"From: mailer-daemon@a.b\r\nSubject: undelivered\r\n\r\n", "<a@b.c>: 550 5.1.1 no\r\n"},
		{"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n", "Final-Recipient: rfc822; a@b.c\r\n\r\n"},
		{"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\n", "BEGIN:VEVENT\r\nATTENDEE;CN=\"a\":b\r\n c\r\n"},
	} {
		f.Add([]byte(s.head), []byte(s.unit), uint16(0xffff))
	}
	f.Fuzz(func(t *testing.T, head, unit []byte, size uint16) {
		n := min(2*int(size), 256*len(unit)*len(unit))
		if len(unit) == 0 || n < len(unit) {
			return
		}
		fuzzMail(t, Limits{}, append(head, bytes.Repeat(unit, n/len(unit))...))
	})
}

// FuzzHeader reads a header block.
func FuzzHeader(f *testing.F) {
	addCases(f, func(raw []byte) { f.Add(raw[:pipeline.HeaderEnd(raw)]) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = bytes.Clone(raw)
		c := fuzzReader(t, len(raw), func() *pipeline.Content {
			rd := &reading{limits: Limits{}.withDefaults(), envelope: &pipeline.Envelope{}, raw: raw}
			return rd.headerOf(raw)
		})
		for _, h := range c.Headers {
			if h.Name == "" || strings.ContainsAny(h.Name+h.Value, "\r\n\x00") {
				t.Errorf("field %q: %q", h.Name, h.Value)
			}
		}
		checkJSON(t, list(c))
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
		list := fuzzReader(t, len(body), func() []pipeline.Address { return words{notes: &notes{max: 10}, where: "To"}.addresses(body) })
		for _, a := range list {
			if strings.ContainsAny(a.Name+a.Address, "\r\n") {
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
		var m media
		var over bool
		within(t, len(body), func() {
			m, over = parseMedia(body, 10)
			for _, p := range m.params {
				name, _, _ := strings.Cut(p.name, "*")
				checkJSON(t, textOf(m, name))
			}
		})
		if len(m.params) > 10 || over && len(m.params) != 10 {
			t.Errorf("%d parameters, over %v", len(m.params), over)
		}
		if typ := repairType(m.typ); typ != "" && (strings.Count(typ, "/") != 1 || len(typ) > 255 || !isASCII([]byte(typ))) {
			t.Errorf("type %q", typ)
		}
	})
}

func FuzzEncodedWords(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		fuzzReader(t, len(body), func() string { return words{notes: &notes{max: 10}, where: "Subject"}.decode(body) })
	})
}

// FuzzDecoders checks that a decoder yields the same octets in whatever pieces they are read, never more than it was
// given, and for base64 the same as the standard library where that one succeeds.
func FuzzDecoders(f *testing.F) {
	for _, s := range []string{"SGVsbG8=", "SGVs\r\nbG8", "a=3D=\r\nb =\t\r\nc=zz  \r\n", "=", "==", strings.Repeat("=41 ", 3000), strings.Repeat(" ", 9000) + "\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, encoding := range []string{"base64", "quoted-printable", "uuencode", ""} {
			var whole []byte
			within(t, len(src), func() { whole = decodeAll(encoding, src) })
			d, _ := newDecoder(encoding, src)
			single, err := io.ReadAll(iotest.OneByteReader(d))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(whole, single) || len(whole) > len(src)+1 {
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
		d := fuzzReader(t, len(b), func() decoded { return decodeText(label, b) })
		if !utf8.ValidString(d.text) {
			t.Errorf("%s: %q", label, d.text)
		}
	})
}

func FuzzHTMLToText(f *testing.F) {
	f.Add("<p>a<br>b<a href='http://x'>y</a><pre>1\n2</pre><blockquote>q</blockquote><script>no</script>")
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "")
		fuzzReader(t, len(s), func() string { return htmlToText(s) })
	})
}

func FuzzDate(f *testing.F) {
	for _, s := range []string{"Sat, 21 Nov 2026 10:00:00 +0100", "Sat Nov 21 10:00:00 2026", "2026-11-21T10:00:00Z", "21-Nov-26 9:00 PM GMT+2", "1 Jan 70 0:0 (x)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fuzzReader(t, len(s), func() time.Time {
			d, _ := parseDate(s)
			return d
		})
	})
}

func FuzzFlowed(f *testing.F) {
	f.Add("a \nb\n> c \n> d\n>> e\n-- \nsig\n", true)
	f.Fuzz(func(t *testing.T, s string, delSp bool) {
		// Nothing but blanks, quote marks and line ends may come or go.
		drop := strings.NewReplacer(" ", "", ">", "", "\n", "")
		if got := fuzzReader(t, len(s), func() string { return unflow(validUTF8(s), delSp) }); drop.Replace(got) != drop.Replace(validUTF8(s)) {
			t.Errorf("%q became %q", s, got)
		}
	})
}

// textOf returns a parameter as text.
func textOf(m media, name string) string {
	v, _ := m.value(name)
	return decodeText(v.charset, v.octets).text
}

// FuzzPlainText holds that the short way to read a leaf and enmime read the same, where both can read it.
func FuzzPlainText(f *testing.F) {
	addCases(f, func(raw []byte) {
		rd := &reading{raw: raw, limits: Limits{}.withDefaults()}
		for _, p := range rd.scan() {
			if !p.multipart {
				f.Add(p.body)
			}
		}
	})
	for _, s := range []string{"a=\r\n", "a =\t\r\nb ", "=3D=\n=41", "=0D=0Aa\r\n\r\n", "\xef\xbb\xbfa", "YQ==", "YW\r\nJj\r\n", "=E2=82=AC", "a\rb\r\r\n", "a\x00b"} {
		f.Add([]byte(s))
	}
	padded := regexp.MustCompile(`=[ \t\r]+(\n|$)`)
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, encoding := range []string{"", "base64", "quoted-printable"} {
			if encoding == "quoted-printable" && padded.Match(src) {
				continue // see the comment of plainText
			}
			for _, label := range []string{"", "utf-8", "us-ascii"} {
				plain, ok := plainText(encoding, label, src)
				rd := &reading{limits: Limits{}.withDefaults()}
				usual, read := rd.usualText(&part{encoding: encoding}, label, src)
				if ok && read && string(plain) != usual {
					t.Errorf("%s %s of %q: %q, by enmime %q", encoding, label, src, plain, usual)
				}
			}
		}
	})
}
