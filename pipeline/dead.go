package pipeline

import (
	"errors"
	"time"
)

// DeadLetter is a delivery that was given up. Its message is kept with it, as long as the dead letter itself.
type DeadLetter struct {
	Delivery *Delivery
	// Reason is why, in words for people.
	Reason string
	At     time.Time
}

// ErrNotFound says that the queue has no message, delivery or dead letter of that id.
var ErrNotFound = errors.New("not found")

// Repeated is the error of a commit that took nothing, because the same message is durable already, under that id.
type Repeated struct{ ID string }

// Error implements error.
func (r *Repeated) Error() string { return "it is the repeat of message " + r.ID }

// ErrRefused says that the queue does not do what a person asked for, and the error why.
var ErrRefused = errors.New("refused")

// ErrStorage says that storage is short: a message cannot be taken now, and may be later (452 4.3.1).
var ErrStorage = errors.New("storage is short")

// UnroutedID stands for the sink in the delivery id of recipients that no rule matched; no sink can have that name.
const UnroutedID = "_"

// ReasonUnrouted is the reason of such a dead letter.
const ReasonUnrouted = "no rule matched the recipients and there is no default: add a rule or `default:` and replay, or replay to a sink"
