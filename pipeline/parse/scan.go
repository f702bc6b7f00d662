package parse

import (
	"bytes"
	"strconv"
)

// part is a node of the structure. Parts are listed in the order in which they begin, the root first. All octets are
// slices of the message.
type part struct {
	// id is the number of the part as in IMAP (RFC 9051 6.4.5.1): "1.2"; the root is "1" when it is one part and ""
	// when it is a multipart.
	id     string
	parent int
	depth  int
	fields []field
	// media and disposition are the Content-Type and Content-Disposition fields.
	media, disposition media
	// encoding is the Content-Transfer-Encoding: a lower case word, "" for none.
	encoding string
	// multipart is set on parts that were divided; the others are leaves.
	multipart bool
	children  int
	// body is what follows the header, up to the line end that belongs to the next delimiter.
	body []byte
}

// open is a multipart whose last delimiter was not met yet.
type open struct {
	boundary []byte
	part     int
}

// scanner finds the parts of a message in one pass (RFC 2046 5.1).
type scanner struct {
	rd    *reading
	raw   []byte
	parts []part
	stack []open
	// closed is the multipart closed last: some senders go on with the boundary that they have closed.
	closed *open
	// leaf is the part whose body, or preamble, is being read; -1 in an epilogue. start is where it began.
	leaf, start int
}

// delimiter is a line that is one: level is its place in the stack, -1 for the boundary that was closed last.
type delimiter struct {
	start, end int
	level      int
	close      bool
}

// scan returns the parts of the message; there is always at least one.
func (rd *reading) scan() []part {
	s := &scanner{rd: rd, raw: rd.raw}
	pos := s.begin(-1, s.skipMboxLine())
	for {
		d, ok := s.next(pos)
		if !ok {
			break
		}
		s.end(d.start)
		pos = d.end
		if !s.unwind(d) {
			continue
		}
		if len(s.parts) >= rd.limits.Parts {
			rd.notes.add(notePartsLimit, "", "more than %d parts", rd.limits.Parts)
			s.stack = nil
			return s.parts
		}
		pos = s.begin(s.stack[len(s.stack)-1].part, pos)
	}
	s.end(len(s.raw))
	for _, o := range s.stack {
		if s.parts[o.part].multipart {
			rd.notes.add(noteBoundaryUnclosed, s.parts[o.part].id, "no last delimiter")
		}
	}
	return s.parts
}

// skipMboxLine returns where the header begins.
func (s *scanner) skipMboxLine() int {
	if !bytes.HasPrefix(s.raw, []byte("From ")) && !bytes.HasPrefix(s.raw, []byte(">From ")) {
		return 0
	}
	s.rd.notes.add(noteMboxLine, "", "the first line is an mbox separator")
	return lineEnd(s.raw, 0)
}

// begin reads the header of the part that begins at pos and returns where its body begins.
func (s *scanner) begin(parent, pos int) int {
	p := part{parent: parent}
	if parent >= 0 {
		up := &s.parts[parent]
		up.multipart = true
		up.children++
		p.depth = up.depth + 1
		p.id = strconv.Itoa(up.children)
		if up.id != "" {
			p.id = up.id + "." + p.id
		}
	}
	p.fields, pos = s.header(pos, p.id)
	s.classify(&p)
	s.leaf, s.start = len(s.parts), pos
	if p.media.isMultipart() {
		s.push(&p, pos)
	}
	if parent < 0 && !p.media.isMultipart() {
		p.id = "1"
	}
	s.parts = append(s.parts, p)
	return pos
}

// push puts a multipart that begins at pos onto the stack, if it has a boundary and is not too deep.
func (s *scanner) push(p *part, pos int) {
	if p.depth >= s.rd.limits.Depth {
		s.rd.notes.add(noteDepthLimit, p.id, "multiparts nest deeper than %d", s.rd.limits.Depth)
		return
	}
	named := p.media.raw("boundary")
	boundary := bytes.TrimRight(named, " \t")
	// Only the root may guess, so that guesses cannot add up. A boundary cannot end in a blank (RFC 2046 5.1.1); one that
	// was used as it was named can.
	if p.parent < 0 && len(named) > len(boundary) && occurs(s.raw[pos:], named) {
		boundary = named
	}
	if p.parent < 0 && (len(boundary) == 0 || !occurs(s.raw[pos:], boundary)) {
		g := guessBoundary(s.raw[pos:])
		if g != nil {
			s.rd.notes.add(noteBoundaryGuessed, p.id, "boundary %q instead of %q", g, boundary)
		}
		boundary = g
	}
	if len(boundary) == 0 {
		// What becomes of it: see undivided.
		return
	}
	s.stack = append(s.stack, open{boundary, len(s.parts)})
}

