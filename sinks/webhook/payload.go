package webhook

import (
	"encoding/hex"
	"fmt"
	"time"

	"mxhook/pipeline"
)

// The structs below are version 1 of the payload as customers receive it. They are not the in-memory structs: a field
// may be added, none may change its meaning or go away. A pointer is a value that may be null; everything else is
// always there. docs/payload.md explains the fields, testdata/*.json pins them.

const payloadVersion = 1

type payload struct {
	Type      string      `json:"type"`
	Timestamp string      `json:"timestamp"`
	Data      payloadData `json:"data"`
}

type payloadData struct {
	Version  int             `json:"version"`
	ID       string          `json:"id"`
	Delivery payloadDelivery `json:"delivery"`
	Kind     string          `json:"kind"`
	Envelope payloadEnvelope `json:"envelope"`
	Auth     payloadAuth     `json:"auth"`
	Message  *payloadMessage `json:"message"`
	// At most one of these is not null, that of Kind.
	AutoReply   *payloadAutoReply   `json:"auto_reply"`
	Bounce      *payloadBounce      `json:"bounce"`
	Complaint   *payloadComplaint   `json:"complaint"`
	DMARCReport *payloadDMARCReport `json:"dmarc_report"`
	TLSReport   *payloadTLSReport   `json:"tls_report"`
	Raw         payloadRaw          `json:"raw"`
	Problems    []payloadProblem    `json:"problems"`
}

type payloadDelivery struct {
	ID       string   `json:"id"`
	Sink     string   `json:"sink"`
	Rules    []string `json:"rules"`
	Tags     []string `json:"tags"`
	Attempt  int      `json:"attempt"`
	ReplayOf *string  `json:"replay_of"`
}

type payloadEnvelope struct {
	MailFrom   string             `json:"mail_from"`
	Recipients []payloadRecipient `json:"recipients"`
	Helo       string             `json:"helo"`
	SMTPUTF8   bool               `json:"smtputf8"`
	Size       int64              `json:"size"`
	ReceivedAt string             `json:"received_at"`
	Listener   string             `json:"listener"`
	Client     payloadClient      `json:"client"`
}

type payloadRecipient struct {
	Address  string            `json:"address"`
	Local    string            `json:"local"`
	Tag      *string           `json:"tag"`
	Domain   string            `json:"domain"`
	Captures map[string]string `json:"captures"`
}

type payloadClient struct {
	IP   *string     `json:"ip"`
	Port int         `json:"port"`
	Name *string     `json:"name"`
	TLS  *payloadTLS `json:"tls"`
}

type payloadTLS struct {
	Version string `json:"version"`
	Cipher  string `json:"cipher"`
}

type payloadAuth struct {
	Sender payloadSender `json:"sender"`
	SPF    payloadSPF    `json:"spf"`
	DKIM   []payloadDKIM `json:"dkim"`
	DMARC  payloadDMARC  `json:"dmarc"`
	ARC    payloadARC    `json:"arc"`
	IPRev  payloadIPRev  `json:"iprev"`
}

type payloadSender struct {
	Verified bool    `json:"verified"`
	Domain   *string `json:"domain"`
	By       *string `json:"by"`
}

type payloadSPF struct {
	Result   string  `json:"result"`
	Domain   *string `json:"domain"`
	Identity *string `json:"identity"`
	Reason   string  `json:"reason"`
}

type payloadDKIM struct {
	Result    string  `json:"result"`
	Domain    *string `json:"domain"`
	Selector  *string `json:"selector"`
	Algorithm *string `json:"algorithm"`
	Aligned   bool    `json:"aligned"`
	Reason    string  `json:"reason"`
}

type payloadDMARC struct {
	Result      string  `json:"result"`
	Domain      *string `json:"domain"`
	Policy      *string `json:"policy"`
	SPFAligned  bool    `json:"spf_aligned"`
	DKIMAligned bool    `json:"dkim_aligned"`
}

type payloadARC struct {
	Result  string   `json:"result"`
	Sealers []string `json:"sealers"`
	Trusted bool     `json:"trusted"`
}

type payloadIPRev struct {
	Result string  `json:"result"`
	Name   *string `json:"name"`
}

type payloadMessage struct {
	MessageID   *string             `json:"message_id"`
	Date        *string             `json:"date"`
	Subject     *string             `json:"subject"`
	From        []payloadAddress    `json:"from"`
	Sender      *payloadAddress     `json:"sender"`
	ReplyTo     []payloadAddress    `json:"reply_to"`
	To          []payloadAddress    `json:"to"`
	Cc          []payloadAddress    `json:"cc"`
	Bcc         []payloadAddress    `json:"bcc"`
	InReplyTo   []string            `json:"in_reply_to"`
	References  []string            `json:"references"`
	Headers     []payloadHeader     `json:"headers"`
	Text        *string             `json:"text"`
	HTML        *string             `json:"html"`
	TextFrom    *string             `json:"text_from"`
	Reply       *payloadReply       `json:"reply"`
	Attachments []payloadAttachment `json:"attachments"`
	Calendar    []payloadEvent      `json:"calendar"`
	List        *payloadList        `json:"list"`
}

