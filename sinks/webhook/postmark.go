package webhook

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"mxhook/pipeline"
)

// postmark is the JSON of Postmark's inbound webhook, with the raw mail in it or not. It has no signature.
type postmark struct {
	compat
	raw bool
}

type postmarkMail struct {
	FromName          string
	MessageStream     string
	From              string
	FromFull          postmarkAddress
	To                string
	ToFull            []postmarkAddress
	Cc                string
	CcFull            []postmarkAddress
	Bcc               string
	BccFull           []postmarkAddress
	OriginalRecipient string
	Subject           string
	MessageID         string
	ReplyTo           string
	MailboxHash       string
	Date              string
	TextBody          string
	HtmlBody          string
	StrippedTextReply string
	Tag               string
	Headers           []postmarkHeader
	Attachments       []postmarkAttachment
	RawEmail          *octets `json:",omitempty"`
}

type postmarkAddress struct{ Email, Name, MailboxHash string }

type postmarkHeader struct{ Name, Value string }

type postmarkAttachment struct {
	Name          string
	Content       *octets
	ContentType   string
	ContentLength int64
	ContentID     string
}

// compose implements format.
func (g postmark) compose(_ context.Context, d *pipeline.Delivery, _ time.Time) (*content, error) {
	in := g.read(d)
	rcpt := in.recipient()
	m := postmarkMail{
		MessageStream: "inbound", FromFull: postmarkAddress{},
		To: in.header("To"), ToFull: postmarkAddresses(in.content.To), Cc: in.header("Cc"), CcFull: postmarkAddresses(in.content.Cc),
		BccFull: []postmarkAddress{}, OriginalRecipient: rcpt.Address, Subject: in.header("Subject"), MessageID: uuid(d.ID),
		ReplyTo: in.header("Reply-To"), MailboxHash: rcpt.Tag, Date: in.header("Date"),
		TextBody: in.content.Text, HtmlBody: in.content.HTML, Headers: postmarkHeaders(in), Attachments: []postmarkAttachment{},
	}
	if len(in.content.From) > 0 {
		m.FromFull = postmarkAddresses(in.content.From[:1])[0]
		m.From, m.FromName = m.FromFull.Email, m.FromFull.Name
	}
	if !listed(in.content.To, rcpt.Address) && !listed(in.content.Cc, rcpt.Address) && rcpt.Address != "" {
		m.Bcc, m.BccFull = rcpt.Address, postmarkAddresses([]pipeline.Address{{Address: rcpt.Address}})
	}
	m.StrippedTextReply, _, _ = in.reply()
	j := &document{}
	for _, a := range in.files {
		m.Attachments = append(m.Attachments, postmarkAttachment{
			Name: a.Filename, Content: j.base64(a.Size, a.Open), ContentType: mediaType(a.ContentType), ContentLength: a.Size, ContentID: a.ContentID,
		})
	}
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	if g.raw {
		open := g.compat.raw(in, header)
		m.RawEmail = j.text(func() io.Reader { return escaping(open(), escapeLF) })
	}
	in.note(header)
	return j.content(m, header)
}

// content makes the content of a request out of the document.
func (j *document) content(v any, header http.Header) (*content, error) {
	b, err := j.body(v)
	if err != nil {
		return nil, err
	}
	return &content{header: header, open: b.open, size: b.size}, nil
}

func postmarkAddresses(as []pipeline.Address) []postmarkAddress {
	out := make([]postmarkAddress, 0, len(as))
	for _, a := range as {
		p := postmarkAddress{Email: a.Address, Name: a.Name}
		local, _, _ := strings.Cut(a.Address, "@")
		_, p.MailboxHash, _ = strings.Cut(local, "+")
		out = append(out, p)
	}
	return out
}

// postmarkHeaders is the header without the fields that have a place of their own.
func postmarkHeaders(in *incoming) []postmarkHeader {
	hs := []postmarkHeader{{"Return-Path", "<" + in.envelope.ReversePath + ">"}}
	add := func(received bool) {
		for _, h := range in.headers {
			switch name := strings.ToLower(h.Name); name {
			case "from", "to", "cc", "subject", "date", "reply-to", "content-type":
			default:
				if (name == "received") == received {
					hs = append(hs, postmarkHeader(h))
				}
			}
		}
	}
	add(true)
	if spf := in.auth.SPF.Result; spf != "" {
		hs = append(hs, postmarkHeader{"Received-SPF", postmarkSPF(in)})
	}
	add(false)
	return hs
}

func postmarkSPF(in *incoming) string {
	comment := map[string]string{
		pipeline.ResultPass: "sender SPF authorized", pipeline.ResultFail: "sender SPF not authorized",
		pipeline.ResultSoftFail: "sender SPF not authorized", pipeline.ResultNeutral: "no statement", pipeline.ResultNone: "no SPF record",
	}[in.auth.SPF.Result]
	if comment == "" {
		comment = "SPF could not be checked"
	}
	return fmt.Sprintf("%s (%s) identity=%s; client-ip=%s; helo=%s; envelope-from=%s; receiver=%s;", capital(in.auth.SPF.Result), comment,
		in.auth.SPF.Identity, in.ip(), oneLine(in.envelope.Client.Helo), in.envelope.ReversePath, in.recipient().Address)
}
