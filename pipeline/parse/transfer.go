package parse

import (
	"bytes"
	"io"
)

// decoder reads the octets that a transfer encoding stands for. Damaged reports, after the end, whether there was
// something in it that the encoding cannot have.
type decoder interface {
	io.Reader
	damaged() bool
}

// newDecoder returns a decoder for an encoding word of a part; known is false when the octets are passed on as they
// stand because nobody knows the word.
func newDecoder(encoding string, src []byte) (d decoder, known bool) {
	switch encoding {
	case "base64":
		return &base64Decoder{src: src}, true
	case "quoted-printable":
		return &qpDecoder{src: src}, true
	case "":
		return &plainDecoder{src}, true
	case "x-uuencode", "uuencode", "x-uue", "x-uu":
		return newUUDecoder(src), true
	}
	return &plainDecoder{src}, false
}

// plainDecoder passes everything on.
type plainDecoder struct{ src []byte }

func (d *plainDecoder) Read(p []byte) (int, error) {
	if len(d.src) == 0 {
		return 0, io.EOF
	}
	n := copy(p, d.src)
	d.src = d.src[n:]
	return n, nil
}

func (d *plainDecoder) damaged() bool { return false }

// base64Decoder reads base64 (RFC 2045 6.8) of any kind: it skips what is not in the alphabet and does with missing
// padding. After padding it goes on when the rest is nothing but base64, as with files encoded in pieces; otherwise
// the rest is what a list or a gateway added, and the content ends.
type base64Decoder struct {
	src  []byte
	bits uint32
	// have counts the characters of the unfinished group in bits.
	have int
	junk bool
	// pure says that src is known to be nothing but base64.
	pure bool
	// out are decoded octets that found no room yet.
	out  [3]byte
	left int
}

const (
	b64Skip = 0x40 + iota // white space
	b64Pad
	b64Junk
)

// b64Value returns the six bits of a character, or one of the marks above.
func b64Value(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c - 'A'
	case c >= 'a' && c <= 'z':
		return c - 'a' + 26
	case c >= '0' && c <= '9':
		return c - '0' + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	case c == '=':
		return b64Pad
	case c == '\r' || c == '\n' || c == ' ' || c == '\t':
		return b64Skip
	}
	return b64Junk
}

// base64Values is b64Value as a table; nobody writes to it.
var base64Values = func() (t [256]byte) {
	for i := range t {
		t[i] = b64Value(byte(i))
	}
	return t
}()

func (d *base64Decoder) damaged() bool { return d.junk }

