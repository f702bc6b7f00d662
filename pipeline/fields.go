package pipeline

import (
	"bytes"
	"iter"
	"strings"
)

// RawField is one header field as it stands in the message: Raw is the whole of it with its line ends, Name the octets
// before the colon without trailing blanks, Body the octets after the colon with folds and line end.
// All three share memory with the message.
type RawField struct {
	Raw, Name, Body []byte
}

// Is reports whether the field has that name, in any case.
func (f RawField) Is(name string) bool {
	return len(f.Name) == len(name) && strings.EqualFold(string(f.Name), name)
}

// HeaderEnd returns the offset of the first octet of the body: behind the empty line that ends the header block
// (RFC 5322 2.1), or len(raw) when there is none. Lines may end in CRLF or in a bare LF.
func HeaderEnd(raw []byte) int {
	off := 0
	for off < len(raw) {
		n := bytes.IndexByte(raw[off:], '\n')
		if n < 0 {
			return len(raw)
		}
		line := raw[off : off+n]
		off += n + 1
		if len(line) == 0 || (len(line) == 1 && line[0] == '\r') {
			return off
		}
	}
	return len(raw)
}

// Fields yields the header fields of a message in order. A line without a colon that continues nothing is yielded
// with an empty Name; iteration ends at the empty line.
func Fields(raw []byte) iter.Seq[RawField] {
	return func(yield func(RawField) bool) {
		for len(raw) > 0 {
			// The same line that HeaderEnd looks for. It ends the header even when the body starts with a blank.
			if bytes.HasPrefix(raw, []byte("\n")) || bytes.HasPrefix(raw, []byte("\r\n")) {
				return
			}
			end := fieldEnd(raw)
			line := raw[:end]
			f := RawField{Raw: line}
			if colon := bytes.IndexByte(line, ':'); colon >= 0 && bytes.IndexByte(line[:colon], '\n') < 0 {
				f.Name, f.Body = bytes.TrimRight(line[:colon], " \t"), line[colon+1:]
			}
			if !yield(f) {
				return
			}
			raw = raw[end:]
		}
	}
}

// fieldEnd returns the offset behind the first line of raw and the folded lines that belong to it.
func fieldEnd(raw []byte) int {
	end := 0
	for {
		n := bytes.IndexByte(raw[end:], '\n')
		if n < 0 {
			return len(raw)
		}
		end += n + 1
		if end >= len(raw) || (raw[end] != ' ' && raw[end] != '\t') {
			return end
		}
	}
}

func equalFold(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }
