package pipeline

import (
	"strings"
	"time"
)

// States of a delivery, as people ask for them.
const (
	// StateDelivered: the endpoint took it.
	StateDelivered = "delivered"
	// StateWaiting: it is due or scheduled, or an attempt is under way.
	StateWaiting = "waiting"
	// StateDead: it is a dead letter.
	StateDead = "dead"
	// StateRefused: its sender was kept waiting and was told that the endpoint does not take it, for good or for now.
	StateRefused = "refused"
)

// KeptMessage is a message that the queue still has.
type KeptMessage struct {
	// Message has its envelope, Ref and SHA256; Raw only where that is said.
	Message *Message
	// StoredAt is when it became durable.
	StoredAt time.Time
}

// KeptDelivery is a delivery that the queue knows of, in whatever state.
type KeptDelivery struct {
	// Delivery has its message's envelope as far as that is known, and never its octets.
	Delivery *Delivery
	State    string
	// At is when it got into that state; of one that waits, when it was written down last.
	At time.Time
	// Due is when the next attempt is; zero: now, or never.
	Due time.Time
	// Status is what the endpoint said when it took it; Reason why it waits or was given up.
	Status, Reason string
	// Took is how long the attempt took that succeeded, or was refused.
	Took time.Duration
}

// MessageFilter selects kept messages; zero fields select all.
type MessageFilter struct {
	// Recipient and From are an address in any case, or "@domain"; From "<>" is the null reverse-path.
	Recipient, From string
	// Since and Until bound the time of receipt, [Since, Until).
	Since, Until time.Time
}

// Matches reports whether the filter selects a message with that envelope.
func (f *MessageFilter) Matches(e *Envelope) bool {
	if !within(e.ReceivedAt, f.Since, f.Until) {
		return false
	}
	if f.From == "<>" && e.ReversePath != "" || f.From != "" && f.From != "<>" && !addressMatches(f.From, e.ReversePath) {
		return false
	}
	return f.Recipient == "" || anyRecipient(f.Recipient, e.Recipients)
}

// DeliveryFilter selects deliveries; zero fields select all.
type DeliveryFilter struct {
	State, Message, Sink, Rule string
	// Recipient is an address in any case, or "@domain".
	Recipient string
	// Since and Until bound KeptDelivery.At, [Since, Until).
	Since, Until time.Time
}

// Matches reports whether the filter selects the delivery.
func (f *DeliveryFilter) Matches(k *KeptDelivery) bool {
	d := k.Delivery
	id, _, _ := strings.Cut(d.ID, ".")
	switch {
	case f.State != "" && f.State != k.State,
		f.Message != "" && f.Message != id,
		f.Sink != "" && f.Sink != d.Sink && !(f.Sink == UnroutedID && d.Sink == ""),
		f.Rule != "" && !contains(d.Rules, f.Rule),
		!within(k.At, f.Since, f.Until):
		return false
	}
	return f.Recipient == "" || anyRecipient(f.Recipient, d.Recipients)
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

func within(at, since, until time.Time) bool {
	return (since.IsZero() || !at.Before(since)) && (until.IsZero() || at.Before(until))
}

func anyRecipient(want string, rs []Recipient) bool {
	for i := range rs {
		if addressMatches(want, rs[i].Address) {
			return true
		}
	}
	return false
}

func addressMatches(want, address string) bool {
	if strings.HasPrefix(want, "@") {
		at := strings.LastIndexByte(address, '@')
		return at >= 0 && strings.EqualFold(want, address[at:])
	}
	return strings.EqualFold(want, address)
}

// Replay asks for one page of a replay: the caller asks again with the returned ID and Cursor until that is "". The ids
// of what it makes follow from its ID and from what is replayed, so that a page may be asked for twice.
type Replay struct {
	// ID is "" for the first page, which only begins, then the one that was returned.
	ID string
	// Messages replays messages, which are processed again from the start; otherwise deliveries.
	Messages bool
	// IDs are those of messages or deliveries; none: all that the filter selects.
	IDs            []string
	MessageFilter  MessageFilter
	DeliveryFilter DeliveryFilter
	// To is the sink that it goes to; "": deliveries to their own, messages where the rules send them.
	To string
	// Sinks are those that are configured: nothing is replayed to another.
	Sinks []string
	// Rate bounds what is replayed in a second; 0 is no bound.
	Rate float64
	// DryRun counts and changes nothing.
	DryRun bool
	Cursor string
}

// ReplayPage is what became of one page.
type ReplayPage struct {
	ID string
	// Cursor is "" after the last page.
	Cursor string
	// Matched were selected; Replayed of them are on their way, Skipped are due anyway, the others are in Failed.
	Matched, Replayed, Skipped int
	Made                       []Replayed
	Failed                     []ReplayFailure
}

// Replayed names what a replay made of something.
type Replayed struct {
	ID  string `json:"id"`
	New string `json:"new"`
}

// ReplayFailure is something that could not be replayed, and why.
type ReplayFailure struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}
