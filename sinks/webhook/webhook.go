// Package webhook is the sink that posts deliveries to HTTP endpoints, signed after Standard Webhooks 1.0.0.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"mxhook/pipeline"
)

// Webhook is a pipeline.Sink with one endpoint. Safe for concurrent use. It keeps idle connections until Close.
type Webhook struct {
	name      string
	target    *url.URL // without user information
	header    http.Header
	signer    *signer
	payload   PayloadOptions
	permanent []int
	transport *http.Transport
	redactor  *strings.Replacer
	metrics   *Metrics
	now       func() time.Time
}

// New checks the options and returns the sink; it does not connect.
func New(o Options) (*Webhook, error) {
	if err := o.checkRest(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	target, user, err := o.endpoint()
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(target.Hostname()); err == nil && !o.AllowPrivate {
		if err := newGuard(o.AllowNetworks).check(ip); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	header, err := o.header(user)
	if err != nil {
		return nil, err
	}
	signer, err := newSigner(o.Secrets)
	if err != nil {
		return nil, err
	}
	w := &Webhook{
		name: o.Sink, target: target, header: header, signer: signer, permanent: o.PermanentStatuses,
		payload: PayloadOptions{Raw: o.Raw, InlineLimit: o.InlineLimit}, transport: newTransport(o), redactor: newRedactor(o, target, user),
		metrics: o.Metrics, now: o.Now,
	}
	if o.OmitAttachments {
		w.payload.OmitAttachments = "left out by the sink's configuration"
	}
	return w, nil
}

// Deliver implements pipeline.Sink: it posts the payload once and judges the answer.
//
// When a kept connection turns out to be closed before any octet of the request was written to it, net/http sends the
// request over another one; the endpoint cannot have seen it, so this is still one attempt. Once something was
// written, an error is the attempt's outcome: whether the endpoint acted on it is unknown, and the repeat comes by the
// schedule, under the same webhook-id. Options.IdleTimeout keeps that rare.
func (w *Webhook) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	resp, err := w.post(ctx, d)
	if err != nil {
		err = &redactedError{text: w.redactor.Replace(err.Error()), err: err}
	}
	return resp, err
}

// Close drops the idle connections. The sink can be used again after it.
func (w *Webhook) Close() error {
	w.transport.CloseIdleConnections()
	return nil
}

func (w *Webhook) post(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	started := w.now()
	traced, progress := watch(ctx, func() { w.metrics.connection(w.name) })
	req, err := w.request(traced, d)
	switch {
	case err != nil && ctx.Err() != nil:
		return pipeline.Response{}, w.explain(err, progress, w.now().Sub(started))
	case err != nil:
		return pipeline.Response{}, pipeline.Permanent(err)
	}
	w.metrics.attempt(w.name, req.ContentLength)
	resp, err := w.transport.RoundTrip(req)
	w.metrics.answer(w.name, resp, err)
	if err != nil {
		return pipeline.Response{}, w.explain(err, progress, w.now().Sub(started))
	}
	defer resp.Body.Close()

	// The status has decided; an answer that breaks off later changes nothing, and reading it to its end only keeps the
	// connection. What follows a 101 is no answer and outlives the context.
	var answer []byte
	if resp.StatusCode != http.StatusSwitchingProtocols {
		answer, _ = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	}
	response := pipeline.Response{Status: statusText(resp.StatusCode), Detail: detail(w.redactor.Replace(string(answer)))}
	return response, outcome(w.target, resp, w.permanent, w.now())
}

// bufferBelow is the body size below which a body is made once and held in memory; larger ones are made twice, once
// for the signature and once for the endpoint.
const bufferBelow = 1 << 20

// request makes the signed request for one attempt. Unless ctx is done, an error means that no attempt can succeed.
func (w *Webhook) request(ctx context.Context, d *pipeline.Delivery) (*http.Request, error) {
	if d.ID == "" || !httpguts.ValidHeaderFieldValue(d.ID) {
		return nil, errors.New("delivery id cannot be a header field's value")
	}
	b, err := newBody(d, w.payload)
	if err != nil {
		return nil, err
	}
	at := w.now()
	prefix := signedPrefix(d.ID, at)
	open := b.open
	var signature string
	if b.size < bufferBelow || w.signer.wholeBody() {
		signed := make([]byte, len(prefix)+int(b.size))
		copy(signed, prefix)
		if _, err := io.ReadFull(ctxReader{ctx, b.open()}, signed[len(prefix):]); err != nil {
			return nil, fmt.Errorf("build the payload: %w", err)
		}
		signature = w.signer.sign(signed)
		open = func() io.Reader { return bytes.NewReader(signed[len(prefix):]) }
	} else if signature, err = w.signer.signStream(prefix, ctxReader{ctx, b.open()}); err != nil {
		return nil, fmt.Errorf("build the payload: %w", err)
	}

	req := (&http.Request{
		Method: http.MethodPost, URL: w.target, Host: w.target.Host, Header: w.header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(open()), ContentLength: b.size,
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(open()), nil },
	}).WithContext(ctx)
	req.Header.Set(HeaderID, d.ID)
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(HeaderSignature, signature)
	return req, nil
}

// explain says in one line where the attempt ended; err keeps its chain.
func (w *Webhook) explain(err error, p *progress, after time.Duration) error {
	host := w.target.Scheme + "://" + w.target.Host
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("post to %s: cancelled while %v: %w", host, p, err)
	case timedOut(err):
		return fmt.Errorf("post to %s: timed out after %v while %v: %w", host, after.Round(time.Millisecond), p, err)
	}
	return fmt.Errorf("post to %s: %w", host, err)
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
