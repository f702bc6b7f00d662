package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"mxhook/pipeline"
)

// format is what the requests of a sink look like. Safe for concurrent use.
type format interface {
	// compose makes the content of one request for d. An error that is not ctx's is d's: no attempt can succeed.
	compose(ctx context.Context, d *pipeline.Delivery, at time.Time) (*content, error)
}

// content is what one request carries: its body, and the header fields that belong to it.
type content struct {
	header http.Header
	// open returns a reader of the body, each time the same octets.
	open func() io.Reader
	// size is the number of octets; -1 is not known before they are read.
	size int64
	// whole is the body where it is in memory anyway, else nil.
	whole []byte
	// seals are signatures of the body that the format asks for.
	seals []seal
}

// seal is a signature of a body: all octets are written to it, once; then finish sets its header fields.
type seal interface {
	io.Writer
	finish(h http.Header) error
}

// bufferBelow is the body size below which a body is made once and held in memory; larger ones are made twice, once
// for signatures and size and once for the endpoint.
const bufferBelow = 1 << 20

// prepare signs the body and finds its size.
func (c *content) prepare(ctx context.Context) error {
	if c.size < bufferBelow {
		if done, err := c.hold(ctx); done || err != nil {
			return err
		}
	}
	if c.size >= 0 && len(c.seals) == 0 {
		return nil
	}
	ws := make([]io.Writer, 0, len(c.seals))
	for _, s := range c.seals {
		ws = append(ws, s)
	}
	n, err := io.Copy(io.MultiWriter(ws...), ctxReader{ctx, c.open()})
	if err == nil && c.size >= 0 && n != c.size {
		err = errLength
	}
	if err != nil {
		return fmt.Errorf("build the payload: %w", err)
	}
	c.size = n
	return c.finish()
}

// hold reads a small body into memory and signs it. A body whose size is not known may turn out not to be small: then
// it reports false, and nothing was signed.
func (c *content) hold(ctx context.Context) (bool, error) {
	if c.whole != nil {
		return true, c.sign(c.whole)
	}
	var b bytes.Buffer
	if c.size > 0 {
		b.Grow(int(c.size) + bytes.MinRead)
	}
	n, err := io.Copy(&b, io.LimitReader(ctxReader{ctx, c.open()}, bufferBelow))
	if err == nil && c.size >= 0 && n != c.size {
		err = errLength
	}
	if err != nil {
		return false, fmt.Errorf("build the payload: %w", err)
	}
	if n == bufferBelow {
		return false, nil
	}
	return true, c.sign(b.Bytes())
}

// sign signs a body that is in memory.
func (c *content) sign(octets []byte) error {
	for _, s := range c.seals {
		if _, err := s.Write(octets); err != nil {
			return fmt.Errorf("sign the payload: %w", err)
		}
	}
	c.open = func() io.Reader { return bytes.NewReader(octets) }
	c.size = int64(len(octets))
	return c.finish()
}

func (c *content) finish() error {
	for _, s := range c.seals {
		if err := s.finish(c.header); err != nil {
			return fmt.Errorf("sign the payload: %w", err)
		}
	}
	return nil
}

// ctxReader stops reading when its context is done.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (r ctxReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