// Read implements io.Reader. It returns fewer octets than asked for only at the end.
func (d *base64Decoder) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if d.left > 0 {
			c := copy(p[n:], d.out[3-d.left:])
			d.left -= c
			n += c
			continue
		}
		if d.have == 0 {
			n += d.groups(p[n:])
			if n == len(p) {
				break
			}
		}
		if !d.step() {
			break
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// groups decodes the whole groups of four at the front of src, as long as nothing else comes between.
func (d *base64Decoder) groups(p []byte) int {
	src, n := d.src, 0
	for len(src) >= 4 && len(p)-n >= 3 {
		a, b, c, e := base64Values[src[0]], base64Values[src[1]], base64Values[src[2]], base64Values[src[3]]
		if (a|b|c|e)&0xC0 != 0 {
			if src[0] != '\r' && src[0] != '\n' {
				break
			}
			src = src[1:]
			continue
		}
		v := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(e)
		p[n], p[n+1], p[n+2] = byte(v>>16), byte(v>>8), byte(v)
		n += 3
		src = src[4:]
	}
	d.src = src
	return n
}

// step takes one character, or ends the last group; false means that nothing is left.
func (d *base64Decoder) step() bool {
	if len(d.src) == 0 {
		if d.have == 0 {
			return false
		}
		d.flush()
		return d.left > 0
	}
	v := base64Values[d.src[0]]
	d.src = d.src[1:]
	switch v {
	case b64Skip:
	case b64Pad:
		if d.have > 1 && !d.pure {
			if d.pure = isBase64(d.src); !d.pure {
				d.src, d.junk = nil, true
			}
		}
		d.flush()
	case b64Junk:
		d.junk = true
	default:
		d.bits = d.bits<<6 | uint32(v)
		if d.have++; d.have == 4 {
			d.out = [3]byte{byte(d.bits >> 16), byte(d.bits >> 8), byte(d.bits)}
			d.left, d.have, d.bits = 3, 0, 0
		}
	}
	return true
}

// isBase64 reports whether b is base64 lines and nothing else.
func isBase64(b []byte) bool {
	for i, c := range b {
		switch v := base64Values[c]; {
		case v == b64Junk:
			return false
		case c == ' ' && i+1 < len(b) && base64Values[b[i+1]] < b64Skip:
			return false
		}
	}
	return true
}

// flush ends a group of two or three characters; a single one is less than an octet.
func (d *base64Decoder) flush() {
	switch d.have {
	case 1:
		d.junk = true
	case 2:
		d.out[2], d.left = byte(d.bits>>4), 1
	case 3:
		d.out[1], d.out[2], d.left = byte(d.bits>>10), byte(d.bits>>2), 2
	}
	d.have, d.bits = 0, 0
}

// qpDecoder reads quoted-printable (RFC 2045 6.7): with lines of any length, any line ends, lower case digits, and
// equals signs that stand for themselves.
type qpDecoder struct {
	src  []byte
	junk bool
	// line is what is left of the current line, decoded in place of nothing: a slice of buf.
	line []byte
	buf  []byte
}

func (d *qpDecoder) damaged() bool { return d.junk }

// Read implements io.Reader.
func (d *qpDecoder) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(d.line) == 0 {
			if len(d.src) == 0 {
				break
			}
			d.next()
			continue
		}
		c := copy(p[n:], d.line)
		d.line = d.line[c:]
		n += c
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// qpChunk bounds how much of an endless line is decoded at once.
const qpChunk = 4 << 10

// next decodes the next line, or the next part of a line that is very long.
func (d *qpDecoder) next() {
	window := d.src[:min(len(d.src), qpChunk)]
	line, ending := window, []byte(nil)
	if i := bytes.IndexByte(window, '\n'); i >= 0 {
		line = window[:i+1]
		d.src = d.src[i+1:]
		content := bytes.TrimRight(trimLineEnd(line), " \t")
		line, ending = content, line[len(trimLineEnd(line)):]
		if bytes.HasSuffix(content, []byte("=")) {
			line, ending = content[:len(content)-1], nil
		}
	} else if len(window) < len(d.src) {
		line = cutLongLine(window)
		d.src = d.src[len(line):]
	} else {
		d.src = nil
		line = bytes.TrimSuffix(bytes.TrimRight(line, " \t\r"), []byte("="))
	}
	d.buf = d.unquote(d.buf[:0], line)
	d.buf = append(d.buf, ending...)
	d.line = d.buf
}

// cutLongLine returns the front of a window whose line goes on, so that neither an escape nor the blanks at the end of
// the line are torn.
func cutLongLine(window []byte) []byte {
	for _, back := range []int{1, 2} {
		if window[len(window)-back] == '=' {
			return window[:len(window)-back]
		}
	}
	t := bytes.TrimRight(window, " \t\r")
	if len(t) < len(window) {
		t = bytes.TrimSuffix(t, []byte("="))
	}
	if len(t) > 0 {
		return t
	}
	return window
}

// unquote appends what a line stands for. An equals sign without two digits stands for itself.
func (d *qpDecoder) unquote(out, line []byte) []byte {
	for {
		i := bytes.IndexByte(line, '=')
		if i < 0 {
			return append(out, line...)
		}
		out = append(out, line[:i]...)
		line = line[i:]
		if len(line) >= 3 {
			if hi, lo := unhex(line[1]), unhex(line[2]); hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				line = line[3:]
				continue
			}
		}
		d.junk = true
		out = append(out, '=')
		line = line[1:]
	}
}

// decodeAll decodes octets in memory.
func decodeAll(encoding string, src []byte) []byte {
	d, _ := newDecoder(encoding, src)
	return readAll(d, len(src))
}

// readAll reads a decoder of n octets to its end. No encoding stands for more octets than it takes, but for one at the end
// of uuencoded lines, whose last blanks may be lost.
func readAll(d decoder, n int) []byte {
	out := make([]byte, n+1)
	m, err := io.ReadFull(d, out)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		// The decoders have no other errors.
		panic(err)
	}
	return out[:m]
}
