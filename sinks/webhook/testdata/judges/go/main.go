// Command judges gives requests to the Go libraries of mail services and prints what they make of them; lines as for
// anymail_judge.py.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"

	cloudevents "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/mailgun/mailgun-go/v4"
	"github.com/mrz1836/postmark"
	"github.com/resend/resend-go/v3"
	"github.com/sendgrid/sendgrid-go/helpers/eventwebhook"
	"github.com/sendgrid/sendgrid-go/helpers/inbound"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	svix "github.com/svix/svix-webhooks/go"
)

type request struct {
	ID     int               `json:"id"`
	Format string            `json:"format"`
	Header map[string]string `json:"header"`
	Body   []byte            `json:"body"`
	Key    string            `json:"key"`
}

type fields struct {
	Sender    string      `json:"sender"`
	Recipient string      `json:"recipient"`
	Subject   string      `json:"subject"`
	Text      string      `json:"text"`
	HTML      string      `json:"html"`
	Files     [][2]string `json:"files"`
}

type answer struct {
	ID     int     `json:"id"`
	Status int     `json:"status"`
	Why    string  `json:"why,omitempty"`
	Fields *fields `json:"fields,omitempty"`
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		a := answer{Status: 200}
		if err := json.Unmarshal(line, &r); err != nil {
			panic(err)
		}
		a.ID = r.ID
		if a.Fields, err = judge(r); err != nil {
			a.Status, a.Why = 400, err.Error()
			if errors.Is(err, errDisagree) {
				a.Status = 500
			}
		}
		if err := out.Encode(a); err != nil {
			panic(err)
		}
	}
}

func judge(r request) (f *fields, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	req, _ := http.NewRequest(http.MethodPost, "http://localhost/", bytes.NewReader(r.Body))
	for name, value := range r.Header {
		req.Header.Set(name, value)
	}
	switch r.Format {
	case "mxhook":
		return nil, signature(r, req.Header)
	case "cloudevents":
		return cloudEventFields(req, r)
	case "mailgun":
		return mailgunFields(req, r.Key)
	case "sendgrid":
		return sendgridFields(req, r)
	case "postmark":
		return postmarkFields(r.Body)
	}
	return nil, errors.New("no judge")
}

// errDisagree says that the libraries do not say the same of a signature.
var errDisagree = errors.New("the libraries disagree")

// signature has it verified by all libraries for Standard Webhooks.
func signature(r request, h http.Header) error {
	w, err := standardwebhooks.NewWebhook(r.Key)
	if err != nil {
		return err
	}
	s, err := svix.NewWebhook(r.Key)
	if err != nil {
		return err
	}
	first := w.Verify(r.Body, h)
	second := s.Verify(r.Body, h)
	third := resend.NewClient("key").Webhooks.Verify(&resend.VerifyWebhookOptions{
		Payload: string(r.Body), WebhookSecret: r.Key,
		Headers: resend.WebhookHeaders{Id: h.Get("webhook-id"), Timestamp: h.Get("webhook-timestamp"), Signature: h.Get("webhook-signature")},
	})
	if (first == nil) != (second == nil) || (first == nil) != (third == nil) {
		return fmt.Errorf("%w: standard-webhooks: %v; svix: %v; resend: %v", errDisagree, first, second, third)
	}
	return first
}

func cloudEventFields(req *http.Request, r request) (*fields, error) {
	w, err := standardwebhooks.NewWebhook(r.Key)
	if err != nil {
		return nil, err
	}
	if err := w.Verify(r.Body, req.Header); err != nil {
		return nil, err
	}
	e, err := cloudevents.NewEventFromHTTPRequest(req)
	if err != nil {
		return nil, err
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	if e.ID() != req.Header.Get("webhook-id") || e.SpecVersion() != "1.0" || e.Type() != "mail.received" || e.Time().IsZero() {
		return nil, fmt.Errorf("attributes: %v", e)
	}
	var data struct {
		ID       string
		Envelope struct {
			MailFrom   string `json:"mail_from"`
			Recipients []struct{ Address string }
		}
		Message struct {
			Subject, Text, HTML *string
			Attachments         []struct {
				Filename string
				Content  []byte
			}
		}
	}
	if err := e.DataAs(&data); err != nil {
		return nil, err
	}
	if e.Subject() != data.ID {
		return nil, fmt.Errorf("subject %q of message %q", e.Subject(), data.ID)
	}
	m := data.Message
	f := &fields{Sender: data.Envelope.MailFrom, Recipient: data.Envelope.Recipients[0].Address, Subject: value(m.Subject), Text: value(m.Text), HTML: value(m.HTML)}
	for _, a := range m.Attachments {
		f.Files = append(f.Files, [2]string{a.Filename, sum(a.Content)})
	}
	return f, nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func mailgunFields(req *http.Request, key string) (*fields, error) {
	if err := req.ParseMultipartForm(64 << 20); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		return nil, err
	}
	mg := mailgun.NewMailgun("example.com", "api-key")
	mg.SetWebhookSigningKey(key)
	ok, err := mg.VerifyWebhookSignature(mailgun.Signature{
		TimeStamp: req.FormValue("timestamp"), Token: req.FormValue("token"), Signature: req.FormValue("signature"),
	})
	if err != nil || !ok {
		return nil, fmt.Errorf("signature: %v", err)
	}
	return &fields{
		Sender: req.FormValue("sender"), Recipient: req.FormValue("recipient"), Subject: req.FormValue("subject"),
		Text: req.FormValue("body-plain"), HTML: req.FormValue("body-html"),
	}, nil
}

func sendgridFields(req *http.Request, r request) (*fields, error) {
	key, err := eventwebhook.ConvertPublicKeyBase64ToECDSA(r.Key)
	if err != nil {
		return nil, err
	}
	ok, err := eventwebhook.VerifySignature(key, r.Body, req.Header.Get(eventwebhook.VerificationHTTPHeader), req.Header.Get(eventwebhook.TimestampHTTPHeader))
	if err != nil || !ok {
		return nil, fmt.Errorf("signature: %v", err)
	}
	e, err := inbound.ParseWithAttachments(req)
	if err != nil {
		return nil, err
	}
	f := &fields{
		Sender: e.Envelope.From, Recipient: e.Envelope.To[0], Subject: e.ParsedValues["subject"], Text: e.TextBody, HTML: e.ParsedValues["html"],
	}
	var names []string
	for name := range e.ParsedAttachments {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		a := e.ParsedAttachments[name]
		octets, err := io.ReadAll(a.File)
		if err != nil {
			return nil, err
		}
		f.Files = append(f.Files, [2]string{a.Filename, sum(octets)})
	}
	return f, nil
}

func postmarkFields(body []byte) (*fields, error) {
	var m postmark.InboundMessage
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, err
	}
	f := &fields{Recipient: m.OriginalRecipient, Subject: m.Subject, Text: m.TextBody, HTML: m.HTMLBody}
	for _, h := range m.Headers {
		if h.Name == "Return-Path" {
			f.Sender = h.Value[1 : len(h.Value)-1]
			break
		}
	}
	for _, a := range m.Attachments {
		var octets []byte
		if err := json.Unmarshal([]byte(`"`+a.Content+`"`), &octets); err != nil {
			return nil, err
		}
		f.Files = append(f.Files, [2]string{a.Name, sum(octets)})
	}
	return f, nil
}

func sum(octets []byte) string {
	s := sha256.Sum256(octets)
	return hex.EncodeToString(s[:])
}
