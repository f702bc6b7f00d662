package pipeline

import (
	"context"
	"fmt"
	"time"
)

const (
	// breakerFailures is how many different deliveries must fail, with no success in between, until the breaker opens. One
	// message that an endpoint cannot stand does not open it, however often it is tried.
	breakerFailures = 5
	// maxProbeDelay is the longest wait between two probes that we choose, maxAskedDelay what an endpoint may ask for.
	maxProbeDelay = time.Minute
	maxAskedDelay = time.Hour
	// probeGrace is how long after its timeout a probe counts as lost, with the worker that made it.
	probeGrace = 10 * time.Second
	// boardPatience bounds a change of what the workers share.
	boardPatience = 5 * time.Second
)

// probeDelay is the wait before the next probe: as the sink's first retry, then doubled, up to a minute and never more
// than between the last retries. An endpoint may ask for more.
func probeDelay(s Schedule, probes int, asked time.Duration) time.Duration {
	longest := max(time.Second, min(maxProbeDelay, s.Every))
	d := max(time.Second, s.Step(1))
	for range probes {
		if d >= longest {
			break
		}
		d *= 2
	}
	return max(min(d, longest), min(asked, maxAskedDelay))
}

// probeDue reports whether a probe may start. A time that is further away than any that a worker sets was set by a clock
// that was wrong.
func (g *gate) probeDue(b Breaker, out Outlet) bool {
	left := b.Probe.Sub(g.now())
	return left <= 0 || left > max(maxAskedDelay, out.Timeout)+probeGrace
}

// probe makes a turn the probe when the breaker is open. Of all workers one gets it.
func (g *gate) probe(ctx context.Context, out Outlet, t *Turn) (*Turn, error) {
	from := g.board.State(g.sink).Breaker
	if !from.Open() {
		return t, nil
	}
	to := from
	to.Probe = g.now().Add(out.Timeout + probeGrace).UTC()
	ctx, cancel := context.WithTimeout(ctx, boardPatience)
	defer cancel()
	won := g.probeDue(from, out)
	var err error
	if won {
		won, err = g.board.SetBreaker(ctx, g.sink, from, to)
	}
	if err != nil || !won {
		t.Release()
		return nil, errOpen
	}
	t.lease = to
	return t, nil
}

// change is what an attempt did to the breaker.
type change struct {
	// first: it is the first failure after a success; opened, closed: the breaker has changed.
	first, opened, closed bool
	reason                string
	probe                 time.Time     // when it is due, once the breaker has opened
	openFor               time.Duration // once it has closed
	err                   error
}

// account counts the outcome of an attempt: nil, a failure, or an interruption, which says nothing of the sink. A failure
// that is permanent is one of the message: it counts for nothing, and a probe that meets it has to be made again.
func (g *gate) account(t *Turn, out Outlet, d *Delivery, err error, interrupted bool) change {
	t.judged = true
	var c change
	if err != nil {
		c.reason = err.Error()
	}
	asked, _ := AskedDelay(err)
	now := g.now().UTC()
	from := g.board.State(g.sink).Breaker
	to, probe := from, t.lease.Open()
	failures := 0
	if !from.Open() && !interrupted && !IsPermanent(err) {
		failures, c.first = g.count(d.ID, err)
	}
	switch {
	case probe && !from.Same(t.lease):
		return c // it was taken for lost
	case probe && interrupted:
		to.Probe = now
	case probe && err == nil:
		to, c.closed = Breaker{}, true
	case probe:
		to.Probes++
		to.Probe = now.Add(probeDelay(out.Schedule, to.Probes, asked))
		to.Reason = c.reason
	case failures >= breakerFailures:
		c.opened = true
		to = Breaker{Since: now, Probe: now.Add(probeDelay(out.Schedule, 0, asked)), Reason: c.reason}
	default:
		return c
	}
	ctx, cancel := context.WithTimeout(context.Background(), boardPatience)
	defer cancel()
	done, serr := g.board.SetBreaker(ctx, g.sink, from, to)
	if serr != nil {
		c.err = fmt.Errorf("store the state of sink %s's breaker: %w", g.sink, serr)
	}
	c.opened, c.closed = c.opened && done && serr == nil, c.closed && done && serr == nil
	c.probe = to.Probe
	if c.closed {
		c.openFor = now.Sub(from.Since)
	}
	return c
}

// count returns how many deliveries have failed in a row, and whether this is the first. Those that made the breaker open
// are forgotten: when it has closed they are counted anew.
func (g *gate) count(id string, err error) (failures int, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		clear(g.failed)
		return 0, false
	}
	first = len(g.failed) == 0
	g.failed[id] = struct{}{}
	failures = len(g.failed)
	if failures >= breakerFailures {
		clear(g.failed)
	}
	return failures, first
}
