package webhook

import (
	"encoding/hex"
	"fmt"
	"time"

	"mxhook/pipeline"
)

// The structs below are version 1 of the payload as customers receive it. They are not the in-memory structs: a field
// may be added, none may change its meaning or go away. A pointer is a value that may be null; everything else is
// always there. What stands above each field is its description in docs/payload.schema.json and the types made from it;
// docs/payload.md explains them together, testdata/*.json pins them.

const payloadVersion = 1

type payload struct {
	// Type: always "mail.received".
	Type string `json:"type"`
	// Timestamp: when the mail was received: RFC 3339, UTC, milliseconds.
	Timestamp string `json:"timestamp"`
	// Data: everything else.
	Data payloadData `json:"data"`
}

type payloadData struct {
	// Version: 1.
	Version int `json:"version"`
	// ID: message id (ULID), as in the 250 reply to the sender, the log and the console.
	ID string `json:"id"`
	// Delivery: this delivery.
	Delivery payloadDelivery `json:"delivery"`
	// Kind: "mail", or what the message is for: "auto_reply", "bounce", "complaint", "dmarc_report", "tls_report".
	Kind string `json:"kind"`
	// Envelope: what the SMTP transaction said; trust it for routing, whatever the header says.
	Envelope payloadEnvelope `json:"envelope"`
	// Auth: who sent it, as far as that is proven.
	Auth payloadAuth `json:"auth"`
	// Message: the content; null when it could not be parsed, and then raw.content or raw.url is there.
	Message *payloadMessage `json:"message"`
	// AutoReply: set for kind "auto_reply".
	AutoReply *payloadAutoReply `json:"auto_reply"`
	// Bounce: set for kind "bounce"; null there too when the report cannot be read, as with the next ones.
	Bounce *payloadBounce `json:"bounce"`
	// Complaint: set for kind "complaint".
	Complaint *payloadComplaint `json:"complaint"`
	// DMARCReport: set for kind "dmarc_report".
	DMARCReport *payloadDMARCReport `json:"dmarc_report"`
	// TLSReport: set for kind "tls_report".
	TLSReport *payloadTLSReport `json:"tls_report"`
	// Raw: the mail exactly as received.
	Raw payloadRaw `json:"raw"`
	// Problems: what was repaired, replaced or left out.
	Problems []payloadProblem `json:"problems"`
}

type payloadDelivery struct {
	// ID: the same at every attempt, and in the header field webhook-id.
	ID string `json:"id"`
	// Sink: name of the sink.
	Sink string `json:"sink"`
	// Rules: names of the rules that chose the sink.
	Rules []string `json:"rules"`
	// Tags: labels that the rules gave the recipients.
	Tags []string `json:"tags"`
	// Attempt: number of this attempt, from 1.
	Attempt int `json:"attempt"`
	// ReplayOf: id of the delivery that a person replayed.
	ReplayOf *string `json:"replay_of"`
}

type payloadEnvelope struct {
	// MailFrom: reverse-path; "" is the null reverse-path of bounces.
	MailFrom string `json:"mail_from"`
	// Recipients: the recipients that rules sent to this sink, no others.
	Recipients []payloadRecipient `json:"recipients"`
	// Helo: the name that the client gave; unverified.
	Helo string `json:"helo"`
	// SMTPUTF8: the transaction asked for SMTPUTF8 (RFC 6531).
	SMTPUTF8 bool `json:"smtputf8"`
	// Size: octets as received.
	Size int64 `json:"size"`
	// ReceivedAt: RFC 3339, UTC, milliseconds.
	ReceivedAt string `json:"received_at"`
	// Listener: name of the listener.
	Listener string `json:"listener"`
	// Client: the host that connected.
	Client payloadClient `json:"client"`
}

type payloadRecipient struct {
	// Address: the whole address.
	Address string `json:"address"`
	// Local: its local part, without the tag.
	Local string `json:"local"`
	// Tag: what stands behind the separator in the local part, "42" of support+42.
	Tag *string `json:"tag"`
	// Domain: its domain.
	Domain string `json:"domain"`
	// Captures: named groups of the recipient pattern that matched.
	Captures map[string]string `json:"captures"`
}

