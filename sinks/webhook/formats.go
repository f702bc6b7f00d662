package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The formats: our own, and those that other services give their webhooks of incoming mail.
const (
	FormatMXHook               = "mxhook"
	FormatRaw                  = "raw"
	FormatCloudEvents          = "cloudevents"
	FormatMailgun              = "mailgun"
	FormatMailgunMIME          = "mailgun-mime"
	FormatSendGrid             = "sendgrid"
	FormatSendGridRaw          = "sendgrid-raw"
	FormatPostmark             = "postmark"
	FormatPostmarkRaw          = "postmark-raw"
	FormatCloudMailin          = "cloudmailin"
	FormatCloudMailinMultipart = "cloudmailin-multipart"
	FormatCloudMailinRaw       = "cloudmailin-raw"
	FormatMandrill             = "mandrill"
	FormatMailerSend           = "mailersend"
	FormatSES                  = "ses-sns"
)

// Formats are the names of all formats.
func Formats() []string {
	return []string{
		FormatMXHook, FormatRaw, FormatCloudEvents, FormatMailgun, FormatMailgunMIME, FormatSendGrid, FormatSendGridRaw, FormatPostmark, FormatPostmarkRaw,
		FormatCloudMailin, FormatCloudMailinMultipart, FormatCloudMailinRaw, FormatMandrill, FormatMailerSend, FormatSES,
	}
}

// Compat are the settings of the formats of other services. Each has a meaning for some of them only.
type Compat struct {
	// Key is what the service's signature is made with: Mailgun's webhook signing key, the key of the webhook at Mandrill,
	// MailerSend's signing secret, a private key as PEM for SendGrid (P-256) and SES (RSA). The first three need it.
	Key string
	// Requests is RequestsPerRecipient or RequestsPerDelivery; "" is what the service does. FormatRaw has it too.
	Requests string
	// Form is how Mailgun's forms are sent: FormURLEncoded or FormMultipart; "" is the first for small mails without
	// attachments, else the second.
	Form string
	// Token is TokenPerAttempt, which is also "", or TokenPerMessage: Mailgun's token.
	Token string
	// RawEncoding is RawAsIs or RawSevenBit for the formats with the raw mail in them; "" is as it is, unless the format
	// cannot carry that.
	RawEncoding string
	// SignatureURL is what Mandrill's signature is made over, where the receiver sees another URL than we do.
	SignatureURL string
	// TopicARN and CertificateURL are in the notifications of SES; the second is where the certificate of Key is.
	TopicARN, CertificateURL string
}

// Values of the settings.
const (
	RequestsPerRecipient = "per_recipient"
	RequestsPerDelivery  = "per_delivery"
	FormURLEncoded       = "urlencoded"
	FormMultipart        = "multipart"
	TokenPerAttempt      = "per_attempt"
	TokenPerMessage      = "per_message"
	RawAsIs              = "as_is"
	RawSevenBit          = "7bit"
)

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

// NeedsSecret reports whether requests of the format have no other signature than that of Standard Webhooks.
func NeedsSecret(format string) bool { return payloadFormat(format) || format == FormatRaw }

// payloadFormat reports whether the format carries payload version 1.
func payloadFormat(format string) bool { return format == FormatMXHook || format == FormatCloudEvents }

