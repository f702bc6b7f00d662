package pipeline

import (
	"slices"
	"strings"
)

// Templated is a sink with options that are templates. A message whose recipients expand one of them differently goes
// out to the sink as several deliveries, each with its recipients and an id of its own.
type Templated interface {
	Sink
	Templates() []TemplateOption
}

// TemplateOption is a template and the option that it stands in ("url", "headers[0]").
type TemplateOption struct {
	Option   string
	Template *Template
}

// TemplatesOf returns the templates with fields of a sink, nil when it has none.
func TemplatesOf(s Sink) []TemplateOption {
	t, ok := s.(Templated)
	if !ok {
		return nil
	}
	return slices.DeleteFunc(t.Templates(), func(o TemplateOption) bool { return o.Template == nil || o.Template.Fixed() })
}

// Separate is a sink that may want a delivery of its own for each recipient.
type Separate interface {
	Sink
	PerRecipient() bool
}

// splitter takes apart the deliveries of one sink; nil keeps them as they are.
type splitter struct {
	templates []*Template
	each      bool // each recipient by itself
}

func newSplitter(s Sink) *splitter {
	var by []*Template
	for _, o := range TemplatesOf(s) {
		if o.Template.ByRecipient() {
			by = append(by, o.Template)
		}
	}
	p, ok := s.(Separate)
	each := ok && p.PerRecipient()
	if len(by) == 0 && !each {
		return nil
	}
	return &splitter{by, each}
}

// KeepsApart reports whether a sink may get recipients of one message in deliveries of their own.
func KeepsApart(s Sink) bool { return newSplitter(s) != nil }

// key tells the recipients that share a delivery from others: what the sink's templates make of the first one. It is not
// empty.
func (s *splitter) key(d *Delivery) string {
	same := *d
	same.ID = "" // it is made of the key
	var b strings.Builder
	for _, t := range s.templates {
		b.WriteString(t.Expand(&same))
		b.WriteByte(0)
	}
	if s.each && len(d.Recipients) > 0 {
		b.WriteString(d.Recipients[0].Address)
	}
	return b.String()
}

// suffixed is the id of the part of a delivery that has this key; "" is that of a sink without a splitter.
func suffixed(id, key string) string {
	if key == "" {
		return id
	}
	return id + "." + mark(key)
}

// split takes a delivery apart whose recipients must not share one: it was made before its sink had these templates, or
// for another sink. Otherwise it returns the delivery itself, with its id.
func (s *splitter) split(d *Delivery) []*Delivery {
	if s == nil || len(d.Recipients) < 2 {
		return []*Delivery{d}
	}
	var parts []*Delivery
	byKey := map[string]*Delivery{}
	for _, r := range d.Recipients {
		one := *d
		one.Recipients = []Recipient{r}
		key := s.key(&one)
		if part, ok := byKey[key]; ok {
			part.Recipients = append(part.Recipients, r)
			continue
		}
		one.ID = suffixed(d.ID, key)
		byKey[key] = &one
		parts = append(parts, &one)
	}
	if len(parts) == 1 {
		return []*Delivery{d}
	}
	return parts
}
