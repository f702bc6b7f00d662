package parse

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// charset is a charset that we can read.
type charset struct {
	// name is the canonical one in lower case. "utf-8" has no decode: it is checked, not converted.
	name   string
	decode func([]byte) string
}

// decoded is text with what was done to read it.
type decoded struct {
	text string
	// note is "", noteCharsetUnknown or noteCharsetReplaced; detail says more.
	note, detail string
}

// decodeText makes UTF-8 of octets by a ladder: the charset that is declared, UTF-8 when the octets are that,
// windows-1252. Text in a charset with characters of several octets is not read as windows-1252: what is broken in it
// becomes U+FFFD.
func decodeText(declared string, b []byte) decoded {
	cs, known := lookupCharset(declared)
	switch {
	case known && cs.decode == nil:
		return decodeUTF8(declared, b)
	case known:
		s := cs.decode(b)
		if !strings.Contains(s, "\uFFFD") {
			return decoded{text: s}
		}
		if utf8.Valid(b) && !isASCII(b) {
			return decoded{string(b), noteCharsetReplaced, fmt.Sprintf("declared %s, read as utf-8", cs.name)}
		}
		return decoded{s, noteCharsetReplaced, fmt.Sprintf("octets that %s cannot have", cs.name)}
	}
	d := decodeUTF8("", b)
	d.note = noteCharsetUnknown
	if d.detail == "" {
		d.detail = "read as utf-8"
	}
	d.detail = fmt.Sprintf("unknown charset %q, %s", cut(declared, 40), d.detail)
	return d
}

// decodeUTF8 is decodeText for what should be UTF-8 or ASCII. Text that was declared UTF-8 and mostly is stays so.
func decodeUTF8(declared string, b []byte) decoded {
	if utf8.Valid(b) {
		return decoded{text: string(b)}
	}
	if good, bad := countUTF8(b); good > bad || (good == bad && strings.EqualFold(declared, "utf-8")) {
		return decoded{validUTF8(string(b)), noteCharsetReplaced, "octets that utf-8 cannot have"}
	}
	return decoded{decodeSingle(charmap.Windows1252)(b), noteCharsetReplaced, "read as windows-1252"}
}

