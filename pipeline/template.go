package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Template is an option of a sink with fields in braces, like "{date}/{domain}/", that each delivery fills in by itself.
// It never changes and is safe for concurrent use.
type Template struct {
	text   string
	place  Place
	pieces []piece
}

// piece is a fixed text or a field.
type piece struct {
	text  string
	field *field
	// capture is the name behind "captures.".
	capture string
}

// Place is where the result of a template stands, and with it what the mail may put there.
type Place int

// The places.
const (
	// InPath is the path of a URL, InQuery its query.
	InPath Place = iota
	InQuery
	// InKey is the key of an object or a part of it, InFile the path of a file or folder.
	InKey
	InFile
	// InHeader is the value of a header field. Its text is often a secret, so that errors do not quote it.
	InHeader
	// InSubject is a NATS subject: tokens with dots between them, of which a field is one or a part of one. InTopic is the
	// name of a Kafka topic.
	InSubject
	InTopic
)

// Bounds of a template.
const (
	// MaxTemplate bounds its text, in bytes, without the fields.
	MaxTemplate = 256
	// maxTemplateFields bounds its fields, and with them the length of the result.
	maxTemplateFields = 6
)

// field is a word that a template may have. Its value must be the same at every attempt.
type field struct {
	name, meaning, example string
	// recipient: it may differ between the recipients of a message.
	recipient bool
	value     func(d *Delivery, r *Recipient) string
}

// TemplateField describes a field for people.
type TemplateField struct{ Name, Meaning, Example string }

// captures is the field whose name goes on: captures.NAME.
const captures = "captures"

// unverified stands for the sender's domain when it is not proven; no domain is that.
const unverified = "unverified"

func fields() []field {
	at := func(layout string) func(*Delivery, *Recipient) string {
		return func(d *Delivery, _ *Recipient) string { return d.Message.Envelope.ReceivedAt.UTC().Format(layout) }
	}
	return []field{
		{"message", "the message id", "01KAK5ZV3QW8E6T4Y2N0ABCDEF", false, func(d *Delivery, _ *Recipient) string { return d.Message.Envelope.ID }},
		{"delivery", "the delivery id", "01KAK5ZV3QW8E6T4Y2N0ABCDEF.archive", false, func(d *Delivery, _ *Recipient) string { return d.ID }},
		{"date", "the day the message was received, UTC", "2026-11-21", false, at("2006-01-02")},
		{"year", "its year", "2026", false, at("2006")},
		{"month", "its month", "11", false, at("01")},
		{"day", "its day of the month", "21", false, at("02")},
		{"hour", "its hour, UTC", "19", false, at("15")},
		{"kind", "the kind of message: mail, auto_reply, bounce, complaint, dmarc_report, tls_report", "mail", false, kindOf},
		{"sender_domain", "the author's domain when it is proven, else " + unverified, "example.org", false, senderDomain},
		{"sink", "the name of the sink", "archive", false, func(d *Delivery, _ *Recipient) string { return d.Sink }},
		{"rule", "the first rule that chose the sink", "invoices", true, firstRule},
		{"recipient", "the recipient's address, in lower case", "support+42@example.com", true, func(_ *Delivery, r *Recipient) string { return strings.ToLower(r.Address) }},
		{"local", "its local part without the tag, in lower case", "support", true, func(_ *Delivery, r *Recipient) string { return strings.ToLower(r.Local) }},
		{"tag", "its tag, in lower case", "42", true, func(_ *Delivery, r *Recipient) string { return strings.ToLower(r.Tag) }},
		{"domain", "its domain", "example.com", true, func(_ *Delivery, r *Recipient) string { return strings.ToLower(r.Domain) }},
		{captures, "captures.NAME: a named group of the recipient's pattern or of `matches` in a condition", "acme", true, nil},
	}
}

