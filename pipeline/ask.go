package pipeline

import (
	"context"
	"errors"
	"time"
)

// asked is what came of a delivery whose sender waits.
type asked struct {
	delivery *Delivery
	out      Outlet
	// made says that there was an attempt, whose outcome is not judged yet; otherwise why is the reason that there was none, nil
	// when it has succeeded before.
	made    bool
	attempt attempt
	why     error
	// reply refuses; nil when the endpoint has taken it, or when nobody can say and senders are told that it is accepted.
	reply *SenderReply
	// taken: the endpoint has it.
	taken bool
}

// refuses reports whether a reply is for good.
func refuses(r *SenderReply) bool { return r != nil && r.Code/100 == 5 }

// minQueue is how many senders may wait for a slot of a sink at the least.
const minQueue = 64

// Queue is how many messages whose senders wait may wait for a slot of the sink, in one process: each holds a place of a
// processor meanwhile.
func (o *Outlet) Queue() int { return max(minQueue, o.Concurrency) }

// ask makes the first attempt at a delivery whose sender waits, for that long at the most. Unlike other first attempts it
// waits for a slot. It writes nothing down.
func (a *Attempts) ask(ctx context.Context, plan *Plan, d *Delivery, patience time.Duration, defers bool) asked {
	r := asked{delivery: d}
	unanswered := func(reply SenderReply) {
		if defers {
			r.reply = &reply
		}
	}
	if a.done(d) {
		r.taken = true
		return r
	}
	o, ok := plan.outlets[d.Sink]
	if !ok {
		r.why = errNoSink
		unanswered(replyNotNow)
		return r
	}
	r.out = o.Outlet
	t, err := a.turn(ctx, r.out, d.Message.Envelope.Size, patience)
	if err != nil {
		r.why = err
		if errors.Is(err, errOpen) { // it stands for the failures that opened it
			r.reply = &replyFailing
		} else {
			unanswered(replyNotNow)
		}
		return r
	}
	defer t.Release()
	r.attempt = a.perform(ctx, r.out, t, d)
	err = r.attempt.err
	switch {
	case err == nil:
		r.made, r.taken = true, true
	case r.attempt.interrupted:
		r.why = err
		unanswered(replyNoAnswer)
	case r.attempt.resp.Reply != nil:
		r.made, r.reply = true, r.attempt.resp.Reply
	case isTimeout(err):
		r.made = true
		unanswered(replyNoAnswer)
	default:
		r.made, r.reply = true, &replyFailing
	}
	return r
}

// isTimeout reports whether an attempt was ended by its time.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// turn waits for a turn of a sink, beside so many others that they leave processors and memory to the mail of other sinks.
func (a *Attempts) turn(ctx context.Context, out Outlet, size int64, patience time.Duration) (*Turn, error) {
	g := a.gate(out.Name)
	g.mu.Lock()
	full := g.asking >= out.Queue() || g.asking > 0 && g.askingOctets+size > a.memoryShare()
	if !full {
		g.asking++
		g.askingOctets += size
	}
	g.mu.Unlock()
	if full {
		return nil, errNoSlot
	}
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.asking--
		g.askingOctets -= size
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t, err := g.wait(ctx, func() (Outlet, bool) { return out, true }, size)
	if err != nil && ctx.Err() != nil && !NotNow(err) {
		return nil, errNoSlot
	}
	return t, err
}

// refused tells of a delivery that was refused to its sender.
func (a *Attempts) refused(r *asked) {
	d, reason := r.delivery, r.why
	if r.made {
		reason = r.attempt.err
	}
	if r.taken { // others of the same transaction were not
		return
	}
	status := r.attempt.resp.Status
	a.log.Warn("refused to a sender who waited", "message", d.Message.Envelope.ID, "delivery", d.ID, "sink", d.Sink,
		"code", r.reply.Code, "status", status, "took", r.attempt.took, "reason", reason.Error())
	if r.made {
		a.metrics.attempts.WithLabelValues(d.Sink, "refused").Inc()
		a.metrics.seconds.WithLabelValues(d.Sink).Observe(r.attempt.took.Seconds())
	}
	a.keep(&KeptDelivery{Delivery: d, State: StateRefused, Status: status, Reason: reason.Error(), Took: r.attempt.took})
}
