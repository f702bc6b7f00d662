package ingest

import "bytes"

// dataScanner finds the end of a message that is sent with DATA, and undoes dot-stuffing (RFC 5321 4.5.2).
// Only CR LF "." CR LF ends a message: no bare CR or LF is ever taken for a line end (RFC 5321 2.3.8, 4.1.1.4), because
// two servers that disagree about the end can be made to see a message that nobody sent. All other octets pass
// unchanged, whatever they are and however long the line.
//
// The zero value is at the beginning of a message.
type dataScanner struct {
	midLine bool // not behind CR LF
	cr      bool // the octet before was a CR of this line; false unless midLine
}

// scan passes the content in b to emit, in order, and returns how many octets it consumed and whether the end of the
// message was among them. When it is not done and n < len(b), the rest (one or two octets) can only be judged with
// the octets that follow, and must be given again in front of them. emit must not keep its argument.
func (d *dataScanner) scan(b []byte, emit func([]byte)) (n int, done bool) {
	start, pos := 0, 0 // b[start:pos] is content and not emitted yet
	for {
		if !d.midLine {
			if pos == len(b) {
				break
			}
			if b[pos] == '.' {
				passOn(b[start:pos], emit)
				rest := b[pos:]
				switch {
				case len(rest) == 1 || len(rest) == 2 && rest[1] == '\r':
					return pos, false
				case rest[1] == '\r' && rest[2] == '\n':
					return pos + 3, true
				}
				pos++ // the dot was put there by the client
				start = pos
			}
			d.midLine = true
		}
		i := bytes.IndexByte(b[pos:], '\n')
		if i < 0 {
			if pos < len(b) {
				d.cr = b[len(b)-1] == '\r'
			}
			break
		}
		if i > 0 {
			d.cr = b[pos+i-1] == '\r'
		}
		d.midLine, d.cr = !d.cr, false
		pos += i + 1
	}
	passOn(b[start:], emit)
	return len(b), false
}

func passOn(b []byte, emit func([]byte)) {
	if len(b) > 0 {
		emit(b)
	}
}
