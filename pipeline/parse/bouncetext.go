package parse

import (
	"slices"
	"strings"

	"mxhook/pipeline"
)

// Bounces that are no RFC 3464 reports are prose. What is taken from it: the recipients, the lines beside each of them,
// and the codes in those lines.

// textReportBytes is how much of a text is searched.
const textReportBytes = 64 << 10

// isTextBounce recognises a bounce without a report: written by a mail system, with a subject that says so or a recipient
// that failed.
func (rd *reading) isTextBounce(c *pipeline.Content) bool {
	system := fromMailSystem(c)
	if !system && rd.envelope.ReversePath != "" {
		return false
	}
	if c.Header("X-Failed-Recipients") == "" && !isFailureSubject(c.Subject) && !hasAny(cut(c.Text, textReportBytes), failurePhrases()) {
		return false
	}
	if !system && !isFailureSubject(c.Subject) && isAutoReplySubject(c.Subject) {
		return false
	}
	return system && isFailureSubject(c.Subject) || rd.textBounce(c) != nil
}

// fromMailSystem reports whether the author is the mail system of a host.
func fromMailSystem(c *pipeline.Content) bool {
	for _, a := range c.From {
		local, _, _ := strings.Cut(strings.ToLower(a.Address), "@")
		switch strings.Map(withoutMarks, local) {
		case "mailerdaemon", "maildaemon", "postmaster", "mdaemon", "maildelivery", "maildeliverysystem", "maildeliverysubsystem", "mailer",
			"postoffice", "mailadmin", "mailsystem", "bouncehandler":
			return true
		}
		if hasAny(a.Name, []string{
			"mail delivery", "delivery subsystem", "mailer-daemon", "system administrator", "postmaster", "mail system", "mailzustell",
			"systemadministrator", "administrateur système", "administrador del sistema", "amministratore di sistema",
		}) {
			return true
		}
	}
	return false
}

// withoutMarks drops what stands between the words of a local part.
func withoutMarks(r rune) rune {
	if r == '-' || r == '_' || r == '.' {
		return -1
	}
	return r
}

func isFailureSubject(s string) bool {
	return hasAny(s, []string{
		"undeliver", "delivery status", "returned mail", "failure notice", "delivery fail", "delivery notif", "mail delivery",
		"non-deliv", "nondeliver", "not be delivered", "mail failure", "returning message", "returned to sender", "delivery report",
		"could not send", "delivery problem", "delivery has failed", "delivery error", "notification of failed", "rejected",
		"message status", "bounce notif", "bounced", "delivery incomplete", "delayed", "could not be sent", "unknown address",
		"unzustellbar", "nicht zugestellt", "fehlgeschlagen", "non recapitabile", "mancata consegna", "no se puede entregar", "no se pudo entregar",
		"échec de", "remise impossible", "onbestelbaar", "niet bezorgd", "kunne ikke leveres", "kan inte levereras", "niedostarczon", "nedoručiteln",
		"не доставлен", "не удалось доставить", "teslim edilemedi", "kézbesíthetetlen", "送信できません", "送达失败", "无法送达", "無法傳遞", "전송 실패", "반송", "zustellung", "non remis", "no entregad", "não entregue", "недоставлен", "配信", "不達", "退信",
	})
}

