package webhook

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"mxhook/pipeline"
)

// Header is one header field that a sink adds to its requests.
type Header struct{ Name, Value string }

// Options configures one webhook sink. URL and Secrets are needed, the rest has defaults.
type Options struct {
	// Sink is the configured name, for metrics.
	Sink string
	// URL is the endpoint, http or https. User information in it becomes basic authentication. Path and query may be
	// templates (pipeline.Template).
	URL string
	// Secrets sign every request: "whsec_..." (HMAC-SHA256) or "whsk_..." (ed25519; the whole body is then held in
	// memory). Several are a rotation, at most 8.
	Secrets []string
	// OldSecrets sign besides Secrets, each until its time.
	OldSecrets []OldSecret
	// Format is what requests look like: see Formats; "" is FormatMXHook. Compat is for those of other services.
	Format string
	Compat Compat
	// Shape is a program that makes the body out of the payload (package shape), "" is none; it goes with FormatMXHook.
	// ShapeType is the media type of what it makes, "" being JSON. Slots bounds how many run at once.
	Shape, ShapeType string
	Slots            Slots
	// Bearer is a token, User and Password are for basic authentication, OAuth2 gets tokens: at most one of the three.
	Bearer         string
	User, Password string
	OAuth2         *OAuth2
	// Proxy is the http or https address of an HTTP proxy that all requests go through; "" is none.
	Proxy string
	// Resolver resolves targets for the address guard when there is a proxy; nil is the system's.
	Resolver Resolver
	// Headers are added to every request, at most 64; their values may be templates.
	Headers []Header
	// Raw puts the mail as received into raw.content.
	Raw bool
	// OmitAttachments leaves the octets of attachments out of the payload.
	OmitAttachments bool
	// InlineLimit leaves the octets of attachments, and of the raw mail, larger than this out of the payload; 0 is no limit.
	InlineLimit int64
	// Link gives the URL where what InlineLimit leaves out can be had, by the attachment's id or "raw"; "" when it cannot.
	// Nil: there are no URLs.
	Link func(m *pipeline.Message, part string) string
	// Reply puts the text taken apart into message.reply.
	Reply bool
	// PermanentStatuses send a delivery to the dead letters at once, besides 410.
	PermanentStatuses []int
	// OnStatus changes what becomes of deliveries by the status of the answer.
	OnStatus []OnStatus
	// AllowPrivate switches the address guard off; AllowNetworks lets it pass these networks besides the public internet.
	AllowPrivate  bool
	AllowNetworks []netip.Prefix
	// TLS is the base of the sink's TLS; nil is the default. CA are the authorities that the endpoint's certificate must
	// come from, "" those of the system; Certificate and CertificateKey are ours, as a client. All three are PEM.
	TLS                             *tls.Config
	CA, Certificate, CertificateKey string
	// Concurrency is the number of connections (default 16).
	Concurrency int
	// ConnectTimeout bounds resolving and connecting, and once more the TLS handshake (default 5 s). ResponseTimeout
	// bounds the wait for the answer once the request is sent (default: only the attempt's deadline does). IdleTimeout is
	// how long an unused connection is kept (default 4 s: common servers close theirs after 5 s, and a request that meets
	// the closing is lost).
	ConnectTimeout, ResponseTimeout, IdleTimeout time.Duration
	// Version is ours, for the user agent.
	Version string
	// Now is the clock (default time.Now).
	Now func() time.Time
	// Metrics may be nil.
	Metrics *Metrics
}

