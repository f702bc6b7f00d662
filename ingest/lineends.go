package ingest

import "bytes"

// lineEnds looks for a CR or LF that is not part of a CRLF in a message that comes in pieces.
type lineEnds struct {
	refuseLF, refuseCR bool
	cr                 bool // the last octet was a CR
}

// check returns the reply that refuses what p adds to the message, or nil.
func (l *lineEnds) check(p []byte) *Reply {
	if len(p) == 0 {
		return nil
	}
	if l.refuseCR {
		if l.cr && p[0] != '\n' {
			return replyMessageBareCR
		}
		for rest := p; ; {
			i := bytes.IndexByte(rest, '\r')
			if i < 0 || i+1 == len(rest) {
				break
			}
			if rest[i+1] != '\n' {
				return replyMessageBareCR
			}
			rest = rest[i+2:]
		}
	}
	if l.refuseLF {
		if p[0] == '\n' && !l.cr {
			return replyMessageBareLF
		}
		for rest := p[1:]; ; {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			if p[len(p)-len(rest)+i-1] != '\r' {
				return replyMessageBareLF
			}
			rest = rest[i+1:]
		}
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
