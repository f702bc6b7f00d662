package parse

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/jhillyerd/enmime/v2"
)

// enmimeBytes bounds what enmime reads of one message: it takes some 20 ns for an octet, and up to 30 octets of memory
// when there is junk in base64. Usual mails are within it.
const enmimeBytes = 512 << 10

// text returns the text of a leaf: valid UTF-8, lines end in LF, no byte order mark, no NUL (RFC 5322 4.1 forbids it,
// and databases refuse it).
func (rd *reading) text(p *part, typ string) string {
	src := p.body
	if len(src) > rd.limits.TextBytes {
		rd.notes.add(noteTextLimit, p.id, "text over %d octets", rd.limits.TextBytes)
		src = src[:rd.limits.TextBytes]
	}
	declared, _ := p.media.value("charset")
	label := validUTF8(string(declared.octets))
	var s string
	if octets, ok := plainText(p.encoding, label, src); ok {
		s = cleanText(octets)
	} else {
		if s, ok = rd.usualText(p, label, src); !ok {
			s = rd.anyText(p, typ, label, src)
		}
		s = cleanText([]byte(s))
	}
	if typ == "text/plain" && strings.EqualFold(string(p.media.raw("format")), "flowed") {
		s = unflow(s, strings.EqualFold(string(p.media.raw("delsp")), "yes"))
	}
	return s
}

// cleanText makes a text of what is valid UTF-8: without a byte order mark and NUL, with LF in place of CRLF.
func cleanText(b []byte) string {
	b = bytes.TrimPrefix(b, []byte("\uFEFF"))
	if bytes.IndexByte(b, 0) >= 0 {
		b = bytes.ReplaceAll(b, []byte{0}, nil)
	}
	if bytes.IndexByte(b, '\r') < 0 {
		return string(b)
	}
	var s strings.Builder
	s.Grow(len(b))
	for len(b) > 0 {
		n := lineEnd(b, 0)
		if line := b[:n]; bytes.HasSuffix(line, []byte("\r\n")) {
			s.Write(line[:n-2])
			s.WriteByte('\n')
		} else {
			s.Write(line)
		}
		b = b[n:]
	}
	return s.String()
}

// plainText reads a leaf as most are: in UTF-8 or ASCII, with nothing wrong in its encoding. It returns false for all others.
// What it reads enmime reads in the same way, but for blanks behind the equals sign of a soft line break, which it keeps
// against RFC 2045 6.7; it takes ten times as long, since it looks at each octet through several readers.
func plainText(encoding, label string, src []byte) ([]byte, bool) {
	if cs, known := lookupCharset(label); !known || cs.name != "utf-8" {
		return nil, false
	}
	octets, ok := src, true
	switch encoding {
	case "":
	case "quoted-printable":
		octets, ok = plainQuotedPrintable(src)
	case "base64":
		d := &base64Decoder{src: src}
		octets = readAll(d, len(src))
		ok = !d.damaged()
	default:
		ok = false
	}
	if !ok || !utf8.Valid(octets) {
		return nil, false
	}
	return octets, true
}

// plainQuotedPrintable decodes quoted-printable (RFC 2045 6.7) in which every equals sign stands before two digits or ends
// its line, and every CR before an LF; it returns false for any other.
func plainQuotedPrintable(src []byte) ([]byte, bool) {
	out := make([]byte, 0, len(src))
	for len(src) > 0 {
		n := lineEnd(src, 0)
		line := trimLineEnd(src[:n])
		ending := src[len(line):n]
		src = src[n:]
		line = bytes.TrimRight(line, " \t")
		if bytes.HasSuffix(line, []byte("=")) {
			line, ending = line[:len(line)-1], nil
		}
		if bytes.IndexByte(line, '\r') >= 0 || string(ending) == "\r" {
			return nil, false
		}
		for i := bytes.IndexByte(line, '='); i >= 0; i = bytes.IndexByte(line, '=') {
			if i+2 >= len(line) {
				return nil, false
			}
			hi, lo := unhex(line[i+1]), unhex(line[i+2])
			if hi < 0 || lo < 0 {
				return nil, false
			}
			out = append(append(out, line[:i]...), byte(hi<<4|lo))
			line = line[i+3:]
		}
		out = append(append(out, line...), ending...)
	}
	return out, true
}

