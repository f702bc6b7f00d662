package pipeline

import (
	"context"
	"io"
	"time"
)

// Message is one mail on its way through the stages. One goroutine owns it until the stages are done; after that
// it is read-only and may be shared by concurrent deliveries.
type Message struct {
	Envelope Envelope
	// Raw is the message's octets exactly as received, without our trace block. The queue has checked them
	// against SHA256 when it handed the message out. Nobody writes to it.
	Raw    []byte
	SHA256 [32]byte
	// Content is what the parse stage made of Raw; nil until then, and nil when not even a fallback could be read.
	Content *Content
	// Auth is the result of the msgauth stage; nil until then.
	Auth     *AuthResults
	Problems []Problem
	// Ref says where the queue keeps the message; opaque to everyone else.
	Ref string
	// Wait is nil when the sender was not kept waiting.
	Wait *Wait
}

// Problem is something about the message that a receiver may want to know: what was repaired, replaced or left out.
type Problem struct {
	// Code is a stable word with hyphens ("charset-replaced").
	Code string `json:"code"`
	// Where names the place: a part id ("1.2"), a header field name, or "".
	Where  string `json:"where"`
	Detail string `json:"detail"`
}

// Stage is one step on a message. An error means that the step could not be tried now and that the whole message
// should be tried again later; what is wrong with the message itself is a Problem, never an error.
type Stage interface {
	Run(ctx context.Context, m *Message) error
}

// Stages runs its members in order and stops at the first error.
type Stages []Stage

// Run implements Stage.
func (s Stages) Run(ctx context.Context, m *Message) error {
	for _, stage := range s {
		if err := stage.Run(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// Kinds of message, as in the payload's data.kind.
const (
	KindMail        = "mail"
	KindAutoReply   = "auto_reply"
	KindBounce      = "bounce"
	KindComplaint   = "complaint"
	KindDMARCReport = "dmarc_report"
	KindTLSReport   = "tls_report"
)

// Content is the message as a reader would see it. Every string is valid UTF-8; absent lists are nil.
type Content struct {
	Kind string
	// MessageID keeps its angle brackets, as do InReplyTo and References.
	MessageID string
	// Date is zero when there is no readable Date field.
	Date                       time.Time
	Subject                    string
	From, ReplyTo, To, Cc, Bcc []Address
	Sender                     *Address
	InReplyTo, References      []string
	// Headers are all header fields of the message, in order, decoded and unfolded.
	Headers []HeaderField
	// Text and HTML are "" when the message has no such body.
	Text, HTML string
	// TextFrom is where Text comes from: TextOwn, TextOfHTML, or "" when there is none.
	TextFrom    string
	Attachments []Attachment
	// TakeApart is what makes Reply; nil when there is no text. Safe for concurrent use.
	TakeApart func() *Reply `json:"-"`
	// Calendar are the entries of the calendar parts; the parts themselves are Attachments besides.
	Calendar []CalendarEntry
	// List is nil when the message has no list header fields.
	List *List
	// At most one of these is set, the one of Kind. It is nil when the message is of that kind and its report cannot be
	// read; a problem says why.
	AutoReply   *AutoReply
	Bounce      *Bounce
	Complaint   *Complaint
	DMARCReport *DMARCReport
	TLSReport   *TLSReport
}

// Where a text comes from.
const (
	TextOwn    = "text"
	TextOfHTML = "html"
)

// Reply is Text taken apart; nil when there is none, or when it is too long to look at. The work is done at the first call,
// because few ask.
func (c *Content) Reply() *Reply {
	if c.TakeApart == nil {
		return nil
	}
	return c.TakeApart()
}

// Header returns the value of the first field of that name (any case), or "".
func (c *Content) Header(name string) string {
	for _, f := range c.Headers {
		if equalFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// HeaderValues returns the values of all fields of that name (any case), in order.
func (c *Content) HeaderValues(name string) []string {
	var vs []string
	for _, f := range c.Headers {
		if equalFold(f.Name, name) {
			vs = append(vs, f.Value)
		}
	}
	return vs
}

// Address is one mailbox of an address list in the header; Name is the decoded display name.
type Address struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// HeaderField is one header field, decoded and unfolded; Name is as written.
type HeaderField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Attachment is a leaf that is not a body text. Its octets stay in the message and are decoded while they are read.
type Attachment struct {
	// ID is the part's place in the structure, "1.2"; "1" for a message that is one part.
	ID string
	// Filename is cleaned for use as a file name and never empty; see parse.
	Filename string
	// SentName is the name as the sender wrote it, decoded, when Filename differs from it; "" otherwise.
	SentName    string
	ContentType string
	// Disposition is "attachment" or "inline".
	Disposition string
	// ContentID has no angle brackets; "" when there is none.
	ContentID string
	// Size and SHA256 are those of the decoded octets.
	Size   int64
	SHA256 [32]byte
	// Container is the id of the attachment that this one was unpacked from; "" for a part of the message.
	Container string
	// Message is set on attached messages.
	Message *Summary
	// Open returns a reader of the decoded octets: Size of them, the same at every call. Safe for concurrent use.
	Open func() io.Reader
}