// end ends the body of the current leaf at the line that begins at pos.
func (s *scanner) end(pos int) {
	if s.leaf < 0 {
		return
	}
	p := &s.parts[s.leaf]
	if !p.multipart {
		p.body = s.raw[min(s.start, pos):pos]
		if pos < len(s.raw) {
			p.body = trimLineEnd(p.body)
		}
	}
	s.leaf = -1
}

// unwind closes what the delimiter closes and reports whether a part begins after it.
func (s *scanner) unwind(d delimiter) bool {
	if d.level < 0 {
		s.stack = append(s.stack, *s.closed)
		s.closed = nil
		return true
	}
	for _, o := range s.stack[d.level+1:] {
		if s.parts[o.part].multipart {
			s.rd.notes.add(noteBoundaryUnclosed, s.parts[o.part].id, "no last delimiter")
		}
	}
	s.stack = s.stack[:d.level+1]
	s.closed = nil
	if d.close {
		last := s.stack[d.level]
		s.closed = &last
		s.stack = s.stack[:d.level]
	}
	return !d.close
}

// next finds the first delimiter line at or after pos, where a line begins.
func (s *scanner) next(pos int) (delimiter, bool) {
	if len(s.stack) == 0 && s.closed == nil {
		return delimiter{}, false
	}
	for pos < len(s.raw) {
		if bytes.HasPrefix(s.raw[pos:], []byte("--")) {
			if d, ok := s.delimiterAt(pos); ok {
				return d, true
			}
		}
		n := bytes.Index(s.raw[pos:], []byte("\n--"))
		if n < 0 {
			break
		}
		pos += n + 1
	}
	return delimiter{}, false
}

// delimiterAt reports whether the line at pos, which begins with two hyphens, is a delimiter. The innermost
// multipart comes first: some senders use one boundary for all of them.
func (s *scanner) delimiterAt(pos int) (delimiter, bool) {
	rest := s.raw[pos+2:]
	for i := len(s.stack) - 1; i >= 0; i-- {
		if n, closes, ok := matchDelimiter(rest, s.stack[i].boundary); ok {
			return delimiter{start: pos, end: pos + 2 + n, level: i, close: closes}, true
		}
	}
	if s.closed != nil {
		if n, closes, ok := matchDelimiter(rest, s.closed.boundary); ok && !closes {
			return delimiter{start: pos, end: pos + 2 + n, level: -1}, true
		}
	}
	return delimiter{}, false
}

// matchDelimiter reports whether what stands behind two hyphens is a delimiter of that boundary, and the length of
// the line.
func matchDelimiter(b, boundary []byte) (n int, closes, ok bool) {
	if !bytes.HasPrefix(b, boundary) {
		return 0, false, false
	}
	n = lineEnd(b, len(boundary))
	tail := bytes.TrimRight(b[len(boundary):n], " \t\r\n")
	closes = string(tail) == "--"
	return n, closes, closes || len(tail) == 0
}

// occurs reports whether a delimiter with the boundary may stand in the body.
func occurs(body, boundary []byte) bool {
	d := append([]byte("--"), boundary...)
	return bytes.HasPrefix(body, d) || bytes.Contains(body, append([]byte("\n"), d...))
}

// guessBoundary returns the boundary of a multipart that does not name it: that of the first line which begins with
// two hyphens, if the line that closes it follows.
func guessBoundary(body []byte) []byte {
	pos := 0
	if !bytes.HasPrefix(body, []byte("--")) {
		n := bytes.Index(body, []byte("\n--"))
		if n < 0 {
			return nil
		}
		pos = n + 1
	}
	end := lineEnd(body, pos)
	b := bytes.TrimRight(body[pos+2:end], " \t\r\n")
	// RFC 2046 5.1.1: at most 70 characters; no boundary that is in use has blanks.
	if len(b) == 0 || len(b) > 70 || bytes.ContainsAny(b, " \t") {
		return nil
	}
	last := append(append([]byte("\n--"), b...), "--"...)
	if !bytes.Contains(body[end-1:], last) {
		return nil
	}
	return b
}

// lineEnd returns the offset behind the line that begins at pos.
func lineEnd(b []byte, pos int) int {
	n := bytes.IndexByte(b[pos:], '\n')
	if n < 0 {
		return len(b)
	}
	return pos + n + 1
}

// trimLineEnd removes one line end: the one before a delimiter belongs to it (RFC 2046 5.1.1).
func trimLineEnd(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte("\n"))
	return bytes.TrimSuffix(b, []byte("\r"))
}
