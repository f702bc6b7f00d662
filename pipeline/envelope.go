// Package pipeline is the words for mail in flight and the workers that move it. It imports nothing of ours.
package pipeline

import (
	"net/netip"
	"time"
)

// Envelope is what the SMTP transaction said about a message: the truth for routing, whatever the header says.
// It is complete when the message is spooled and never changes after that.
type Envelope struct {
	// ID is the message id: a ULID made when MAIL FROM was accepted; it is in the 250 reply, the logs and the console.
	ID string
	// ReversePath is the address of MAIL FROM; "" is the null reverse-path.
	ReversePath string
	// Recipients are the accepted forward-paths, in the order of the RCPT commands.
	Recipients []Recipient
	Client     Client
	// Listener is the configured name of the listener that the session came in on.
	Listener string
	// Hostname is our own name at the time of receipt; it is the authserv-id (RFC 8601 2.5).
	Hostname string
	// ReceivedAt is when the message was received, UTC.
	ReceivedAt time.Time
	// Size is the number of octets of the message as received, without our trace block.
	Size int64
	// BodyType is the BODY parameter of MAIL FROM: "", "7BIT", "8BITMIME" or "BINARYMIME" (RFC 6152, 3030).
	BodyType string
	SMTPUTF8 bool
	// Ret and EnvID are parameters of MAIL FROM about notifications (RFC 3461): "", "FULL" or "HDRS", and the sender's
	// own id for the message, decoded.
	Ret, EnvID string
	// RequireTLS asks that the message goes over TLS only, on every further hop by SMTP (RFC 8689).
	RequireTLS bool
	// Received is the trace field that we add (RFC 5321 4.4), folded, ending in CRLF.
	Received string
	// ReplayOf is the id of the message that a person replayed, ReplayTo the sink that it goes to instead of where the
	// rules would send it; both "" for an ordinary message.
	ReplayOf, ReplayTo string
}

// Recipient is one accepted forward-path.
type Recipient struct {
	// Address is the whole address: local part as sent, domain in lower case as A-labels.
	Address string
	// Local is the local part without tag and separator, unquoted; Tag is "" when there is none.
	Local, Tag, Domain string
	// Captures holds the named groups of the recipient pattern that matched; may be nil.
	Captures map[string]string
	// Notify and OriginalRecipient are parameters of RCPT TO (RFC 3461): "", "NEVER" or a list like "SUCCESS,DELAY", and
	// the address that the sender knows the recipient by, decoded, with its type in front ("rfc822;bob@example.org").
	Notify, OriginalRecipient string
}

// Client is the host that connected to us.
type Client struct {
	IP   netip.Addr
	Port uint16
	// Helo is the argument of EHLO or HELO, unverified.
	Helo string
	// TLS is nil for a session in clear text.
	TLS *TLS
}

// TLS describes the protected session, in the names of crypto/tls ("TLS 1.3", "TLS_AES_128_GCM_SHA256").
type TLS struct {
	Version, Cipher string
}
