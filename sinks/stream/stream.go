// Package stream is what the sinks that publish to streams have in common: what a record holds, and what is left out of
// one that would be too large.
package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"mxhook/pipeline"
)

// Formats of records.
const (
	// MXHook is the payload of webhooks, version 1.
	MXHook = "mxhook"
	// Raw is the mail as received; what is known of it besides is in header fields.
	Raw = "raw"
)

// Payload makes the JSON of a delivery: its size and a function that reads it from the start. With linked, the octets of
// the mail and of attachments are left out, and links to them are in their place.
type Payload func(d *pipeline.Delivery, linked bool) (size int64, open func() io.Reader, err error)

// Header is a header field of every record. Its value may be a template (pipeline.Template).
type Header struct{ Name, Value string }

// Options configures a Composer.
type Options struct {
	// Format is MXHook (the default) or Raw.
	Format string
	// WithRaw, WithReply and OmitAttachments are for the payload: it has the mail as received, has its text taken apart,
	// and is without the octets of attachments.
	WithRaw, WithReply, OmitAttachments bool
	// Headers are added to every record, at most 64.
	Headers []Header
	// Payload must be set, and RawHeader too for Raw: what is known of a mail, as header fields of printable ASCII. Linked
	// says that there are links.
	Payload   Payload
	RawHeader func(d *pipeline.Delivery) []pipeline.HeaderField
	Linked    bool
	// LimitOption is the option that bounds records, for what people are told.
	LimitOption string
}

// Composer makes records. Safe for concurrent use.
type Composer struct {
	format      string
	payload     Payload
	rawHeader   func(d *pipeline.Delivery) []pipeline.HeaderField
	linked      bool
	limitOption string
	names       []string
	values      []*pipeline.Template
}

const maxHeaders = 64

// Names of the header fields that every record has, besides content-type; raw mails have more.
const (
	HeaderDelivery = "mxhook-delivery"
	HeaderMessage  = "mxhook-message"
	HeaderSink     = "mxhook-sink"
	HeaderAttempt  = "mxhook-attempt"
	HeaderKind     = "mxhook-kind"
	HeaderLinked   = "mxhook-linked"
)

// New checks the options. reserved are names, in lower case, that the kind of stream has uses of its own for.
func New(o Options, reserved ...string) (*Composer, error) {
	if o.Payload == nil || o.Format == Raw && o.RawHeader == nil {
		return nil, errors.New("there is nothing to make the JSON with")
	}
	c := &Composer{format: o.Format, payload: o.Payload, rawHeader: o.RawHeader, linked: o.Linked, limitOption: o.LimitOption}
	switch c.format {
	case "":
		c.format = MXHook
	case MXHook, Raw:
	default:
		return nil, fmt.Errorf("format: %q is unknown; use mxhook or raw", c.format)
	}
	if c.format == Raw && (o.WithRaw || o.WithReply || o.OmitAttachments) {
		return nil, errors.New("raw, reply and omit_attachments are for format: mxhook; remove them, or the format")
	}
	if len(o.Headers) > maxHeaders {
		return nil, fmt.Errorf("headers: there are %d, at most %d", len(o.Headers), maxHeaders)
	}
	for i, h := range o.Headers {
		if err := checkName(h.Name, reserved); err != nil {
			return nil, fmt.Errorf("headers: number %d: %w", i+1, err)
		}
		t, err := pipeline.ParseTemplate(h.Value, pipeline.InHeader)
		if err != nil {
			return nil, fmt.Errorf("headers: value of %s: %w", h.Name, err)
		}
		for _, text := range t.Literals() {
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
				return nil, fmt.Errorf("headers: the value of %s has characters that are not printable ASCII", h.Name)
			}
		}
		c.names, c.values = append(c.names, h.Name), append(c.values, t)
	}
	return c, nil
}

func checkName(name string, reserved []string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_' || r == '.')
	}) {
		return fmt.Errorf("%q is no name: use letters, digits, hyphens, underscores and dots", name)
	}
	lower := strings.ToLower(name)
	for _, r := range append([]string{"content-type"}, reserved...) {
		if lower == r {
			return fmt.Errorf("%s is set by mxhook: choose another name", name)
		}
	}
	if strings.HasPrefix(lower, "mxhook-") {
		return fmt.Errorf("%s: names that begin with mxhook- are set by mxhook: choose another", name)
	}
	return nil
}

// Templates are those of the header fields.
func (c *Composer) Templates() []pipeline.TemplateOption {
	out := make([]pipeline.TemplateOption, len(c.values))
	for i, t := range c.values {
		out[i] = pipeline.TemplateOption{Option: fmt.Sprintf("headers[%d].value", i), Template: t}
	}
	return out
}

// Record is what is published.
type Record struct {
	Header []pipeline.HeaderField
	Body   []byte
}

