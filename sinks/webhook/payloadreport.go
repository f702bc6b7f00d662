package webhook

import (
	"time"

	"mxhook/pipeline"
)

// The objects of version 1 that go with the kind of a message. At most one of them is not null.

type payloadAutoReply struct {
	// Reason: "auto-submitted" (RFC 3834), "disposition-notification", or the name of a header field of a vendor.
	Reason string `json:"reason"`
	// OriginalMessageID: the message that was answered, with angle brackets.
	OriginalMessageID *string `json:"original_message_id"`
}

type payloadBounce struct {
	// Method: "rfc3464" for a delivery status notification; "text" when it was taken from prose, and may be incomplete.
	Method string `json:"method"`
	// ReportingMTA: the host that reports.
	ReportingMTA *string `json:"reporting_mta"`
	// Recipients: one for each recipient that is reported on.
	Recipients []payloadBounceRecipient `json:"recipients"`
	// Original: what is returned of the message.
	Original *payloadOriginal `json:"original"`
}

type payloadBounceRecipient struct {
	// Address: final recipient.
	Address *string `json:"address"`
	// OriginalAddress: the recipient as the sender wrote it.
	OriginalAddress *string `json:"original_address"`
	// Action: "failed", "delayed", "delivered", "relayed" or "expanded".
	Action *string `json:"action"`
	// Status: enhanced status code (RFC 3463), "5.1.1": 5 is for good, 4 for now.
	Status *string `json:"status"`
	// Diagnostic: the other host's words.
	Diagnostic *string `json:"diagnostic"`
	// RemoteMTA: the other host.
	RemoteMTA *string `json:"remote_mta"`
}

// payloadOriginal is the message that a bounce or a complaint returns.
type payloadOriginal struct {
	// MessageID: with angle brackets.
	MessageID *string `json:"message_id"`
	// Date: the author's date, RFC 3339.
	Date *string `json:"date"`
	// Subject: decoded.
	Subject *string `json:"subject"`
	// From: as in message.from.
	From []payloadAddress `json:"from"`
	// To: as in message.to.
	To []payloadAddress `json:"to"`
	// Headers: the header fields that are returned.
	Headers []payloadHeader `json:"headers"`
}

type payloadComplaint struct {
	// FeedbackType: "abuse", "fraud", "virus", "not-spam", "auth-failure", "opt-out", ... (RFC 5965).
	FeedbackType *string `json:"feedback_type"`
	// UserAgent: the reporter's program.
	UserAgent *string `json:"user_agent"`
	// MailFrom: reverse-path of the message complained about.
	MailFrom *string `json:"mail_from"`
	// Recipients: its recipients.
	Recipients []string `json:"recipients"`
	// SourceIP: its client.
	SourceIP *string `json:"source_ip"`
	// ArrivalDate: when the reporter got it, RFC 3339.
	ArrivalDate *string `json:"arrival_date"`
	// ReportedDomains: domains in it that are complained about.
	ReportedDomains []string `json:"reported_domains"`
	// ReportedURIs: URIs in it that are complained about.
	ReportedURIs []string `json:"reported_uris"`
	// AuthFailure: what failed, for the type "auth-failure" (RFC 6591).
	AuthFailure *string `json:"auth_failure"`
	// Original: what is returned of the message.
	Original *payloadOriginal `json:"original"`
}

type payloadDMARCReport struct {
	// Organization: who reports.
	Organization *string `json:"organization"`
	// Email: the reporter's address.
	Email *string `json:"email"`
	// ReportID: the reporter's id of the report.
	ReportID *string `json:"report_id"`
	// Begin: of the period, RFC 3339, UTC.
	Begin *string `json:"begin"`
	// End: of the period, RFC 3339, UTC.
	End *string `json:"end"`
	// Domain: the domain that is reported on.
	Domain *string `json:"domain"`
	// Policy: p= that was published.
	Policy *string `json:"policy"`
	// SubdomainPolicy: sp= that was published.
	SubdomainPolicy *string `json:"subdomain_policy"`
	// Records: the first 1000 rows.
	Records []payloadDMARCRecord `json:"records"`
	// RecordsOmitted: how many more rows there are.
	RecordsOmitted int `json:"records_omitted"`
}

type payloadDMARCRecord struct {
	// SourceIP: the client.
	SourceIP *string `json:"source_ip"`
	// Count: messages.
	Count int `json:"count"`
	// Disposition: what was done: "none", "quarantine", "reject".
	Disposition *string `json:"disposition"`
	// DKIM: aligned result: "pass" or "fail".
	DKIM *string `json:"dkim"`
	// SPF: aligned result: "pass" or "fail".
	SPF *string `json:"spf"`
	// HeaderFrom: domain of From.
	HeaderFrom *string `json:"header_from"`
	// EnvelopeFrom: domain of the reverse-path.
	EnvelopeFrom *string `json:"envelope_from"`
	// EnvelopeTo: domain of the recipient.
	EnvelopeTo *string `json:"envelope_to"`
	// DKIMDomains: domains of the signatures.
	DKIMDomains []string `json:"dkim_domains"`
	// SPFDomains: domains that SPF was checked for.
	SPFDomains []string `json:"spf_domains"`
	// Reasons: why the policy was not followed.
	Reasons []string `json:"reasons"`
}

