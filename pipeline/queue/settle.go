package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

const (
	// nakTries is how often a delivery that could not be attempted waits in its slot; then it waits in the retry clock.
	nakTries = 3
	// These are in units of Config.backoff, a second. parkFor is how long it waits there.
	parkFor = 300
	// newerWait is how long a record of a newer version waits for a process that can read it.
	newerWait = 600
	// maxFaultWait is the longest wait of something that the queue itself could not do: it holds a place meanwhile.
	maxFaultWait = 60
)

// failureWaits are the waits after a message could not be processed, 11 minutes in all, in units of Config.backoff.
var failureWaits = [...]time.Duration{1, 10, 60, 600}

// failureWait is the wait after the n-th failure in a row.
func (q *Queue) failureWait(n uint64) time.Duration {
	return failureWaits[min(max(n, 1), uint64(len(failureWaits)))-1] * q.cfg.backoff
}

// faultWait is the wait of what was handed out n times, after an error of the queue itself.
func (q *Queue) faultWait(n uint64) time.Duration {
	return min(q.failureWait(n), maxFaultWait*q.cfg.backoff)
}

// mailSettlement decides what becomes of a message that was handed out. head is nil when it cannot be read.
type mailSettlement struct {
	msg  jetstream.Msg
	meta *jetstream.MsgMetadata
	head *stored
}

func (s *mailSettlement) settle(ctx context.Context, q *Queue, err error) {
	due, later := pipeline.DueAt(err)
	switch {
	case err == nil:
		s.ack(q, "done")
	case ctx.Err() != nil:
		s.back(q, s.msg.Nak())
	case later:
		s.done(q, "later", s.msg.NakWithDelay(max(time.Millisecond, due.Sub(q.cfg.Now()))))
	case isFault(err), errors.Is(err, context.Canceled): // the latter is a shutdown
		delay := q.faultWait(s.meta.NumDelivered)
		q.cfg.Log.Warn("message has to wait", "message", s.id(), "again_in", delay, "error", err)
		s.back(q, s.msg.NakWithDelay(delay))
	case pipeline.IsPermanent(err):
		s.quarantine(ctx, q, err)
	default:
		failures := q.trials.update(s.place(), func(t *trial) { t.failures++ }).failures
		if failures >= maxFailures {
			s.quarantine(ctx, q, err)
			return
		}
		delay := q.failureWait(uint64(failures))
		q.cfg.Log.Warn("message could not be processed", "message", s.id(), "failures", failures, "again_in", delay, "error", err)
		s.back(q, s.msg.NakWithDelay(delay))
	}
}

// quarantine puts the message, for all of its recipients, into the dead letters, and acknowledges it only then.
func (s *mailSettlement) quarantine(ctx context.Context, q *Queue, err error) {
	reason := firstLine(err)
	q.cfg.Log.Error("message goes to the dead letters", "message", s.id(), "delivered", s.meta.NumDelivered, "error", err)
	d := &pipeline.Delivery{ID: pipeline.DeliveryID(s.id(), pipeline.UnroutedID), Attempt: 1, First: s.meta.Timestamp, Message: &pipeline.Message{}}
	if s.head != nil {
		d.Message.Envelope = s.head.Envelope.envelope()
		d.Message.Ref = ref(s.meta.Stream, s.meta.Sequence.Stream)
		d.Message.SHA256, _ = sum32(s.head.SHA256) //nolint:errcheck // zero tells it as well
		d.Recipients = d.Message.Envelope.Recipients
	} else {
		// What cannot be read is kept as it is.
		d.Message.Raw, d.Message.SHA256 = s.msg.Data(), sha256.Sum256(s.msg.Data())
		d.Message.Envelope = pipeline.Envelope{ID: s.id(), ReceivedAt: s.meta.Timestamp.UTC(), Size: int64(len(s.msg.Data()))}
	}
	if err := q.Bury(ctx, d, "quarantine: "+reason); err != nil {
		q.cfg.Log.Error("message could not be put into the dead letters; it stays where it is", "message", s.id(), "error", err)
		s.back(q, s.msg.NakWithDelay(q.faultWait(s.meta.NumDelivered)))
		return
	}
	s.ack(q, "buried")
}

