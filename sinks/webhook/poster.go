package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// PosterOptions configures a Poster; the fields mean what they do in Options.
type PosterOptions struct {
	URL           string
	Secrets       []string
	AllowPrivate  bool
	AllowNetworks []netip.Prefix
	Version       string
	// Timeout bounds one post; default 10 s.
	Timeout time.Duration
	Now     func() time.Time
}

// Poster posts bodies that are not mail, signed like webhooks. Safe for concurrent use.
type Poster struct {
	url, version string
	signature    *Signature
	client       *http.Client
	now          func() time.Time
}

// NewPoster checks the options. Its errors hold no secret.
func NewPoster(o PosterOptions) (*Poster, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, errors.New("url: it is not one like https://app.example.com/alerts, without user information")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !o.AllowPrivate {
		if err := newGuard(o.AllowNetworks).check(ip); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	if len(o.Secrets) == 0 {
		return nil, errors.New(`no secret: add one, made with: echo "whsec_$(openssl rand -base64 32)"`)
	}
	p := &Poster{url: o.URL, version: o.Version, now: o.Now}
	if p.signature, err = NewSignature(o.Secrets...); err != nil {
		return nil, err
	}
	if p.now == nil {
		p.now = time.Now
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if !o.AllowPrivate {
		dialer.Control = DialControl(o.AllowNetworks)
	}
	p.client = &http.Client{
		Timeout:   o.Timeout,
		Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	return p, nil
}

// Post makes one attempt; nil means that the endpoint answered with 2xx. Its error names neither path nor query of the URL.
func (p *Poster) Post(ctx context.Context, id string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("make the request: the url cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "mxhook/"+p.version)
	if err := p.signature.Sign(req.Header, id, p.now(), body); err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("post to %s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("post to %s: answered with %s", req.URL.Host, resp.Status)
	}
	return nil
}
