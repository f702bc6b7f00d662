package ingest

import (
	"strconv"
	"strings"
)

// Reply is an SMTP reply. As an error from Recipients it is what the client hears. A Reply is never changed after it
// was made and may be shared.
type Reply struct {
	Code int
	// Status is the enhanced status code ("5.1.1", RFC 3463), or "" for the replies that have none.
	Status string
	// Text is one line of printable ASCII; anything else in it is replaced, and what is too long is cut.
	Text string
}

// Error implements error.
func (r *Reply) Error() string { return strings.TrimSuffix(r.line(), "\r\n") }

// maxReplyText keeps a reply line within 512 octets (RFC 5321 4.5.3.1.5).
const maxReplyText = 480

// line returns the reply as it goes over the wire.
func (r *Reply) line() string {
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(b, int64(r.Code), 10)
	b = append(b, ' ')
	if r.Status != "" {
		b = append(b, r.Status...)
		b = append(b, ' ')
	}
	text := r.Text[:min(len(r.Text), maxReplyText)]
	for i := range len(text) {
		c := text[i]
		if c < ' ' || c > '~' {
			c = '?'
		}
		b = append(b, c)
	}
	return string(append(b, '\r', '\n'))
}

// isRefusal reports whether the reply may refuse something: 4xx or 5xx.
func (r *Reply) isRefusal() bool { return r.Code >= 400 && r.Code <= 599 }

// The replies of the server, all of them but the greeting, the EHLO reply, and the 250 that names a message id or a
// number of octets. Every 421 closes the session.
var (
	replyHelp     = &Reply{214, "2.0.0", "See RFC 5321: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY STARTTLS"}
	replyStartTLS = &Reply{220, "2.0.0", "Ready to start TLS"}
	replyBye      = &Reply{221, "2.0.0", "Bye"}
	replyOK       = &Reply{250, "2.0.0", "Ok"}
	replyMailOK   = &Reply{250, "2.1.0", "Ok"}
	replyRcptOK   = &Reply{250, "2.1.5", "Ok"}
	replyVrfy     = &Reply{252, "2.5.0", "Cannot verify the address, but will take mail for those we know"}
	replyData     = &Reply{354, "", "End data with <CR><LF>.<CR><LF>"}

	replyDraining           = &Reply{421, "4.3.2", "Service is shutting down; try again later"}
	replyTooManyConnections = &Reply{421, "4.3.2", "Too many connections; try again later"}
	replyTooManyFromIP      = &Reply{421, "4.7.0", "Too many connections from your network; try again later"}
	replyEarlyTalker        = &Reply{421, "4.7.0", "You talked before the greeting"}
	replyTimeout            = &Reply{421, "4.4.2", "Timeout; closing the connection"}
	replyTooManyErrors      = &Reply{421, "4.7.0", "Too many errors; closing the connection"}
	replyTooManyCommands    = &Reply{421, "4.7.0", "Too many commands without a message; closing the connection"}
	replyFlood              = &Reply{421, "4.7.0", "Command line without an end; closing the connection"}
	replyNotSMTP            = &Reply{421, "4.7.0", "This is an SMTP server; closing the connection"}
	replyInjection          = &Reply{421, "4.7.0", "Commands behind STARTTLS are refused; closing the connection"}
	replyFailureClosing     = &Reply{421, "4.3.0", "Internal failure; closing the connection, try again later"}

	replyFailure            = &Reply{451, "4.3.0", "Internal failure; try again later"}
	replyQueueDown          = &Reply{451, "4.3.0", "Cannot take the message now; try again later"}
	replyRecipientsDeferred = &Reply{451, "4.3.0", "No recipient could be checked; try again later"}
	replyStorage            = &Reply{452, "4.3.1", "Storage is short; try again later"}
	replyTooManyRecipients  = &Reply{452, "4.5.3", "Too many recipients; send the others in another transaction"}

	replyLineTooLong      = &Reply{500, "5.5.2", "Command line too long"}
	replyBareLF           = &Reply{500, "5.5.2", "Lines must end in <CR><LF>"}
	replyBadOctets        = &Reply{500, "5.5.2", "Command line has octets that are not text"}
	replyUnknownCommand   = &Reply{500, "5.5.1", "Command not recognized"}
	replyHeloSyntax       = &Reply{501, "5.5.4", "Syntax: EHLO <your host name>"}
	replyMailSyntax       = &Reply{501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]"}
	replyRcptSyntax       = &Reply{501, "5.5.4", "Syntax: RCPT TO:<address>"}
	replyBdatSyntax       = &Reply{501, "5.5.4", "Syntax: BDAT <octets> [LAST]"}
	replyNoArgument       = &Reply{501, "5.5.4", "The command takes no argument"}
	replyBadParameter     = &Reply{501, "5.5.4", "Bad parameter value"}
	replyNotImplemented   = &Reply{502, "5.5.1", "Command not implemented"}
	replyNoTLS            = &Reply{502, "5.5.1", "TLS is not available"}
	replyHeloFirst        = &Reply{503, "5.5.1", "Say EHLO first"}
	replyNestedMail       = &Reply{503, "5.5.1", "A transaction is under way; send RSET first"}
	replyMailFirst        = &Reply{503, "5.5.1", "Send MAIL first"}
	replyMixedData        = &Reply{503, "5.5.1", "Not possible between the parts of a message; go on with BDAT or send RSET"}
	replyTLSActive        = &Reply{503, "5.5.1", "TLS is already active"}
	replyTLSInTransaction = &Reply{503, "5.5.1", "Not possible within a transaction; send RSET first"}

	replyUnknownRecipient = &Reply{550, "5.1.1", "No such recipient here"}
	replyRelayRefused     = &Reply{550, "5.7.1", "Relaying refused: no mail is taken for this domain"}
	replyTooLarge         = &Reply{552, "5.3.4", "Message is larger than this server takes"}
	replyNeedUTF8         = &Reply{553, "5.6.7", "Address is not ASCII; SMTPUTF8 is required"}
	replyNoRecipients     = &Reply{554, "5.5.1", "No valid recipients"}
	replyUnknownParameter = &Reply{555, "5.5.4", "Parameter not recognized or not implemented"}
)

func replyQueued(id string) *Reply { return &Reply{250, "2.0.0", "Ok: queued as " + id} }

func replyChunk(n int64) *Reply {
	return &Reply{250, "2.0.0", strconv.FormatInt(n, 10) + " octets received"}
}

// replyBadPath is for a path whose address is wrong: x.1.7 for a reverse-path, x.1.3 for a forward-path (RFC 3463).
func replyBadPath(status string, err error) *Reply {
	return &Reply{501, status, "Bad address: " + err.Error()}
}