type payloadAddress struct {
	Name    *string `json:"name"`
	Address string  `json:"address"`
}

type payloadHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// payloadAttachment has exactly one of Content, URL and Omitted.
type payloadAttachment struct {
	ID          string  `json:"id"`
	Filename    string  `json:"filename"`
	ContentType string  `json:"content_type"`
	Disposition string  `json:"disposition"`
	ContentID   *string `json:"content_id"`
	Size        int64   `json:"size"`
	SHA256      string  `json:"sha256"`
	Content     *octets `json:"content"`
	URL         *string `json:"url"`
	Omitted     *string `json:"omitted"`
	// OriginalFilename is the name as the sender wrote it, when Filename differs.
	OriginalFilename *string `json:"original_filename"`
	// Container is the id of the attachment that this one was unpacked from.
	Container *string         `json:"container"`
	Message   *payloadSummary `json:"message"`
}

type payloadRaw struct {
	Size    int64   `json:"size"`
	SHA256  string  `json:"sha256"`
	Content *octets `json:"content"`
	URL     *string `json:"url"`
}

type payloadProblem struct {
	Code   string `json:"code"`
	Where  string `json:"where"`
	Detail string `json:"detail"`
}

// PayloadOptions says what of a message goes into the payload.
type PayloadOptions struct {
	// Raw puts the mail as received into raw.content. A message that has no content (it could not be parsed) carries it
	// in any case.
	Raw bool
	// OmitAttachments, when not "", leaves the octets of attachments out and is given as the reason.
	OmitAttachments string
	// InlineLimit, when not 0, leaves the octets of larger attachments out and gives the limit as the reason.
	InlineLimit int64
}

// newPayload fills the wire structs from a delivery. Absent lists become empty ones, absent values nil.
func newPayload(d *pipeline.Delivery, o PayloadOptions) *payload {
	m := d.Message
	p := &payload{
		Type:      "mail.received",
		Timestamp: timestamp(m.Envelope.ReceivedAt),
		Data: payloadData{
			Version: payloadVersion,
			ID:      m.Envelope.ID,
			Delivery: payloadDelivery{
				ID: d.ID, Sink: d.Sink, Rules: listOf(d.Rules), Tags: listOf(d.Tags), Attempt: d.Attempt, ReplayOf: orNull(d.ReplayOf),
			},
			Kind:     pipeline.KindMail,
			Envelope: newPayloadEnvelope(d),
			Auth:     newPayloadAuth(m.Auth),
			Raw:      payloadRaw{Size: int64(len(m.Raw)), SHA256: hex.EncodeToString(m.SHA256[:])},
			Problems: make([]payloadProblem, 0, len(m.Problems)),
		},
	}
	for _, problem := range m.Problems {
		p.Data.Problems = append(p.Data.Problems, payloadProblem(problem))
	}
	if m.Content != nil {
		if m.Content.Kind != "" {
			p.Data.Kind = m.Content.Kind
		}
		p.Data.Message = newPayloadMessage(m.Content, o)
		p.Data.setReports(m.Content)
	}
	if o.Raw || m.Content == nil {
		p.Data.Raw.Content = octetsOf(m.Raw)
	}
	return p
}

func newPayloadEnvelope(d *pipeline.Delivery) payloadEnvelope {
	env := d.Message.Envelope
	e := payloadEnvelope{
		MailFrom:   env.ReversePath,
		Recipients: make([]payloadRecipient, 0, len(d.Recipients)),
		Helo:       env.Client.Helo,
		SMTPUTF8:   env.SMTPUTF8,
		Size:       env.Size,
		ReceivedAt: timestamp(env.ReceivedAt),
		Listener:   env.Listener,
		Client:     payloadClient{Port: int(env.Client.Port)},
	}
	for _, r := range d.Recipients {
		captures := r.Captures
		if captures == nil {
			captures = map[string]string{}
		}
		e.Recipients = append(e.Recipients, payloadRecipient{
			Address: r.Address, Local: r.Local, Tag: orNull(r.Tag), Domain: r.Domain, Captures: captures,
		})
	}
	if env.Client.IP.IsValid() {
		e.Client.IP = orNull(env.Client.IP.Unmap().String())
	}
	if auth := d.Message.Auth; auth != nil && auth.IPRev.Result == pipeline.ResultPass {
		e.Client.Name = orNull(auth.IPRev.Name)
	}
	if t := env.Client.TLS; t != nil {
		e.Client.TLS = &payloadTLS{Version: t.Version, Cipher: t.Cipher}
	}
	return e
}

