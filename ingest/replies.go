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
	// Reason is one stable word that says in the log and the metrics why; only for refusals (4xx, 5xx). "" means
	// "recipients" for a reply that came from Recipients.
	Reason string
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
// number of octets. Every 421 closes the session. docs/security.md lists the reasons.
var (
	replyHelp     = &Reply{214, "2.0.0", "See RFC 5321: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY STARTTLS", ""}
	replyStartTLS = &Reply{220, "2.0.0", "Ready to start TLS", ""}
	replyBye      = &Reply{221, "2.0.0", "Bye", ""}
	replyOK       = &Reply{250, "2.0.0", "Ok", ""}
	replyMailOK   = &Reply{250, "2.1.0", "Ok", ""}
	replyRcptOK   = &Reply{250, "2.1.5", "Ok", ""}
	replyVrfy     = &Reply{252, "2.5.0", "Cannot verify the address, but will take mail for those we know", ""}
	replyData     = &Reply{354, "", "End data with <CR><LF>.<CR><LF>", ""}

	replyDraining           = &Reply{421, "4.3.2", "Service is shutting down; try again later", "shutdown"}
	replyTooManyConnections = &Reply{421, "4.3.2", "Too many connections; try again later", "connections"}
	replyTooManyFromIP      = &Reply{421, "4.7.0", "Too many connections from your address; try again later", "connections_per_ip"}
	replyTooManyFromNetwork = &Reply{421, "4.7.0", "Too many connections from your network; try again later", "connections_per_network"}
	replyConnectionRate     = &Reply{421, "4.7.0", "Connections from your address come too fast; try again later", "connection_rate"}
	replyNotTheProxy        = &Reply{421, "4.7.0", "This port is for the load balancer only; closing the connection", "proxy_untrusted"}
	replyBadProxyHeader     = &Reply{421, "4.7.0", "A PROXY protocol header was expected; closing the connection", "proxy_header"}
	replyEarlyTalker        = &Reply{421, "4.7.0", "You talked before the greeting", "early_talker"}
	replyTimeout            = &Reply{421, "4.4.2", "Timeout; closing the connection", "timeout"}
	replyTooSlow            = &Reply{421, "4.4.2", "The message comes too slowly; closing the connection", "too_slow"}
	replySessionTooLong     = &Reply{421, "4.4.2", "The session has lasted too long; connect again", "session_time"}
	replyTooManyErrors      = &Reply{421, "4.7.0", "Too many errors; closing the connection", "errors"}
	replyTooManyCommands    = &Reply{421, "4.7.0", "Too many commands without a message; closing the connection", "idle_commands"}
	replyTooManyUnknown     = &Reply{421, "4.7.0", "Too many unknown recipients; closing the connection", "unknown_recipients"}
	replyTooManyMails       = &Reply{421, "4.7.0", "Too many transactions in one session; connect again", "transactions"}
	replyFlood              = &Reply{421, "4.7.0", "Command line without an end; closing the connection", "line_flood"}
	replyNotSMTP            = &Reply{421, "4.7.0", "This is an SMTP server; closing the connection", "not_smtp"}
	replyInjection          = &Reply{421, "4.7.0", "Commands behind STARTTLS are refused; closing the connection", "starttls_injection"}
	replyFailureClosing     = &Reply{421, "4.3.0", "Internal failure; closing the connection, try again later", "failure"}

	replyQuota              = &Reply{450, "4.2.1", "The recipient gets too much mail just now; try again later", "quota"}
	replyMessageRate        = &Reply{450, "4.7.1", "Messages from your address come too fast; try again later", "message_rate"}
	replyRecipientRate      = &Reply{450, "4.7.1", "Recipients from your address come too fast; try again later", "recipient_rate"}
	replyGreylisted         = &Reply{450, "4.7.1", "Greylisted; try again in a few minutes", "greylist"}
	replyGuardDefers        = &Reply{450, "4.7.1", "Too many new addresses in this domain; try again later", "catch_all_guard"}
	replyFailure            = &Reply{451, "4.3.0", "Internal failure; try again later", "failure"}
	replyQueueDown          = &Reply{451, "4.3.0", "Cannot take the message now; try again later", "queue"}
	replyRecipientsDeferred = &Reply{451, "4.3.0", "No recipient could be checked; try again later", "recipients_deferred"}
	replyCallout            = &Reply{451, "4.3.0", "The recipient cannot be checked now; try again later", "callout"}
	replyStorage            = &Reply{452, "4.3.1", "Storage is short; try again later", "storage"}
	replyTooManyRecipients  = &Reply{452, "4.5.3", "Too many recipients; send the others in another transaction", "recipients_limit"}

	replyLineTooLong      = &Reply{500, "5.5.2", "Command line too long", "line_too_long"}
	replyBareLF           = &Reply{500, "5.5.2", "Lines must end in <CR><LF>", "command_bare_lf"}
	replyBadOctets        = &Reply{500, "5.5.2", "Command line has octets that are not text", "command_octets"}
	replyUnknownCommand   = &Reply{500, "5.5.1", "Command not recognized", "unknown_command"}
	replyUseLHLO          = &Reply{500, "5.5.1", "This is LMTP: say LHLO", "not_lmtp"}
	replyHeloSyntax       = &Reply{501, "5.5.4", "Syntax: EHLO <your host name>", "syntax"}
	replyMailSyntax       = &Reply{501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]", "syntax"}
	replyRcptSyntax       = &Reply{501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]", "syntax"}
	replyBdatSyntax       = &Reply{501, "5.5.4", "Syntax: BDAT <octets> [LAST]", "syntax"}
	replyXclientSyntax    = &Reply{501, "5.5.4", "Syntax: XCLIENT ATTRIBUTE=value ...", "syntax"}
	replyNoArgument       = &Reply{501, "5.5.4", "The command takes no argument", "syntax"}
	replyBadParameter     = &Reply{501, "5.5.4", "Bad parameter value", "parameter"}
	replyNotImplemented   = &Reply{502, "5.5.1", "Command not implemented", "not_implemented"}
	replyNoTLS            = &Reply{502, "5.5.1", "TLS is not available", "not_implemented"}
	replyHeloFirst        = &Reply{503, "5.5.1", "Say EHLO first", "order"}
	replyLHLOFirst        = &Reply{503, "5.5.1", "Say LHLO first", "order"}
	replyNestedMail       = &Reply{503, "5.5.1", "A transaction is under way; send RSET first", "order"}
	replyMailFirst        = &Reply{503, "5.5.1", "Send MAIL first", "order"}
	replyMixedData        = &Reply{503, "5.5.1", "Not possible between the parts of a message; go on with BDAT or send RSET", "order"}
	replyBinaryData       = &Reply{503, "5.5.1", "A BINARYMIME message is sent with BDAT, not with DATA", "order"}
	replyTLSActive        = &Reply{503, "5.5.1", "TLS is already active", "order"}
	replyInTransaction    = &Reply{503, "5.5.1", "Not possible within a transaction; send RSET first", "order"}
	replyNoRecipientsLMTP = &Reply{503, "5.5.1", "No valid recipients", "no_recipients"}

	replyUnknownRecipient = &Reply{550, "5.1.1", "No such recipient here", "unknown_recipient"}
	replyBlockedRecipient = &Reply{550, "5.7.1", "The recipient takes no mail", "blocked_recipient"}
	replyRelayRefused     = &Reply{550, "5.7.1", "Relaying refused: no mail is taken for this domain", "relay"}
	replyNoXclient        = &Reply{550, "5.7.0", "XCLIENT is not for you", "xclient_untrusted"}
	replyListed           = &Reply{550, "5.7.1", "Your address is on a block list that this server asks", "dnsbl"}
	replyNoReverseDNS     = &Reply{550, "5.7.25", "Your address has no reverse name that leads back to it", "reverse_dns"}
	replyTooLarge         = &Reply{552, "5.3.4", "Message is larger than this server takes", "message_size"}
	replyNeedUTF8         = &Reply{553, "5.6.7", "Address is not ASCII; SMTPUTF8 is required", "utf8"}
	replyDenied           = &Reply{554, "5.7.1", "No mail is taken from your network", "denied_network"}
	replyNoRecipients     = &Reply{554, "5.5.1", "No valid recipients", "no_recipients"}
	replyMessageBareLF    = &Reply{554, "5.6.0", "The message has a bare <LF>; every line must end in <CR><LF>", "bare_lf"}
	replyMessageBareCR    = &Reply{554, "5.6.0", "The message has a bare <CR>; every line must end in <CR><LF>", "bare_cr"}
	replyUnknownParameter = &Reply{555, "5.5.4", "Parameter not recognized or not implemented", "parameter"}
)

func replyQueued(id string) *Reply { return &Reply{250, "2.0.0", "Ok: queued as " + id, ""} }

func replyChunk(n int64) *Reply {
	return &Reply{250, "2.0.0", strconv.FormatInt(n, 10) + " octets received", ""}
}

// replyBadPath is for a path whose address is wrong: x.1.7 for a reverse-path, x.1.3 for a forward-path (RFC 3463).
func replyBadPath(status string, err error) *Reply {
	return &Reply{501, status, "Bad address: " + err.Error(), "address"}
}
