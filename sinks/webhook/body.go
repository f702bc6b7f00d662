package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"mxhook/pipeline"
)

// octets stands in the wire structs for a string that is the base64 of so many octets, or, as text, for those octets
// themselves. They are read when the body is written, never held as a string.
type octets struct {
	size int64
	open func() io.Reader
	text bool
	// long, when not nil, is a text that is encoded when the body is put together.
	long *longText
	// into, when not nil, is where the octets add themselves when they are encoded, in the order of the encoding.
	into *[]*octets
}

func octetsOf(b []byte) *octets {
	return &octets{size: int64(len(b)), open: func() io.Reader { return bytes.NewReader(b) }}
}

// octetsMark is what an octets is in the skeleton. It is valid JSON, and encoding/json never writes it for a string of
// the mail: it does not escape a "b", and a backslash of the mail is doubled by it.
const octetsMark = `"\u0062ase64"`

// MarshalJSON implements json.Marshaler.
func (o *octets) MarshalJSON() ([]byte, error) {
	if o.into != nil {
		*o.into = append(*o.into, o)
	}
	return []byte(octetsMark), nil
}

// body is one payload, ready to be read as often as needed; each time the same octets come out. It holds the JSON
// without attachments and raw mail in memory, and produces those while it is read. Safe for concurrent use.
type body struct {
	// texts and contents alternate: texts[0], contents[0], texts[1], ...
	texts    [][]byte
	contents []*octets
	size     int64 // -1 is not known
	// bare: the texts have the quotes around the contents, or there are none.
	bare bool
}

// mxhookFormat is the format of our own: payload version 1.
type mxhookFormat struct{ payload PayloadOptions }

// compose implements format.
func (f mxhookFormat) compose(_ context.Context, d *pipeline.Delivery, _ time.Time) (*content, error) {
	b, err := newBody(d, f.payload)
	if err != nil {
		return nil, err
	}
	return &content{header: http.Header{"Content-Type": {"application/json"}}, open: b.open, size: b.size, whole: b.whole()}, nil
}

// whole is the body when all of it is in memory, else nil.
func (b *body) whole() []byte {
	if len(b.contents) > 0 {
		return nil
	}
	return b.texts[0]
}

// EncodePayload writes the payload for a delivery, version 1, to w. An error is permanent when it is the delivery's.
func EncodePayload(w io.Writer, d *pipeline.Delivery, o PayloadOptions) error {
	b, err := newBody(d, o)
	if err != nil {
		return pipeline.Permanent(err)
	}
	switch _, err := io.Copy(w, b.open()); {
	case errors.Is(err, errLength):
		return pipeline.Permanent(fmt.Errorf("build the payload: %w", err))
	case err != nil:
		return fmt.Errorf("write the payload: %w", err)
	}
	return nil
}

// OpenPayload makes the payload for a delivery, version 1: its size, and a function that reads it from the start. An error
// is the delivery's.
func OpenPayload(d *pipeline.Delivery, o PayloadOptions) (size int64, open func() io.Reader, err error) {
	b, err := newBody(d, o)
	if err != nil {
		return 0, nil, err
	}
	return b.size, b.open, nil
}

func newBody(d *pipeline.Delivery, o PayloadOptions) (*body, error) {
	p := newPayload(d, o)
	return p.body(p)
}

// body encodes v, which has the data of p in it.
func (p *payload) body(v any) (*body, error) {
	b := &body{}
	if m := p.Data.Message; m != nil {
		for _, long := range []*longText{m.Text, m.HTML} {
			if long != nil {
				b.contents = append(b.contents, &octets{long: long})
			}
		}
		for _, a := range m.Attachments {
			if a.Content != nil {
				b.contents = append(b.contents, a.Content)
			}
		}
	}
	if p.Data.Raw.Content != nil {
		b.contents = append(b.contents, p.Data.Raw.Content)
	}

	if err := b.encode(v); err != nil {
		return nil, err
	}
	return b, nil
}

// document is a JSON document with octets in it, in the making.
type document struct{ contents []*octets }

// base64 makes a string that is the base64 of size octets.
func (j *document) base64(size int64, open func() io.Reader) *octets {
	return &octets{size: size, open: open, into: &j.contents}
}

// text makes a string out of a text that is valid UTF-8.
func (j *document) text(open func() io.Reader) *octets {
	return &octets{open: open, text: true, into: &j.contents}
}