func failurePhrases() []string {
	return []string{
		"not be delivered", "could not deliver", "unable to deliver", "undeliverable", "delivery failed", "delivery to the following",
		"permanent error", "permanent fatal error", "fatal errors", "user unknown", "unknown user", "no such user", "not reach the following",
		"failed permanently", "failed address", "was not delivered", "wasn't able to deliver", "mailbox unavailable", "has been rejected",
		"recipient address rejected", "invalid user address", "address not found", "couldn't be delivered", "could not be sent", "transcript of session follows",
		"konnte nicht zugestellt", "nicht zugestellt werden", "n'a pas pu être", "no se ha podido entregar", "no se pudo entregar",
		"non è stato possibile", "não pôde ser entregue", "não foi possível entregar", "kon niet worden", "nie mogła zostać", "не удалось доставить",
		"не может быть доставлен", "配信できません", "送信できません", "送信に失敗", "お届けできません", "無法傳送", "无法投递", "无法送达", "전송하지 못", "전달되지",
		"delivery has been delayed", "not yet been delivered", "mailbox is full", "over quota", "delivery errors",
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
	seen, replied := make(map[string]bool), false
	add := func(address string, at int) {
		key := strings.ToLower(address)
		if seen[key] || len(b.Recipients) == 100 {
			return
		}
		seen[key] = true
		b.Recipients = append(b.Recipients, textRecipient(address, lines, at, c.Subject))
	}
	begins := func(l string) string {
		if a, offset := addressAt(l); offset == 0 && !notRecipients[strings.ToLower(a)] {
			return a
		}
		return ""
	}
	for _, f := range strings.FieldsFunc(c.Header("X-Failed-Recipients"), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if a, _ := addressAt(f); a != "" && !seen[strings.ToLower(a)] {
			if len(b.Recipients) == 100 {
				break
			}
			at := lineOf(lines, a)
			if at < 0 {
				// The text has the address that it was made of.
				at = slices.IndexFunc(lines, func(l string) bool { return begins(l) != "" })
			}
			add(a, at)
		}
	}
	if len(b.Recipients) > 0 {
		// The field has all of them.
		b.Original = rd.originalInText(c.Text)
		return b
	}
	// The recipient begins a line of its own, or else behind the codes of a reply, or else stands in a line that speaks of a
	// recipient. Of the last kind the first is taken.
	for i, l := range lines {
		if n := len(b.Recipients); n > 0 && isExpansion(l) {
			a, _ := addressAt(l)
			first(&b.Recipients[n-1].OriginalAddress, a)
		} else if a := begins(l); a != "" {
			add(a, i)
		}
	}
	for i, l := range lines {
		if a := addressReplied(l); a != "" && (len(b.Recipients) == 0 || replied) && !notRecipients[strings.ToLower(a)] {
			replied = true
			add(a, i)
		}
	}
	for i, l := range lines {
		if a, _ := addressAt(l); len(b.Recipients) == 0 && a != "" && !notRecipients[strings.ToLower(a)] && hasAny(l, recipientWords()) {
			add(a, i)
		}
	}
	if len(b.Recipients) == 0 {
		return nil
	}
	b.Original = rd.originalInText(c.Text)
	return b
}

// isExpansion reports whether a line names the address that a recipient was made of: "(generated from list@example.org)".
func isExpansion(l string) bool {
	return strings.HasPrefix(l, "(") && hasAny(l, []string{"generated from", "expanded from"})
}

// addressReplied returns the address that a line of a transcript replies to: "550 5.1.1 <a@example.org>... User unknown".
func addressReplied(l string) string {
	l = strings.TrimLeft(l, "< ")
	if replyCodeIn(cut(l, 3)) == "" {
		return ""
	}
	l = strings.TrimLeft(l, "0123456789.- ")
	a, offset := addressAt(l)
	if a == "" || offset != 0 || !strings.HasPrefix(l, "<"+a+">...") {
		return ""
	}
	return a
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
	c := rd.headerOf([]byte(refolded(strings.TrimLeft(rest, "\r\n "))))
	if c.MessageID == "" && c.Subject == "" && c.From == nil {
		c = rd.headerOf([]byte(describedMessage(cut(text, textReportBytes))))
	}
	if c.MessageID == "" && c.Subject == "" && c.From == nil {
		c = rd.headerOf([]byte(headerWithin(cut(text, textReportBytes))))
	}
	if c.MessageID == "" && c.Subject == "" && c.From == nil {
		return nil
	}
	return originalOf(c)
}

// describedMessage returns what a report says of the message in lines of its own, behind one that announces them, as a
// header: who it was to, what about, and when.
func describedMessage(text string) string {
	var b strings.Builder
	left := 0
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		switch strings.ToLower(strings.Trim(l, "-=:* ")) {
		case "your message", "original message", "original mail info", "message details", "original message details", "message header", "message headers",
			"original message headers", "the original message", "details of the message", "ihre nachricht", "votre message", "su mensaje", "il messaggio":
			left = 16
			continue
		}
		if left--; left < 0 {
			continue
		}
		name, value, ok := strings.Cut(l, ":")
		if name = strings.ToLower(strings.TrimSpace(name)); !ok || strings.TrimSpace(value) == "" {
			continue
		}
		switch name {
		case "sent", "sent date":
			name = "date"
		case "mail from", "rcpt to":
			continue
		}
		switch name {
		case "from", "to", "subject", "date", "message-id":
			b.WriteString(name + ": " + strings.TrimSpace(value) + "\n")
		}
	}
	return b.String()
}