// TemplateFields are the fields of templates; that of captures is called "captures.NAME".
func TemplateFields() []TemplateField {
	var out []TemplateField
	for _, f := range fields() {
		if f.name == captures {
			f.name += ".NAME"
			f.meaning = strings.TrimPrefix(f.meaning, f.name+": ")
		}
		out = append(out, TemplateField{f.name, f.meaning, f.example})
	}
	return out
}

func kindOf(d *Delivery, _ *Recipient) string {
	if c := d.Message.Content; c != nil && c.Kind != "" {
		return c.Kind
	}
	return KindMail
}

func senderDomain(d *Delivery, _ *Recipient) string {
	if a := d.Message.Auth; a != nil && a.Sender.Verified && a.Sender.Domain != "" {
		return strings.ToLower(a.Sender.Domain)
	}
	return unverified
}

func firstRule(d *Delivery, _ *Recipient) string {
	if len(d.Rules) == 0 {
		return ""
	}
	return d.Rules[0]
}

// TemplateError says what is wrong with the text of a template. Column counts characters from 1.
type TemplateError struct {
	Column int
	Text   string
}

// Error implements error.
func (e *TemplateError) Error() string { return fmt.Sprintf("column %d: %s", e.Column, e.Text) }

// ParseTemplate reads the text of a template for its place; a text without fields is one too. Braces that are meant as
// such are doubled. The error is a *TemplateError.
func ParseTemplate(text string, place Place) (*Template, error) {
	t := &Template{text: text, place: place}
	wrong := func(at int, format string, args ...any) (*Template, error) {
		return nil, &TemplateError{utf8.RuneCountInString(text[:at]) + 1, fmt.Sprintf(format, args...)}
	}
	var fixed strings.Builder
	flush := func() {
		if fixed.Len() > 0 {
			t.pieces = append(t.pieces, piece{text: fixed.String()})
			fixed.Reset()
		}
	}
	total, count := 0, 0
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c != '{' && c != '}', strings.HasPrefix(text[i:], "{{"), strings.HasPrefix(text[i:], "}}"):
			fixed.WriteByte(c)
			total++
			if c == '{' || c == '}' {
				i++
			}
			i++
			continue
		case c == '}':
			return wrong(i, "a } without its {; a brace that is meant as such is written }}")
		}
		end := strings.IndexAny(text[i+1:], "{}")
		if end < 0 || text[i+1+end] == '{' {
			return wrong(i, "a { without its }; a brace that is meant as such is written {{")
		}
		p, problem := place.field(text[i+1 : i+1+end])
		if problem != "" {
			return wrong(i, "%s", problem)
		}
		if count++; count > maxTemplateFields {
			return wrong(i, "more than %d fields", maxTemplateFields)
		}
		flush()
		t.pieces = append(t.pieces, p)
		i += end + 2
	}
	flush()
	if count > 0 && total > MaxTemplate {
		return wrong(0, "the text is %d bytes long without its fields, at most %d are allowed", total, MaxTemplate)
	}
	if err := t.checkSegments(); err != "" {
		return wrong(0, "%s", err)
	}
	return t, nil
}

// field finds a field by its name. The second result is what is wrong with it.
func (p Place) field(name string) (piece, string) {
	var names []string
	for _, f := range fields() {
		if f.name == captures {
			capture, is := strings.CutPrefix(name, captures+".")
			if is && validCapture(capture) {
				return piece{field: &f, capture: capture}, ""
			}
			if is || name == captures {
				return piece{}, "captures needs the name of a group: {captures.tenant}"
			}
			names = append(names, "captures.NAME")
			continue
		}
		if f.name == name {
			return piece{field: &f}, ""
		}
		names = append(names, f.name)
	}
	advice := "; there are " + strings.Join(names, ", ")
	near, found := Nearest(name, names)
	if found {
		advice = "; did you mean {" + near + "}?"
	}
	if p == InHeader {
		return piece{}, "this is no field" + advice
	}
	return piece{}, fmt.Sprintf("there is no field {%s}%s", name, advice)
}

