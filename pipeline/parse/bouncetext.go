package parse

import (
	"strings"

	"mxhook/pipeline"
)

// Bounces that are no RFC 3464 reports are prose. What is taken from it: the recipients, the lines beside each of them,
// and the codes in those lines.

// textReportBytes is how much of a text is searched.
const textReportBytes = 64 << 10

// isTextBounce recognises a bounce without a report: written by a mail system, and it names a recipient that failed.
func (rd *reading) isTextBounce(c *pipeline.Content) bool {
	if !fromMailSystem(c) && (rd.envelope.ReversePath != "" || !isFailureSubject(c.Subject)) {
		return false
	}
	if c.Header("X-Failed-Recipients") == "" && !isFailureSubject(c.Subject) && !hasAny(cut(c.Text, textReportBytes), failurePhrases()) {
		return false
	}
	return rd.textBounce(c) != nil
}

// fromMailSystem reports whether the author is the mail system of a host.
func fromMailSystem(c *pipeline.Content) bool {
	for _, a := range c.From {
		local, _, _ := strings.Cut(strings.ToLower(a.Address), "@")
		switch local {
		case "mailer-daemon", "mailer_daemon", "mailerdaemon", "mail-daemon", "postmaster", "mdaemon", "mail-delivery", "maildelivery",
			"mailer", "postoffice", "mailadmin", "mailsystem":
			return true
		}
		if hasAny(a.Name, []string{"mail delivery", "delivery subsystem", "mailer-daemon", "system administrator", "postmaster", "mail system"}) {
			return true
		}
	}
	return false
}

func isFailureSubject(s string) bool {
	return hasAny(s, []string{
		"undeliver", "delivery status", "returned mail", "failure notice", "delivery fail", "delivery notif", "mail delivery",
		"non-deliv", "nondeliver", "not be delivered", "mail failure", "returning message", "returned to sender", "delivery report",
		"could not send", "delivery problem", "delivery has failed", "delivery error", "notification of failed", "rejected",
		"message status", "unzustellbar", "zustellung", "non remis", "no entregad", "não entregue", "недоставлен", "配信", "不達", "退信",
	})
}

func failurePhrases() []string {
	return []string{
		"not be delivered", "could not deliver", "unable to deliver", "undeliverable", "delivery failed", "delivery to the following",
		"permanent error", "permanent fatal error", "fatal errors", "user unknown", "unknown user", "no such user", "not reach the following",
		"failed permanently", "failed address", "was not delivered", "wasn't able to deliver", "mailbox unavailable", "has been rejected",
		"recipient address rejected", "delivery has been delayed", "not yet been delivered", "mailbox is full", "over quota", "delivery errors",
	}
}

func hasAny(s string, subs []string) bool {
	s = strings.ToLower(s)
	for _, sub := range subs {
		if strings.Contains(s, sub) {
			return true
		}
	}
	return false
}

// textBounce reads the prose of a bounce. It returns nil when no recipient is named.
func (rd *reading) textBounce(c *pipeline.Content) *pipeline.Bounce {
	lines := reportLines(cut(c.Text, textReportBytes))
	notRecipients := make(map[string]bool)
	for _, as := range [][]pipeline.Address{c.From, c.To, c.ReplyTo} {
		for _, a := range as {
			notRecipients[strings.ToLower(a.Address)] = true
		}
	}
	b := &pipeline.Bounce{Method: "text"}
	seen := make(map[string]bool)
	add := func(address string, at int) {
		key := strings.ToLower(address)
		if seen[key] || len(b.Recipients) == 100 {
			return
		}
		seen[key] = true
		b.Recipients = append(b.Recipients, textRecipient(address, lines, at, c.Subject))
	}
	for _, f := range strings.FieldsFunc(c.Header("X-Failed-Recipients"), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if a, _ := addressAt(f); a != "" {
			add(a, lineOf(lines, a))
		}
	}
	// The recipient begins a line of its own, or else stands in one that speaks of a recipient.
	for _, begins := range []bool{true, false} {
		for i, l := range lines {
			if len(b.Recipients) > 0 && !begins {
				break
			}
			a, offset := addressAt(l)
			if a == "" || notRecipients[strings.ToLower(a)] || begins != (offset == 0) {
				continue
			}
			if !begins && !hasAny(l, recipientWords()) {
				continue
			}
			add(a, i)
		}
	}
	if len(b.Recipients) == 0 {
		return nil
	}
	b.Original = rd.originalInText(c.Text)
	return b
}

// originalInText reads the header of the message that a text returns behind a line that says so.
func (rd *reading) originalInText(text string) *pipeline.OriginalMessage {
	rest := cut(text, textReportBytes)
	for n := 0; rest != ""; n++ {
		line, after, _ := strings.Cut(rest, "\n")
		if l := strings.TrimSpace(line); isReturned(l) && n > 1 {
			if strings.HasPrefix(l, "-") {
				rest = after
			}
			break
		}
		rest = after
	}
	c := rd.headerOf([]byte(strings.TrimLeft(rest, "\r\n ")))
	if c.MessageID == "" && c.Subject == "" && c.From == nil {
		return nil
	}
	return &pipeline.OriginalMessage{MessageID: c.MessageID, Subject: c.Subject, Date: c.Date, From: c.From, To: c.To, Headers: c.Headers}
}

