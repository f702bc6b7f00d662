package pipeline

import (
	"context"
	"time"
)

// Wait says that the sender of a message is kept waiting, with the reply to the end of the data, for what an endpoint says
// of it. The message is durable all the same.
type Wait struct {
	// Recipients are those that are waited for, by Recipient.Address. Others have been accepted, or are no more.
	Recipients []string
	// Together: they have one reply (SMTP); otherwise each has its own (LMTP).
	Together bool
	// Defers: a sender that nobody has answered in time was told to come again, and what is stored is for nobody. Otherwise it
	// was told that the message is accepted.
	Defers bool
	// To is where the front end hears, Key what the same message is known by when it comes again; both are the queue's.
	To, Key string
}

// SenderReply is an SMTP reply about a message: a code, an enhanced status code of the same class and one line of
// printable ASCII.
type SenderReply struct {
	Code   int    `json:"code"`
	Status string `json:"status"`
	Text   string `json:"text"`
}

// Verdict is what the senders of some recipients are to hear. For are indexes of Wait.Recipients; none: all of them.
type Verdict struct {
	For []int `json:"for,omitempty"`
	// Reply refuses, for now or for good; nil accepts.
	Reply *SenderReply `json:"reply,omitempty"`
}

// Front is where senders wait. Its methods are safe for concurrent use.
type Front interface {
	// Waiting reports whether the sender still waits, and for how long at the most. When nobody knows, it does not.
	Waiting(ctx context.Context, w *Wait) (patience time.Duration, waiting bool)
	// Tell ends the wait, and reports whether the front end has heard it while the sender waited. When nobody knows, it has not.
	Tell(ctx context.Context, w *Wait, vs []Verdict) bool
	// Remember has a repeat of the message answered with its id for a while, as far as that goes.
	Remember(ctx context.Context, w *Wait, id string)
}

// Replies to senders when the endpoint has none for them.
var (
	replyNoAnswer = SenderReply{451, "4.4.1", "The recipient's system did not answer in time; try again later"}
	replyFailing  = SenderReply{451, "4.3.0", "The recipient's system cannot take the message now; try again later"}
	replyNotNow   = SenderReply{451, "4.3.2", "The recipient's system takes no messages now; try again later"}
)
