package ingest

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// helo answers EHLO, HELO and LHLO. Each ends a transaction under way (RFC 5321 4.1.4).
func (s *session) helo(arg string, extended bool) {
	if arg == "" || len(arg) > maxDomain || !utf8.ValidString(arg) {
		s.reply(replyHeloSyntax)
		return
	}
	s.abandon("HELO")
	if s.xhelo == "" { // XCLIENT knows better
		s.client.Helo = arg
	} else {
		s.client.Helo = s.xhelo
	}
	s.extended = extended
	hostname := s.srv.opts.Hostname
	if !extended {
		s.reply(&Reply{Code: 250, Text: hostname})
		return
	}
	s.due = false
	lines := append([]string{hostname}, s.capabilities()...)
	for i, line := range lines {
		lead := "250-"
		if i == len(lines)-1 {
			lead = "250 "
		}
		s.wire.write(lead + line + "\r\n")
	}
}

// capabilities are the lines of the reply to EHLO (RFC 5321 4.1.1.1).
func (s *session) capabilities() []string {
	limits := &s.srv.opts.Limits
	lines := []string{
		"PIPELINING", // RFC 2920
		"SIZE " + strconv.FormatInt(limits.MessageSize, 10), // RFC 1870
	}
	if s.lst.startTLS && s.client.TLS == nil {
		lines = append(lines, "STARTTLS") // RFC 3207
	}
	if s.client.TLS != nil {
		lines = append(lines, "REQUIRETLS") // RFC 8689
	}
	if s.mayXclient {
		lines = append(lines, "XCLIENT "+strings.Join(xclientNames(), " "))
	}
	rcptMax := "LIMITS RCPTMAX=" + strconv.Itoa(limits.Recipients) // RFC 9422
	if limits.Transactions > 0 {
		rcptMax += " MAILMAX=" + strconv.Itoa(limits.Transactions)
	}
	return append(lines,
		"ENHANCEDSTATUSCODES", // RFC 2034
		"8BITMIME",            // RFC 6152
		"BINARYMIME",          // RFC 3030
		"SMTPUTF8",            // RFC 6531
		"DSN",                 // RFC 3461
		rcptMax,
		"CHUNKING", // RFC 3030
	)
}

// heloFirst refuses what needs a greeting before it.
func (s *session) heloFirst() *Reply {
	if s.lst.lmtp {
		return replyLHLOFirst
	}
	return replyHeloFirst
}

// protocol names what is spoken, for the trace field.
func (s *session) protocol() string {
	switch {
	case s.lst.lmtp:
		return "LMTP"
	case s.extended:
		return "ESMTP"
	}
	return "SMTP"
}
