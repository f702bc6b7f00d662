package parse

import (
	"bytes"
	"strings"
)

// field is a header field: name as written, body with its folds. Both are slices of the message, body from start.
type field struct {
	name, body []byte
	start      int
}

func (f field) is(name string) bool {
	return len(f.name) == len(name) && strings.EqualFold(string(f.name), name)
}

// header reads the header block at pos and returns its fields and where the body begins. A delimiter of an open
// multipart ends it, too. id is the part's.
func (s *scanner) header(pos int, id string) ([]field, int) {
	var fields []field
	first, size := pos, 0
	for pos < len(s.raw) {
		end := lineEnd(s.raw, pos)
		line := s.raw[pos:end]
		if isBlank(line) {
			return fields, end
		}
		if bytes.HasPrefix(line, []byte("--")) {
			if _, ok := s.delimiterAt(pos); ok {
				return fields, pos
			}
		}
		name := fieldName(line)
		if n := len(fields) - 1; name == nil && n >= 0 && goesOn(fields[n], line) {
			pos = foldEnd(s.raw, end)
			fields[n].body = s.raw[fields[n].start:pos]
			size += pos - end
			continue
		}
		if name == nil {
			if body, ok := s.noField(pos, end, id, len(fields) == 0 && pos == first); !ok {
				return fields, body
			}
			pos = foldEnd(s.raw, end)
			continue
		}
		end = foldEnd(s.raw, end)
		f := fieldAt(s.raw, pos, end, name)
		size += end - pos
		if l := s.rd.limits; size > l.HeaderBytes || len(fields) >= l.Fields {
			s.rd.notes.add(noteHeaderLimit, id, "header block over %d octets or %d fields", l.HeaderBytes, l.Fields)
			return s.restOfHeader(fields, pos)
		}
		fields = append(fields, f)
		pos = end
	}
	return fields, pos
}

// noField decides what a line is that stands in a header block and is no field: noise when a field follows, or else
// the first line of the body, whose empty line is missing. For noise it returns true.
func (s *scanner) noField(pos, end int, id string, first bool) (int, bool) {
	next := foldEnd(s.raw, end)
	if next < len(s.raw) && isUsual(fieldName(s.raw[next:lineEnd(s.raw, next)])) {
		s.rd.notes.add(noteHeaderRepaired, id, "line %q is no header field", excerpt(s.raw[pos:end]))
		return 0, true
	}
	if first {
		if id == "" {
			s.rd.notes.add(noteNoHeader, "", "the message begins with %q", excerpt(s.raw[pos:end]))
		}
		return pos, false
	}
	s.rd.notes.add(noteNoBlankLine, id, "no empty line before %q", excerpt(s.raw[pos:end]))
	return pos, false
}

// restOfHeader goes over the rest of a header block that is over a limit, from pos. It takes only what the structure
// depends on, each field once and up to its own limit.
func (s *scanner) restOfHeader(fields []field, pos int) ([]field, int) {
	taken := part{fields: fields}
	for pos < len(s.raw) {
		end := lineEnd(s.raw, pos)
		if isBlank(s.raw[pos:end]) {
			return taken.fields, end
		}
		if bytes.HasPrefix(s.raw[pos:], []byte("--")) {
			if _, ok := s.delimiterAt(pos); ok {
				break
			}
		}
		name := fieldName(s.raw[pos:end])
		end = foldEnd(s.raw, end)
		for _, n := range []string{"Content-Type", "Content-Disposition", "Content-Transfer-Encoding"} {
			f := fieldAt(s.raw, pos, end, name)
			if !f.is(n) {
				continue
			}
			if _, double := taken.field(n); !double {
				// One octet more than the limit, so that going over it is noticed.
				f.body = cutBytes(f.body, s.rd.limits.FieldBytes+1)
				taken.fields = append(taken.fields, f)
			}
		}
		pos = end
	}
	return taken.fields, pos
}

// fieldAt returns the field between two offsets.
func fieldAt(raw []byte, pos, end int, name []byte) field {
	start := pos + bytes.IndexByte(raw[pos:end], ':') + 1
	return field{name, raw[start:end], start}
}

// goesOn reports whether a line is a parameter that belongs to the field before it and lost its indentation.
func goesOn(f field, line []byte) bool {
	return f.is("Content-Type") && bytes.HasSuffix(bytes.TrimRight(f.body, " \t\r\n"), []byte(";")) && looksLikeParam(line)
}

// isUsual reports whether a field of that name is common in mail. What merely looks like a field ("Note: ...") may as
// well be text.
func isUsual(name []byte) bool {
	n := strings.ToLower(string(cutBytes(name, 64)))
	for _, p := range []string{"x-", "content-", "list-", "resent-", "dkim-", "arc-", "auto"} {
		if strings.HasPrefix(n, p) {
			return true
		}
	}
	switch n {
	case "received", "return-path", "delivered-to", "from", "sender", "reply-to", "to", "cc", "bcc", "subject", "date",
		"message-id", "in-reply-to", "references", "mime-version", "importance", "priority", "precedence", "user-agent",
		"thread-topic", "thread-index", "received-spf", "organization", "status", "errors-to":
		return true
	}
	return false
}

// isBlank reports whether a line is empty but for its line end.
func isBlank(line []byte) bool {
	return len(line) == 0 || (line[0] == '\r' || line[0] == '\n') && len(bytes.TrimRight(line, "\r\n")) == 0
}

// foldEnd returns the offset behind the folded lines that begin at pos.
func foldEnd(b []byte, pos int) int {
	for pos < len(b) && (b[pos] == ' ' || b[pos] == '\t') {
		pos = lineEnd(b, pos)
	}
	return pos
}

// fieldName returns the name of the field that a line begins, or nil when it begins none (RFC 5322 3.6.8).
func fieldName(line []byte) []byte {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return nil
	}
	name := bytes.TrimRight(line[:colon], " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return nil
		}
	}
	if len(name) == 0 {
		return nil
	}
	return name
}

// unfold returns a field body on one line, without blanks at its ends (RFC 5322 2.2.3). It copies only when it must.
func unfold(body []byte) []byte {
	body = bytes.Trim(body, " \t\r\n")
	if bytes.IndexByte(body, '\n') < 0 && bytes.IndexByte(body, '\r') < 0 {
		return body
	}
	out := make([]byte, 0, len(body))
	for _, c := range body {
		if c != '\r' && c != '\n' {
			out = append(out, c)
		}
	}
	return out
}
