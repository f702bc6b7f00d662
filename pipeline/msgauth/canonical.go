package msgauth

import (
	"bytes"
	"io"
	"strings"

	"mxhook/pipeline"
)

// appendRelaxedField appends the relaxed form of a header field (RFC 6376 3.4.2), its CRLF included.
func appendRelaxedField(dst []byte, f pipeline.RawField) []byte {
	dst = append(dst, strings.ToLower(string(bytes.Trim(f.Name, tagSpace)))...)
	dst = append(dst, ':')
	start, blank := len(dst), false
	for _, c := range f.Body {
		if isTagSpace(c) {
			blank = true
			continue
		}
		if blank && len(dst) > start {
			dst = append(dst, ' ')
		}
		blank = false
		dst = append(dst, c)
	}
	return append(dst, "\r\n"...)
}

func isTagSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// appendSimpleField appends a header field as it is (RFC 6376 3.4.1), with the line ends that SMTP would have given it.
func appendSimpleField(dst []byte, f pipeline.RawField) []byte {
	for raw := f.Raw; len(raw) > 0; {
		var line []byte
		line, raw = cutLine(raw)
		dst = append(append(dst, line...), "\r\n"...)
	}
	return dst
}

// cutLine returns the first line without its end (CRLF or a bare LF) and what follows. The last line may have no end.
func cutLine(b []byte) (line, rest []byte) {
	n := bytes.IndexByte(b, '\n')
	if n < 0 {
		return b, nil
	}
	return bytes.TrimSuffix(b[:n], []byte("\r")), b[n+1:]
}

// writeBody writes the canonical form of a body (RFC 6376 3.4.3 and 3.4.4): without the empty lines at its end, each line
// with its CRLF, whether the mail has CRLF or bare LF. It stops at the first error of w.
//
// Most lines are in their canonical form as they came: runs of those go to w as they stand.
func writeBody(w io.Writer, body []byte, relaxed bool) error {
	out := &gathered{w: w}
	// body[start:end] is canonical and not written yet; empty lines follow, canonical as well while exact is true.
	start, end, empty, exact := 0, 0, 0, true
	nothing := true
	for pos := 0; pos < len(body); {
		line, rest := cutLine(body[pos:])
		at, next := pos, len(body)-len(rest)
		pos = next
		same := next-at == len(line)+len("\r\n")
		if trimmed := line; relaxed {
			if trimmed = trimBlanks(line); len(trimmed) < len(line) {
				line, same = trimmed, false
			}
		}
		if len(line) == 0 {
			empty++
			exact = exact && same
			continue
		}
		nothing = false
		same = same && (!relaxed || isSqueezed(line))
		if same && exact {
			end, empty = next, 0
			continue
		}
		out.add(body[start:end])
		for ; empty > 0; empty-- {
			out.add([]byte("\r\n"))
		}
		if start, end, exact = at, next, true; !same {
			start = next
			out.line(line, relaxed)
		}
	}
	out.add(body[start:end])
	if nothing && !relaxed {
		out.add([]byte("\r\n"))
	}
	return out.flush()
}

// trimBlanks cuts the blanks at the end of a line off.
func trimBlanks(line []byte) []byte {
	for n := len(line); n > 0 && (line[n-1] == ' ' || line[n-1] == '\t'); n-- {
		line = line[:n-1]
	}
	return line
}

// isSqueezed reports whether a line has neither a tab nor two blanks in a row.
func isSqueezed(line []byte) bool {
	if bytes.IndexByte(line, '\t') >= 0 {
		return false
	}
	i := bytes.IndexByte(line, ' ')
	if i < 0 {
		return true
	}
	blank := false
	for _, c := range line[i:] {
		if c == ' ' && blank {
			return false
		}
		blank = c == ' '
	}
	return true
}

// gatherBytes is how much of small pieces is put together before it is written.
const gatherBytes = 16 << 10

// gathered writes small pieces together and large ones as they are. After the first error of w it writes nothing more.
type gathered struct {
	w   io.Writer
	buf []byte
	err error
}

func (g *gathered) add(b []byte) {
	if len(b) >= gatherBytes/4 {
		_ = g.flush()
		g.write(b)
		return
	}
	g.buf = append(g.buf, b...)
	g.full()
}

// line adds the canonical form of a line that is not in it.
func (g *gathered) line(line []byte, relaxed bool) {
	if relaxed {
		g.buf = appendSqueezed(g.buf, line)
	} else {
		g.buf = append(g.buf, line...)
	}
	g.buf = append(g.buf, "\r\n"...)
	g.full()
}

func (g *gathered) full() {
	if len(g.buf) >= gatherBytes {
		_ = g.flush()
	}
}

func (g *gathered) write(b []byte) {
	if g.err == nil && len(b) > 0 {
		_, g.err = g.w.Write(b)
	}
}

func (g *gathered) flush() error {
	g.write(g.buf)
	g.buf = g.buf[:0]
	return g.err
}

// appendSqueezed appends a line with each run of blanks as one space.
func appendSqueezed(dst, line []byte) []byte {
	blank := false
	for _, c := range line {
		if c == ' ' || c == '\t' {
			if !blank {
				dst = append(dst, ' ')
			}
			blank = true
			continue
		}
		blank = false
		dst = append(dst, c)
	}
	return dst
}
