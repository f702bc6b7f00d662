package webhook

import (
	"bytes"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// longText is a string of the payload that is most of it: a text or HTML of a mail. encoding/json takes some 2 ns for each of
// its octets and copies it twice, so that it stands aside while the rest is encoded, like octets.
type longText string

// MarshalJSON implements json.Marshaler.
func (*longText) MarshalJSON() ([]byte, error) { return []byte(octetsMark), nil }

// appendJSON appends a string as encoding/json writes it, without escapes for HTML.
func appendJSON(dst []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) || strings.Contains(s, "\u2028") || strings.Contains(s, "\u2029") {
		var b bytes.Buffer
		err := encodeJSON(&b, s)
		return append(dst, b.Bytes()...), err
	}
	dst = append(dst, '"')
	for {
		i := needsEscape(s)
		dst = append(dst, s[:i]...)
		if i == len(s) {
			return append(dst, '"'), nil
		}
		switch c := s[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
		s = s[i+1:]
	}
}

// needsEscape returns the offset of the first octet that cannot stand in a JSON string as it is (RFC 8259 7): a control, a
// quote or a backslash. It is len(s) when there is none.
func needsEscape(s string) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	i := 0
	for ; i+8 <= len(s); i += 8 {
		// Eight octets at a time: of each word below, the lowest high bit that is set marks the first octet of its kind.
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		quote, backslash := w^'"'*ones, w^'\\'*ones
		found := ((w-' '*ones)&^w | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(s); i++ {
		if s[i] < ' ' || s[i] == '"' || s[i] == '\\' {
			break
		}
	}
	return i
}
