package webhook

import (
	"time"

	"mxhook/pipeline"
)

// The objects of version 1 that go with the kind of a message. At most one of them is not null.

type payloadAutoReply struct {
	Reason            string  `json:"reason"`
	OriginalMessageID *string `json:"original_message_id"`
}

type payloadBounce struct {
	// Method is "rfc3464" or "text".
	Method       string                   `json:"method"`
	ReportingMTA *string                  `json:"reporting_mta"`
	Recipients   []payloadBounceRecipient `json:"recipients"`
	Original     *payloadOriginal         `json:"original"`
}

type payloadBounceRecipient struct {
	Address         *string `json:"address"`
	OriginalAddress *string `json:"original_address"`
	Action          *string `json:"action"`
	Status          *string `json:"status"`
	Diagnostic      *string `json:"diagnostic"`
	RemoteMTA       *string `json:"remote_mta"`
}

// payloadOriginal is the message that a bounce or a complaint returns.
type payloadOriginal struct {
	MessageID *string          `json:"message_id"`
	Date      *string          `json:"date"`
	Subject   *string          `json:"subject"`
	From      []payloadAddress `json:"from"`
	To        []payloadAddress `json:"to"`
	Headers   []payloadHeader  `json:"headers"`
}

type payloadComplaint struct {
	FeedbackType    *string          `json:"feedback_type"`
	UserAgent       *string          `json:"user_agent"`
	MailFrom        *string          `json:"mail_from"`
	Recipients      []string         `json:"recipients"`
	SourceIP        *string          `json:"source_ip"`
	ArrivalDate     *string          `json:"arrival_date"`
	ReportedDomains []string         `json:"reported_domains"`
	ReportedURIs    []string         `json:"reported_uris"`
	AuthFailure     *string          `json:"auth_failure"`
	Original        *payloadOriginal `json:"original"`
}

type payloadDMARCReport struct {
	Organization    *string              `json:"organization"`
	Email           *string              `json:"email"`
	ReportID        *string              `json:"report_id"`
	Begin           *string              `json:"begin"`
	End             *string              `json:"end"`
	Domain          *string              `json:"domain"`
	Policy          *string              `json:"policy"`
	SubdomainPolicy *string              `json:"subdomain_policy"`
	Records         []payloadDMARCRecord `json:"records"`
	RecordsOmitted  int                  `json:"records_omitted"`
}

type payloadDMARCRecord struct {
	SourceIP     *string  `json:"source_ip"`
	Count        int      `json:"count"`
	Disposition  *string  `json:"disposition"`
	DKIM         *string  `json:"dkim"`
	SPF          *string  `json:"spf"`
	HeaderFrom   *string  `json:"header_from"`
	EnvelopeFrom *string  `json:"envelope_from"`
	EnvelopeTo   *string  `json:"envelope_to"`
	DKIMDomains  []string `json:"dkim_domains"`
	SPFDomains   []string `json:"spf_domains"`
	Reasons      []string `json:"reasons"`
}

type payloadTLSReport struct {
	Organization *string            `json:"organization"`
	Contact      *string            `json:"contact"`
	ReportID     *string            `json:"report_id"`
	Begin        *string            `json:"begin"`
	End          *string            `json:"end"`
	Policies     []payloadTLSPolicy `json:"policies"`
}

type payloadTLSPolicy struct {
	Type      *string             `json:"type"`
	Domain    *string             `json:"domain"`
	MXHosts   []string            `json:"mx_hosts"`
	Successes int64               `json:"successes"`
	Failed    int64               `json:"failed"`
	Failures  []payloadTLSFailure `json:"failures"`
}

type payloadTLSFailure struct {
	Result      *string `json:"result"`
	SendingIP   *string `json:"sending_ip"`
	ReceivingMX *string `json:"receiving_mx"`
	ReceivingIP *string `json:"receiving_ip"`
	Reason      *string `json:"reason"`
	Sessions    int64   `json:"sessions"`
}