// body encodes v, whose octets are of this document. It can be called once.
func (j *document) body(v any) (*body, error) {
	var skeleton bytes.Buffer
	if err := encodeJSON(&skeleton, v); err != nil {
		return nil, err
	}
	b := &body{contents: j.contents}
	return b, b.split(skeleton.Bytes())
}

// encode makes the texts around the contents.
func (b *body) encode(v any) error {
	var skeleton bytes.Buffer
	if err := encodeJSON(&skeleton, v); err != nil {
		return err
	}
	return b.split(skeleton.Bytes())
}

func encodeJSON(into *bytes.Buffer, v any) error {
	encoder := json.NewEncoder(into)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encode the payload: %w", err)
	}
	into.Truncate(into.Len() - 1) // the line end
	return nil
}

func (b *body) split(skeleton []byte) error {
	b.texts = bytes.Split(skeleton, []byte(octetsMark))
	if len(b.texts) != len(b.contents)+1 {
		return fmt.Errorf("encode the payload: %d places for %d contents", len(b.texts)-1, len(b.contents))
	}
	if err := b.fold(); err != nil {
		return err
	}
	b.measure()
	return nil
}

// measure finds the size.
func (b *body) measure() {
	for _, text := range b.texts {
		b.size += int64(len(text))
	}
	for _, c := range b.contents {
		if c.text {
			b.size = -1
			break
		}
		b.size += int64(2*len(b.quote())) + (c.size+2)/3*4
	}
}

func (b *body) quote() string {
	if b.bare {
		return ""
	}
	return `"`
}

// fold makes the long texts parts of the texts around them.
func (b *body) fold() error {
	size := 0
	for _, c := range b.contents {
		if c.long != nil {
			size += len(*c.long) + len(*c.long)/16 + 16
		}
	}
	if size == 0 {
		return nil
	}
	for _, text := range b.texts {
		size += len(text)
	}
	texts, contents := b.texts, b.contents
	b.texts, b.contents = nil, nil
	whole := append(make([]byte, 0, size), texts[0]...)
	start := 0
	for i, c := range contents {
		if c.long == nil {
			b.texts = append(b.texts, whole[start:len(whole):len(whole)])
			b.contents = append(b.contents, c)
			start = len(whole)
		} else {
			var err error
			if whole, err = appendJSON(whole, string(*c.long)); err != nil {
				return err
			}
		}
		whole = append(whole, texts[i+1]...)
	}
	b.texts = append(b.texts, whole[start:])
	return nil
}

// open returns a reader of the whole body: size octets, or an error when an attachment is not as long as it was said
// to be.
func (b *body) open() io.Reader {
	rs := make([]io.Reader, 0, 4*len(b.contents)+1)
	for i, text := range b.texts {
		if i > 0 {
			c := b.contents[i-1]
			rs = append(rs, strings.NewReader(b.quote()), c.reader(), strings.NewReader(b.quote()))
		}
		rs = append(rs, bytes.NewReader(text))
	}
	return io.MultiReader(rs...)
}

// reader reads what stands between the quotes.
func (o *octets) reader() io.Reader {
	if o.text {
		return escaping(o.open(), escapeJSON)
	}
	return &base64Reader{src: o.open(), left: o.size}
}

var errLength = errors.New("content is not as long as its size says")

// base64Chunk is how many octets are encoded at a time; a multiple of 3.
const base64Chunk = 24 << 10

// base64Reader reads the base64 of src (RFC 4648 4), which must hold exactly left octets.
type base64Reader struct {
	src     io.Reader
	left    int64
	in, out []byte
	encoded []byte
	err     error
}

// Read implements io.Reader.
func (r *base64Reader) Read(p []byte) (int, error) {
	if len(r.out) == 0 && r.err == nil {
		r.err = r.fill()
	}
	if len(r.out) == 0 {
		return 0, r.err
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill encodes the next chunk into out.
func (r *base64Reader) fill() error {
	if r.left == 0 {
		var one [1]byte
		switch n, err := io.ReadFull(r.src, one[:]); {
		case n > 0:
			return errLength
		case err != io.EOF:
			return err
		}
		return io.EOF
	}
	n := int(min(r.left, base64Chunk))
	if r.in == nil {
		r.in = make([]byte, n)
		r.encoded = make([]byte, base64.StdEncoding.EncodedLen(n))
	}
	switch _, err := io.ReadFull(r.src, r.in[:n]); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errLength
	case err != nil:
		return err
	}
	r.left -= int64(n)
	r.out = r.encoded[:base64.StdEncoding.EncodedLen(n)]
	base64.StdEncoding.Encode(r.out, r.in[:n])
	return nil
}