// countUTF8 counts the characters of several octets and the octets that fit nowhere.
func countUTF8(b []byte) (good, bad int) {
	for len(b) > 0 {
		if b[0] < utf8.RuneSelf {
			b = b[1:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			bad++
		} else {
			good++
		}
		b = b[n:]
	}
	return good, bad
}

// lookupCharset finds a charset by any of the names in use. "" and the names of ASCII are UTF-8: nothing else is safe
// to say of octets above 127 there.
func lookupCharset(label string) (charset, bool) {
	name := cleanCharset(label)
	switch name {
	case "", "us-ascii", "ascii", "ansi_x3.4-1968", "iso646-us", "utf-8", "utf8", "utf8mb4", "utf-8-sig", "unicode-1-1-utf-8", "cp65001":
		return charset{name: "utf-8"}, true
	case "utf-7", "utf7", "unicode-1-1-utf-7", "x-unicode-2-0-utf-7":
		return charset{"utf-7", decodeUTF7}, true
	case "iso-2022-kr", "csiso2022kr":
		return charset{"iso-2022-kr", decodeISO2022KR}, true
	case "x-mac-ce", "x-mac-centraleurroman", "mac-centraleurope":
		return charset{"x-mac-ce", decodeMacCE}, true
	case "viscii", "csviscii":
		return charset{"viscii", decodeVISCII}, true
	case "iso-2022-cn", "iso-2022-cn-ext", "csiso2022cn":
		return charset{"iso-2022-cn", decodeISO2022CN}, true
	}
	if e := encodingOf(name); e != nil {
		return charset{canonicalName(e, name), decodeWith(e)}, true
	}
	if loose := looseCharset(name); loose != "" && loose != name {
		return lookupCharset(loose)
	}
	return charset{}, false
}

// looseCharset returns the charset that a name means which is written in another way than any list has it: without its
// hyphens, with other ones, or with a word behind it. "" when it is none.
func looseCharset(name string) string {
	squashed := strings.Map(func(r rune) rune {
		if r < 0x80 && isAlnum(byte(r)) {
			return r
		}
		return -1
	}, name)
	for _, p := range []struct{ prefix, charset string }{
		{"utf8", "utf-8"},
		{"usascii", "us-ascii"},
		{"iso2022jp", "iso-2022-jp"},
		{"iso2022kr", "iso-2022-kr"},
		{"eucjp", "euc-jp"},
		{"ujis", "euc-jp"},
		{"euckr", "euc-kr"},
		{"shiftjis", "shift_jis"},
		{"sjis", "shift_jis"},
		{"gb18030", "gb18030"},
		{"gb2312", "gbk"},
		{"gbk", "gbk"},
		{"big5", "big5"},
		{"ksc5601", "euc-kr"},
		{"koi8u", "koi8-u"},
		{"koi8", "koi8-r"},
		{"macroman", "macintosh"},
		{"tis620", "windows-874"},
		{"cp874", "windows-874"},
	} {
		if strings.HasPrefix(squashed, p.prefix) {
			return p.charset
		}
	}
	for _, p := range []string{"windows", "win", "cp", "ibm", "ms", "xcp"} {
		if n, ok := strings.CutPrefix(squashed, p); ok && len(n) == 4 && strings.HasPrefix(n, "125") {
			return "windows-" + n
		}
	}
	for _, p := range []string{"iso8859", "8859", "iso88859"} {
		if n, ok := strings.CutPrefix(squashed, p); ok {
			if n = strings.TrimRight(n, "abcdefghijklmnopqrstuvwxyz"); n != "" && len(n) <= 2 && strings.Trim(n, "0123456789") == "" {
				return "iso-8859-" + n
			}
		}
	}
	return ""
}

// encodingOf returns the x/text encoding of a name, or nil.
func encodingOf(name string) encoding.Encoding {
	switch name {
	case "cp949", "ms949", "uhc", "windows-949", "ks_c_5601", "ksc5601", "x-windows-949", "x-euc-kr":
		return korean.EUCKR
	case "cp950", "ms950", "x-windows-950":
		name = "big5"
	case "cp936", "ms936", "gb2312-80", "x-cp936", "windows-936", "euc-cn", "x-euc-cn", "gb2312_charset":
		name = "gbk"
	case "cp932", "ms932", "sjis", "x-ms-cp932", "windows-932", "cp943":
		name = "shift_jis"
	case "iso-2022-jp-1", "iso-2022-jp-2", "iso-2022-jp-3", "iso-2022-jp-2004", "iso-2022-jp-ms", "cp50220", "cp50221":
		name = "iso-2022-jp"
	case "8859-1", "8859_1", "iso-8859-1-windows-3.1-latin-1", "iso: western", "we8iso8859p1", "latin-1", "iso-latin-1", "ansi", "iso8859_1":
		name = "windows-1252"
	case "8859-2", "238":
		name = "iso-8859-2"
	case "cp437", "437":
		return charmap.CodePage437
	case "cp850", "cp-850", "850":
		return charmap.CodePage850
	case "cp852", "852":
		return charmap.CodePage852
	case "cp858", "858", "cp00858":
		return charmap.CodePage858
	case "utf-16":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case "utf-32", "utf32", "utf-32be":
		return utf32.UTF32(utf32.BigEndian, utf32.UseBOM)
	case "utf-32le":
		return utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM)
	case "x-user-defined", "replacement":
		return nil
	}
	if e, err := htmlindex.Get(name); err == nil && e != encoding.Replacement {
		return e
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e
	}
	if rest, ok := strings.CutPrefix(name, "x-"); ok && !strings.HasPrefix(rest, "x-") {
		return encodingOf(rest)
	}
	if rest, ok := strings.CutPrefix(name, "cp"); ok && strings.HasPrefix(rest, "125") {
		return encodingOf("windows-" + rest)
	}
	return nil
}

