package pipeline

import "time"

// EventKind says what happened.
type EventKind string

// The kinds of events that the workers report.
const (
	// EventSinkFailing is the first failed attempt of a sink after a success, or after the start.
	EventSinkFailing EventKind = "sink_failing"
	// EventBreakerOpen: deliveries of the sink wait, and one probe at a time goes through.
	EventBreakerOpen EventKind = "breaker_open"
	// EventBreakerClosed: a probe succeeded, and what waits goes on.
	EventBreakerClosed EventKind = "breaker_closed"
	// EventDeadLetter: a delivery was given up; Sink is "" when no rule matched its recipients.
	EventDeadLetter EventKind = "dead_letter"
	// EventSinkPaused and EventSinkResumed are done by hand; the first also by an answer that on_status takes for it.
	EventSinkPaused  EventKind = "sink_paused"
	EventSinkResumed EventKind = "sink_resumed"
	// EventStorageLow: new mail is refused with 452; EventStorageBack: it is taken again.
	EventStorageLow  EventKind = "storage_low"
	EventStorageBack EventKind = "storage_back"
	// EventQueueSlow: it took long until a message was durable, or failed.
	EventQueueSlow EventKind = "queue_slow"
	// EventMailUnreadable: a delivery waits because the octets of its message cannot be read.
	EventMailUnreadable EventKind = "mail_unreadable"
	// EventCertificateExpiring: a certificate expires soon, or has expired.
	EventCertificateExpiring EventKind = "certificate_expiring"
)

// EventKinds are all of them.
func EventKinds() []EventKind {
	return []EventKind{
		EventSinkFailing, EventBreakerOpen, EventBreakerClosed, EventDeadLetter, EventSinkPaused, EventSinkResumed,
		EventStorageLow, EventStorageBack, EventQueueSlow, EventMailUnreadable, EventCertificateExpiring,
	}
}

// Event is something about the operation of mxhook, not about mail, that a person may want to know.
type Event struct {
	Kind EventKind
	// Sink and Message (an id) are "" when it is about none.
	Sink, Message string
	// Reason is for people; it holds no secret.
	Reason string
	At     time.Time
}

// Events takes events. Emit neither blocks nor fails, and may be called concurrently.
type Events interface {
	Emit(e Event)
}

// NoEvents drops events.
type NoEvents struct{}

// Emit implements Events.
func (NoEvents) Emit(Event) {}
