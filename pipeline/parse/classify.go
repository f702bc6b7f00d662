package parse

import (
	"strings"
)

// classify reads the structured fields of a part: what it is and how it is encoded. Of fields that stand twice the
// first one counts.
func (s *scanner) classify(p *part) {
	p.media = s.structured(p, "Content-Type")
	p.disposition = s.structured(p, "Content-Disposition")
	p.media.typ = repairType(p.media.typ)
	if p.media.typ == "" {
		p.media.typ = s.defaultType(p)
	}
	if f, ok := p.field("Content-Transfer-Encoding"); ok {
		p.encoding = encodingWord(f.body)
	}
}

// structured parses the first field of that name, within the limits.
func (s *scanner) structured(p *part, name string) media {
	f, ok := p.field(name)
	if !ok {
		return media{}
	}
	l := s.rd.limits
	if len(f.body) > l.FieldBytes {
		s.rd.notes.add(noteFieldLimit, p.id, "%s over %d octets", name, l.FieldBytes)
	}
	m, over := parseMedia(cutBytes(f.body, l.FieldBytes), l.Params)
	if over {
		s.rd.notes.add(noteFieldLimit, p.id, "%s with more than %d parameters", name, l.Params)
	}
	return m
}

// defaultType is the type of a part that names none: RFC 2045 5.2, RFC 2046 5.1.5 for digests. A part that has a file
// name or wants to be an attachment is no text of the message.
func (s *scanner) defaultType(p *part) string {
	if p.parent >= 0 && s.parts[p.parent].media.typ == "multipart/digest" {
		return "message/rfc822"
	}
	_, filename := p.disposition.value("filename")
	_, name := p.media.value("name")
	if filename || name || p.disposition.typ == "attachment" {
		return "application/octet-stream"
	}
	return "text/plain"
}

// maxTypeName is how long a type or a subtype may be (RFC 6838 4.2).
const maxTypeName = 127

// repairType returns a type of the form "a/b", of characters that may stand in one (RFC 2045 5.1), or "" when nothing
// usable is there.
func repairType(typ string) string {
	typ = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"[]?=`, r) {
			return -1
		}
		return r
	}, typ)
	main, sub, ok := strings.Cut(typ, "/")
	switch {
	case ok && main != "" && sub != "":
		sub, _, _ = strings.Cut(sub, "/")
		return cut(main, maxTypeName) + "/" + cut(sub, maxTypeName)
	case main == "text":
		return "text/plain"
	case main == "html":
		return "text/html"
	case main == "multipart":
		return "multipart/mixed"
	case main == "message":
		return "message/rfc822"
	}
	for _, p := range []string{"application", "image", "audio", "video"} {
		if strings.HasPrefix(main, p) {
			return "application/octet-stream"
		}
	}
	return ""
}

// encodingWord returns the Content-Transfer-Encoding without comments, quotes and what else stands around it.
func encodingWord(body []byte) string {
	m, _ := parseMedia(cutBytes(body, 256), 0)
	switch w := strings.Trim(m.typ, `"' `); w {
	case "quoted/printable", "quotedprintable", "quoted_printable", "qp":
		return "quoted-printable"
	case "base-64", "b64":
		return "base64"
	case "7bit", "8bit", "binary", "7-bit", "8-bit", "7", "8", "none", "plain", "us-ascii", "utf-8":
		return ""
	default:
		return w
	}
}

// field returns the first field of that name.
func (p *part) field(name string) (field, bool) {
	for _, f := range p.fields {
		if f.is(name) {
			return f, true
		}
	}
	return field{}, false
}
