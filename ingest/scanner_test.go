package ingest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// scanned is what the scanner makes of a stream.
type scanned struct {
	Content, Rest string
	Done          bool
}

// scanIn feeds a stream in pieces that end at the given offsets, as a wire with its buffer would.
func scanIn(stream []byte, cuts ...int) scanned {
	var d dataScanner
	var content, buf []byte
	emit := func(p []byte) { content = append(content, p...) }
	from := 0
	for _, cut := range append(cuts, len(stream)) {
		buf = append(buf, stream[from:cut]...)
		from = cut
		n, done := d.scan(buf, emit)
		buf = buf[n:]
		if done {
			return scanned{string(content), string(buf) + string(stream[from:]), true}
		}
		if len(buf) > 2 {
			panic("the scanner leaves more than two octets")
		}
	}
	return scanned{string(content), string(buf), false}
}

// scanNaive is the rule in its plainest form: content up to the first CR LF "." CR LF, and a dot behind CR LF dropped.
// The CR LF before the first line was sent with the DATA command.
func scanNaive(stream []byte) scanned {
	text := "\r\n" + string(stream)
	end := strings.Index(text, "\r\n.\r\n")
	content, rest, done := text, "", end >= 0
	if done {
		content, rest = text[:end+2], text[end+5:]
	}
	content = strings.ReplaceAll(content, "\r\n.", "\r\n")
	return scanned{content[2:], rest, done}
}

// TestScannerEndsOnlyAtCRLFDotCRLF is the table of smuggling: what ends a message and what is content.
func TestScannerEndsOnlyAtCRLFDotCRLF(t *testing.T) {
	t.Parallel()
	const smuggled = "MAIL FROM:<mallory@example.org>\r\n"
	for _, c := range []struct {
		end     string
		content string // with end as content, up to the true end; "" means that end is an end
	}{
		{"\r\n.\r\n", ""},
		{"\r\r\n.\r\n", ""},
		{"\n\r\n.\r\n", ""},
		{"\n.\n", "\n.\n"},
		{"\n.\r\n", "\n.\r\n"},
		{"\r.\r", "\r.\r"},
		{"\r.\r\n", "\r.\r\n"},
		{"\r\n.\n", "\r\n\n"},
		{"\r\n.\r", "\r\n\r"},
		{"\r\n.\r\r\n", "\r\n\r\r\n"},
		{"\r\n\x00.\r\n", "\r\n\x00.\r\n"},
		{"\r\n.\x00\r\n", "\r\n\x00\r\n"},
		{"\r\n. \r\n", "\r\n \r\n"},
		{"\r\n..\r\n", "\r\n.\r\n"},
		{"\n\n.\r\n", "\n\n.\r\n"},
		{"\r\n\r.\r\n", "\r\n\r.\r\n"},
		{"\n\r.\r\n", "\n\r.\r\n"},
		{"\r\n\n.\r\n", "\r\n\n.\r\n"},
		{"\u0085.\u0085", "\u0085.\u0085"},
		{"\u2028.\u2028", "\u2028.\u2028"},
		{"\r\n\uff0e\r\n", "\r\n\uff0e\r\n"},
	} {
		stream := []byte("text" + c.end + smuggled + ".\r\nQUIT\r\n")
		want := scanned{"text" + c.content + smuggled, "QUIT\r\n", true}
		if c.content == "" {
			kept := strings.TrimSuffix(c.end, ".\r\n")
			want = scanned{"text" + kept, smuggled + ".\r\nQUIT\r\n", true}
		}
		for cut := range stream {
			if diff := cmp.Diff(want, scanIn(stream, cut)); diff != "" {
				t.Errorf("%q cut at %d: %s", c.end, cut, diff)
			}
		}
	}
}

func TestScannerAtTheBeginning(t *testing.T) {
	t.Parallel()
	for stream, want := range map[string]scanned{
		"":            {"", "", false},
		".\r\n":       {"", "", true},
		".\r\nNOOP":   {"", "NOOP", true},
		".":           {"", ".", false},
		".\r":         {"", ".\r", false},
		".\n.\r\n":    {"\n.\r\n", "", false},
		"..\r\n.\r\n": {".\r\n", "", true},
		"\r\n.\r\n":   {"\r\n", "", true},
	} {
		if diff := cmp.Diff(want, scanIn([]byte(stream))); diff != "" {
			t.Errorf("%q: %s", stream, diff)
		}
	}
}

func FuzzDataScanner(f *testing.F) {
	for _, s := range []string{
		"", ".\r\n", "a\r\n.\r\nb", "\r\n..\r\n.\r\n", "\r.\n\r\n.\r", "a\r\r\n.\r\n", "\n.\r\n\r\n.\n\r\n.\r\n", "\x00.\x00",
	} {
		f.Add([]byte(s), uint(1), uint(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, a, b uint) {
		n := uint(len(stream) + 1)
		a, b = a%n, b%n
		want := scanNaive(stream)
		got := scanIn(stream, int(min(a, b)), int(max(a, b)))
		if !want.Done {
			// The scanner holds back what it cannot judge yet; the naive rule has dropped the dot from it.
			got.Content += strings.TrimPrefix(got.Rest, ".")
			got.Rest = ""
		}
		if got != want {
			t.Errorf("%q cut at %d and %d: got %+v, want %+v", stream, a, b, got, want)
		}
	})
}

// BenchmarkDataScanner measures the scanner alone, over text of 76-octet lines with a stuffed dot in every hundredth.
func BenchmarkDataScanner(b *testing.B) {
	for _, width := range []int{30, 76, 998} {
		b.Run(fmt.Sprintf("lines=%d", width), func(b *testing.B) {
			line := strings.Repeat("x", width) + "\r\n"
			text := []byte(strings.Repeat(strings.Repeat(line, 99)+"."+line, 1+bufferSize/len(line)/100)[:bufferSize])
			sink := bytes.NewBuffer(make([]byte, 0, bufferSize))
			emit := func(p []byte) { sink.Write(p) }
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var d dataScanner
				sink.Reset()
				d.scan(text, emit)
			}
		})
	}
}