type payloadClient struct {
	// IP: IPv4 or IPv6 address.
	IP *string `json:"ip"`
	// Port: TCP port of the client.
	Port int `json:"port"`
	// Name: host name, when reverse and forward DNS agree.
	Name *string `json:"name"`
	// TLS: null for clear text.
	TLS *payloadTLS `json:"tls"`
}

type payloadTLS struct {
	// Version: "TLS 1.3".
	Version string `json:"version"`
	// Cipher: name of the cipher suite (IANA).
	Cipher string `json:"cipher"`
}

type payloadAuth struct {
	// Sender: the one verdict that is safe to act on.
	Sender payloadSender `json:"sender"`
	// SPF: RFC 7208.
	SPF payloadSPF `json:"spf"`
	// DKIM: one for each signature (RFC 6376).
	DKIM []payloadDKIM `json:"dkim"`
	// DMARC: RFC 7489.
	DMARC payloadDMARC `json:"dmarc"`
	// ARC: RFC 8617.
	ARC payloadARC `json:"arc"`
	// IPRev: reverse DNS of the client (RFC 8601 3).
	IPRev payloadIPRev `json:"iprev"`
}

type payloadSender struct {
	// Verified: the domain of the From address is proven.
	Verified bool `json:"verified"`
	// Domain: that domain; null when not verified.
	Domain *string `json:"domain"`
	// By: what proves it: "dmarc", or a trusted "arc" chain; null when not verified.
	By *string `json:"by"`
}

type payloadSPF struct {
	// Result: as in RFC 8601 2.7.2; "none" also when it was not checked.
	Result string `json:"result"`
	// Domain: the domain that was asked.
	Domain *string `json:"domain"`
	// Identity: where the domain stood: "mailfrom" or "helo".
	Identity *string `json:"identity"`
	// Reason: words for people; may be "".
	Reason string `json:"reason"`
}

type payloadDKIM struct {
	// Result: as in RFC 8601 2.7.1.
	Result string `json:"result"`
	// Domain: d= of the signature.
	Domain *string `json:"domain"`
	// Selector: s= of the signature.
	Selector *string `json:"selector"`
	// Algorithm: a= of the signature.
	Algorithm *string `json:"algorithm"`
	// Aligned: the domain goes with that of From (RFC 7489 3.1).
	Aligned bool `json:"aligned"`
	// Reason: words for people; may be "".
	Reason string `json:"reason"`
}

type payloadDMARC struct {
	// Result: "pass", "fail", "none", "temperror" or "permerror".
	Result string `json:"result"`
	// Domain: the domain of From.
	Domain *string `json:"domain"`
	// Policy: "none", "quarantine" or "reject"; null when the domain has no record.
	Policy *string `json:"policy"`
	// SPFAligned: SPF passed for a domain that goes with that of From.
	SPFAligned bool `json:"spf_aligned"`
	// DKIMAligned: a signature passed whose domain goes with that of From.
	DKIMAligned bool `json:"dkim_aligned"`
}

type payloadARC struct {
	// Result: "none", "pass" or "fail", or an error.
	Result string `json:"result"`
	// Sealers: the domains of the chain, oldest first.
	Sealers []string `json:"sealers"`
	// Trusted: the chain passed and every sealer is trusted by the configuration.
	Trusted bool `json:"trusted"`
}

type payloadIPRev struct {
	// Result: "pass" when the name leads back to the address.
	Result string `json:"result"`
	// Name: host name that reverse DNS has for the client; unverified unless the result is "pass".
	Name *string `json:"name"`
}

