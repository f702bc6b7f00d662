package parse

import (
	"strings"

	"mxhook/pipeline"
)

// header fills in what the header fields of the message say.
func (rd *reading) header(c *pipeline.Content, fields []field) {
	c.Headers = make([]pipeline.HeaderField, 0, len(fields))
	for _, f := range fields {
		name := string(f.name)
		w := words{&rd.notes, name, rd.charset}
		value := oneLine(w.decode(unfold(f.body)))
		c.Headers = append(c.Headers, pipeline.HeaderField{Name: name, Value: value})
		rd.known(c, w, f, value)
	}
	if len(c.Headers) == 0 {
		c.Headers = nil
	}
}

// known takes a field that has a place of its own in the content. Lists go on when a field stands twice, as it must
// not (RFC 5322 3.6); of single values the first one counts.
func (rd *reading) known(c *pipeline.Content, w words, f field, value string) {
	switch strings.ToLower(w.where) {
	case "subject":
		first(&c.Subject, value)
	case "message-id":
		if ids := messageIDs(value); len(ids) > 0 {
			first(&c.MessageID, ids[0])
		} else {
			first(&c.MessageID, value)
		}
	case "date":
		if !c.Date.IsZero() {
			return
		}
		if d, ok := parseDate(value); ok {
			c.Date = d
		} else {
			rd.notes.add(noteDateUnreadable, w.where, "%q", cut(value, 60))
		}
	case "from":
		c.From = union(c.From, w.addresses(f.body))
	case "reply-to":
		c.ReplyTo = union(c.ReplyTo, w.addresses(f.body))
	case "to":
		c.To = union(c.To, w.addresses(f.body))
	case "cc":
		c.Cc = union(c.Cc, w.addresses(f.body))
	case "bcc":
		c.Bcc = union(c.Bcc, w.addresses(f.body))
	case "sender":
		if as := w.addresses(f.body); len(as) > 0 && c.Sender == nil {
			c.Sender = &as[0]
		}
	case "in-reply-to":
		c.InReplyTo = append(c.InReplyTo, messageIDs(value)...)
	case "references":
		c.References = append(c.References, messageIDs(value)...)
	}
}

// union appends the addresses of a field that stands again. What it only repeats is left out; the list of one field stays
// as it was written.
func union(list, more []pipeline.Address) []pipeline.Address {
	if list == nil {
		return more
	}
	known := make(map[pipeline.Address]bool, len(list))
	for _, a := range list {
		known[a] = true
	}
	for _, a := range more {
		if !known[a] {
			list = append(list, a)
		}
	}
	return list
}

// first sets a value that is not set yet.
func first(dst *string, v string) {
	if *dst == "" {
		*dst = v
	}
}

// messageIDs returns the message ids of a field with their angle brackets (RFC 5322 3.6.4), without blanks. Words of
// obsolete phrases are left out; when there are no brackets at all, every word with an at sign is an id.
func messageIDs(s string) []string {
	var ids []string
	rest := s
	for {
		i := strings.IndexByte(rest, '<')
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		id := rest
		if j := strings.IndexAny(rest, "<>"); j >= 0 {
			id, rest = rest[:j], rest[j:]
		} else {
			rest = ""
		}
		if id = strings.Join(strings.Fields(id), ""); id != "" {
			ids = append(ids, "<"+id+">")
		}
	}
	if ids != nil {
		return ids
	}
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		if strings.Contains(w, "@") {
			ids = append(ids, "<"+strings.TrimRight(w, ">")+">")
		}
	}
	return ids
}