// usualText reads a leaf by enmime. It returns false when the leaf is not one that enmime reads well: too large, in a
// charset that it does not know, or with anything wrong. enmime sees one leaf under a header of our own, never a
// structure or a header of the sender's: those are where its work can grow out of bounds.
func (rd *reading) usualText(p *part, label string, src []byte) (s string, ok bool) {
	cs, known := lookupCharset(label)
	if !known || rd.usual+len(src) > enmimeBytes || strings.HasPrefix(cs.name, "utf-16") || cs.name == "utf-7" {
		return "", false
	}
	switch p.encoding {
	case "", "base64":
	case "quoted-printable":
		// enmime takes a soft line break at the very end for an equals sign.
		if bytes.HasSuffix(src, []byte("=")) {
			return "", false
		}
	default:
		return "", false
	}
	rd.usual += len(src)
	defer func() {
		if recover() != nil {
			s, ok = "", false
		}
	}()
	head := "Content-Type: text/plain; charset=" + cs.name + "\r\nContent-Transfer-Encoding: " + p.encoding + "\r\n\r\n"
	leaf, err := leafParser().ReadParts(io.MultiReader(strings.NewReader(head), bytes.NewReader(src)))
	if err != nil || len(leaf.Errors) > 0 || !utf8.Valid(leaf.Content) || bytes.Contains(leaf.Content, []byte("\uFFFD")) {
		return "", false
	}
	return string(leaf.Content), true
}

// leafParser returns enmime without what is slow or wrong: it would guess charsets over declared ones.
func leafParser() *enmime.Parser {
	return enmime.NewParser(enmime.DisableCharacterDetection(true), enmime.DisableTextConversion(true), enmime.MaxStoredPartErrors(1))
}

// anyText reads a leaf by our own decoders and the ladder of charsets, and notes what was wrong.
func (rd *reading) anyText(p *part, typ, label string, src []byte) string {
	d, known := newDecoder(p.encoding, src)
	if !known {
		rd.notes.add(noteEncodingUnknown, p.id, "%q", cut(p.encoding, 40))
	}
	octets := readAll(d, len(src))
	if p.encoding == "base64" && d.damaged() && !utf8.Valid(octets) && isProse(src) {
		octets = src
	}
	if d.damaged() {
		rd.notes.add(noteEncodingDamaged, p.id, "not all of it is %s", p.encoding)
	}
	if label == "" && typ == "text/html" && !utf8.Valid(octets) {
		label = metaCharset(octets)
	}
	t := decodeText(label, octets)
	if t.note != "" {
		rd.notes.add(t.note, p.id, "%s", t.detail)
	}
	return t.text
}

// isProse reports whether what is declared as base64 is text that nobody encoded: more than one octet in twenty is
// not base64.
func isProse(src []byte) bool {
	junk := 0
	for _, c := range src {
		if c != '\r' && c != '\n' && base64Values[c] >= b64Skip && c != '=' {
			junk++
		}
	}
	return junk*20 > len(src)
}

// metaCharset returns the charset that an HTML document names in its first kilobyte.
func metaCharset(b []byte) string {
	head := bytes.ToLower(cutBytes(b, 1024))
	i := bytes.Index(head, []byte("charset="))
	if i < 0 {
		return ""
	}
	v := bytes.TrimLeft(head[i+len("charset="):], ` "'`)
	n := 0
	for n < len(v) && (isAlnum(v[n]) || isOneOf(v[n], "-_:.")) {
		n++
	}
	return string(v[:n])
}
