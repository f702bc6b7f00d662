package parse

import (
	"encoding/json"
	"strings"
	"time"

	"mxhook/pipeline"
)

// Amazon SES reports bounces, complaints and deliveries by SNS, which can send them on as mail: JSON in the text.

// noticeBytes bounds the JSON that is read.
const noticeBytes = 256 << 10

// sesNotice is the part of a notification that becomes a report.
type sesNotice struct {
	Type      string `json:"notificationType"`
	EventType string `json:"eventType"`
	Bounce    struct {
		Type         string         `json:"bounceType"`
		Recipients   []sesRecipient `json:"bouncedRecipients"`
		ReportingMTA string         `json:"reportingMTA"`
	} `json:"bounce"`
	Complaint struct {
		Recipients []sesRecipient `json:"complainedRecipients"`
		UserAgent  string         `json:"userAgent"`
		Feedback   string         `json:"complaintFeedbackType"`
		Arrival    time.Time      `json:"arrivalDate"`
	} `json:"complaint"`
	Delivery struct {
		Recipients   []string `json:"recipients"`
		SMTPResponse string   `json:"smtpResponse"`
		ReportingMTA string   `json:"reportingMTA"`
	} `json:"delivery"`
	Mail struct {
		Source  string `json:"source"`
		Headers []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"headers"`
		Common struct {
			From      []string `json:"from"`
			To        []string `json:"to"`
			Subject   string   `json:"subject"`
			Date      string   `json:"date"`
			MessageID string   `json:"messageId"`
		} `json:"commonHeaders"`
	} `json:"mail"`
}

type sesRecipient struct {
	Address    string `json:"emailAddress"`
	Action     string `json:"action"`
	Status     string `json:"status"`
	Diagnostic string `json:"diagnosticCode"`
}

// sesNoticeOf returns the notification that a text is; nil when it is none.
func sesNoticeOf(c *pipeline.Content) *sesNotice {
	if len(c.From) == 0 || !strings.HasSuffix(strings.ToLower(c.From[0].Address), "amazonaws.com") {
		return nil
	}
	text := strings.TrimSpace(cut(c.Text, noticeBytes))
	if !strings.HasPrefix(text, "{") {
		return nil
	}
	// Hosts on the way break long lines, some with a mark.
	text = strings.NewReplacer("!\n ", "", "\n ", "", "\n", "").Replace(text)
	n := &sesNotice{}
	var wrapped struct{ Message string }
	for _, v := range []any{&wrapped, n} {
		if err := json.NewDecoder(strings.NewReader(text)).Decode(v); err != nil {
			return nil
		}
		if wrapped.Message != "" && v != any(n) {
			text = wrapped.Message
		}
	}
	first(&n.Type, n.EventType)
	switch n.Type {
	case "Bounce", "Complaint", "Delivery":
		return n
	}
	return nil
}

// bounce returns a notification as a bounce.
func (n *sesNotice) bounce() *pipeline.Bounce {
	b := &pipeline.Bounce{Method: "text", ReportingMTA: untyped(oneLine(n.Bounce.ReportingMTA)), Original: n.original()}
	for _, r := range n.Bounce.Recipients {
		if len(b.Recipients) == reportRecipients {
			break
		}
		x := pipeline.BounceRecipient{
			Address: oneLine(r.Address), Action: strings.ToLower(firstWord(r.Action)), Status: firstWord(r.Status), Diagnostic: untyped(oneLine(r.Diagnostic)),
		}
		first(&x.Action, "failed")
		b.Recipients = append(b.Recipients, x)
	}
	if n.Type == "Delivery" {
		b.ReportingMTA = untyped(oneLine(n.Delivery.ReportingMTA))
		for _, a := range n.Delivery.Recipients[:min(len(n.Delivery.Recipients), reportRecipients)] {
			answer := oneLine(n.Delivery.SMTPResponse)
			b.Recipients = append(b.Recipients, pipeline.BounceRecipient{Address: oneLine(a), Action: "delivered", Status: statusIn(answer), Diagnostic: answer})
		}
	}
	return b
}

// complaint returns a notification as a complaint.
func (n *sesNotice) complaint() *pipeline.Complaint {
	r := &pipeline.Complaint{
		FeedbackType: strings.ToLower(firstWord(n.Complaint.Feedback)), UserAgent: oneLine(n.Complaint.UserAgent), MailFrom: oneLine(n.Mail.Source),
		ArrivalDate: n.Complaint.Arrival, Original: n.original(),
	}
	first(&r.FeedbackType, "abuse")
	for _, a := range n.Complaint.Recipients[:min(len(n.Complaint.Recipients), reportRecipients)] {
		r.Recipients = append(r.Recipients, oneLine(a.Address))
	}
	return r
}

// original returns what is said of the message; nil when nothing is.
func (n *sesNotice) original() *pipeline.OriginalMessage {
	var b strings.Builder
	for _, h := range n.Mail.Headers {
		if name := strings.TrimSpace(h.Name); fieldName([]byte(name+":")) != nil && b.Len() < innerHeaderBytes {
			b.WriteString(name + ": " + oneLine(h.Value) + "\n")
		}
	}
	if h := n.Mail.Common; len(n.Mail.Headers) == 0 {
		for _, f := range []struct{ name, value string }{
			{"From", strings.Join(h.From, ", ")}, {"To", strings.Join(h.To, ", ")}, {"Subject", h.Subject}, {"Date", h.Date}, {"Message-ID", h.MessageID},
		} {
			if f.value != "" {
				b.WriteString(f.name + ": " + oneLine(f.value) + "\n")
			}
		}
	}
	if b.Len() == 0 {
		return nil
	}
	c := (&reading{limits: Limits{}.withDefaults(), envelope: &pipeline.Envelope{}}).headerOf([]byte(b.String()))
	return originalOf(c)
}