// ack acknowledges. That reaches the disk within some 100 ms, whether or not the server's answer is waited for; a crash in
// between repeats the message. So only an external server is waited for: it may have lost its leader meanwhile, and then the log says so.
func (s *mailSettlement) ack(q *Queue, outcome string) {
	if q.cfg.URL == "" {
		q.acked.note(s.meta.Stream, s.msg.Reply())
		s.done(q, outcome, s.msg.Ack())
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.cfg.tryFor)
	defer cancel()
	s.done(q, outcome, s.msg.DoubleAck(ctx))
}

func (s *mailSettlement) id() string {
	if s.head != nil {
		return s.head.Envelope.ID
	}
	return strings.ToLower(s.meta.Stream) + "-" + fmt.Sprint(s.meta.Sequence.Stream)
}

// place names the message in this process's memory.
func (s *mailSettlement) place() string { return ref(s.meta.Stream, s.meta.Sequence.Stream) }

func (s *mailSettlement) back(q *Queue, err error) { s.done(q, "back", err) }

func (s *mailSettlement) done(q *Queue, outcome string, err error) {
	if err == nil && (outcome == "done" || outcome == "buried") {
		q.trials.forget(s.place())
	} else {
		q.trials.update(s.place(), func(t *trial) { t.answered++ })
	}
	if err != nil {
		q.cfg.Log.Warn("settle message", "message", s.id(), "outcome", outcome, "error", err)
		return
	}
	q.metrics.settled.WithLabelValues("mail", outcome).Inc()
}

// deliverySettlement decides what becomes of a delivery that was handed out. delivery is nil when it cannot be read.
type deliverySettlement struct {
	msg      jetstream.Msg
	meta     *jetstream.MsgMetadata
	link     *link
	record   deliveryRecord
	delivery *pipeline.Delivery
}

func (s *deliverySettlement) settle(ctx context.Context, q *Queue, err error) {
	if s.delivery == nil {
		s.unreadable(q, err)
		return
	}
	due, later := pipeline.DueAt(err)
	switch {
	case err == nil:
		s.delivered(ctx, q)
	case later:
		s.delivery.Held = ""
		s.again(q, due, "later")
	case ctx.Err() != nil && !pipeline.IsPermanent(err):
		s.done(q, "back", s.msg.Nak())
	case isFault(err):
		s.wait(q, err)
	case pipeline.IsPermanent(err):
		s.bury(q, err)
	case errors.Is(err, context.Canceled): // a shutdown
		s.done(q, "back", s.msg.NakWithDelay(q.failureWait(1)))
	default:
		s.wait(q, err)
	}
}

// wait brings a delivery back that could not be attempted. It waits in its slot at first, then in the retry clock, which
// it goes back to at once from then on, and is buried when its time is over; unless that is the queue's fault, or that of
// an older mxhook.
func (s *deliverySettlement) wait(q *Queue, err error) {
	q.cfg.Log.Warn("delivery could not be attempted", "message", s.delivery.Message.Envelope.ID, "sink", s.delivery.Sink, "error", err)
	if s.meta.NumDelivered <= nakTries && s.record.Held == "" {
		s.done(q, "back", s.msg.NakWithDelay(q.failureWait(s.meta.NumDelivered)))
		return
	}
	message := s.delivery.Message
	if errors.Is(err, errUnreadable) {
		q.cfg.Events.Emit(pipeline.Event{
			Kind: pipeline.EventMailUnreadable, Sink: s.delivery.Sink, Message: message.Envelope.ID,
			Reason: "delivery " + s.delivery.ID + " waits: " + firstLine(err) + "; bury it when that will not pass",
		})
	}
	s.delivery = s.record.delivery() // as it was
	age := q.cfg.Now().Sub(s.record.First)
	if age > q.cfg.Retention && !s.record.First.IsZero() && !isFault(err) && !errors.Is(err, errNewer) {
		s.delivery.Message = message
		s.bury(q, fmt.Errorf("it could not be attempted for %v: %w", age.Round(time.Minute), err))
		return
	}
	s.delivery.Held = firstLine(err)
	s.again(q, q.cfg.Now().Add(parkFor*q.cfg.backoff), "back")
}

