package webhook

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"

	"mxhook/pipeline"
)

// maxNesting bounds how deep sevenBit looks for parts; what lies deeper is encoded as a whole.
const maxNesting = 50

// sevenBit writes a mail in 7 bits: parts with octets above 127 as quoted-printable or base64, words of header fields as
// encoded words (RFC 2047). Everything that is 7 bits already stays as it is. Signatures over the body break.
func sevenBit(mail []byte) []byte {
	if isSevenBit(mail) {
		return mail
	}
	var b bytes.Buffer
	sevenBitPart(&b, mail, 0)
	return b.Bytes()
}

func isSevenBit(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf || c == 0 {
			return false
		}
	}
	return true
}

// sevenBitPart writes one part: a header, an empty line, a body.
func sevenBitPart(b *bytes.Buffer, part []byte, depth int) {
	end := pipeline.HeaderEnd(part)
	header, body := part[:end], part[end:]
	var contentType, encoding string
	for f := range pipeline.Fields(header) {
		switch {
		case f.Is("Content-Type") && contentType == "":
			contentType = unfold(f.Body)
		case f.Is("Content-Transfer-Encoding") && encoding == "":
			encoding = strings.ToLower(unfold(f.Body))
		}
	}
	// Stray octets in what is encoded already: the encoding stays.
	switch encoding {
	case "quoted-printable":
		body = strayOctets(body, func(c byte) string { return fmt.Sprintf("=%02X", c) })
	case "base64":
		body = strayOctets(body, func(byte) string { return "" })
	}
	clean := isSevenBit(body)
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		media = "text/plain"
	}
	nested := depth < maxNesting && !clean && (strings.HasPrefix(media, "multipart/") && params["boundary"] != "" || media == "message/rfc822")
	for f := range pipeline.Fields(header) {
		if f.Is("Content-Transfer-Encoding") && !clean {
			continue // what takes its place follows
		}
		sevenBitField(b, f)
	}
	if clean {
		b.Write(header[headerFields(header):])
		b.Write(body)
		return
	}
	if nested {
		b.WriteString("Content-Transfer-Encoding: 7bit\r\n\r\n")
		if media == "message/rfc822" {
			sevenBitPart(b, body, depth+1)
			return
		}
		sevenBitMultipart(b, body, params["boundary"], depth)
		return
	}
	if strings.HasPrefix(media, "text/") {
		b.WriteString("Content-Transfer-Encoding: quoted-printable\r\n\r\n")
		w := quotedprintable.NewWriter(b)
		_, _ = w.Write(body) // a bytes.Buffer does not fail
		_ = w.Close()
		return
	}
	b.WriteString("Content-Transfer-Encoding: base64\r\n\r\n")
	encoded := base64.StdEncoding.EncodeToString(body)
	for len(encoded) > 76 {
		b.WriteString(encoded[:76] + "\r\n")
		encoded = encoded[76:]
	}
	b.WriteString(encoded + "\r\n")
}

// strayOctets replaces octets above 127, and NUL.
func strayOctets(body []byte, by func(byte) string) []byte {
	if isSevenBit(body) {
		return body
	}
	var b bytes.Buffer
	for _, c := range body {
		if c >= utf8.RuneSelf || c == 0 {
			b.WriteString(by(c))
		} else {
			b.WriteByte(c)
		}
	}
	return b.Bytes()
}

// headerFields is where the fields of a header end: before the empty line, when there is one.
func headerFields(header []byte) int {
	n := 0
	for f := range pipeline.Fields(header) {
		n += len(f.Raw)
	}
	return n
}

// sevenBitMultipart writes the parts between the delimiters of a boundary (RFC 2046 5.1.1). What stands before the first
// and behind the last is for nobody.
func sevenBitMultipart(b *bytes.Buffer, body []byte, boundary string, depth int) {
	delimiter := []byte("--" + boundary)
	var part []byte
	inPart := false
	flush := func() {
		if inPart {
			// The line end before a delimiter belongs to the delimiter.
			sevenBitPart(b, bytes.TrimSuffix(bytes.TrimSuffix(part, []byte("\n")), []byte("\r")), depth+1)
			b.WriteString("\r\n")
		}
		part = nil
	}
	for line := range bytes.Lines(body) {
		rest, isDelimiter := bytes.CutPrefix(line, delimiter)
		last, isLast := bytes.CutPrefix(rest, []byte("--"))
		if !isDelimiter || len(bytes.TrimSpace(last)) > 0 {
			part = append(part, line...)
			continue
		}
		flush()
		b.WriteString("--" + boundary)
		if isLast {
			b.WriteString("--\r\n")
			return
		}
		b.WriteString("\r\n")
		inPart = true
	}
	flush()
	b.WriteString("--" + boundary + "--\r\n")
}

// sevenBitField writes a header field; words with octets above 127 become encoded words. Octets that are no UTF-8 are
// taken for Latin-1.
func sevenBitField(b *bytes.Buffer, f pipeline.RawField) {
	if isSevenBit(f.Raw) {
		b.Write(f.Raw)
		return
	}
	text := string(f.Raw)
	if !utf8.ValidString(text) {
		runes := make([]rune, 0, len(text))
		for _, c := range []byte(text) {
			runes = append(runes, rune(c))
		}
		text = string(runes)
	}
	for len(text) > 0 {
		n := strings.IndexAny(text, " \t\r\n")
		if n < 0 {
			n = len(text)
		}
		b.WriteString(sevenBitWord(text[:n]))
		text = text[n:]
		for len(text) > 0 && strings.IndexByte(" \t\r\n", text[0]) >= 0 {
			b.WriteByte(text[0])
			text = text[1:]
		}
	}
}

// sevenBitWord encodes what is between quotes, brackets and commas of a word.
func sevenBitWord(word string) string {
	if isSevenBit([]byte(word)) {
		return strings.ReplaceAll(word, "\x00", "")
	}
	const around = `"<>(),;:`
	inner := strings.Trim(word, around)
	before, after, _ := strings.Cut(word, inner)
	clean := func(s string) string { return strings.ReplaceAll(s, `"`, "") }
	return clean(before) + mime.QEncoding.Encode("utf-8", inner) + clean(after)
}
