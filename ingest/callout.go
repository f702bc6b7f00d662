package ingest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"

	"mxhook/pipeline"
)

// Callout asks an HTTP server whether a recipient exists: POST with a JSON object of address, local, tag and domain.
// 200 and 204 mean that it does, 404 and 410 that it does not (550 5.1.1), 403 that it takes no mail (550 5.7.1).
// Everything else, a timeout too, is a failure.
type Callout struct {
	URL string
	// Header goes with every request, for authorization.
	Header http.Header
	// Sign signs a request with that id and body in its header; nil does not.
	Sign func(h http.Header, id string, at time.Time, body []byte) error
	// Control is asked before an address is dialled, as that of a net.Dialer; nil allows all.
	Control func(network, address string, c syscall.RawConn) error
	// Timeout bounds one request. Default 5 s.
	Timeout time.Duration
	// Cache is how long it is remembered that a recipient exists. Default 10 min.
	Cache time.Duration
	// NegativeCache is how long it is remembered that one does not. Default 1 min.
	NegativeCache time.Duration
	// AcceptOnFailure accepts recipients that cannot be asked for, instead of 451 4.3.0. What was remembered, even for
	// too long, comes before either.
	AcceptOnFailure bool
}

// maxCached bounds the answers that one callout remembers.
const maxCached = 100_000

// callout is a Callout at work.
type callout struct {
	Callout
	directory *Directory
	client    *http.Client

	mu      sync.Mutex
	answers *aging[string, answer]
}

// answer was given at that time; a nil refusal means that the recipient exists.
type answer struct {
	refusal *Reply
	at      time.Time
}

func newCallout(c Callout, d *Directory) (*callout, error) {
	if u, err := url.Parse(c.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("callout %q: it is no URL like https://app.example.com/recipient", c.URL)
	}
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.Cache = cmp.Or(c.Cache, 10*time.Minute)
	c.NegativeCache = cmp.Or(c.NegativeCache, time.Minute)
	client := d.http
	if client == nil {
		client = newCalloutClient(c.Control)
	}
	return &callout{Callout: c, directory: d, client: client, answers: newAging[string, answer](2*max(c.Cache, c.NegativeCache), maxCached)}, nil
}

// newCalloutClient makes a client that keeps connections and follows no redirects.
func newCalloutClient(control func(network, address string, c syscall.RawConn) error) *http.Client {
	dialer := &net.Dialer{Control: control}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConnsPerHost: maxCallouts, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ask returns nil when the recipient exists, and else the reply that refuses it.
func (c *callout) ask(ctx context.Context, rcpt pipeline.Recipient, now time.Time) error {
	c.mu.Lock()
	a, remembered := c.answers.get(rcpt.Address, now)
	c.mu.Unlock()
	keep := c.Cache
	if a.refusal != nil {
		keep = c.NegativeCache
	}
	if remembered && now.Sub(a.at) < keep {
		return a.err()
	}
	refusal, err := c.request(ctx, rcpt)
	switch {
	case err == nil:
		a = answer{refusal, now}
		c.mu.Lock()
		c.answers.put(rcpt.Address, a, now)
		c.mu.Unlock()
		c.count(refusal)
		return a.err()
	case errors.Is(err, context.Canceled):
		return replyCallout // the session is over
	}
	c.directory.callouts.WithLabelValues("failed").Inc()
	c.directory.log.Warn("callout failed", "domain", rcpt.Domain, "error", err, "remembered", remembered, "accept", c.AcceptOnFailure)
	switch {
	case remembered:
		return a.err()
	case c.AcceptOnFailure:
		return nil
	}
	return replyCallout
}

// err avoids an error that holds a nil *Reply.
func (a answer) err() error {
	if a.refusal == nil {
		return nil
	}
	return a.refusal
}

func (c *callout) count(refusal *Reply) {
	result := "known"
	switch refusal {
	case replyUnknownRecipient:
		result = "unknown"
	case replyBlockedRecipient:
		result = "blocked"
	}
	c.directory.callouts.WithLabelValues(result).Inc()
}

// request makes one request. Its error names no recipient.
func (c *callout) request(ctx context.Context, rcpt pipeline.Recipient) (*Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	select {
	case c.directory.slots <- struct{}{}:
		defer func() { <-c.directory.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for one of %d callouts: %w", maxCallouts, ctx.Err())
	}
	body, err := json.Marshal(map[string]string{
		"address": rcpt.Address, "local": rcpt.Local, "tag": rcpt.Tag, "domain": rcpt.Domain,
	})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range c.Header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/json")
	if c.Sign != nil {
		if err := c.Sign(req.Header, "recipient_"+rand.Text(), c.directory.now(), body); err != nil {
			return nil, err
		}
	}
	resp, err := c.client.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // without the URL, which may hold a secret
		}
		return nil, err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		return nil, nil
	case http.StatusNotFound, http.StatusGone:
		return replyUnknownRecipient, nil
	case http.StatusForbidden:
		return replyBlockedRecipient, nil
	}
	return nil, fmt.Errorf("it answers %s", resp.Status)
}