// newPayloadAuth gives an object even where nothing was checked, so that a receiver that looks at auth.sender.verified
// finds false and never a null to trip over.
func newPayloadAuth(a *pipeline.AuthResults) payloadAuth {
	if a == nil {
		a = &pipeline.AuthResults{}
	}
	p := payloadAuth{
		Sender: payloadSender{Verified: a.Sender.Verified},
		SPF: payloadSPF{
			Result: result(a.SPF.Result), Domain: orNull(a.SPF.Domain), Identity: orNull(a.SPF.Identity), Reason: a.SPF.Reason,
		},
		DKIM: make([]payloadDKIM, 0, len(a.DKIM)),
		DMARC: payloadDMARC{
			Result: result(a.DMARC.Result), Domain: orNull(a.DMARC.Domain), Policy: orNull(a.DMARC.Policy),
			SPFAligned: a.DMARC.SPFAligned, DKIMAligned: a.DMARC.DKIMAligned,
		},
		ARC:   payloadARC{Result: result(a.ARC.Result), Sealers: listOf(a.ARC.Sealers), Trusted: a.ARC.Trusted},
		IPRev: payloadIPRev{Result: result(a.IPRev.Result), Name: orNull(a.IPRev.Name)},
	}
	if a.Sender.Verified {
		p.Sender.Domain, p.Sender.By = orNull(a.Sender.Domain), orNull(a.Sender.By)
	}
	for _, k := range a.DKIM {
		p.DKIM = append(p.DKIM, payloadDKIM{
			Result: result(k.Result), Domain: orNull(k.Domain), Selector: orNull(k.Selector), Algorithm: orNull(k.Algorithm),
			Aligned: k.Aligned, Reason: k.Reason,
		})
	}
	return p
}

func newPayloadMessage(c *pipeline.Content, o PayloadOptions) *payloadMessage {
	m := &payloadMessage{
		MessageID:   orNull(c.MessageID),
		Date:        date(c.Date),
		Subject:     orNull(c.Subject),
		From:        newPayloadAddresses(c.From),
		ReplyTo:     newPayloadAddresses(c.ReplyTo),
		To:          newPayloadAddresses(c.To),
		Cc:          newPayloadAddresses(c.Cc),
		Bcc:         newPayloadAddresses(c.Bcc),
		InReplyTo:   listOf(c.InReplyTo),
		References:  listOf(c.References),
		Headers:     newPayloadHeaders(c.Headers),
		Text:        orNull(c.Text),
		HTML:        orNull(c.HTML),
		TextFrom:    orNull(c.TextFrom),
		Reply:       newPayloadReply(c.Reply),
		Attachments: make([]payloadAttachment, 0, len(c.Attachments)),
		Calendar:    newPayloadEvents(c.Calendar),
		List:        newPayloadList(c.List),
	}
	if c.Sender != nil {
		m.Sender = &newPayloadAddresses([]pipeline.Address{*c.Sender})[0]
	}
	for _, a := range c.Attachments {
		omit := o.OmitAttachments
		if omit == "" && o.InlineLimit > 0 && a.Size > o.InlineLimit {
			omit = fmt.Sprintf("larger than the sink's inline_limit of %d octets", o.InlineLimit)
		}
		m.Attachments = append(m.Attachments, newPayloadAttachment(a, omit))
	}
	return m
}

func newPayloadHeaders(hs []pipeline.HeaderField) []payloadHeader {
	ps := make([]payloadHeader, 0, len(hs))
	for _, h := range hs {
		ps = append(ps, payloadHeader(h))
	}
	return ps
}

func newPayloadAttachment(a pipeline.Attachment, omit string) payloadAttachment {
	p := payloadAttachment{
		ID: a.ID, Filename: a.Filename, ContentType: a.ContentType, Disposition: a.Disposition, ContentID: orNull(a.ContentID),
		Size: a.Size, SHA256: hex.EncodeToString(a.SHA256[:]), Omitted: orNull(omit),
		OriginalFilename: orNull(a.SentName), Container: orNull(a.Container), Message: newPayloadSummary(a.Message),
	}
	if omit == "" {
		p.Content = &octets{size: a.Size, open: a.Open}
	}
	return p
}

func newPayloadAddresses(as []pipeline.Address) []payloadAddress {
	ps := make([]payloadAddress, 0, len(as))
	for _, a := range as {
		ps = append(ps, payloadAddress{Name: orNull(a.Name), Address: a.Address})
	}
	return ps
}

// timestamp writes a time of ours: RFC 3339, UTC, milliseconds.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// date writes the author's date in the author's zone, where RFC 3339 can express both; a year beyond it is no date.
func date(t time.Time) *string {
	if _, offset := t.Zone(); offset <= -24*3600 || offset >= 24*3600 {
		t = t.UTC()
	}
	if t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return nil
	}
	return orNull(t.Format(time.RFC3339))
}

// result is a method's result; a method that was not run has none.
func result(s string) string {
	if s == "" {
		return pipeline.ResultNone
	}
	return s
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func listOf(ss []string) []string {
	if ss == nil {
		return []string{}
	}
	return ss
}
