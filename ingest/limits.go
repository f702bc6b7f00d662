package ingest

import (
	"cmp"
	"time"
)

// Limits bound what clients may ask of a server. A zero field means its default.
type Limits struct {
	// MessageSize is the largest message in octets; one of exactly this size is accepted. Default 50,000,000.
	MessageSize int64
	// Drain is how many octets of a message that is refused anyway are read, so that the client gets its reply, before
	// the connection is closed. Default: MessageSize.
	Drain int64
	// Recipients is the number of recipients of one transaction; more get 452 4.5.3. Default 100 (RFC 5321 4.5.3.1.8).
	Recipients int
	// Connections is the number of connections at once; more get 421. Default 5000.
	Connections int
	// ConnectionsPerIP is the number of connections at once from one IPv4 address or IPv6 /64. Default 100.
	ConnectionsPerIP int
	// ConnectionsPerNetwork is the number of connections at once from one IPv4 /24 or IPv6 /48. 0: no limit.
	ConnectionsPerNetwork int
	// CommandLine is the length of a command line in octets with its CRLF. Default 2048 (RFC 5321 4.5.3.1.4 asks for
	// 512 and what the extensions add), at least 512, at most 8192.
	CommandLine int
	// Errors is the number of 5xx replies to commands, since the last accepted message, after which a session is
	// closed with 421. Default 20.
	Errors int
	// IdleCommands is the number of commands in a row that bring no message nearer (NOOP, RSET, VRFY, EHLO and the
	// like) after which a session is closed with 421. Default 100.
	IdleCommands int
	// UnknownRecipients is the number of recipients refused with 550 5.1.1 in a session, beyond which it is closed with
	// 421. 0: no limit.
	UnknownRecipients int
	// Transactions is the number of mail transactions of a session; one more gets 421. 0: no limit.
	Transactions int
	// MinRate is how many octets a second of a message must come on the average, after Timeouts.RateGrace. 0: no floor.
	MinRate int64
}

// Timeouts bound how long a client or a part of ours may take. A zero field means its default.
type Timeouts struct {
	// GreetDelay is waited before the greeting; a client that talks meanwhile is refused. Default 0: no wait.
	GreetDelay time.Duration
	// Proxy is for the header of the PROXY protocol. Default 10 s.
	Proxy time.Duration
	// Session is how long a session may last; a transaction under way is finished. 0: no limit.
	Session time.Duration
	// RateGrace is how long a message may come as slowly as it will, before Limits.MinRate counts. Default 1 min.
	RateGrace time.Duration
	// Handshake is for a whole TLS handshake. Default 30 s.
	Handshake time.Duration
	// Command is for a whole command line to arrive. Default 5 min (RFC 5321 4.5.3.2.7).
	Command time.Duration
	// Data is how long the client may send nothing while it owes message data. Default 3 min (RFC 5321 4.5.3.2.5).
	Data time.Duration
	// Transfer is for all the data of one message, from DATA or the first BDAT to its end. Default 1 h.
	Transfer time.Duration
	// Write is how long the client may not take replies. Default 1 min.
	Write time.Duration
	// Accept is for one call of Recipients.Accepts. Default 30 s.
	Accept time.Duration
	// Spool is for one call of Spool.Admit, Spool.Begin or Writer.Commit. Default 1 min; clients wait 10 min for the
	// last reply (RFC 5321 4.5.3.2.6).
	Spool time.Duration
}

func (l Limits) withDefaults() Limits {
	l.MessageSize = cmp.Or(l.MessageSize, 50_000_000)
	l.Drain = cmp.Or(l.Drain, l.MessageSize)
	l.Recipients = cmp.Or(l.Recipients, 100)
	l.Connections = cmp.Or(l.Connections, 5000)
	l.ConnectionsPerIP = cmp.Or(l.ConnectionsPerIP, 100)
	l.CommandLine = min(max(cmp.Or(l.CommandLine, 2048), 512), bufferSize/2)
	l.Errors = cmp.Or(l.Errors, 20)
	l.IdleCommands = cmp.Or(l.IdleCommands, 100)
	return l
}

func (t Timeouts) withDefaults() Timeouts {
	t.Proxy = cmp.Or(t.Proxy, 10*time.Second)
	t.RateGrace = cmp.Or(t.RateGrace, time.Minute)
	t.Handshake = cmp.Or(t.Handshake, 30*time.Second)
	t.Command = cmp.Or(t.Command, 5*time.Minute)
	t.Data = cmp.Or(t.Data, 3*time.Minute)
	t.Transfer = cmp.Or(t.Transfer, time.Hour)
	t.Write = cmp.Or(t.Write, time.Minute)
	t.Accept = cmp.Or(t.Accept, 30*time.Second)
	t.Spool = cmp.Or(t.Spool, time.Minute)
	return t
}
