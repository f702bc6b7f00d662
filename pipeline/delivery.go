package pipeline

import (
	"context"
	"time"
)

// Target is a recipient and the sink that a rule chose for it.
type Target struct {
	Recipient Recipient
	Sink      string
	Rule      string
	// Waits: the sender is to be kept waiting for the sink's answer about this recipient.
	Waits bool
	// Tags are the labels that the rules gave the recipient.
	Tags []string
}

// Routing is what the rules made of a message. Every recipient of the envelope is in at least one of the three lists.
type Routing struct {
	Targets []Target
	// Dropped are recipients that a rule dropped on purpose; Rule names it, Sink is "".
	Dropped []Target
	// Unrouted are recipients that no rule matched; they become dead letters.
	Unrouted []Recipient
}

// Router routes every recipient of a message by itself. An error in one rule's condition is a Problem of the message
// and "no match" for that rule; it is never lost mail.
type Router interface {
	Route(m *Message) (Routing, []Problem)
}

// Delivery is one message on its way to one sink, with its own life. It carries only the recipients that the rules
// sent to that sink.
type Delivery struct {
	// ID is DeliveryID(message id, sink), with a suffix where the sink's templates keep recipients apart; the same over
	// attempts, restarts, nodes and redeliveries. A replay has its own.
	ID    string
	Sink  string
	Rules []string
	// Tags are the labels that the rules gave the recipients, each once.
	Tags       []string
	Recipients []Recipient
	Message    *Message
	// Attempt is the number of the attempt under way or next, from 1.
	Attempt int
	// First is when the first attempt was due: where max_age counts from.
	First time.Time
	// History has the newest attempts that failed, oldest first, at most MaxHistory of them.
	History []AttemptRecord
	// Held is why the queue could not hand it out for an attempt, the last time that it tried; "" otherwise.
	Held string
	// ReplayOf is the id of the delivery that a person replayed; "" for an ordinary delivery.
	ReplayOf string
	// Waits: the sender was kept waiting for the first attempt, or should have been.
	Waits bool
}

// MaxHistory bounds Delivery.History.
const MaxHistory = 20

// AttemptRecord is one failed attempt as it is kept with the delivery and shown to people.
type AttemptRecord struct {
	Attempt int           `json:"attempt"`
	At      time.Time     `json:"at"`
	Took    time.Duration `json:"took"`
	// Status is what the endpoint said ("503 Service Unavailable"); "" when it said nothing.
	Status string `json:"status"`
	Reason string `json:"reason"`
	// Answer is the start of what the endpoint answered: of the newest attempt all that its Response has, of older ones
	// at most MaxOldAnswer.
	Answer string `json:"answer,omitempty"`
	// Timings is nil when nothing was measured.
	Timings *Timings `json:"timings,omitempty"`
}

// MaxOldAnswer bounds AttemptRecord.Answer of all attempts but the newest, in octets.
const MaxOldAnswer = 1 << 10

// Timings is how long the steps of an attempt took; 0 is a step that did not happen, as on a kept connection. FirstByte
// is from when there was a connection to the first octet of the answer.
type Timings struct {
	DNS       time.Duration `json:"dns,omitempty"`
	Connect   time.Duration `json:"connect,omitempty"`
	TLS       time.Duration `json:"tls,omitempty"`
	FirstByte time.Duration `json:"first_byte,omitempty"`
}

// DeliveryID derives the stable id of the delivery of a message to a sink.
func DeliveryID(messageID, sink string) string { return messageID + "." + sink }

// Response is what the endpoint said to one attempt, for log, console and dead letter. It never holds a secret.
type Response struct {
	// Status is short ("200 OK", "written"); Detail is the start of the answer, at most 16 KiB, valid UTF-8.
	Status, Detail string
	// Timings is zero when nothing was measured.
	Timings Timings
	// Reply is what a sender who waits is to hear of an answer that did not take the delivery; nil when the endpoint has
	// not answered, or the sink cannot say.
	Reply *SenderReply
}

// Sink makes one attempt at a delivery: no retry, no goroutine that outlives the call, no log of its own.
// It honours ctx, may be called concurrently, and a repeat under the same delivery id does not harm.
// Errors are marked with Permanent or RetryAfter where that is known; they and the Response hold no secret.
type Sink interface {
	Deliver(ctx context.Context, d *Delivery) (Response, error)
}

// Outlet is a configured sink with what the workers need to know about it.
type Outlet struct {
	Name string
	Sink Sink
	// Concurrency bounds the attempts under way at once, and Rate how fast they start, in all workers together.
	Concurrency int
	Rate        Rate
	// Timeout bounds one attempt.
	Timeout  time.Duration
	Schedule Schedule
}

// Deferred is a delivery that waits. NotBefore zero means due now.
type Deferred struct {
	Delivery  *Delivery
	NotBefore time.Time
}

// Outbox takes durable responsibility for deliveries: both methods return nil only when that is done, and both may be
// called again with the same deliveries.
type Outbox interface {
	Enqueue(ctx context.Context, ds []Deferred) error
	// Bury puts a delivery into the dead letters. Sink is "" when no rule matched its recipients.
	Bury(ctx context.Context, d *Delivery, reason string) error
}
