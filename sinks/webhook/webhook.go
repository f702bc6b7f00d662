// Package webhook is the sink that posts deliveries to HTTP endpoints, signed after Standard Webhooks 1.0.0, or in the
// form and with the signature that another mail service gives its own webhooks.
package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"mxhook/pipeline"
)

// Webhook is a pipeline.Sink with one endpoint. Safe for concurrent use. It keeps idle connections until Close.
type Webhook struct {
	name      string
	target    *url.URL // without user information
	address   address
	header    http.Header
	signer    *signer
	dialect   *dialect
	actions   *statusTable
	waits     *statusTable // the actions while a sender waits
	transport *http.Transport
	// check judges the host of a request before it is sent through a proxy; nil without one, when the dialer judges.
	check    func(ctx context.Context, host string) error
	tokens   *tokenSource // nil without OAuth2
	redactor *strings.Replacer
	metrics  *Metrics
	now      func() time.Time
}

// New checks the options and returns the sink; it does not connect.
func New(o Options) (*Webhook, error) {
	if err := o.checkRest(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	w := &Webhook{name: o.Sink, metrics: o.Metrics, now: o.Now}
	target, user, err := o.endpoint(&w.address)
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(target.Hostname()); err == nil && !o.AllowPrivate {
		if err := newGuard(o.AllowNetworks).check(ip); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	proxy, err := proxyURL(o.Proxy)
	if err != nil {
		return nil, err
	}
	w.target = target
	if w.header, err = o.header(user, &w.address); err != nil {
		return nil, err
	}
	if w.signer, err = newSigner(o.Secrets, o.OldSecrets...); err != nil {
		return nil, err
	}
	if w.dialect, err = newDialect(o, target); err != nil {
		return nil, err
	}
	if len(o.Secrets) == 0 && w.dialect.needsSecret {
		return nil, errors.New(`no secret: add one, made with: echo "whsec_$(openssl rand -base64 32)"`)
	}
	if w.actions, err = actionsOf(w.dialect.actions, o.PermanentStatuses, o.OnStatus); err != nil {
		return nil, err
	}
	if w.waits, err = actionsOf(waitActions(w.dialect.actions), o.PermanentStatuses, o.OnStatus); err != nil {
		return nil, err
	}
	secured, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	w.transport = newTransport(o, secured, proxy)
	if proxy != nil && !o.AllowPrivate {
		w.check = (&proxyGuard{guard: newGuard(o.AllowNetworks), resolver: o.Resolver}).check
	}
	if o.OAuth2 != nil {
		if w.tokens, err = newTokenSource(o); err != nil {
			return nil, err
		}
		w.tokens.transport, w.tokens.check = w.transport, w.check
	}
	w.redactor = newRedactor(o, target, user, proxy, w.address.secrets())
	return w, nil
}

// PerRecipient reports whether the format wants one request for each recipient: then deliveries should have one each. One
// that has more makes several requests, and all of them again when one fails.
func (w *Webhook) PerRecipient() bool { return w.dialect.perRecipient }

// Deliver implements pipeline.Sink: it posts the payload once and judges the answer.
//
// When a kept connection turns out to be closed before any octet of the request was written to it, net/http sends the
// request over another one; the endpoint cannot have seen it, so this is still one attempt. Once something was
// written, an error is the attempt's outcome: whether the endpoint acted on it is unknown, and the repeat comes by the
// schedule, under the same webhook-id. Options.IdleTimeout keeps that rare.
func (w *Webhook) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	if !w.dialect.perRecipient || len(d.Recipients) < 2 {
		return w.deliver(ctx, d)
	}
	var resp pipeline.Response
	for _, r := range d.Recipients {
		one := *d
		one.Recipients = []pipeline.Recipient{r}
		var err error
		if resp, err = w.deliver(ctx, &one); err != nil {
			return resp, err
		}
	}
	return resp, nil
}

// Close drops the idle connections. The sink can be used again after it.
func (w *Webhook) Close() error {
	w.transport.CloseIdleConnections()
	return nil
}

func (w *Webhook) deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	a := &attempt{Webhook: w, started: w.now()}
	resp, err := a.run(ctx, d)
	if err != nil {
		err = &redactedError{text: a.redact(err.Error()), err: err}
	}
	return resp, err
}

// attempt is one attempt under way.
type attempt struct {
	*Webhook
	started  time.Time
	progress *progress
	token    string
}

// redact cuts secrets out of a text, the token of this attempt among them.
func (a *attempt) redact(s string) string {
	if a.token != "" {
		s = strings.NewReplacer(a.token, redacted, inJSON(a.token), redacted, url.QueryEscape(a.token), redacted).Replace(s)
	}
	return a.redactor.Replace(s)
}