// canonicalName is the name of an encoding as the WHATWG list has it, else the name that was asked for.
func canonicalName(e encoding.Encoding, asked string) string {
	if n, err := htmlindex.Name(e); err == nil {
		return n
	}
	return asked
}

// textCharset returns the charset that the first text part with one declares; "" when it is ASCII, UTF-8 or unknown.
func textCharset(parts []part) string {
	for i := range parts {
		label := parts[i].media.raw("charset")
		if len(label) == 0 || !isText(&parts[i]) {
			continue
		}
		if cs, known := lookupCharset(string(label)); known && cs.name != "utf-8" {
			return cs.name
		}
		return ""
	}
	return ""
}

// cleanCharset strips what senders put around the name of a charset: quotes, "charset=", the language of RFC 2231.
func cleanCharset(label string) string {
	if len(label) > 64 {
		return "?"
	}
	n := strings.ToLower(strings.Trim(label, " \t\"'`;,"))
	n = strings.TrimPrefix(n, "charset=")
	n = strings.Trim(n, "\"'")
	n, _, _ = strings.Cut(n, "*")
	return n
}

// decodeWith reads octets by an encoding of x/text. Those replace what they cannot read by U+FFFD and never fail.
func decodeWith(e encoding.Encoding) func([]byte) string {
	if m, ok := e.(*charmap.Charmap); ok {
		return decodeSingle(m)
	}
	return func(b []byte) string {
		out, err := e.NewDecoder().Bytes(b)
		if err != nil {
			return string(out) + "\uFFFD"
		}
		return validUTF8(string(out))
	}
}

// decodeSingle reads a charset of one octet for each character.
func decodeSingle(m *charmap.Charmap) func([]byte) string {
	return func(b []byte) string {
		var s strings.Builder
		s.Grow(len(b) + len(b)/8)
		for _, c := range b {
			if c < utf8.RuneSelf {
				s.WriteByte(c)
				continue
			}
			s.WriteRune(m.DecodeByte(c))
		}
		return s.String()
	}
}

// decodeISO2022KR reads RFC 1557: EUC-KR in seven bits, between SO and SI, after a designator that says nothing.
func decodeISO2022KR(b []byte) string {
	b = bytes.ReplaceAll(b, []byte("\x1b$)C"), nil)
	out, shifted := make([]byte, 0, len(b)), false
	for _, c := range b {
		switch {
		case c == 0x0e:
			shifted = true
		case c == 0x0f || c == '\n':
			shifted = false
			if c == '\n' {
				out = append(out, c)
			}
		case shifted && c > ' ' && c < 0x7f:
			out = append(out, c|0x80)
		default:
			out = append(out, c)
		}
	}
	return decodeWith(korean.EUCKR)(out)
}

// decodeISO2022CN reads RFC 1922: GB 2312 in seven bits, between SO and SI. The planes of CNS 11643, which x/text does not
// have, become U+FFFD.
func decodeISO2022CN(b []byte) string {
	var s strings.Builder
	gb := simplifiedchinese.GBK.NewDecoder()
	shifted, cns := false, false
	for len(b) > 0 {
		c := b[0]
		switch {
		case c == 0x1b && len(b) >= 4 && b[1] == '$' && (b[2] == ')' || b[2] == '*' || b[2] == '+'):
			if b[2] == ')' {
				cns = b[3] != 'A'
			}
			b = b[4:]
			continue
		case c == 0x1b && len(b) >= 4 && (b[1] == 'N' || b[1] == 'O'):
			// One character of another plane.
			s.WriteRune(utf8.RuneError)
			b = b[4:]
			continue
		case c == 0x0e || c == 0x0f:
			shifted = c == 0x0e
		case shifted && c > ' ' && c < 0x7f && len(b) > 1 && b[1] > ' ' && b[1] < 0x7f:
			if out, err := gb.Bytes([]byte{c | 0x80, b[1] | 0x80}); err == nil && !cns {
				s.Write(out)
			} else {
				s.WriteRune(utf8.RuneError)
			}
			b = b[2:]
			continue
		case c < utf8.RuneSelf:
			// Designators and shifts end with the line.
			shifted = shifted && c != '\n'
			s.WriteByte(c)
		default:
			s.WriteRune(utf8.RuneError)
		}
		b = b[1:]
	}
	return validUTF8(s.String())
}

