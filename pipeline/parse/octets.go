package parse

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// validUTF8 replaces every run of octets that are not UTF-8 by U+FFFD.
func validUTF8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// cut returns at most n octets of s, whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func cutBytes(b []byte, n int) []byte { return b[:min(len(b), n)] }

func isOneOf(c byte, set string) bool { return strings.IndexByte(set, c) >= 0 }

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// unhex returns the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// isASCII reports whether b has no octet above 127.
func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// excerpt returns the beginning of a line without its line end, for a problem's detail.
func excerpt(line []byte) []byte { return cutBytes(bytes.TrimRight(line, "\r\n"), 60) }
