package pipeline

import "time"

// AutoReply says why a message counts as an automatic reply (RFC 3834).
type AutoReply struct {
	// Reason is "auto-submitted" or "disposition-notification", "subject" when only that says so, or the name of the vendor's
	// header field, in lower case.
	Reason string
	// OriginalMessageID is that of the message that was answered, with angle brackets; "" when it is not named.
	OriginalMessageID string
}

// Bounce is what a delivery status notification says (RFC 3464), or the text of a bounce that is none.
type Bounce struct {
	// Method is how it was read: "rfc3464", or "text" when it was taken from prose and may be incomplete.
	Method string
	// ReportingMTA is the host that reports, without its type; "" when not named.
	ReportingMTA string
	// Recipients is nil when none is named; a problem says so.
	Recipients []BounceRecipient
	// Original is the returned message or its header; nil when nothing was returned.
	Original *OriginalMessage
}

// BounceRecipient is the fate of one recipient. Strings are "" when not given; addresses come without their type.
type BounceRecipient struct {
	// Address is the Final-Recipient; OriginalAddress the Original-Recipient (RFC 3464 2.3).
	Address, OriginalAddress string
	// Action is "failed", "delayed", "delivered", "relayed" or "expanded".
	Action string
	// Status is an enhanced status code (RFC 3463), "5.1.1".
	Status string
	// Diagnostic is the Diagnostic-Code on one line, or the lines of the text that tell the reason.
	Diagnostic string
	RemoteMTA  string
}

// OriginalMessage is what a report returns of the message that it is about.
type OriginalMessage struct {
	// MessageID has its angle brackets.
	MessageID, Subject string
	// Date is zero when there is none.
	Date     time.Time
	From, To []Address
	Headers  []HeaderField
}

// Complaint is an abuse report (ARF, RFC 5965).
type Complaint struct {
	// FeedbackType is "abuse", "fraud", "virus", "not-spam", "auth-failure", "opt-out", "other" or one of the reporter's.
	FeedbackType string
	UserAgent    string
	// MailFrom is the Original-Mail-From without brackets; Recipients the Original-Rcpt-To fields.
	MailFrom   string
	Recipients []string
	SourceIP   string
	// ArrivalDate is zero when there is none.
	ArrivalDate     time.Time
	ReportedDomains []string
	ReportedURIs    []string
	AuthFailure     string
	Original        *OriginalMessage
}

// DMARCReport is an aggregate report (RFC 7489 appendix C, RFC 9990).
type DMARCReport struct {
	// Organization, Email and ReportID name the reporter and its report.
	Organization, Email, ReportID string
	// Begin and End are the period that is reported, UTC.
	Begin, End time.Time
	// Domain and Policy are the published policy: "none", "quarantine" or "reject".
	Domain, Policy, SubdomainPolicy string
	// Records are the rows, up to the reader's limit; Omitted is how many more there were.
	Records []DMARCRecord
	Omitted int
}

// DMARCRecord is one row of an aggregate report.
type DMARCRecord struct {
	SourceIP string
	Count    int
	// Disposition is what was done: "none", "quarantine" or "reject". DKIM and SPF are the aligned results.
	Disposition, DKIM, SPF           string
	HeaderFrom, EnvelopeFrom, Rcpt   string
	DKIMDomains, SPFDomains, Reasons []string
}

// TLSReport is an SMTP TLS report (RFC 8460).
type TLSReport struct {
	Organization, Contact, ReportID string
	Begin, End                      time.Time
	Policies                        []TLSPolicy
}

// TLSPolicy is the outcome under one policy.
type TLSPolicy struct {
	// Type is "sts", "tlsa" or "no-policy-found".
	Type, Domain      string
	MXHosts           []string
	Successes, Failed int64
	Failures          []TLSFailure
}

// TLSFailure is one kind of failure and how often it happened.
type TLSFailure struct {
	Result, SendingIP, ReceivingMX, ReceivingIP, Reason string
	Sessions                                            int64
}

// List is what the list header fields say (RFC 2919, RFC 2369, RFC 8058).
type List struct {
	// ID is the List-Id without brackets; Name the phrase before it.
	ID, Name string
	// Unsubscribe are the https, http and mailto URLs of List-Unsubscribe, in order.
	Unsubscribe []string
	// OneClick says that a POST to the https URL unsubscribes (RFC 8058).
	OneClick bool
	// Post, Archive and Help are the first URL of their fields.
	Post, Archive, Help string
}

// Reply is the text of a message taken apart. It is made by rules of thumb; the full text stays what it is.
type Reply struct {
	// Text is what was newly written, Quoted what it answers, Signature what ends it. Lines end in LF.
	Text, Quoted, Signature string
	// Method names the rule that found the quote: "none" when nothing is quoted, "marks" for lines that begin with ">",
	// "attribution" for a line like "On ... wrote:", "header" for a copied header block, "separator" for a line like
	// "-----Original Message-----".
	Method string
}

// CalendarEntry is one component of a calendar part (RFC 5545, RFC 5546), one for each recurrence set or exception.
type CalendarEntry struct {
	// Part is the id of the part, as in Attachment.ID.
	Part string
	// Method is the calendar's: "REQUEST", "REPLY", "CANCEL", ...; "" when it has none.
	Method string
	// Component is "event", "todo" or "journal".
	Component string
	UID       string
	Sequence  int
	// Status is "CONFIRMED", "TENTATIVE", "CANCELLED", ... or "".
	Status                         string
	Summary, Description, Location string
	URL                            string
	Start, End                     *CalendarTime
	// Recurrence is the RRULE as written; RecurrenceID the instance that the entry is about.
	Recurrence   string
	RecurrenceID *CalendarTime
	Organizer    *Attendee
	Attendees    []Attendee
}

// CalendarTime is a date or a date and time.
type CalendarTime struct {
	// Local is the time as written: "2026-11-21T10:00:00", or "2026-11-21" for a whole day.
	Local string
	// Zone is the TZID as written, "UTC", or "" for a floating time and for days.
	Zone string
	// UTC is the same instant; zero for days, floating times and zones that nobody knows.
	UTC time.Time
}

// Attendee is somebody at an event.
type Attendee struct {
	Name, Address string
	// Role and Status are ROLE and PARTSTAT as written ("REQ-PARTICIPANT", "ACCEPTED"); "" when not given.
	Role, Status string
}

// Summary is what an attached message says of itself.
type Summary struct {
	// MessageID has its angle brackets.
	MessageID, Subject string
	// Date is zero when there is none.
	Date         time.Time
	From, To, Cc []Address
}
