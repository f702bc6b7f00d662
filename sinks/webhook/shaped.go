package webhook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mxhook/pipeline"
	"mxhook/sinks/webhook/shape"
)

const (
	// maxShapedText bounds a text for the program; maxUses how often octets may be placed.
	maxShapedText = 512 << 10
	maxUses       = 4
)

// Slots bounds how many programs run at once, of all sinks that share it: each may take as much memory as package shape
// says. Nil is no bound.
type Slots chan struct{}

// NewSlots returns those that a process should have.
func NewSlots() Slots { return make(Slots, 2) }

// take waits for a slot.
func (s Slots) take(ctx context.Context) (free func(), err error) {
	if s == nil {
		return func() {}, nil
	}
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a shape to run: %w", context.Cause(ctx))
	}
}

// shaped is the format that a program makes out of the payload.
type shaped struct {
	sink    string
	payload PayloadOptions
	program *shape.Program
	media   string
	text    bool // the result must be a string, which is the body
	slots   Slots
	metrics *Metrics
}

// ShapeError is a mistake in a program, with its place.
type ShapeError = shape.Error

// CheckShape reads a program. The error is a *ShapeError.
func CheckShape(program string) error {
	_, err := shape.Compile(program)
	return err
}

func newShaped(o Options, p PayloadOptions) (*shaped, error) {
	program, err := shape.Compile(o.Shape)
	if err != nil {
		return nil, fmt.Errorf("shape: %w", err)
	}
	s := &shaped{sink: o.Sink, payload: p, program: program, media: "application/json", slots: o.Slots, metrics: o.Metrics}
	if o.ShapeType != "" {
		media, params, err := mime.ParseMediaType(o.ShapeType)
		if err != nil || !strings.Contains(media, "/") || mime.FormatMediaType(media, params) == "" {
			return nil, fmt.Errorf("shape_type: %q is no media type; write one like text/plain", o.ShapeType)
		}
		s.media, s.text = o.ShapeType, media != "application/json" && !strings.HasSuffix(media, "+json")
	}
	return s, nil
}

// compose implements format.
func (s *shaped) compose(ctx context.Context, d *pipeline.Delivery, _ time.Time) (*content, error) {
	b, err := s.run(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("shape: %w", err)
	}
	return &content{header: http.Header{"Content-Type": {s.media}}, open: b.open, size: b.size, whole: b.whole()}, nil
}

func (s *shaped) run(ctx context.Context, d *pipeline.Delivery) (b *body, err error) {
	free, err := s.slots.take(ctx)
	if err != nil {
		return nil, err
	}
	defer free()
	p := newPayload(d, s.payload)
	p.cutTexts()
	if b, err = p.body(p); err != nil {
		return nil, err
	}
	mark := "mxhook-octets-" + strings.ToLower(rand.Text()) + "-" // no mail can know it
	var input bytes.Buffer
	for i, text := range b.texts {
		if i > 0 {
			fmt.Fprintf(&input, `"%s%06d"`, mark, i-1)
		}
		input.Write(text)
	}
	result, work, err := s.program.Run(ctx, input.Bytes())
	s.metrics.shaped(s.sink, work, err, ctx.Err() != nil)
	if err != nil {
		return nil, &redactedError{clean(err.Error()), err} // it may quote the mail
	}
	out, err := s.encode(result)
	if err != nil {
		return nil, err
	}
	return b.place(out, mark)
}

// encode makes the octets of the body, with stand-ins.
func (s *shaped) encode(result any) ([]byte, error) {
	text, is := result.(string)
	switch {
	case s.text && !is:
		return nil, fmt.Errorf("the result must be a string to be sent as %s, and is not", s.media)
	case s.text:
		return []byte(strings.ToValidUTF8(text, "\uFFFD")), nil
	}
	out, err := shape.Encode(result)
	if err == nil && !json.Valid(out) {
		err = errors.New("the result cannot be written as JSON")
	}
	return out, err
}

// place returns the body whose text is out, with the contents of b in the places of their stand-ins.
func (b *body) place(out []byte, mark string) (*body, error) {
	const digits = 6
	placed := &body{bare: true}
	uses := make([]int, len(b.contents))
	parts := bytes.Split(out, []byte(mark))
	for i, part := range parts {
		if i > 0 {
			n, err := -1, error(nil)
			if len(part) >= digits {
				n, err = strconv.Atoi(string(part[:digits]))
			}
			if err != nil || n < 0 || n >= len(b.contents) {
				return nil, errors.New("the program has cut a stand-in for octets into pieces")
			}
			if uses[n]++; uses[n] > maxUses {
				return nil, fmt.Errorf("the program places the same octets more than %d times", maxUses)
			}
			placed.contents = append(placed.contents, b.contents[n])
			part = part[digits:]
		}
		placed.texts = append(placed.texts, part)
	}
	placed.measure()
	return placed, nil
}

// Preview is what the program makes of a delivery, for people: octets are not placed. It is "" without a program.
func (w *Webhook) Preview(ctx context.Context, d *pipeline.Delivery) (string, error) {
	s, is := w.dialect.format.(*shaped)
	if !is {
		return "", nil
	}
	quiet := *s
	quiet.metrics = nil
	b, err := quiet.run(ctx, d)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for i, text := range b.texts {
		if i > 0 {
			fmt.Fprintf(&out, "(%d octets in base64)", b.contents[i-1].size)
		}
		out.Write(text)
	}
	return clean(out.String()), nil
}

// cutTexts shortens what is too long for a program, and says so.
func (p *payload) cutTexts() {
	m := p.Data.Message
	if m == nil {
		return
	}
	cut := func(where, s string) string {
		if len(s) <= maxShapedText {
			return s
		}
		end := maxShapedText
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		p.Data.Problems = append(p.Data.Problems, payloadProblem{
			Code: "shape-text-cut", Where: where, Detail: fmt.Sprintf("cut after %d of %d octets for the shape", end, len(s)),
		})
		return s[:end]
	}
	m.Text = longOrNull(cut("text", deref((*string)(m.Text))))
	m.HTML = longOrNull(cut("html", deref((*string)(m.HTML))))
	if r := m.Reply; r != nil {
		r.Text, r.Quoted, r.Signature = cut("reply.text", r.Text), cut("reply.quoted", r.Quoted), cut("reply.signature", r.Signature)
	}
}
