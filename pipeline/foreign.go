package pipeline

import "strings"

// ForeignPrefix stands before the name of a field that came in with a message and that receivers would take for a verdict
// of ours: of a spam filter, of SPF, or of a service whose format we speak. Some sender wrote it.
const ForeignPrefix = "X-Foreign-"

// foreignVerdict reports whether a field's name is one of those. A trusted upstream's fields keep their names.
func (m *Message) foreignVerdict(name []byte) bool {
	if m.Auth != nil && m.Auth.Upstream {
		return false
	}
	n := strings.ToLower(strings.TrimFunc(string(name), notVisible))
	return n == "received-spf" || strings.HasPrefix(n, "x-spam-") || strings.HasPrefix(n, "x-mailgun-")
}

// OwnHeaders returns the fields that came in with the message as receivers may see them: without the Authentication-Results
// that pass for ours, and with verdicts of others under another name (ForeignPrefix). It may change fields.
func (m *Message) OwnHeaders(fields []HeaderField) []HeaderField {
	own := fields[:0]
	for _, f := range fields {
		name := []byte(f.Name)
		if ForgedResults(RawField{Name: name, Body: []byte(f.Value)}, m.Envelope.Hostname) {
			continue
		}
		if m.foreignVerdict(name) {
			f.Name = ForeignPrefix + strings.TrimFunc(f.Name, notVisible)
		}
		own = append(own, f)
	}
	return own
}