func newDialect(o Options, target *url.URL) (*dialect, error) {
	p := PayloadOptions{Raw: o.Raw, InlineLimit: o.InlineLimit, Link: o.Link, Reply: o.Reply}
	if o.OmitAttachments {
		p.OmitAttachments = "left out by the sink's configuration"
	}
	if !payloadFormat(o.Format) && slices.Contains(Formats(), o.Format) {
		switch {
		case o.Raw:
			return nil, fmt.Errorf("raw: has no meaning for format %s, whose fields are fixed: remove it", o.Format)
		case o.Reply:
			return nil, fmt.Errorf("reply: has no meaning for format %s, whose fields are fixed: remove it", o.Format)
		case o.Format == FormatRaw && o.OmitAttachments:
			return nil, errors.New("omit_attachments: has no meaning for format raw, whose body is the mail: remove it")
		case o.Format == FormatRaw && o.InlineLimit > 0:
			return nil, errors.New("inline_limit: has no meaning for format raw, whose body is the mail: remove it")
		}
	}
	c := compat{Compat: o.Compat, payload: p}
	if err := c.check(); err != nil {
		return nil, err
	}
	if !payloadFormat(o.Format) {
		if err := c.meantFor(o.Format); err != nil {
			return nil, err
		}
	}
	d := &dialect{actions: standardActions, needsSecret: NeedsSecret(o.Format)}
	var err error
	if payloadFormat(o.Format) && o.Compat != (Compat{}) {
		return nil, errors.New("compat: is for the formats of other services; remove it, or set format")
	}
	switch {
	case o.Shape == "" && o.ShapeType != "":
		return nil, errors.New("shape_type: is for the result of a shape, and there is none: remove it, or set shape")
	case o.Shape != "" && o.Format != FormatMXHook:
		return nil, fmt.Errorf("shape: goes with format %s only, not with %s: remove one of them", FormatMXHook, o.Format)
	case o.Shape != "":
		d.format, err = newShaped(o, p)
		d.needsSecret = false
		return d, err
	}
	switch o.Format {
	case FormatMXHook:
		d.format = mxhookFormat{payload: p}
	case FormatCloudEvents:
		d.format = cloudEvents{payload: p}
	case FormatRaw:
		d.format = rawMail{}
	case FormatMailgun, FormatMailgunMIME:
		d.actions, d.perRecipient = actionsWith(map[int]Action{http.StatusNotAcceptable: DeadLetter}), true
		d.format, err = newMailgun(c, o.Format == FormatMailgunMIME)
	case FormatSendGrid, FormatSendGridRaw:
		d.actions, d.perRecipient = actionsWith(nil), true
		d.format, err = newSendGrid(c, o.Format == FormatSendGridRaw)
	case FormatPostmark, FormatPostmarkRaw:
		d.actions, d.perRecipient = actionsWith(map[int]Action{http.StatusForbidden: DeadLetter}), true
		d.format = postmark{compat: c, raw: o.Format == FormatPostmarkRaw}
	case FormatCloudMailin, FormatCloudMailinMultipart, FormatCloudMailinRaw:
		d.actions, d.redirects = cloudMailinActions, 3
		d.format = cloudMailin{compat: c, form: o.Format}
	case FormatMandrill:
		d.actions, d.perRecipient = mandrillActions, true
		d.format, err = newMandrill(c, target, o)
	case FormatMailerSend:
		d.actions, d.perRecipient = actionsWith(nil), true
		d.format, err = newMailerSend(c)
	case FormatSES:
		d.actions = actionsWith(nil)
		d.format, err = newSES(c)
	default:
		err = fmt.Errorf("format: %q is none; write one of %s", o.Format, strings.Join(Formats(), ", "))
	}
	switch c.Requests {
	case RequestsPerRecipient:
		d.perRecipient = true
	case RequestsPerDelivery:
		d.perRecipient = false
	}
	return d, err
}

func (c Compat) check() error {
	for _, s := range []struct {
		name, value string
		allowed     []string
	}{
		{"requests", c.Requests, []string{RequestsPerRecipient, RequestsPerDelivery}},
		{"form", c.Form, []string{FormURLEncoded, FormMultipart}},
		{"token", c.Token, []string{TokenPerAttempt, TokenPerMessage}},
		{"raw_encoding", c.RawEncoding, []string{RawAsIs, RawSevenBit}},
	} {
		if s.value != "" && !slices.Contains(s.allowed, s.value) {
			return fmt.Errorf("compat: %s %q: write one of %s, or leave it out", s.name, s.value, strings.Join(s.allowed, ", "))
		}
	}
	return nil
}

// meantFor refuses what the format would not look at: who sets a key and gets no signature has to hear of it.
func (c Compat) meantFor(format string) error {
	for _, s := range []struct {
		name, value string
		formats     []string
	}{
		{"key", c.Key, []string{FormatMailgun, FormatMailgunMIME, FormatSendGrid, FormatSendGridRaw, FormatMandrill, FormatMailerSend, FormatSES}},
		{"form", c.Form, []string{FormatMailgun, FormatMailgunMIME}},
		{"token", c.Token, []string{FormatMailgun, FormatMailgunMIME}},
		{"raw_encoding", c.RawEncoding, []string{
			FormatMailgunMIME, FormatSendGridRaw, FormatPostmarkRaw, FormatCloudMailinRaw, FormatMandrill, FormatMailerSend,
		}},
		{"signature_url", c.SignatureURL, []string{FormatMandrill}},
		{"topic_arn", c.TopicARN, []string{FormatSES}},
		{"certificate_url", c.CertificateURL, []string{FormatSES}},
	} {
		if s.value != "" && slices.Contains(Formats(), format) && !slices.Contains(s.formats, format) {
			return fmt.Errorf("compat: %s has no meaning for format %s: remove it; it is for %s", s.name, format, strings.Join(s.formats, ", "))
		}
	}
	return nil
}

// actionsWith are those of services that take any 2xx and try everything else again, but for some statuses.
func actionsWith(others map[int]Action) func(status int) Action {
	return func(status int) Action {
		if a, ok := others[status]; ok {
			return a
		}
		if status <= 299 {
			return Success
		}
		return Retry
	}
}