// setReports fills in the object of the message's kind.
func (p *payloadData) setReports(c *pipeline.Content) {
	if r := c.AutoReply; r != nil {
		p.AutoReply = &payloadAutoReply{Reason: r.Reason, OriginalMessageID: orNull(r.OriginalMessageID)}
	}
	if r := c.Bounce; r != nil {
		p.Bounce = newPayloadBounce(r)
	}
	if r := c.Complaint; r != nil {
		p.Complaint = &payloadComplaint{
			FeedbackType: orNull(r.FeedbackType), UserAgent: orNull(r.UserAgent), MailFrom: orNull(r.MailFrom),
			Recipients: listOf(r.Recipients), SourceIP: orNull(r.SourceIP), ArrivalDate: date(r.ArrivalDate),
			ReportedDomains: listOf(r.ReportedDomains), ReportedURIs: listOf(r.ReportedURIs), AuthFailure: orNull(r.AuthFailure),
			Original: newPayloadOriginal(r.Original),
		}
	}
	if r := c.DMARCReport; r != nil {
		p.DMARCReport = newPayloadDMARCReport(r)
	}
	if r := c.TLSReport; r != nil {
		p.TLSReport = newPayloadTLSReport(r)
	}
}

func newPayloadBounce(r *pipeline.Bounce) *payloadBounce {
	b := &payloadBounce{
		Method: r.Method, ReportingMTA: orNull(r.ReportingMTA),
		Recipients: make([]payloadBounceRecipient, 0, len(r.Recipients)), Original: newPayloadOriginal(r.Original),
	}
	for _, x := range r.Recipients {
		b.Recipients = append(b.Recipients, payloadBounceRecipient{
			Address: orNull(x.Address), OriginalAddress: orNull(x.OriginalAddress), Action: orNull(x.Action), Status: orNull(x.Status),
			Diagnostic: orNull(x.Diagnostic), RemoteMTA: orNull(x.RemoteMTA),
		})
	}
	return b
}

func newPayloadOriginal(o *pipeline.OriginalMessage) *payloadOriginal {
	if o == nil {
		return nil
	}
	return &payloadOriginal{
		MessageID: orNull(o.MessageID), Date: date(o.Date), Subject: orNull(o.Subject),
		From: newPayloadAddresses(o.From), To: newPayloadAddresses(o.To), Headers: newPayloadHeaders(o.Headers),
	}
}

func newPayloadDMARCReport(r *pipeline.DMARCReport) *payloadDMARCReport {
	p := &payloadDMARCReport{
		Organization: orNull(r.Organization), Email: orNull(r.Email), ReportID: orNull(r.ReportID), Begin: date(r.Begin), End: date(r.End),
		Domain: orNull(r.Domain), Policy: orNull(r.Policy), SubdomainPolicy: orNull(r.SubdomainPolicy),
		Records: make([]payloadDMARCRecord, 0, len(r.Records)), RecordsOmitted: r.Omitted,
	}
	for _, x := range r.Records {
		p.Records = append(p.Records, payloadDMARCRecord{
			SourceIP: orNull(x.SourceIP), Count: x.Count, Disposition: orNull(x.Disposition), DKIM: orNull(x.DKIM), SPF: orNull(x.SPF),
			HeaderFrom: orNull(x.HeaderFrom), EnvelopeFrom: orNull(x.EnvelopeFrom), EnvelopeTo: orNull(x.Rcpt),
			DKIMDomains: listOf(x.DKIMDomains), SPFDomains: listOf(x.SPFDomains), Reasons: listOf(x.Reasons),
		})
	}
	return p
}

func newPayloadTLSReport(r *pipeline.TLSReport) *payloadTLSReport {
	p := &payloadTLSReport{
		Organization: orNull(r.Organization), Contact: orNull(r.Contact), ReportID: orNull(r.ReportID), Begin: date(r.Begin), End: date(r.End),
		Policies: make([]payloadTLSPolicy, 0, len(r.Policies)),
	}
	for _, x := range r.Policies {
		policy := payloadTLSPolicy{
			Type: orNull(x.Type), Domain: orNull(x.Domain), MXHosts: listOf(x.MXHosts), Successes: x.Successes, Failed: x.Failed,
			Failures: make([]payloadTLSFailure, 0, len(x.Failures)),
		}
		for _, f := range x.Failures {
			policy.Failures = append(policy.Failures, payloadTLSFailure{
				Result: orNull(f.Result), SendingIP: orNull(f.SendingIP), ReceivingMX: orNull(f.ReceivingMX), ReceivingIP: orNull(f.ReceivingIP),
				Reason: orNull(f.Reason), Sessions: f.Sessions,
			})
		}
		p.Policies = append(p.Policies, policy)
	}
	return p
}

// The objects of version 1 that any message can have.

type payloadReply struct {
	Text      string `json:"text"`
	Quoted    string `json:"quoted"`
	Signature string `json:"signature"`
	Method    string `json:"method"`
}