type payloadMessage struct {
	// MessageID: Message-ID with its angle brackets.
	MessageID *string `json:"message_id"`
	// Date: the author's date in the author's zone, RFC 3339; null when missing or unreadable.
	Date *string `json:"date"`
	// Subject: decoded; null when missing or empty.
	Subject *string `json:"subject"`
	// From: the authors as the header has them; forged unless auth.sender says otherwise.
	From []payloadAddress `json:"from"`
	// Sender: who sent it for the authors.
	Sender *payloadAddress `json:"sender"`
	// ReplyTo: where answers should go.
	ReplyTo []payloadAddress `json:"reply_to"`
	// To: as the header has it; not who receives it, see envelope.recipients.
	To []payloadAddress `json:"to"`
	// Cc: as the header has it.
	Cc []payloadAddress `json:"cc"`
	// Bcc: as the header has it; most senders remove it.
	Bcc []payloadAddress `json:"bcc"`
	// InReplyTo: message ids with their angle brackets.
	InReplyTo []string `json:"in_reply_to"`
	// References: message ids with their angle brackets, oldest first.
	References []string `json:"references"`
	// Headers: all header fields in order, decoded and unfolded.
	Headers []payloadHeader `json:"headers"`
	// Text: the plain text, line ends LF; null when there is none.
	Text *longText `json:"text"`
	// HTML: the HTML as sent, untrusted; null when there is none.
	HTML *longText `json:"html"`
	// TextFrom: "text", or "html" when text was made from the HTML; null without a text.
	TextFrom *string `json:"text_from"`
	// Reply: the text taken apart; null unless the sink has "reply: true", without a text, and for texts over 1 MiB.
	Reply *payloadReply `json:"reply"`
	// Attachments: all parts that are no body.
	Attachments []payloadAttachment `json:"attachments"`
	// Calendar: the entries of calendar parts, which are attachments besides.
	Calendar []payloadEvent `json:"calendar"`
	// List: of a mailing list or newsletter.
	List *payloadList `json:"list"`
}

type payloadAddress struct {
	// Name: display name, decoded.
	Name *string `json:"name"`
	// Address: "local@domain"; "" for an entry without one.
	Address string `json:"address"`
}

type payloadHeader struct {
	// Name: as written.
	Name string `json:"name"`
	// Value: decoded, on one line.
	Value string `json:"value"`
}

// payloadAttachment has exactly one of Content, URL and Omitted.
type payloadAttachment struct {
	// ID: its place in the structure, like "1.2".
	ID string `json:"id"`
	// Filename: cleaned, never empty; still a name that a stranger chose.
	Filename string `json:"filename"`
	// ContentType: media type in lower case, without parameters, as the sender says.
	ContentType string `json:"content_type"`
	// Disposition: "attachment" or "inline".
	Disposition string `json:"disposition"`
	// ContentID: without angle brackets, for "cid:" links in the HTML.
	ContentID *string `json:"content_id"`
	// Size: decoded octets.
	Size int64 `json:"size"`
	// SHA256: of the decoded octets, 64 hexadecimal digits.
	SHA256 string `json:"sha256"`
	// Content: the decoded octets in base64.
	Content *octets `json:"content"`
	// URL: where the decoded octets can be fetched until the link ends.
	URL *string `json:"url"`
	// Omitted: why neither content nor url is there.
	Omitted *string `json:"omitted"`
	// OriginalFilename: the name as the sender wrote it, when filename differs; never use it as a path.
	OriginalFilename *string `json:"original_filename"`
	// Container: id of the attachment (winmail.dat) or text that this one was unpacked from.
	Container *string `json:"container"`
	// Message: what an attached message says of itself.
	Message *payloadSummary `json:"message"`
}

type payloadRaw struct {
	// Size: octets.
	Size int64 `json:"size"`
	// SHA256: of the octets, 64 hexadecimal digits.
	SHA256 string `json:"sha256"`
	// Content: base64; null unless the sink has "raw: true" or the mail could not be parsed.
	Content *octets `json:"content"`
	// URL: where the octets can be fetched, when they are larger than the inline_limit.
	URL *string `json:"url"`
	// Omitted: why neither content nor url is there although the sink asks for the raw mail.
	Omitted *string `json:"omitted"`
}

