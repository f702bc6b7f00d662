package parse

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"mxhook/pipeline"
)

const (
	// reportBytes is how much of a report's machine-readable part is read, and reportRecipients how many of its recipients.
	reportBytes      = 256 << 10
	reportRecipients = 1000
)

// bounce reads what a message of that kind reports: the delivery status when there is one, or else its text.
func (rd *reading) bounce(c *pipeline.Content, parts []part) *pipeline.Bounce {
	if rd.notice != nil {
		return rd.notice.bounce()
	}
	b := &pipeline.Bounce{Method: "rfc3464"}
	for i := range parts {
		if p := &parts[i]; !p.multipart && isDeliveryStatus(p.media.typ) {
			deliveryStatus(b, rd.decodedHead(p, reportBytes))
		}
	}
	if len(b.Recipients) == 0 && containsFold(c.Text, "final-recipient:") {
		// The sender wrote a status and declared it as text.
		deliveryStatus(b, []byte(cut(c.Text, reportBytes)))
	}
	b.Original = rd.original(parts)
	if len(b.Recipients) == 0 {
		if t := rd.textBounce(c); t != nil {
			if t.ReportingMTA = b.ReportingMTA; b.Original != nil {
				t.Original = b.Original
			}
			b = t
		}
	}
	if len(b.Recipients) == 0 {
		if b.ReportingMTA == "" && b.Original == nil {
			b.Method, b.Original = "text", rd.originalInText(c.Text)
		}
		rd.notes.add(noteReportUnreadable, "", "the bounce names no recipient")
	}
	return b
}

func isDeliveryStatus(typ string) bool {
	return typ == "message/delivery-status" || typ == "message/global-delivery-status"
}

// deliveryStatus reads the groups of fields of a delivery status (RFC 3464 2.1). Blank lines in the middle of a group,
// as some hosts write them, do not make a new recipient.
func deliveryStatus(b *pipeline.Bounce, text []byte) {
	named := false
	for _, g := range fieldGroups(text) {
		if v := g.value("Reporting-MTA"); v != "" && b.ReportingMTA == "" {
			b.ReportingMTA = untyped(v)
		}
		r := pipeline.BounceRecipient{
			Address:         reportedAddress(g.value("Final-Recipient")),
			OriginalAddress: reportedAddress(g.value("Original-Recipient")),
			Action:          firstWord(strings.ToLower(g.value("Action"))),
			Status:          firstWord(g.value("Status")),
			Diagnostic:      untyped(g.value("Diagnostic-Code")),
			RemoteMTA:       untyped(g.value("Remote-MTA")),
		}
		if r == (pipeline.BounceRecipient{}) {
			continue
		}
		if addressed := r.Address != "" || r.OriginalAddress != ""; !addressed && named {
			completeRecipient(&b.Recipients[len(b.Recipients)-1], r)
			continue
		} else if addressed {
			named = true
		}
		if len(b.Recipients) == reportRecipients {
			return
		}
		b.Recipients = append(b.Recipients, r)
	}
}

// completeRecipient fills in what r does not have yet.
func completeRecipient(r *pipeline.BounceRecipient, more pipeline.BounceRecipient) {
	first(&r.Action, more.Action)
	first(&r.Status, more.Status)
	first(&r.Diagnostic, more.Diagnostic)
	first(&r.RemoteMTA, more.RemoteMTA)
}

// group is one group of fields of a report, without a blank line in it.
type group []pipeline.HeaderField