func (o Options) withDefaults() Options {
	if o.Concurrency == 0 {
		o.Concurrency = 16
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = 5 * time.Second
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 4 * time.Second
	}
	if o.Format == "" {
		o.Format = FormatMXHook
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Version == "" {
		o.Version = "devel"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

const (
	maxURL     = 2048
	maxHeaders = 64
)

// endpoint reads the URL, and its templates into a. The user information comes apart, so that the URL can be used in requests without it.
// Errors do not quote the URL: it may hold a password.
func (o Options) endpoint(a *address) (*url.URL, *url.Userinfo, error) {
	if o.URL == "" {
		return nil, nil, errors.New("url is missing: set it to the http or https address of the endpoint")
	}
	if len(o.URL) > maxURL {
		return nil, nil, fmt.Errorf("url is longer than %d octets", maxURL)
	}
	text, err := a.readURL(o.URL)
	if err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, nil, errors.New("url is not valid: percent-encode special characters in user name, password and path")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, nil, errors.New("url must start with http:// or https://")
	case u.Hostname() == "":
		return nil, nil, errors.New("url has no host")
	case u.Fragment != "":
		return nil, nil, errors.New("url has a fragment (#...), which is never sent: remove it")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, nil, errors.New("url has no valid port")
		}
	}
	user := u.User
	u.User = nil
	if u.Path == "" {
		u.Path = "/"
	}
	return u, user, nil
}

// header returns the fields that all requests have in common; those whose values are templates it puts into a.
func (o Options) header(user *url.Userinfo, a *address) (http.Header, error) {
	if len(o.Headers) > maxHeaders {
		return nil, fmt.Errorf("%d headers: at most %d", len(o.Headers), maxHeaders)
	}
	h := http.Header{}
	for i, f := range o.Headers {
		name := http.CanonicalHeaderKey(f.Name)
		switch {
		case !httpguts.ValidHeaderFieldName(f.Name):
			return nil, fmt.Errorf("header %q: not a field name", f.Name)
		case reserved(name):
			return nil, fmt.Errorf("header %q: is reserved, remove it", f.Name)
		case !httpguts.ValidHeaderFieldValue(f.Value):
			return nil, fmt.Errorf("header %q: its value has control characters", f.Name)
		}
		switch value, fixed, err := a.readHeader(i, name, f.Value); {
		case err != nil:
			return nil, fmt.Errorf("header %q: %w", f.Name, err)
		case fixed:
			h.Add(name, value)
		}
	}
	credentials := 0
	for _, given := range []bool{user != nil, h.Get("Authorization") != "" || a.authorizes(), o.Bearer != "", o.User != "" || o.Password != "", o.OAuth2 != nil} {
		if given {
			credentials++
		}
	}
	if credentials > 1 {
		return nil, errors.New("user information in url, Authorization in headers, bearer, user and oauth2 exclude each other: remove one of them")
	}
	r := http.Request{Header: h}
	switch {
	case user != nil:
		password, _ := user.Password()
		r.SetBasicAuth(user.Username(), password)
	case o.User != "" || o.Password != "":
		if strings.Contains(o.User, ":") {
			return nil, errors.New("user: a colon cannot be in it (RFC 7617 2)")
		}
		r.SetBasicAuth(o.User, o.Password)
	case o.Bearer != "":
		if !httpguts.ValidHeaderFieldValue(o.Bearer) {
			return nil, errors.New("bearer: has control characters")
		}
		h.Set("Authorization", "Bearer "+o.Bearer)
	}
	h.Set("User-Agent", "mxhook/"+o.Version)
	return h, nil
}

// reserved reports whether a header field is ours to write or belongs to one connection (RFC 9110 7.6.1).
func reserved(canonicalName string) bool {
	switch canonicalName {
	case "Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host",
		"Idempotency-Key", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te",
		"Traceparent", "Tracestate", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "X-Idempotency-Key":
		return true
	}
	return strings.HasPrefix(canonicalName, "Webhook-")
}

func (o Options) checkRest() error {
	for _, p := range o.AllowNetworks {
		if !p.IsValid() {
			return errors.New("allow_networks: write networks as 10.1.0.0/16")
		}
	}
	if o.InlineLimit < 0 {
		return errors.New("inline_limit cannot be negative")
	}
	if o.Concurrency < 0 || o.ConnectTimeout < 0 || o.ResponseTimeout < 0 || o.IdleTimeout < 0 {
		return errors.New("concurrency and timeouts cannot be negative")
	}
	if !httpguts.ValidHeaderFieldValue(o.Version) {
		return errors.New("version has control characters")
	}
	return nil
}