// decodeVISCII reads RFC 1456, Vietnamese, which x/text does not have. Six letters stand in place of controls.
func decodeVISCII(b []byte) string {
	const high = "ẠẮẰẶẤẦẨẬẼẸẾỀỂỄỆỐỒỔỖỘỢỚỜỞỊỎỌỈỦŨỤỲÕắằặấầẩậẽẹếềểễệốồổỗỠƠộờởịỰỨỪỬơớƯÀÁÂÃẢĂẳẵÈÉÊẺÌÍĨỳĐứÒÓÔạỷừửÙÚỹỵÝỡưàáâãảăữẫèéêẻìíĩỉđựòóôõỏọụùúũủýợỮ"
	runes := []rune(high)
	var s strings.Builder
	for _, c := range b {
		switch {
		case c >= utf8.RuneSelf:
			s.WriteRune(runes[c-utf8.RuneSelf])
		case c == 0x02:
			s.WriteRune('Ẳ')
		case c == 0x05:
			s.WriteRune('Ẵ')
		case c == 0x06:
			s.WriteRune('Ẫ')
		case c == 0x14:
			s.WriteRune('Ỷ')
		case c == 0x19:
			s.WriteRune('Ỹ')
		case c == 0x1e:
			s.WriteRune('Ỵ')
		default:
			s.WriteByte(c)
		}
	}
	return s.String()
}

// decodeMacCE reads the Macintosh charset for Central Europe, which x/text does not have.
func decodeMacCE(b []byte) string {
	const high = "ÄĀāÉĄÖÜáąČäčĆćéŹźĎíďĒēĖóėôöõúĚěü†°Ę£§•¶ß®©™ę¨≠ģĮįĪ≤≥īĶ∂∑łĻļĽľĹĺŅņŃ¬√ńŇ∆«»…\u00a0ňŐÕőŌ–—“”‘’÷◊ōŔŕŘ‹›řŖŗŠ‚„šŚśÁŤťÍŽžŪÓÔūŮÚůŰűŲųÝýķŻŁżĢˇ"
	runes := []rune(high)
	var s strings.Builder
	for _, c := range b {
		if c < utf8.RuneSelf {
			s.WriteByte(c)
		} else {
			s.WriteRune(runes[c-utf8.RuneSelf])
		}
	}
	return s.String()
}

// decodeUTF7 reads RFC 2152.
func decodeUTF7(b []byte) string {
	utf16 := unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	var s strings.Builder
	for len(b) > 0 {
		i := bytes.IndexByte(b, '+')
		if i < 0 {
			i = len(b)
		}
		s.WriteString(validUTF8(string(b[:i])))
		if b = b[i:]; len(b) == 0 {
			break
		}
		n := 1
		for n < len(b) && (isAlnum(b[n]) || b[n] == '+' || b[n] == '/') {
			n++
		}
		word, rest := b[1:n], b[n:]
		closed := len(rest) > 0 && rest[0] == '-'
		switch {
		case len(word) == 0:
			s.WriteByte('+')
		default:
			octets := decodeAll("base64", word)
			out, _ := utf16.NewDecoder().Bytes(octets[:len(octets)&^1])
			s.Write(out)
		}
		if b = rest; closed {
			b = b[1:]
		}
	}
	return s.String()
}
