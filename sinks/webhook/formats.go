package webhook

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The formats: our own, and those of services that people come from.
const (
	FormatMXHook = "mxhook"
)

// Compat are the settings of the formats of other services; each format says which it uses.
type Compat struct {
	// Key is what the service's signature is made with.
	Key string
}

// dialect is a format with what else a service does in its own way.
type dialect struct {
	format
	// actions are what the service makes of the endpoint's answers.
	actions func(status int) Action
	// perRecipient: each recipient has a request of its own.
	perRecipient bool
	// redirects is how many of them are followed.
	redirects int
	// needsSecret: requests have no other signature than that of Standard Webhooks.
	needsSecret bool
}

// Formats are the names of all formats.
func Formats() []string { return []string{FormatMXHook} }

func newDialect(o Options, _ *url.URL) (*dialect, error) {
	if !slices.Contains(Formats(), o.Format) {
		return nil, fmt.Errorf("format %q: write one of %s", o.Format, strings.Join(Formats(), ", "))
	}
	p := PayloadOptions{Raw: o.Raw, InlineLimit: o.InlineLimit, Link: o.Link, Reply: o.Reply}
	if o.OmitAttachments {
		p.OmitAttachments = "left out by the sink's configuration"
	}
	return &dialect{format: mxhookFormat{payload: p}, actions: standardActions, needsSecret: true}, nil
}

var _ = http.StatusOK