// unreadable puts the octets of a record into the dead letters in place of a message; one of a newer version waits.
func (s *deliverySettlement) unreadable(q *Queue, err error) {
	q.cfg.Log.Error("a delivery cannot be read", "subject", s.msg.Subject(), "error", err)
	if errors.Is(err, errNewer) {
		s.done(q, "back", s.msg.NakWithDelay(newerWait*q.cfg.backoff))
		return
	}
	id := fmt.Sprintf("%s-%d", strings.ToLower(s.meta.Stream), s.meta.Sequence.Stream)
	s.delivery = &pipeline.Delivery{ID: pipeline.DeliveryID(id, pipeline.UnroutedID), Attempt: 1, First: s.meta.Timestamp, Message: &pipeline.Message{
		Envelope: pipeline.Envelope{ID: id, ReceivedAt: s.meta.Timestamp.UTC(), Size: int64(len(s.msg.Data()))},
		Raw:      s.msg.Data(),
		SHA256:   sha256.Sum256(s.msg.Data()),
	}}
	s.bury(q, fmt.Errorf("a delivery cannot be read: %w", err))
}

// delivered settles a success. When an earlier run may have been cut off between setting the retry clock and
// acknowledging, that clock is stopped first.
func (s *deliverySettlement) delivered(ctx context.Context, q *Queue) {
	if q.mayBeRepeated(s.link, s.meta) {
		q.stopClock(ctx, s.link, s.delivery)
	}
	s.ack(q, "done")
}

// again stores the delivery as it is now, due at that time, and acknowledges the old one only then. The id names the
// handed out message: a repeat after a crash is dropped, a second wait of the same attempt is not.
func (s *deliverySettlement) again(q *Queue, at time.Time, outcome string) {
	ctx, cancel := q.settleTime()
	defer cancel()
	id := fmt.Sprintf("%s#%d@%d", token(s.delivery.ID), s.delivery.Attempt, s.meta.Sequence.Stream)
	if err := q.defer1(ctx, pipeline.Deferred{Delivery: s.delivery, NotBefore: at}, id); err != nil {
		q.cfg.Log.Warn("delivery could not be stored for later; it comes back at once", "message", s.delivery.Message.Envelope.ID, "error", err)
		s.done(q, "back", s.msg.NakWithDelay(10*time.Second))
		return
	}
	s.ack(q, outcome)
}

func (s *deliverySettlement) bury(q *Queue, reason error) {
	ctx, cancel := q.settleTime()
	defer cancel()
	if err := q.Bury(ctx, s.delivery, firstLine(reason)); err != nil {
		q.cfg.Log.Error("delivery could not be put into the dead letters; it comes back", "message", s.delivery.Message.Envelope.ID, "error", err)
		s.done(q, "back", s.msg.NakWithDelay(time.Minute))
		return
	}
	s.ack(q, "buried")
}

// ack waits for the server's answer: on this kind of stream the acknowledgement is durable then.
func (s *deliverySettlement) ack(q *Queue, outcome string) {
	ctx, cancel := context.WithTimeout(context.Background(), q.cfg.tryFor)
	defer cancel()
	s.done(q, outcome, s.msg.DoubleAck(ctx))
}

func (s *deliverySettlement) done(q *Queue, outcome string, err error) {
	if err != nil {
		q.cfg.Log.Warn("settle delivery", "subject", s.msg.Subject(), "outcome", outcome, "error", err)
		return
	}
	q.metrics.settled.WithLabelValues("delivery", outcome).Inc()
}

// settleTime is the time that storing an outcome may take, also when the worker is being stopped.
func (q *Queue) settleTime() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), publishTries*q.cfg.tryFor)
}

// firstLine cuts a reason for people: a panic's stack is for the log.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