type payloadProblem struct {
	// Code: a stable word, like "charset-replaced".
	Code string `json:"code"`
	// Where: the place: id of a part, name of a header field, or "".
	Where string `json:"where"`
	// Detail: words for people.
	Detail string `json:"detail"`
}

// PayloadOptions says what of a message goes into the payload.
type PayloadOptions struct {
	// Raw puts the mail as received into raw.content. A message that has no content (it could not be parsed) carries it
	// in any case.
	Raw bool
	// OmitAttachments, when not "", leaves the octets of attachments out and is given as the reason.
	OmitAttachments string
	// InlineLimit, when not 0, leaves the octets of larger attachments and of a larger raw mail out, and gives a link, or the
	// limit as the reason when Link has none. A raw mail that is all there is of a message is not left out without a link.
	InlineLimit int64
	// Link makes the URL of an attachment, by its id, or of the raw mail, "raw". Nil, or "" for a message: there is none.
	Link func(m *pipeline.Message, part string) string
	// LinkAll leaves out everything that Link has a URL for, whatever its size.
	LinkAll bool
	// Reply puts the text taken apart into message.reply.
	Reply bool
}

// outside says what to do with octets: a link to them, or a reason to omit them; neither when they go into the payload.
func (o PayloadOptions) outside(m *pipeline.Message, part string, size int64) (link, omitted string) {
	large := o.InlineLimit > 0 && size > o.InlineLimit
	if o.Link != nil && (large || o.LinkAll) {
		link = o.Link(m, part)
	}
	if link == "" && large {
		omitted = fmt.Sprintf("larger than the sink's inline_limit of %d octets", o.InlineLimit)
	}
	return link, omitted
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
		p.Data.Message = newPayloadMessage(m, o)
		p.Data.setReports(m.Content)
	}
	p.Data.Raw.set(m, o)
	return p
}

// set fills in where the octets of the raw mail are.
func (r *payloadRaw) set(m *pipeline.Message, o PayloadOptions) {
	if !o.Raw && m.Content != nil {
		return
	}
	link, omitted := o.outside(m, "raw", r.Size)
	switch {
	case link != "":
		r.URL = &link
	case omitted != "" && m.Content != nil:
		r.Omitted = &omitted
	default:
		r.Content = octetsOf(m.Raw)
	}
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

func newPayloadMessage(of *pipeline.Message, o PayloadOptions) *payloadMessage {
	c := of.Content
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
		Text:        longOrNull(c.Text),
		HTML:        longOrNull(c.HTML),
		TextFrom:    orNull(c.TextFrom),
		Attachments: make([]payloadAttachment, 0, len(c.Attachments)),
		Calendar:    newPayloadEvents(c.Calendar),
		List:        newPayloadList(c.List),
	}
	if c.Sender != nil {
		m.Sender = &newPayloadAddresses([]pipeline.Address{*c.Sender})[0]
	}
	if o.Reply {
		m.Reply = newPayloadReply(c.Reply())
	}
	for _, a := range c.Attachments {
		link, omitted := "", o.OmitAttachments
		if omitted == "" {
			link, omitted = o.outside(of, a.ID, a.Size)
		}
		m.Attachments = append(m.Attachments, newPayloadAttachment(a, link, omitted))
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

func newPayloadAttachment(a pipeline.Attachment, link, omitted string) payloadAttachment {
	p := payloadAttachment{
		ID: a.ID, Filename: a.Filename, ContentType: a.ContentType, Disposition: a.Disposition, ContentID: orNull(a.ContentID),
		Size: a.Size, SHA256: hex.EncodeToString(a.SHA256[:]), URL: orNull(link), Omitted: orNull(omitted),
		OriginalFilename: orNull(a.SentName), Container: orNull(a.Container), Message: newPayloadSummary(a.Message),
	}
	if link == "" && omitted == "" {
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

func longOrNull(s string) *longText { return (*longText)(orNull(s)) }

func listOf(ss []string) []string {
	if ss == nil {
		return []string{}
	}
	return ss
}
