package webhook

import (
	"io"
	"time"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

// kindCases are samples of each kind of message with its object, and of all else that a message can have.
func kindCases() map[string]*pipeline.Delivery {
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	ann := pipeline.Address{Name: "Ann", Address: "ann@example.com"}
	original := &pipeline.OriginalMessage{
		MessageID: "<9@example.com>", Subject: "Offer", Date: at, From: []pipeline.Address{ann}, To: []pipeline.Address{{Address: "bob@example.org"}},
		Headers: []pipeline.HeaderField{{Name: "Subject", Value: "Offer"}},
	}
	contents := map[string]func(c *pipeline.Content){
		"10-bounce": func(c *pipeline.Content) {
			c.Kind = pipeline.KindBounce
			c.Bounce = &pipeline.Bounce{
				Method: "rfc3464", ReportingMTA: "mx.example.org", Original: original,
				Recipients: []pipeline.BounceRecipient{
					{Address: "bob@example.org", OriginalAddress: "robert@example.org", Action: "failed", Status: "5.1.1", Diagnostic: "550 5.1.1 no such user", RemoteMTA: "mail.example.org"},
					{Address: "joe@example.org", Action: "delayed"},
				},
			}
		},
		"11-complaint": func(c *pipeline.Content) {
			c.Kind = pipeline.KindComplaint
			c.Complaint = &pipeline.Complaint{
				FeedbackType: "abuse", UserAgent: "Reporter/1.0", MailFrom: "news@example.com", Recipients: []string{"bob@example.org"}, SourceIP: "192.0.2.1",
				ArrivalDate: at, ReportedDomains: []string{"example.com"}, Original: original,
			}
		},
		"12-dmarc-report": func(c *pipeline.Content) {
			c.Kind = pipeline.KindDMARCReport
			c.DMARCReport = &pipeline.DMARCReport{
				Organization: "Example Inc.", Email: "dmarc@example.org", ReportID: "7", Begin: at, End: at.Add(24 * time.Hour),
				Domain: "example.com", Policy: "reject", SubdomainPolicy: "none", Omitted: 3,
				Records: []pipeline.DMARCRecord{{
					SourceIP: "192.0.2.1", Count: 12, Disposition: "none", DKIM: "pass", SPF: "fail", HeaderFrom: "example.com",
					DKIMDomains: []string{"example.com"}, SPFDomains: []string{"list.example.net"}, Reasons: []string{"mailing_list"},
				}},
			}
		},
		"13-tls-report": func(c *pipeline.Content) {
			c.Kind = pipeline.KindTLSReport
			c.TLSReport = &pipeline.TLSReport{
				Organization: "Example Inc.", Contact: "tls@example.org", ReportID: "7", Begin: at, End: at.Add(24 * time.Hour),
				Policies: []pipeline.TLSPolicy{{
					Type: "sts", Domain: "example.com", MXHosts: []string{"*.example.com"}, Successes: 100, Failed: 2,
					Failures: []pipeline.TLSFailure{{Result: "certificate-expired", SendingIP: "192.0.2.1", ReceivingMX: "mx.example.com", Sessions: 2}},
				}},
			}
		},
		"14-auto-reply": func(c *pipeline.Content) {
			c.Kind = pipeline.KindAutoReply
			c.AutoReply = &pipeline.AutoReply{Reason: "auto-submitted", OriginalMessageID: "<9@example.com>"}
		},
		"15-invitation": func(c *pipeline.Content) {
			c.Text, c.TextFrom = "Yes.\n\nOn 20 Nov 2026, Bob wrote:\n> Lunch?\n-- \nAnn\n", pipeline.TextOwn
			c.TakeApart = func() *pipeline.Reply {
				return &pipeline.Reply{Text: "Yes.", Quoted: "On 20 Nov 2026, Bob wrote:\n> Lunch?", Signature: "-- \nAnn", Method: "attribution"}
			}
			c.List = &pipeline.List{ID: "team.example.com", Name: "Team", Unsubscribe: []string{"https://example.com/u"}, OneClick: true, Archive: "https://example.com/a"}
			c.Calendar = []pipeline.CalendarEntry{{
				Part: "2", Method: "REQUEST", Component: "event", UID: "1@example.com", Sequence: 1, Status: "CONFIRMED", Summary: "Lunch", Location: "Here",
				Start:      &pipeline.CalendarTime{Local: "2026-11-21T12:00:00", Zone: "Europe/Berlin", UTC: at.Add(time.Hour)},
				End:        &pipeline.CalendarTime{Local: "2026-11-21"},
				Recurrence: "FREQ=WEEKLY", RecurrenceID: &pipeline.CalendarTime{Local: "2026-11-21T12:00:00"},
				Organizer: &pipeline.Attendee{Name: "Bob", Address: "bob@example.org"},
				Attendees: []pipeline.Attendee{{Address: "ann@example.com", Role: "REQ-PARTICIPANT", Status: "NEEDS-ACTION"}},
			}}
			packed := sinktest.Attachment("3.1", "plan.txt", "text/plain", []byte("plan"))
			packed.Container, packed.SentName = "3", "../plan.txt"
			message := sinktest.Attachment("4", "part-4.eml", "message/rfc822", []byte("Subject: Offer\r\n\r\n"))
			message.Message = &pipeline.Summary{MessageID: "<9@example.com>", Subject: "Offer", Date: at, From: []pipeline.Address{ann}}
			c.Attachments = []pipeline.Attachment{
				sinktest.Attachment("2", "invite.ics", "text/calendar", []byte("BEGIN:VCALENDAR\r\n")),
				sinktest.Attachment("3", "winmail.dat", "application/ms-tnef", []byte("larger than the limit")),
				packed, message,
			}
		},
	}
	cases := make(map[string]*pipeline.Delivery, len(contents))
	for name, set := range contents {
		d := sinktest.Samples()[0].Delivery
		set(d.Message.Content)
		cases[name] = d
	}
	return cases
}

// addKindCases adds them to the golden cases.
func addKindCases(cases map[string]func(w io.Writer) error) {
	for name, d := range kindCases() {
		cases[name] = func(w io.Writer) error { return EncodePayload(w, d, PayloadOptions{InlineLimit: 20, Reply: true}) }
	}
}
