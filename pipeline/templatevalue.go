package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxValue bounds what one field puts into a template, maxSegment a part of a key or file path, in bytes.
	maxValue   = 96
	maxSegment = 200
)

// escape makes a value of a mail fit for the place. Two values that differ differ afterwards: where characters are
// replaced, a part of the value's hash follows.
func (p Place) escape(value string) string {
	switch p {
	case InQuery:
		return url.QueryEscape(cut(value, maxValue))
	case InHeader:
		return HeaderValue(cut(value, maxValue))
	case InPath:
		return url.PathEscape(cleanValue(value))
	case InSubject:
		return subjectValue(value)
	case InTopic:
		return topicValue(value)
	}
	return cleanValue(value)
}

// cleanValue keeps letters, digits and what is harmless in every file system, URL and object store; a value cannot be
// empty, cannot begin or end with a dot, cannot have two of them in a row, and cannot look like an option.
func cleanValue(value string) string {
	clean := cleanRunes(value)
	return marked(value, clean, clean == value)
}

// cleanRunes is cleanValue without the mark.
func cleanRunes(value string) string {
	var b strings.Builder
	last := rune('.')
	for _, r := range value {
		if !(unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r) && last != '.' || strings.ContainsRune("-_.+@=~,", r)) ||
			r == '.' && last == '.' || r == '-' && b.Len() == 0 || r == utf8.RuneError {
			r = '_'
		}
		b.WriteRune(r)
		last = r
	}
	clean := b.String()
	if strings.HasSuffix(clean, ".") {
		clean = clean[:len(clean)-1] + "_"
	}
	return clean
}

// marked is what a value has become, with a mark of the value unless it can be told from all others without. An empty one
// is an underscore.
func marked(value, clean string, plain bool) string {
	if value == "" {
		return "_"
	}
	if plain && clean != "_" && len(clean) <= maxValue {
		return clean
	}
	return cutRunes(clean, maxValue-1-markLength) + "-" + mark(value)
}

// markLength is the length of a mark: 12 hexadecimal digits.
const markLength = 12

// mark is a short, fixed part of the hash of a text.
func mark(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:markLength/2])
}

// cut shortens a value that is too long, with a mark of the whole of it.
func cut(value string, limit int) string {
	if len(value) <= limit {
		return value
	}
	return cutRunes(value, limit-1-markLength) + "-" + mark(value)
}

// cutRunes shortens at the end of a character.
func cutRunes(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// cutSegments shortens parts that file systems and stores would refuse.
func cutSegments(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = cut(s, maxSegment)
	}
	return strings.Join(segments, "/")
}

// HeaderValue makes a text fit for the value of a header field: everything but printable ASCII, and the percent sign
// itself, becomes percent and two digits.
func HeaderValue(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
