package parse

import (
	"strings"

	"mxhook/pipeline"
)

// complaint reads an abuse report: its feedback report (RFC 5965 3), and the message that it is about.
func (rd *reading) complaint(c *pipeline.Content, parts []part) *pipeline.Complaint {
	if rd.notice != nil {
		return rd.notice.complaint()
	}
	r := &pipeline.Complaint{Original: rd.original(parts)}
	var g group
	for i := range parts {
		if p := &parts[i]; p.media.typ == "message/feedback-report" {
			for _, fields := range fieldGroups(rd.decodedHead(p, reportBytes)) {
				g = append(g, fields...)
			}
		}
	}
	r.FeedbackType = strings.ToLower(firstWord(g.value("Feedback-Type")))
	r.UserAgent = g.value("User-Agent")
	r.MailFrom = reportedAddress(g.value("Original-Mail-From"))
	for _, v := range limited(g.values("Original-Rcpt-To")) {
		r.Recipients = append(r.Recipients, reportedAddress(v))
	}
	r.SourceIP = firstWord(g.value("Source-IP"))
	date := g.value("Arrival-Date")
	first(&date, g.value("Received-Date"))
	r.ArrivalDate, _ = parseDate(date)
	r.ReportedDomains = limited(g.values("Reported-Domain"))
	r.ReportedURIs = limited(g.values("Reported-URI"))
	r.AuthFailure = strings.ToLower(firstWord(g.value("Auth-Failure")))
	if g == nil && isHotmailComplaint(c) {
		r.FeedbackType = "abuse"
		words := strings.Fields(c.Subject)
		r.SourceIP = words[len(words)-1]
		if o := r.Original; o != nil {
			in := pipeline.Content{Headers: o.Headers}
			if to := in.Header("X-HmXmrOriginalRecipient"); to != "" {
				r.Recipients = []string{reportedAddress(to)}
			}
		}
	}
	if g == nil && isForensicText(c) {
		rd.forensicText(c, r)
	}
	if r.FeedbackType == "" {
		rd.notes.add(noteReportUnreadable, "", "the complaint has no feedback type")
	}
	return r
}

// limited keeps a list of a report to what a person could want to see.
func limited(ss []string) []string { return ss[:min(len(ss), reportRecipients)] }

// isHotmailComplaint recognises the junk mail reports of Outlook.com, which are no ARF.
func isHotmailComplaint(c *pipeline.Content) bool {
	return len(c.From) > 0 && strings.EqualFold(c.From[0].Address, "staff@hotmail.com") &&
		strings.HasPrefix(strings.ToLower(c.Subject), "complaint about message from ")
}

// isForensicText recognises failure reports (RFC 7489 7.3) that are prose with a line for each fact.
func isForensicText(c *pipeline.Content) bool {
	s := strings.ToLower(c.Subject)
	return strings.Contains(s, "dmarc") && hasAny(s, []string{"forensic", "failure report"}) &&
		hasAny(cut(c.Text, textReportBytes), []string{"sender ip address:", "source ip:"})
}

// forensicText reads such a report.
func (rd *reading) forensicText(c *pipeline.Content, r *pipeline.Complaint) {
	r.FeedbackType, r.AuthFailure = "auth-failure", "dmarc"
	for l := range strings.Lines(cut(c.Text, textReportBytes)) {
		name, value, _ := strings.Cut(l, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "sender domain", "domain":
			if r.ReportedDomains == nil && value != "" {
				r.ReportedDomains = []string{value}
			}
		case "sender ip address", "source ip":
			first(&r.SourceIP, firstWord(value))
		case "received date", "arrival date":
			if r.ArrivalDate.IsZero() {
				r.ArrivalDate, _ = parseDate(value)
			}
		}
	}
	if r.Original == nil {
		r.Original = rd.originalInText(c.Text)
	}
}