// headerSize is what header fields take, as NATS counts: a line for each, and two more. Kafka's take a little less.
func headerSize(fields []pipeline.HeaderField) int64 {
	n := len("NATS/1.0\r\n\r\n")
	for _, f := range fields {
		n += len(f.Name) + len(f.Value) + len(": \r\n")
	}
	return int64(n)
}

// form is one way to write a delivery.
type form struct {
	contentType string
	raw, linked bool
	size        int64
	open        func() io.Reader
}

// Compose makes the record of a delivery, at most limit octets with its header. What would be larger goes out with links in
// place of the octets of the mail and its attachments; if that is too large still, without text and header fields; and at last
// with the envelope alone: raw.url leads to all of it. An error is the delivery's: no attempt can cure it. more are fields
// that the caller adds.
func (c *Composer) Compose(d *pipeline.Delivery, limit int64, more ...pipeline.HeaderField) (Record, error) {
	for i := 0; ; i++ {
		f, another, err := c.form(d, i)
		if err != nil {
			return Record{}, err
		}
		r := Record{Header: append(c.header(d, f), more...)}
		size := headerSize(r.Header) + f.size
		if size <= limit {
			if r.Body, err = read(f); err != nil {
				return Record{}, err
			}
			return r, nil
		}
		if !another {
			return Record{}, c.tooLarge(size, limit)
		}
	}
}

// form is the i-th way to write a delivery, each smaller than the one before. The second result says that there is another.
func (c *Composer) form(d *pipeline.Delivery, i int) (f form, another bool, err error) {
	f = form{contentType: "application/json", linked: i > 0}
	switch i {
	case 0:
		if c.format == Raw {
			m := d.Message
			open := func() io.Reader { return bytes.NewReader(m.Raw) }
			return form{contentType: "message/rfc822", raw: true, size: int64(len(m.Raw)), open: open}, c.linked, nil
		}
	case 2:
		d = without(d, summary)
	case 3:
		d = without(d, func(*pipeline.Content) *pipeline.Content { return nil })
	}
	f.size, f.open, err = c.payload(d, f.linked)
	return f, c.linked && i < 3, err
}

// without is a delivery whose message has less content, and says so.
func without(d *pipeline.Delivery, change func(*pipeline.Content) *pipeline.Content) *pipeline.Delivery {
	less, m := *d, *d.Message
	if m.Content != nil {
		m.Content = change(m.Content)
		m.Problems = append(append([]pipeline.Problem(nil), m.Problems...), pipeline.Problem{
			Code: "too-large-for-sink", Detail: "the content is too large for a record of the sink; raw.url leads to the mail",
		})
	}
	less.Message = &m
	return &less
}

// summary is content without what can be large and is no description of it.
func summary(of *pipeline.Content) *pipeline.Content {
	less := *of
	less.Text, less.HTML, less.TextFrom, less.Headers, less.TakeApart, less.Calendar = "", "", "", nil, nil, nil
	return &less
}

func (c *Composer) tooLarge(size, limit int64) error {
	if !c.linked {
		return fmt.Errorf("the record would have %d octets, and %s allows %d: set links.base_url, and such mails are published with links "+
			"to their content; or raise %s here and at the server", size, c.limitOption, limit, c.limitOption)
	}
	return fmt.Errorf("the record would have %d octets without any content, and %s allows %d: raise it here and at the server",
		size, c.limitOption, limit)
}

func read(f form) ([]byte, error) {
	body := make([]byte, f.size)
	r := f.open()
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("build the record: %w", err)
	}
	var one [1]byte
	if n, err := io.ReadFull(r, one[:]); n > 0 || !errors.Is(err, io.EOF) {
		return nil, errors.New("build the record: content is not as long as its size says")
	}
	return body, nil
}

// header are the fields of a record. Values are printable ASCII, whatever the mail says.
func (c *Composer) header(d *pipeline.Delivery, f form) []pipeline.HeaderField {
	fields := []pipeline.HeaderField{
		{Name: "content-type", Value: f.contentType},
		{Name: HeaderDelivery, Value: pipeline.HeaderValue(d.ID)},
	}
	if f.raw {
		fields = append(fields, c.rawHeader(d)...)
	} else {
		kind := pipeline.KindMail
		if content := d.Message.Content; content != nil && content.Kind != "" {
			kind = content.Kind
		}
		fields = append(fields, []pipeline.HeaderField{
			{Name: HeaderMessage, Value: pipeline.HeaderValue(d.Message.Envelope.ID)},
			{Name: HeaderSink, Value: pipeline.HeaderValue(d.Sink)},
			{Name: HeaderAttempt, Value: strconv.Itoa(d.Attempt)},
			{Name: HeaderKind, Value: pipeline.HeaderValue(kind)},
		}...)
	}
	if f.linked {
		fields = append(fields, pipeline.HeaderField{Name: HeaderLinked, Value: "true"})
	}
	for i, name := range c.names {
		fields = append(fields, pipeline.HeaderField{Name: name, Value: c.values[i].Expand(d)})
	}
	return fields
}
