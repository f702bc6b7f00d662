package ingest

import "bytes"

// lineEnds looks for a CR or LF that is not part of a CRLF in a message that comes in pieces.
type lineEnds struct {
	refuseLF, refuseCR bool
	cr                 bool // the last octet was a CR
}

// check returns the reply that refuses what p adds to the message, or nil. Of several octets the first counts, wherever
// the pieces end.
func (l *lineEnds) check(p []byte) *Reply {
	if len(p) == 0 {
		return nil
	}
	if l.refuseCR && l.cr && p[0] != '\n' {
		return replyMessageBareCR
	}
	for rest, before := p, l.cr; ; before = false {
		i := bytes.IndexByte(rest, '\n')
		line := rest
		if i >= 0 {
			line = rest[:i]
		}
		if l.refuseCR {
			if j := bytes.IndexByte(line, '\r'); j >= 0 && j < len(line)-1 {
				return replyMessageBareCR
			}
		}
		if i < 0 {
			break
		}
		if len(line) > 0 {
			before = line[len(line)-1] == '\r'
		}
		if l.refuseLF && !before {
			return replyMessageBareLF
		}
		rest = rest[i+1:]
	}
	l.cr = p[len(p)-1] == '\r'
	return nil
}

// end returns the reply that refuses the message because of its last octet, or nil.
func (l *lineEnds) end() *Reply {
	if l.refuseCR && l.cr {
		return replyMessageBareCR
	}
	return nil
}