type payloadList struct {
	ID          *string  `json:"id"`
	Name        *string  `json:"name"`
	Unsubscribe []string `json:"unsubscribe"`
	OneClick    bool     `json:"one_click"`
	Post        *string  `json:"post"`
	Archive     *string  `json:"archive"`
	Help        *string  `json:"help"`
}

// payloadSummary is what an attached message says of itself.
type payloadSummary struct {
	MessageID *string          `json:"message_id"`
	Date      *string          `json:"date"`
	Subject   *string          `json:"subject"`
	From      []payloadAddress `json:"from"`
	To        []payloadAddress `json:"to"`
	Cc        []payloadAddress `json:"cc"`
}

type payloadEvent struct {
	Part         string            `json:"part"`
	Method       *string           `json:"method"`
	Component    string            `json:"component"`
	UID          *string           `json:"uid"`
	Sequence     int               `json:"sequence"`
	Status       *string           `json:"status"`
	Summary      *string           `json:"summary"`
	Description  *string           `json:"description"`
	Location     *string           `json:"location"`
	URL          *string           `json:"url"`
	Start        *payloadTime      `json:"start"`
	End          *payloadTime      `json:"end"`
	Recurrence   *string           `json:"recurrence"`
	RecurrenceID *payloadTime      `json:"recurrence_id"`
	Organizer    *payloadAttendee  `json:"organizer"`
	Attendees    []payloadAttendee `json:"attendees"`
}

// payloadTime is a date or a date and time, as written and as an instant.
type payloadTime struct {
	Local string  `json:"local"`
	Zone  *string `json:"zone"`
	UTC   *string `json:"utc"`
}

type payloadAttendee struct {
	Name    *string `json:"name"`
	Address string  `json:"address"`
	Role    *string `json:"role"`
	Status  *string `json:"status"`
}

func newPayloadReply(r *pipeline.Reply) *payloadReply {
	if r == nil {
		return nil
	}
	return &payloadReply{Text: r.Text, Quoted: r.Quoted, Signature: r.Signature, Method: r.Method}
}

func newPayloadList(l *pipeline.List) *payloadList {
	if l == nil {
		return nil
	}
	return &payloadList{
		ID: orNull(l.ID), Name: orNull(l.Name), Unsubscribe: listOf(l.Unsubscribe), OneClick: l.OneClick,
		Post: orNull(l.Post), Archive: orNull(l.Archive), Help: orNull(l.Help),
	}
}

func newPayloadSummary(s *pipeline.Summary) *payloadSummary {
	if s == nil {
		return nil
	}
	return &payloadSummary{
		MessageID: orNull(s.MessageID), Date: date(s.Date), Subject: orNull(s.Subject),
		From: newPayloadAddresses(s.From), To: newPayloadAddresses(s.To), Cc: newPayloadAddresses(s.Cc),
	}
}

func newPayloadEvents(es []pipeline.CalendarEntry) []payloadEvent {
	ps := make([]payloadEvent, 0, len(es))
	for _, e := range es {
		p := payloadEvent{
			Part: e.Part, Method: orNull(e.Method), Component: e.Component, UID: orNull(e.UID), Sequence: e.Sequence, Status: orNull(e.Status),
			Summary: orNull(e.Summary), Description: orNull(e.Description), Location: orNull(e.Location), URL: orNull(e.URL),
			Start: newPayloadTime(e.Start), End: newPayloadTime(e.End), Recurrence: orNull(e.Recurrence),
			RecurrenceID: newPayloadTime(e.RecurrenceID), Attendees: make([]payloadAttendee, 0, len(e.Attendees)),
		}
		if e.Organizer != nil {
			o := newPayloadAttendee(*e.Organizer)
			p.Organizer = &o
		}
		for _, a := range e.Attendees {
			p.Attendees = append(p.Attendees, newPayloadAttendee(a))
		}
		ps = append(ps, p)
	}
	return ps
}

func newPayloadAttendee(a pipeline.Attendee) payloadAttendee {
	return payloadAttendee{Name: orNull(a.Name), Address: a.Address, Role: orNull(a.Role), Status: orNull(a.Status)}
}

func newPayloadTime(t *pipeline.CalendarTime) *payloadTime {
	if t == nil {
		return nil
	}
	p := &payloadTime{Local: t.Local, Zone: orNull(t.Zone)}
	if !t.UTC.IsZero() {
		p.UTC = orNull(t.UTC.UTC().Format(time.RFC3339))
	}
	return p
}
