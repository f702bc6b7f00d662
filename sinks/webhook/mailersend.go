package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"net/http"
	"strings"
	"time"

	"mxhook/pipeline"
)

// mailerSend is the JSON of MailerSend's inbound routes.
type mailerSend struct{ compat }

func newMailerSend(c compat) (mailerSend, error) {
	if c.Key == "" {
		return mailerSend{}, errors.New("compat: key is missing: give the signing secret that the receiver checks with")
	}
	return mailerSend{c}, nil
}

type mailerSendEvent struct {
	Type      string         `json:"type"`
	InboundID string         `json:"inbound_id"`
	URL       string         `json:"url"`
	CreatedAt string         `json:"created_at"`
	Data      mailerSendMail `json:"data"`
}

type mailerSendMail struct {
	Object      string                 `json:"object"`
	ID          string                 `json:"id"`
	Recipients  mailerSendRecipients   `json:"recipients"`
	From        mailerSendAddress      `json:"from"`
	Sender      mailerSendAddress      `json:"sender"`
	Subject     string                 `json:"subject"`
	Date        string                 `json:"date"`
	Headers     map[string]any         `json:"headers"`
	Text        string                 `json:"text"`
	HTML        string                 `json:"html"`
	Raw         *octets                `json:"raw"`
	Attachments []mailerSendAttachment `json:"attachments"`
	SPFCheck    mailerSendSPF          `json:"spf_check"`
	DKIMCheck   bool                   `json:"dkim_check"`
	CreatedAt   string                 `json:"created_at"`
}

type mailerSendRecipients struct {
	RcptTo []mailerSendAddress `json:"rcptTo"`
	To     mailerSendList      `json:"to"`
}

type mailerSendList struct {
	Raw  string              `json:"raw"`
	Data []mailerSendAddress `json:"data"`
}

type mailerSendAddress struct {
	Email string  `json:"email"`
	Name  *string `json:"name,omitempty"`
	Raw   string  `json:"raw,omitempty"`
}

type mailerSendAttachment struct {
	Size               int64   `json:"size"`
	Content            *octets `json:"content"`
	FileName           string  `json:"file_name"`
	ContentID          *string `json:"content_id"`
	ContentType        string  `json:"content_type"`
	ContentDisposition string  `json:"content_disposition"`
}

type mailerSendSPF struct {
	Code  string  `json:"code"`
	Value *string `json:"value"`
}

// compose implements format.
func (g mailerSend) compose(_ context.Context, d *pipeline.Delivery, _ time.Time) (*content, error) {
	in := g.read(d)
	header := http.Header{"Content-Type": {"application/json"}}
	j := &document{}
	at := in.envelope.ReceivedAt.UTC().Format("2006-01-02T15:04:05.000000Z")
	_, valid := in.dkim()
	m := mailerSendMail{
		Object: "message", ID: strings.ReplaceAll(uuid(d.ID), "-", "")[:24], Sender: mailerSendAddress{Email: in.envelope.ReversePath},
		Recipients: mailerSendRecipients{
			RcptTo: []mailerSendAddress{}, To: mailerSendList{Raw: in.header("To"), Data: []mailerSendAddress{}},
		},
		Subject: in.header("Subject"), Date: in.header("Date"), Headers: headerObject(in), Text: in.content.Text, HTML: in.content.HTML,
		Raw: j.text(g.raw(in, header)), Attachments: []mailerSendAttachment{}, SPFCheck: mailerSendSPF{Code: spfCode(in.auth.SPF.Result)},
		DKIMCheck: valid, CreatedAt: at,
	}
	for _, r := range in.Recipients {
		m.Recipients.RcptTo = append(m.Recipients.RcptTo, mailerSendAddress{Email: r.Address})
	}
	for _, a := range in.content.To {
		m.Recipients.To.Data = append(m.Recipients.To.Data, mailerSendAddress{Email: a.Address, Name: &a.Name})
	}
	if len(in.content.From) > 0 {
		from := in.content.From[0]
		m.From = mailerSendAddress{Email: from.Address, Name: &from.Name, Raw: in.header("From")}
	}
	for _, a := range in.files {
		m.Attachments = append(m.Attachments, mailerSendAttachment{
			Size: a.Size, Content: j.base64(a.Size, a.Open), FileName: a.Filename, ContentID: orNull(a.ContentID),
			ContentType: mediaType(a.ContentType), ContentDisposition: a.Disposition,
		})
	}
	in.note(header)
	c, err := j.content(mailerSendEvent{Type: "inbound.message", InboundID: in.envelope.ID, CreatedAt: at, Data: m}, header)
	if err != nil {
		return nil, err
	}
	c.seals = append(c.seals, &mailerSendSeal{hmac.New(sha256.New, []byte(g.Key))})
	return c, nil
}

// spfCode is the qualifier of SPF that stands for a result (RFC 7208 4.6.2).
func spfCode(result string) string {
	switch result {
	case pipeline.ResultPass:
		return "+"
	case pipeline.ResultFail:
		return "-"
	case pipeline.ResultSoftFail:
		return "~"
	}
	return "?"
}

// mailerSendSeal is an HMAC over the body.
type mailerSendSeal struct{ hash.Hash }

// finish implements seal.
func (z *mailerSendSeal) finish(h http.Header) error {
	h.Set("Signature", hex.EncodeToString(z.Sum(nil)))
	return nil
}