type payloadTLSReport struct {
	// Organization: who reports.
	Organization *string `json:"organization"`
	// Contact: the reporter's address.
	Contact *string `json:"contact"`
	// ReportID: the reporter's id of the report.
	ReportID *string `json:"report_id"`
	// Begin: of the period, RFC 3339, UTC.
	Begin *string `json:"begin"`
	// End: of the period, RFC 3339, UTC.
	End *string `json:"end"`
	// Policies: the outcome under each policy.
	Policies []payloadTLSPolicy `json:"policies"`
}

type payloadTLSPolicy struct {
	// Type: "sts", "tlsa" or "no-policy-found".
	Type *string `json:"type"`
	// Domain: the domain that is reported on.
	Domain *string `json:"domain"`
	// MXHosts: mail exchangers that the policy names.
	MXHosts []string `json:"mx_hosts"`
	// Successes: sessions that were encrypted as the policy asks.
	Successes int64 `json:"successes"`
	// Failed: sessions that were not.
	Failed int64 `json:"failed"`
	// Failures: each kind of failure.
	Failures []payloadTLSFailure `json:"failures"`
}

type payloadTLSFailure struct {
	// Result: "certificate-expired", ... (RFC 8460 4.3).
	Result *string `json:"result"`
	// SendingIP: address of the sender.
	SendingIP *string `json:"sending_ip"`
	// ReceivingMX: name of our mail exchanger.
	ReceivingMX *string `json:"receiving_mx"`
	// ReceivingIP: its address.
	ReceivingIP *string `json:"receiving_ip"`
	// Reason: code or words of the sender.
	Reason *string `json:"reason"`
	// Sessions: how many failed.
	Sessions int64 `json:"sessions"`
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
	// Text: what is new.
	Text string `json:"text"`
	// Quoted: what it answers.
	Quoted string `json:"quoted"`
	// Signature: what ends it.
	Signature string `json:"signature"`
	// Method: the rule that found the quote: "none", "marks" (">"), "attribution" ("On ... wrote:"), "header" (a copied header), "separator".
	Method string `json:"method"`
}

type payloadList struct {
	// ID: List-Id without angle brackets (RFC 2919).
	ID *string `json:"id"`
	// Name: the words before it.
	Name *string `json:"name"`
	// Unsubscribe: URLs of List-Unsubscribe (RFC 2369), https and mailto.
	Unsubscribe []string `json:"unsubscribe"`
	// OneClick: a POST to the https one unsubscribes (RFC 8058).
	OneClick bool `json:"one_click"`
	// Post: URL of List-Post.
	Post *string `json:"post"`
	// Archive: URL of List-Archive.
	Archive *string `json:"archive"`
	// Help: URL of List-Help.
	Help *string `json:"help"`
}

// payloadSummary is what an attached message says of itself.
type payloadSummary struct {
	// MessageID: with angle brackets.
	MessageID *string `json:"message_id"`
	// Date: the author's date, RFC 3339.
	Date *string `json:"date"`
	// Subject: decoded.
	Subject *string `json:"subject"`
	// From: as in message.from.
	From []payloadAddress `json:"from"`
	// To: as in message.to.
	To []payloadAddress `json:"to"`
	// Cc: as in message.cc.
	Cc []payloadAddress `json:"cc"`
}

type payloadEvent struct {
	// Part: id of the attachment that it stands in.
	Part string `json:"part"`
	// Method: "REQUEST", "REPLY", "CANCEL", ... (RFC 5546).
	Method *string `json:"method"`
	// Component: "event", "todo" or "journal".
	Component string `json:"component"`
	// UID: which event it is, over all mails about it.
	UID *string `json:"uid"`
	// Sequence: which version of it, from 0.
	Sequence int `json:"sequence"`
	// Status: "CONFIRMED", "TENTATIVE", "CANCELLED", ....
	Status *string `json:"status"`
	// Summary: one line.
	Summary *string `json:"summary"`
	// Description: many lines.
	Description *string `json:"description"`
	// Location: words.
	Location *string `json:"location"`
	// URL: as written; untrusted.
	URL *string `json:"url"`
	// Start: when it begins.
	Start *payloadTime `json:"start"`
	// End: when it ends, or a todo is due; null when not given.
	End *payloadTime `json:"end"`
	// Recurrence: RRULE as written (RFC 5545 3.3.10).
	Recurrence *string `json:"recurrence"`
	// RecurrenceID: the instance of a recurring entry that this is about.
	RecurrenceID *payloadTime `json:"recurrence_id"`
	// Organizer: who invites.
	Organizer *payloadAttendee `json:"organizer"`
	// Attendees: who is invited.
	Attendees []payloadAttendee `json:"attendees"`
}

// payloadTime is a date or a date and time, as written and as an instant.
type payloadTime struct {
	// Local: as written: "2026-11-21T12:00:00", or "2026-11-21" for a whole day.
	Local string `json:"local"`
	// Zone: name of the zone as written; null for none.
	Zone *string `json:"zone"`
	// UTC: the instant, RFC 3339; null for days, floating times and zones that nobody knows.
	UTC *string `json:"utc"`
}

type payloadAttendee struct {
	// Name: display name.
	Name *string `json:"name"`
	// Address: mail address, or another URI as written.
	Address string `json:"address"`
	// Role: "REQ-PARTICIPANT", "CHAIR", ....
	Role *string `json:"role"`
	// Status: "ACCEPTED", "DECLINED", "TENTATIVE", "NEEDS-ACTION", ....
	Status *string `json:"status"`
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