func recipientWords() []string {
	return []string{"recipient", "unknown", "fail", "deliver", "rcpt", "to:", "address", "mailbox", "user", "not exist", "not found", "reject"}
}

// reportLines returns the lines of a report without blanks at their ends, up to the returned message.
func reportLines(s string) []string {
	var lines []string
	for l := range strings.Lines(s) {
		l = strings.TrimSpace(l)
		if isReturned(l) && len(lines) > 1 {
			break
		}
		lines = append(lines, l)
	}
	return lines
}

// isReturned reports whether the returned message begins with this line or behind it.
func isReturned(l string) bool {
	low := strings.ToLower(l)
	for _, p := range []string{"return-path:", "received: ", "--- below this line", "------ this is a copy", "--- original message follows", "----- original message", "----- message header", "the headers of the message", "--- the original message"} {
		if strings.HasPrefix(low, p) {
			return true
		}
	}
	return strings.HasPrefix(l, "-") && hasAny(low, []string{"original message", "copy of the message", "unsent message", "returned message", "copy of your message"})
}

// addressAt returns the first address in a line and its offset: 0 when the line begins with it, also in brackets. An
// address that is part of a message id, an URL or a path is none.
func addressAt(l string) (string, int) {
	for from := 0; ; {
		at := strings.IndexByte(l[from:], '@')
		if at < 0 {
			return "", 0
		}
		at += from
		start, end := at, at+1
		for start > 0 && isAddressOctet(l[start-1]) {
			start--
		}
		for end < len(l) && (isAlnum(l[end]) || isOneOf(l[end], ".-_") || l[end] >= 0x80) {
			end++
		}
		domain := strings.TrimRight(l[at+1:end], ".-")
		if start < at && strings.Contains(domain, ".") && at-start <= 64 && len(domain) <= 255 {
			a := l[start:at] + "@" + domain
			if strings.Trim(l[:start], `<"'( *-`) == "" {
				start = 0
			}
			return a, start
		}
		from = end
	}
}

func isAddressOctet(c byte) bool {
	return isAlnum(c) || isOneOf(c, "!#$%&'*+-/=?^_`{|}~.") || c >= 0x80
}

func lineOf(lines []string, address string) int {
	for i, l := range lines {
		if strings.Contains(l, address) {
			return i
		}
	}
	return -1
}

// textRecipient describes a recipient by the lines around the one that names it; at is -1 when none does.
func textRecipient(address string, lines []string, at int, subject string) pipeline.BounceRecipient {
	r := pipeline.BounceRecipient{Address: address, Action: "failed"}
	if hasAny(subject, []string{"delay", "warning", "still being retried"}) {
		r.Action = "delayed"
	}
	var why []string
	if at >= 0 {
		_, rest, _ := strings.Cut(lines[at], address)
		if rest = strings.TrimLeft(rest, `>:"') .`); rest != "" {
			why = append(why, rest)
		}
		blank := 0
		for _, l := range lines[at+1:] {
			if l == "" {
				if blank++; len(why) > 0 || blank > 1 {
					break
				}
				continue
			}
			if a, offset := addressAt(l); a != "" && a != address && offset == 0 {
				break
			}
			if why = append(why, l); len(why) == 10 {
				break
			}
		}
	}
	r.Diagnostic = cut(strings.Join(strings.Fields(strings.Join(why, " ")), " "), 1000)
	r.Status = statusIn(r.Diagnostic)
	if code := replyCodeIn(r.Diagnostic); r.Status == "" && code != "" {
		r.Status = code[:1] + ".0.0"
	}
	for _, l := range lines {
		if r.Status != "" {
			break
		}
		if s := statusIn(l); s != "" && replyCodeIn(l) != "" {
			r.Status = s
			first(&r.Diagnostic, l)
		}
	}
	return r
}

// statusIn returns the first enhanced status code in a text (RFC 3463 2), "" when there is none. Addresses of hosts and
// version numbers are none.
func statusIn(s string) string {
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return !isAlnumRune(r) && r != '.' }) {
		w = strings.Trim(w, ".")
		if len(w) < 5 || !isOneOf(w[0], "245") || w[1] != '.' {
			continue
		}
		parts := strings.Split(w, ".")
		if len(parts) == 3 && isNumber(parts[1]) && isNumber(parts[2]) {
			return w
		}
	}
	return ""
}

func isAlnumRune(r rune) bool { return r < 0x80 && isAlnum(byte(r)) }

func isNumber(s string) bool {
	return s != "" && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

// replyCodeIn returns the first reply code of a failure in a text (RFC 5321 4.2).
func replyCodeIn(s string) string {
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return !isAlnumRune(r) && r != '.' && r != ':' }) {
		w = strings.TrimRight(w, ":.")
		if len(w) == 3 && (w[0] == '4' || w[0] == '5') && w[1] <= '5' && isNumber(w) {
			return w
		}
	}
	return ""
}