func (a *attempt) run(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	var traced context.Context
	traced, a.progress = watch(ctx, func() { a.metrics.connection(a.name) })
	req, err := a.request(traced, d)
	switch {
	case err != nil && ctx.Err() != nil:
		return pipeline.Response{}, a.explain(err)
	case err != nil:
		return pipeline.Response{}, pipeline.Permanent(err)
	}
	resp, err := a.authorized(ctx, req)
	for range a.dialect.redirects {
		if err != nil || !isRedirect(resp.StatusCode) {
			break
		}
		next := redirected(req, resp)
		if next == nil {
			break
		}
		drain(resp)
		req = next
		resp, err = a.send(req)
	}
	if err != nil {
		return pipeline.Response{Timings: a.progress.times()}, err
	}
	defer resp.Body.Close()

	// The status has decided; an answer that breaks off later changes nothing, and reading it to its end only keeps the
	// connection. What follows a 101 is no answer and outlives the context.
	var answer []byte
	if resp.StatusCode != http.StatusSwitchingProtocols {
		answer, _ = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	}
	response := pipeline.Response{
		Status: statusText(resp.StatusCode), Detail: detail(a.redact(string(answer))), Timings: a.progress.times(),
	}
	if d.Waits {
		response.Reply = senderReply(resp, a.waits.of(resp.StatusCode), response.Detail)
	}
	return response, outcome(req.URL, resp, a.actions, a.now())
}

// authorized sends the request with a token where one is configured. A token that was kept and is refused is dropped,
// and the request sent once more with a new one: the endpoint has not looked at the first.
func (a *attempt) authorized(ctx context.Context, req *http.Request) (*http.Response, error) {
	if a.tokens == nil {
		return a.send(req)
	}
	for {
		token, fresh, err := a.tokens.get(ctx)
		if err != nil {
			a.metrics.answer(a.name, nil, err)
			return nil, a.explain(err)
		}
		a.token = token
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := a.send(req)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			return resp, err
		}
		a.tokens.drop(ctx, token)
		if fresh {
			return resp, nil
		}
		drain(resp)
		again := *req
		again.Header = req.Header.Clone()
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
		*req = again
	}
}

// send makes one exchange. The error is the attempt's.
func (a *attempt) send(req *http.Request) (*http.Response, error) {
	if a.check != nil { // here, so that where a redirect leads to is judged too
		if err := a.check(req.Context(), req.URL.Hostname()); err != nil {
			a.metrics.answer(a.name, nil, err)
			return nil, a.explain(err)
		}
	}
	a.metrics.attempt(a.name, req.ContentLength)
	resp, err := a.transport.RoundTrip(req)
	a.metrics.answer(a.name, resp, err)
	if errors.Is(err, errLength) {
		return nil, pipeline.Permanent(a.explain(err))
	}
	if err != nil {
		return nil, a.explain(err)
	}
	return resp, nil
}

// drain reads the rest of an answer that is not looked at, so that its connection can be used again.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // what fails here fails again at the next request
	resp.Body.Close()
}

// request makes the signed request for one attempt. Unless ctx is done, an error means that no attempt can succeed.
func (w *Webhook) request(ctx context.Context, d *pipeline.Delivery) (*http.Request, error) {
	if d.ID == "" || !httpguts.ValidHeaderFieldValue(d.ID) {
		return nil, errors.New("delivery id cannot be a header field's value")
	}
	at := w.now()
	c, err := w.dialect.compose(ctx, d, at)
	if err != nil {
		return nil, err
	}
	if z := w.signer.seal(d.ID, at); len(z.values) > 0 {
		c.seals = append(c.seals, z)
	} else {
		c.header.Set(HeaderID, d.ID)
	}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	target, err := w.address.url(w.target, d)
	if err != nil {
		return nil, err
	}
	header := w.header.Clone()
	w.address.fill(header, d)
	for name, values := range c.header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	return (&http.Request{
		Method: http.MethodPost, URL: target, Host: target.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(c.open()), ContentLength: c.size,
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(c.open()), nil },
	}).WithContext(ctx), nil
}

// explain says in one line where the attempt ended; err keeps its chain.
func (a *attempt) explain(err error) error {
	host := a.target.Scheme + "://" + a.target.Host
	after := a.now().Sub(a.started).Round(time.Millisecond)
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("post to %s: cancelled while %v: %w", host, a.progress, err)
	case timedOut(err):
		return fmt.Errorf("post to %s: timed out after %v while %v: %w", host, after, a.progress, err)
	}
	return fmt.Errorf("post to %s: %w", host, err)
}

// tlsConfig is TLS with the authorities and the certificate that are given as text.
func (o Options) tlsConfig() (*tls.Config, error) {
	if o.CA == "" && o.Certificate == "" && o.CertificateKey == "" {
		return o.TLS.Clone(), nil
	}
	c := o.TLS.Clone()
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if o.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(o.CA)) {
			return nil, errors.New("tls: ca has no certificate: give the authority's certificates as PEM")
		}
	}
	if o.Certificate != "" || o.CertificateKey != "" {
		pair, err := tls.X509KeyPair([]byte(o.Certificate), []byte(o.CertificateKey))
		if err != nil {
			return nil, errors.New("tls: certificate and key are no pair: give both as PEM, the key without a password")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