// refolded returns a header that was made text with the indentation of its folded lines, which some lose.
func refolded(s string) string {
	var b strings.Builder
	for rest := s; rest != ""; {
		line, after, _ := strings.Cut(rest, "\n")
		if strings.TrimSpace(line) == "" {
			break
		}
		if b.Len() > 0 && line[0] != ' ' && line[0] != '\t' && fieldName([]byte(line)) == nil {
			b.WriteByte(' ')
		}
		b.WriteString(line + "\n")
		rest = after
	}
	return b.String()
}

// headerWithin returns a text from the first paragraph on that is a header: at least three of its first lines are fields that
// every mail has. "" when there is none.
func headerWithin(text string) string {
	for rest := text; rest != ""; {
		if isHeaderText(rest) {
			return rest
		}
		_, after, ok := strings.Cut(rest, "\n\n")
		if !ok {
			break
		}
		rest = strings.TrimLeft(after, "\n")
	}
	return ""
}

func isHeaderText(s string) bool {
	n, looked := 0, 0
	for l := range strings.Lines(cut(s, 4<<10)) {
		if looked++; looked > 30 || strings.TrimSpace(l) == "" {
			break
		}
		switch name := fieldName([]byte(l)); {
		case name != nil:
			if isMailField(string(name)) {
				n++
			}
		case l[0] != ' ' && l[0] != '\t':
			return false
		}
	}
	return n >= 3
}

// isMailField reports whether a field is one that nearly every mail has.
func isMailField(name string) bool {
	switch strings.ToLower(name) {
	case "return-path", "received", "message-id", "date", "from", "to", "subject":
		return true
	}
	return false
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
	for _, p := range []string{"return-path:", "received: ", "received:from ", "--- below this line", "------ this is a copy", "--- original message follows", "----- original message", "----- message header", "the headers of the message", "--- the original message"} {
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
		domain := asciiEnd(strings.TrimRight(l[at+1:end], ".-"))
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

// asciiEnd cuts off what stands right behind a domain in a script that writes no blanks: a top-level domain is of one
// script.
func asciiEnd(domain string) string {
	tld := strings.LastIndexByte(domain, '.') + 1
	if tld < len(domain) && domain[tld] < 0x80 {
		if i := strings.IndexFunc(domain[tld:], func(r rune) bool { return r >= 0x80 }); i > 0 {
			return domain[:tld+i]
		}
	}
	return domain
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
	if at >= 0 && addressReplied(lines[at]) == address {
		why = []string{strings.TrimLeft(lines[at], "< ")}
	} else if at >= 0 {
		_, rest, named := strings.Cut(lines[at], address)
		if a, _ := addressAt(lines[at]); !named && a != "" {
			_, rest, _ = strings.Cut(lines[at], a)
			r.OriginalAddress = a
		}
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
