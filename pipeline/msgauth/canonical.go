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
	start := len(dst)
	for word := range bytes.FieldsFuncSeq(f.Body, isTagSpace) {
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = append(dst, word...)
	}
	return append(dst, "\r\n"...)
}

func isTagSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }

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
func writeBody(w io.Writer, body []byte, relaxed bool) error {
	const chunk = 16 << 10
	buf := make([]byte, 0, 2*chunk)
	empty, nothing := 0, true
	for len(body) > 0 {
		var line []byte
		line, body = cutLine(body)
		if relaxed {
			line = bytes.TrimRight(line, " \t")
		}
		if len(line) == 0 {
			empty++
			continue
		}
		nothing = false
		for ; empty > 0; empty-- {
			buf = append(buf, "\r\n"...)
			if len(buf) >= chunk {
				if _, err := w.Write(buf); err != nil {
					return err
				}
				buf = buf[:0]
			}
		}
		if relaxed {
			buf = appendSqueezed(buf, line)
		} else {
			buf = append(buf, line...)
		}
		buf = append(buf, "\r\n"...)
		if len(buf) >= chunk {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	if nothing && !relaxed {
		buf = append(buf, "\r\n"...)
	}
	_, err := w.Write(buf)
	return err
}

// appendSqueezed appends a line with each run of blanks as one space.
func appendSqueezed(dst, line []byte) []byte {
	for len(line) > 0 {
		n := bytes.IndexAny(line, " \t")
		if n < 0 {
			return append(dst, line...)
		}
		dst = append(append(dst, line[:n]...), ' ')
		line = bytes.TrimLeft(line[n:], " \t")
	}
	return dst
}
