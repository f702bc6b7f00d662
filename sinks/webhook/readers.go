package webhook

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// escapedChunk is how many octets are looked at at a time.
const escapedChunk = 16 << 10

// escaper writes octets in another form. It takes what it can of src, appends its form to dst and says how much it took;
// at the end of the input it takes all.
type escaper func(dst, src []byte, atEnd bool) (out []byte, taken int)

// escapingReader reads src in another form.
type escapingReader struct {
	src    io.Reader
	escape escaper
	in     []byte // read and not yet taken
	buf    []byte // out is in it
	out    []byte
	err    error // of src
}

func escaping(src io.Reader, escape escaper) io.Reader {
	return &escapingReader{src: src, escape: escape}
}

// Read implements io.Reader.
func (r *escapingReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil && len(r.in) == 0 {
			return 0, r.err
		}
		if r.err == nil {
			r.fill()
		}
		var taken int
		r.buf, taken = r.escape(r.buf[:0], r.in, r.err != nil)
		r.out = r.buf
		r.in = r.in[:copy(r.in, r.in[taken:])]
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *escapingReader) fill() {
	if r.in == nil {
		r.in = make([]byte, 0, escapedChunk)
	}
	n, err := r.src.Read(r.in[len(r.in):cap(r.in)])
	r.in, r.err = r.in[:len(r.in)+n], err
}

const hexDigits = "0123456789abcdef"

// escapeJSON writes the inside of a JSON string (RFC 8259 7). What is no UTF-8 becomes U+FFFD.
func escapeJSON(dst, src []byte, atEnd bool) ([]byte, int) {
	i := 0
	for i < len(src) {
		c := src[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			if !atEnd && !utf8.FullRune(src[i:]) {
				return dst, i
			}
			r, n := utf8.DecodeRune(src[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
	}
	return dst, i
}

// escapeForm writes a value of application/x-www-form-urlencoded as browsers and url.QueryEscape do.
func escapeForm(dst, src []byte, _ bool) ([]byte, int) {
	for _, c := range src {
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~':
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return dst, len(src)
}

// escapeLF turns CRLF into LF.
func escapeLF(dst, src []byte, atEnd bool) ([]byte, int) {
	taken := 0
	for {
		i := bytes.IndexByte(src[taken:], '\r')
		if i < 0 {
			return append(dst, src[taken:]...), len(src)
		}
		i += taken
		dst = append(dst, src[taken:i]...)
		if i+1 == len(src) && !atEnd {
			return dst, i
		}
		if i+1 == len(src) || src[i+1] != '\n' {
			dst = append(dst, '\r')
		}
		taken = i + 1
	}
}

// exactReader reads src, which must hold exactly left octets.
type exactReader struct {
	src  io.Reader
	left int64
}

// Read implements io.Reader.
func (r *exactReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	r.left -= int64(n)
	if r.left < 0 || err == io.EOF && r.left > 0 {
		return 0, errLength
	}
	return n, err
}
