package pipeline

import (
	"bytes"
	"io"
	"net"
	"strings"
)

// Mail returns the message as it goes out as a mail: our trace block (Return-Path, Received, Authentication-Results;
// RFC 5321 4.4, RFC 8601 4) above Raw, without the fields that forge our verdict (see ForgedResults; RFC 8601 5), and
// with verdicts of others under another name (ForeignPrefix). Apart from those fields the octets of Raw are untouched
// and are not copied; a message that starts with a folded line gets a
// field X-Stray-Line above it, so that it cannot write into our trace block. Each call returns a reader of its own; it is
// good for as long as the message is.
func (m *Message) Mail() io.Reader {
	b := net.Buffers(m.mailParts(m.foreignVerdict))
	return &b
}

// MailRenaming is Mail with other fields under another name: those for which foreign says true, and no others.
func (m *Message) MailRenaming(foreign func(name []byte) bool) io.Reader {
	b := net.Buffers(m.mailParts(foreign))
	return &b
}

// Onward returns the octets of Mail as they go to another mail server: without Return-Path, which only the final delivery
// adds (RFC 5321 4.4). It is a copy.
func (m *Message) Onward() []byte {
	parts := m.mailParts(m.foreignVerdict)
	parts[0] = parts[0][len(m.returnPath()):]
	return bytes.Join(parts, nil)
}

// MailSize returns the number of octets that Mail gives.
func (m *Message) MailSize() int64 {
	var n int64
	for _, p := range m.mailParts(m.foreignVerdict) {
		n += int64(len(p))
	}
	return n
}

// mailParts returns the pieces of Mail in order. All but the trace block share memory with Raw.
func (m *Message) mailParts(foreign func(name []byte) bool) [][]byte {
	parts := [][]byte{m.traceBlock()}
	if len(m.Raw) > 0 && (m.Raw[0] == ' ' || m.Raw[0] == '\t') {
		parts = append(parts, []byte(strayField)) // else the first line would continue our trace block
	}
	start, off := 0, 0
	for f := range Fields(m.Raw) {
		if ForgedResults(f, m.Envelope.Hostname) {
			if off > start {
				parts = append(parts, m.Raw[start:off])
			}
			start = off + len(f.Raw)
		} else if foreign(f.Name) {
			if off > start {
				parts = append(parts, m.Raw[start:off])
			}
			parts = append(parts, []byte(ForeignPrefix))
			start = off
		}
		off += len(f.Raw)
	}
	if start < len(m.Raw) {
		parts = append(parts, m.Raw[start:])
	}
	return parts
}

// strayField takes up a first line that continues no field of the message.
const strayField = "X-Stray-Line:\r\n"

func (m *Message) traceBlock() []byte {
	var b strings.Builder
	b.WriteString(m.returnPath())
	b.WriteString(m.Envelope.Received)
	if m.Auth != nil {
		b.WriteString(m.Auth.Field)
	}
	return []byte(b.String())
}

func (m *Message) returnPath() string {
	var b strings.Builder
	b.WriteString("Return-Path: <")
	for _, c := range []byte(m.Envelope.ReversePath) {
		if c >= ' ' && c != 0x7f { // an address from the queue never has them; a header field must not break on one
			b.WriteByte(c)
		}
	}
	b.WriteString(">\r\n")
	return b.String()
}

// ForgedResults reports whether a field that came in with the message is an Authentication-Results field in the name of
// authservID, and so would pass for ours (RFC 8601 5). It forgives what readers forgive: any case, folds, comments,
// quotes, a version, a final dot and octets that have no business there. When in doubt (a comment or a quoted string
// that does not end) a field that has the name anywhere counts as forged. Without an authservID nothing is forged.
func ForgedResults(f RawField, authservID string) bool {
	if len(f.Name) < len("Authentication-Results") { // most fields: this is asked of all
		return false
	}
	id := strings.ToLower(strings.TrimSuffix(authservID, "."))
	if id == "" || !strings.EqualFold(strings.TrimFunc(string(f.Name), notVisible), "Authentication-Results") {
		return false
	}
	claimed, ok := claimedID(f.Body)
	if !ok {
		return strings.Contains(strings.ToLower(string(f.Body)), id)
	}
	rest, found := strings.CutPrefix(claimed, id)
	if !found {
		return false
	}
	rest = strings.TrimPrefix(rest, ".")
	return rest == "" || !hostOctet(rest[0])
}

// claimedID returns what stands before the first semicolon, in lower case, without comments, quotes and blanks. ok is
// false when a comment or a quoted string does not end.
func claimedID(body []byte) (id string, ok bool) {
	var b strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		c := body[i]
		switch {
		case c == '\\' && (quoted || depth > 0) && i+1 < len(body):
			i++
			if depth == 0 {
				b.WriteByte(body[i])
			}
		case c == '"' && depth == 0:
			quoted = !quoted
		case quoted:
			b.WriteByte(c)
		case c == '(':
			depth++
			b.WriteByte(' ')
		case depth > 0:
			if c == ')' {
				depth--
			}
		case c == ';':
			return squeeze(b.String()), true
		default:
			b.WriteByte(c)
		}
	}
	return squeeze(b.String()), depth == 0 && !quoted
}

// squeeze lowers s, drops what comes before the first visible octet and the invisible octets inside the name.
func squeeze(s string) string {
	first := ""
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }) {
		if first = strings.Map(dropInvisible, word); first != "" {
			break
		}
	}
	return strings.ToLower(first)
}

func dropInvisible(r rune) rune {
	if notVisible(r) {
		return -1
	}
	return r
}

func notVisible(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xa0 || r == 0xfeff }

func hostOctet(c byte) bool {
	return c == '.' || c == '-' || c == '_' || c >= 0x80 ||
		'0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
