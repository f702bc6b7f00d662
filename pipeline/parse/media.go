package parse

import (
	"bytes"
	"sort"
	"strconv"
	"strings"
)

// media is a structured field: a Content-Type or Content-Disposition (RFC 2045 5.1, RFC 2183). The zero value is that
// of a field that is absent.
type media struct {
	// typ is the value before the parameters, in lower case.
	typ string
	// params are as written, in order, unquoted.
	params []param
}

// param is one parameter: name in lower case with its RFC 2231 marks ("filename*0*").
type param struct {
	name  string
	value []byte
}

func (m media) isMultipart() bool { return strings.HasPrefix(m.typ, "multipart/") }

// raw returns the first parameter of that name as written; nil when there is none.
func (m media) raw(name string) []byte {
	for _, p := range m.params {
		if p.name == name {
			return p.value
		}
	}
	return nil
}

// parseMedia reads a structured field as senders write it: without semicolons, with blanks in values, with quotes
// that never end. At most max parameters are read; over says that there were more.
func parseMedia(body []byte, max int) (m media, over bool) {
	r := mediaReader{b: unfold(body)}
	m.typ = strings.ToLower(validUTF8(string(r.value())))
	for r.skipTo() {
		if len(m.params) == max {
			return m, true
		}
		name, ok := r.name()
		if !ok {
			continue
		}
		m.params = append(m.params, param{strings.ToLower(validUTF8(string(name))), r.paramValue()})
	}
	return m, false
}

// mediaReader reads a structured field from left to right.
type mediaReader struct {
	b []byte
	i int
}

// value reads the type: up to a semicolon, a blank or a comment.
func (r *mediaReader) value() []byte {
	r.skipSpace()
	if r.quoted() {
		return bytes.TrimSpace(r.quotedString())
	}
	start := r.i
	for r.i < len(r.b) && !isOneOf(r.b[r.i], "; \t(,") {
		if r.b[r.i] == '=' && !bytes.ContainsRune(r.b[start:r.i], '/') {
			// The type is missing altogether: "charset=utf-8".
			r.i = start
			return nil
		}
		r.i++
	}
	return r.b[start:r.i]
}

// skipTo moves to the next parameter and reports whether there is one.
func (r *mediaReader) skipTo() bool {
	for r.i < len(r.b) {
		switch c := r.b[r.i]; {
		case isOneOf(c, "; \t,"):
			r.i++
		case c == '(':
			r.comment()
		default:
			return true
		}
	}
	return false
}

// name reads a parameter's name and the sign behind it. It returns false for a word that is no parameter.
func (r *mediaReader) name() ([]byte, bool) {
	start := r.i
	for r.i < len(r.b) && !isOneOf(r.b[r.i], "=; \t") {
		r.i++
	}
	name := r.b[start:r.i]
	r.skipSpace()
	if r.i >= len(r.b) || r.b[r.i] != '=' {
		return nil, false
	}
	r.i++
	return name, len(name) > 0
}

// paramValue reads a quoted string, or everything up to a semicolon or the next parameter.
func (r *mediaReader) paramValue() []byte {
	r.skipSpace()
	if r.quoted() {
		return r.quotedString()
	}
	start, end := r.i, r.i
	for r.i < len(r.b) && r.b[r.i] != ';' {
		if c := r.b[r.i]; c == ' ' || c == '\t' {
			r.skipSpace()
			if r.i >= len(r.b) || r.b[r.i] == '(' || looksLikeParam(r.b[r.i:]) {
				break
			}
			continue
		}
		r.i++
		end = r.i
	}
	return r.b[start:end]
}

func (r *mediaReader) quoted() bool { return r.i < len(r.b) && r.b[r.i] == '"' }

// quotedString reads a quoted string (RFC 5322 3.2.4). A backslash that quotes neither a quote nor a backslash
// stands for itself, as in paths of old clients. Without a closing quote the string ends at a semicolon.
func (r *mediaReader) quotedString() []byte {
	r.i++
	start := r.i
	var out []byte
	for ; r.i < len(r.b); r.i++ {
		switch c := r.b[r.i]; {
		case c == '"':
			r.i++
			return out
		case c == '\\' && r.i+1 < len(r.b) && isOneOf(r.b[r.i+1], `"\`):
			r.i++
			out = append(out, r.b[r.i])
		default:
			out = append(out, c)
		}
	}
	if n := bytes.IndexByte(r.b[start:], ';'); n >= 0 {
		r.i = start + n
		return r.b[start:r.i]
	}
	return out
}

// comment skips a comment, nested ones included (RFC 5322 3.2.2).
func (r *mediaReader) comment() {
	depth := 0
	for ; r.i < len(r.b); r.i++ {
		switch r.b[r.i] {
		case '\\':
			r.i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				r.i++
				return
			}
		}
	}
}

func (r *mediaReader) skipSpace() {
	for r.i < len(r.b) && (r.b[r.i] == ' ' || r.b[r.i] == '\t') {
		r.i++
	}
}

// looksLikeParam reports whether b begins with a name and an equals sign. Names are short, so the look is, too.
func looksLikeParam(b []byte) bool {
	for i, c := range b[:min(len(b), 32)] {
		if c == '=' {
			return i > 0
		}
		if !isAlnum(c) && !isOneOf(c, "-*_") {
			return false
		}
	}
	return false
}

// text is a parameter's value with what is known of its encoding.
type text struct {
	octets []byte
	// charset is set when the value names its own (RFC 2231); then encoded words mean nothing in it.
	charset  string
	extended bool
}

// value returns a parameter, put together from its pieces (RFC 2231 3 and 4). The extended form wins over the plain
// one: senders that write both mean the plain one for old readers.
func (m media) value(name string) (text, bool) {
	var plain []byte
	var pieces []piece
	found := false
	for _, p := range m.params {
		rest, ok := strings.CutPrefix(p.name, name)
		switch {
		case !ok:
		case rest == "" && !found:
			plain, found = p.value, true
		case rest == "*":
			return extendedText([]piece{{0, true, p.value}}), true
		case strings.HasPrefix(rest, "*"):
			n, extended := strings.CutSuffix(rest[1:], "*")
			if i, err := strconv.Atoi(n); err == nil && i >= 0 {
				pieces = append(pieces, piece{i, extended, p.value})
			}
		}
	}
	if len(pieces) > 0 {
		sort.SliceStable(pieces, func(i, j int) bool { return pieces[i].n < pieces[j].n })
		return extendedText(pieces), true
	}
	return text{octets: plain}, found
}

// piece is one of the pieces of a value; extended ones are percent-encoded.
type piece struct {
	n        int
	extended bool
	value    []byte
}

// extendedText puts a value together. The first extended piece names charset and language.
func extendedText(pieces []piece) text {
	var t text
	last := -1
	for _, p := range pieces {
		if p.n == last {
			continue
		}
		last = p.n
		v := p.value
		if p.extended {
			if !t.extended {
				t.extended = true
				if i := bytes.IndexByte(v, '\''); i >= 0 {
					if j := bytes.IndexByte(v[i+1:], '\''); j >= 0 {
						t.charset, v = string(v[:i]), v[i+1+j+1:]
					}
				}
			}
			v = percentDecode(v)
		}
		t.octets = append(t.octets, v...)
	}
	return t
}

// percentDecode decodes %XX and leaves everything else as it is.
func percentDecode(b []byte) []byte {
	if bytes.IndexByte(b, '%') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if hi, lo := unhex(b[i+1]), unhex(b[i+2]); hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
}
