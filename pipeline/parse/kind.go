package parse

import (
	"strings"

	"mxhook/pipeline"
)

// kindOf recognises what a message is for, by what it declares itself to be. A report is only what is built like one;
// a forged one is as good as a real one here, so a receiver looks at the authentication results, too.
func (rd *reading) kindOf(c *pipeline.Content, parts []part) string {
	report := reportType(parts[0].media)
	has := func(typ string) bool {
		for i := range parts {
			if parts[i].media.typ == typ {
				return true
			}
		}
		return false
	}
	status := has("message/delivery-status") || has("message/global-delivery-status")
	rd.notice = sesNoticeOf(c)
	switch {
	case rd.notice != nil && rd.notice.Type != "Complaint":
		return pipeline.KindBounce
	case rd.notice != nil, report == "feedback-report", has("message/feedback-report"), isHotmailComplaint(c), isForensicText(c):
		return pipeline.KindComplaint
	case report == "tlsrpt" || has("application/tlsrpt+gzip") || has("application/tlsrpt+json") || isTLSReport(c):
		return pipeline.KindTLSReport
	case isDMARCReport(c):
		return pipeline.KindDMARCReport
	case report == "delivery-status", status && (rd.envelope.ReversePath == "" || fromMailSystem(c)):
		return pipeline.KindBounce
	case report == "disposition-notification":
		return pipeline.KindAutoReply
	case rd.isTextBounce(c):
		return pipeline.KindBounce
	case autoReplyReason(c) != "" || rd.envelope.ReversePath == "" && isAutoReplySubject(c.Subject):
		return pipeline.KindAutoReply
	}
	return pipeline.KindMail
}

// report fills in the object that belongs to the kind, and those that any message can have.
func (rd *reading) report(c *pipeline.Content, parts []part) {
	switch c.Kind {
	case pipeline.KindBounce:
		c.Bounce = rd.bounce(c, parts)
	case pipeline.KindAutoReply:
		c.AutoReply = rd.autoReply(c, parts)
	case pipeline.KindComplaint:
		c.Complaint = rd.complaint(c, parts)
	case pipeline.KindDMARCReport:
		c.DMARCReport = aggregate(rd, c, dmarcTypes(), readDMARC)
	case pipeline.KindTLSReport:
		c.TLSReport = aggregate(rd, c, tlsTypes(), readTLSReport)
	}
	c.List = list(c)
	rd.calendar(c, parts)
}

// autoReply says why a message is one, and what it answers: a disposition notification names the message itself
// (RFC 8098 3.2.5), all others refer to it.
func (rd *reading) autoReply(c *pipeline.Content, parts []part) *pipeline.AutoReply {
	a := &pipeline.AutoReply{Reason: autoReplyReason(c)}
	if reportType(parts[0].media) == "disposition-notification" {
		first(&a.Reason, "disposition-notification")
	}
	first(&a.Reason, "subject")
	for i := range parts {
		if p := &parts[i]; p.media.typ == "message/disposition-notification" {
			for _, g := range fieldGroups(rd.decodedHead(p, reportBytes)) {
				first(&a.OriginalMessageID, firstOf(messageIDs(g.value("Original-Message-ID"))))
			}
		}
	}
	first(&a.OriginalMessageID, firstOf(c.InReplyTo))
	if n := len(c.References); n > 0 {
		first(&a.OriginalMessageID, c.References[n-1])
	}
	return a
}

// reportType returns the report-type of a multipart/report (RFC 6522 3), "" for anything else.
func reportType(m media) string {
	if m.typ != "multipart/report" {
		return ""
	}
	t, _ := m.value("report-type")
	return strings.ToLower(validUTF8(string(t.octets)))
}

// dmarcTypes and tlsTypes are what aggregate reports are attached as.
func dmarcTypes() []string {
	return []string{
		"application/gzip", "application/x-gzip", "application/zip", "application/x-zip-compressed", "application/x-zip",
		"application/xml", "text/xml", "application/octet-stream", "application/x-compressed", "application/x-gzip-compressed",
	}
}

func tlsTypes() []string {
	return []string{"application/tlsrpt+gzip", "application/tlsrpt+json", "application/gzip", "application/x-gzip", "application/json", "application/octet-stream"}
}

// isDMARCReport recognises an aggregate report by the name of its file, receiver!domain!begin!end with the extension of
// XML, packed or not; or by its subject (RFC 7489 7.2.1.1, and what is written instead of it).
func isDMARCReport(c *pipeline.Content) bool {
	subject := strings.ToLower(strings.Join(strings.Fields(c.Subject), " "))
	announced := strings.Contains(subject, "report domain:") || strings.Contains(subject, "submitter:") ||
		strings.Contains(subject, "dmarc") && (strings.Contains(subject, "report") || strings.Contains(subject, "aggregate"))
	for _, a := range c.Attachments {
		if !hasType(dmarcTypes(), a.ContentType) {
			continue
		}
		name := strings.ToLower(a.Filename)
		n := strings.Count(name, "!")
		for _, ext := range []string{".xml", ".xml.gz", ".zip", ".gz", ".gzip"} {
			if strings.HasSuffix(name, ext) && (announced || n == 3 || n == 4) {
				return true
			}
		}
	}
	return false
}

// isTLSReport recognises a TLS report that is not attached as one (RFC 8460 5.3): by its header fields, or the name of its
// file.
func isTLSReport(c *pipeline.Content) bool {
	for _, a := range c.Attachments {
		name := strings.ToLower(a.Filename)
		named := strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".json.gz")
		if n := strings.Count(name, "!"); hasType(tlsTypes(), a.ContentType) && named && (n == 3 || n == 4 || c.Header("TLS-Report-Domain") != "") {
			return true
		}
	}
	return false
}

// autoReplyReason recognises what a machine answered: RFC 3834 5, and what vendors write instead. A message that is
// merely made by a machine ("auto-generated", as invoices are) is an automatic reply only when it answers something.
// It returns the name of the field that says so in lower case, or "".
func autoReplyReason(c *pipeline.Content) string {
	word, _, _ := strings.Cut(strings.ToLower(c.Header("Auto-Submitted")), ";")
	word, _, _ = strings.Cut(strings.TrimSpace(word), " ")
	answers := len(c.InReplyTo) > 0 || len(c.References) > 0
	if word == "auto-replied" || word == "auto-notified" || word == "auto-generated" && answers {
		return "auto-submitted"
	}
	for _, f := range []string{"X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Auto-Reply", "X-AutoReply-From", "X-Mail-Autoreply", "X-Vacation"} {
		if v := c.Header(f); v != "" && !strings.EqualFold(v, "no") && !strings.EqualFold(v, "false") {
			return strings.ToLower(f)
		}
	}
	switch strings.ToLower(strings.TrimSpace(c.Header("Precedence"))) {
	case "auto_reply", "auto-reply", "autoreply":
		return "precedence"
	}
	for _, f := range []struct{ name, value string }{
		{"X-Autogenerated", "Reply"}, {"Delivered-To", "Autoresponder"}, {"X-POST-MessageClass", "9; Autoresponder"},
	} {
		if strings.EqualFold(strings.TrimSpace(c.Header(f.name)), f.value) {
			return strings.ToLower(f.name)
		}
	}
	return ""
}