// value returns the first field of that name, "" when there is none.
func (g group) value(name string) string {
	for _, f := range g {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// values returns all fields of that name.
func (g group) values(name string) []string {
	var vs []string
	for _, f := range g {
		if strings.EqualFold(f.Name, name) {
			vs = append(vs, f.Value)
		}
	}
	return vs
}

// fieldGroups cuts a report into its groups of fields, decoded and unfolded. A line that is no field goes on with the
// one before it: hosts break long lines without indenting them.
func fieldGroups(b []byte) []group {
	var groups []group
	var g group
	var value []byte
	end := func() {
		if n := len(g); n > 0 && value != nil {
			g[n-1].Value = reportText(value)
		}
		value = nil
	}
	for len(b) > 0 {
		n := lineEnd(b, 0)
		line := bytes.TrimRight(b[:n], "\r\n")
		b = b[n:]
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			if end(); len(g) > 0 {
				groups, g = append(groups, g), nil
			}
		case line[0] == ' ' || line[0] == '\t' || fieldName(line) == nil:
			value = append(append(value, ' '), line...)
		default:
			end()
			name := fieldName(line)
			g = append(g, pipeline.HeaderField{Name: validUTF8(string(name))})
			value = append([]byte{}, line[bytes.IndexByte(line, ':')+1:]...)
		}
	}
	if end(); len(g) > 0 {
		groups = append(groups, g)
	}
	return groups
}

// reportText returns the value of a report's field, blanks folded. There are no encoded words in such fields (RFC 3464 2.1).
func reportText(b []byte) string {
	w := words{&notes{}, "", ""}
	return strings.Join(strings.Fields(oneLine(w.octets("", b))), " ")
}

// untyped cuts the type before a semicolon off ("dns; mx.example.org", RFC 3464 2.1.2).
func untyped(s string) string {
	typ, rest, ok := strings.Cut(s, ";")
	typ = strings.TrimSpace(typ)
	if !ok || typ == "" || strings.ContainsFunc(typ, func(r rune) bool { return r > 0x7f || !isAlnum(byte(r)) && r != '-' && r != '_' }) {
		return strings.TrimSpace(s)
	}
	return strings.TrimSpace(rest)
}

// reportedAddress returns the address of a typed field without its brackets.
func reportedAddress(s string) string {
	s = strings.TrimSpace(untyped(s))
	if i, j := strings.IndexByte(s, '<'), strings.LastIndexByte(s, '>'); i >= 0 && j > i {
		s = s[i+1 : j]
	}
	return strings.TrimSpace(strings.Trim(s, "<>"))
}

func firstWord(s string) string {
	if f := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == '(' || r == ';' }); len(f) > 0 {
		return f[0]
	}
	return ""
}

// original describes the message that a report returns: the last part that is a message or the header of one.
func (rd *reading) original(parts []part) *pipeline.OriginalMessage {
	for i := len(parts) - 1; i > 0; i-- {
		p := &parts[i]
		if p.multipart || !slices.Contains([]string{"message/rfc822", "message/global", "text/rfc822-headers", "text/rfc822-header", "message/global-headers", "message/rfc822-headers"}, p.media.typ) {
			continue
		}
		c := rd.innerHeader(p)
		if len(c.Headers) == 0 {
			continue
		}
		return originalOf(c)
	}
	for i := range parts {
		// Some put the message where a part should be.
		n := 0
		for _, f := range parts[i].fields {
			if i > 0 && isMailField(string(f.name)) {
				n++
			}
		}
		if n >= 3 {
			c := &pipeline.Content{}
			rd.header(c, parts[i].fields)
			return originalOf(c)
		}
	}
	return nil
}

func originalOf(c *pipeline.Content) *pipeline.OriginalMessage {
	return &pipeline.OriginalMessage{MessageID: c.MessageID, Subject: c.Subject, Date: c.Date, From: c.From, To: c.To, Headers: c.Headers}
}

// innerHeader reads the header of a part that is itself a message, not its body: what is in it is read by whoever opens
// the attachment, so that messages within messages cost nothing.
func (rd *reading) innerHeader(p *part) *pipeline.Content {
	head := rd.decodedHead(p, min(innerHeaderBytes, innerBytes-rd.inner))
	c := rd.headerOf(head)
	rd.inner += pipeline.HeaderEnd(head)
	return c
}

// headerOf reads octets as the beginning of a message. Blank lines before it are left out.
func (rd *reading) headerOf(raw []byte) *pipeline.Content {
	raw = bytes.TrimLeft(raw, "\r\n")
	in := &reading{limits: rd.limits, envelope: rd.envelope, raw: raw, charset: rd.charset}
	s := &scanner{rd: in, raw: raw}
	c := &pipeline.Content{}
	fields, _ := s.header(s.skipMboxLine(), "")
	in.header(c, fields)
	return c
}

// decodedHead returns the first n octets of a leaf, decoded.
func (rd *reading) decodedHead(p *part, n int) []byte {
	d, _ := newDecoder(p.encoding, p.body)
	out := make([]byte, min(n, len(p.body)))
	m, err := io.ReadFull(d, out)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		// The decoders have no other errors.
		panic(err)
	}
	return out[:m]
}

// containsFold reports whether s has sub, which is in lower case ASCII, in any case.
func containsFold(s, sub string) bool { return strings.Contains(strings.ToLower(s), sub) }