func validCapture(name string) bool {
	return name != "" && len(name) <= 64 && strings.IndexFunc(name, func(r rune) bool {
		return !(r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9')
	}) < 0
}

// checkSegments finds fixed texts that would lead out of their folder, or have no business in a name.
func (t *Template) checkSegments() string {
	switch t.place {
	case InSubject:
		return t.checkSubject()
	case InTopic:
		return t.checkTopic()
	}
	if t.place == InHeader || t.place == InQuery || t.Fixed() {
		return "" // what is fixed is the business of who takes it
	}
	for _, p := range t.pieces {
		if p.field == nil && strings.ContainsFunc(p.text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == utf8.RuneError }) {
			return "the text has characters that have no place in a path"
		}
	}
	segments := strings.Split(t.outline(), "/")
	for i, s := range segments {
		if s == "." || s == ".." {
			return "the path goes by way of " + s
		}
		if s == "" && i > 0 && i < len(segments)-1 {
			return "the path has an empty part: //"
		}
	}
	return ""
}

// Text returns the text that the template was read from.
func (t *Template) Text() string { return t.text }

// Fixed reports that the template has no field; Expand returns the same text always then.
func (t *Template) Fixed() bool {
	return !slices.ContainsFunc(t.pieces, func(p piece) bool { return p.field != nil })
}

// ByRecipient reports that the result depends on the recipient.
func (t *Template) ByRecipient() bool {
	return slices.ContainsFunc(t.pieces, func(p piece) bool { return p.field != nil && p.field.recipient })
}

// Uses reports whether the field of that name is in the template.
func (t *Template) Uses(name string) bool {
	return slices.ContainsFunc(t.pieces, func(p piece) bool { return p.field != nil && p.field.name == name })
}

// Captures are the names behind "captures." in the template.
func (t *Template) Captures() []string {
	var names []string
	for _, p := range t.pieces {
		if p.capture != "" && !slices.Contains(names, p.capture) {
			names = append(names, p.capture)
		}
	}
	return names
}

// Literals are the fixed texts between the fields.
func (t *Template) Literals() []string {
	var texts []string
	for _, p := range t.pieces {
		if p.field == nil {
			texts = append(texts, p.text)
		}
	}
	return texts
}

// Expand fills the template in. Fields of the recipient are those of the first: deliveries whose recipients differ there
// are taken apart before (see Templated). Whatever the mail says, what comes out is fit for the place: it has no part
// that is empty, . or .., no separator, and no control character that the text of the template does not have.
func (t *Template) Expand(d *Delivery) string {
	var b strings.Builder
	for _, p := range t.pieces {
		b.WriteString(p.expand(d, t.place))
	}
	switch t.place {
	case InKey, InFile:
		return cutSegments(b.String())
	case InTopic:
		return cut(b.String(), maxTopic)
	}
	return b.String()
}

func (p *piece) expand(d *Delivery, place Place) string {
	if p.field == nil {
		return p.text
	}
	r := &Recipient{}
	if len(d.Recipients) > 0 {
		r = &d.Recipients[0]
	}
	if p.capture != "" {
		return place.escape(r.Captures[p.capture])
	}
	return place.escape(p.field.value(d, r))
}

// Show is Expand for people: fixed texts that may be secrets, as those of header fields and queries often are, are cut.
func (t *Template) Show(d *Delivery) string {
	if t.place != InPath && t.place != InQuery && t.place != InHeader {
		return t.Expand(d)
	}
	var b strings.Builder
	for _, p := range t.pieces {
		switch text := p.expand(d, t.place); {
		case p.field != nil:
			b.WriteString(text)
		case t.place == InPath:
			b.WriteString(cutTokens(text))
		default:
			b.WriteString("…")
		}
	}
	return b.String()
}

// cutTokens cuts the parts of a path that are long enough to be tokens; shorter ones are words.
func cutTokens(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if len(s) >= 16 {
			segments[i] = "…"
		}
	}
	return strings.Join(segments, "/")
}
