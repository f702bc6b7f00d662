// Package load is an SMTP load generator: a number of connections, a mix of sizes, as fast as the server answers or at
// a rate that does not wait for it.
package load

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what is sent.
type Options struct {
	// Addr is the SMTP listener.
	Addr string
	// Connections is how many sessions send side by side.
	Connections int
	// PerConnection is the number of mails of one session, after which it ends and another begins; 0 is no bound.
	PerConnection int
	// Rate is the number of mails that are begun in a second, whether or not the server keeps up; 0 is as fast as it
	// answers. The latency of an answer then counts from when the mail was to be sent.
	Rate float64
	// Mix are the sizes of plain text mails; nil is 10 KB each.
	Mix Mix
	// First is the number of the first mail.
	First int
	// Source makes the mails in place of Mix.
	Source Source
	// Recipient of every mail.
	Recipient string
	// StepByStep waits for the reply to each command, as a client without pipelining does. It is what happens anyway with
	// a server that does not offer PIPELINING.
	StepByStep bool
	// TLS, if set, makes every session begin with STARTTLS.
	TLS *tls.Config
	// Patience is how long a mail that was refused for the time being, or whose session broke, is tried again under the
	// same number; 0 is not at all.
	Patience time.Duration
	// Accepted is called, concurrently, for every 250 at the end of data; id is what the reply calls "queued as", if
	// anything.
	Accepted func(number int, id string, took time.Duration)
}

// Result counts the outcomes. Refused are replies of 4xx and 5xx, Broken sessions that ended without one; a mail that
// is tried again counts in each of them. GaveUp are mails that were not accepted within Options.Patience.
type Result struct {
	Accepted, Refused, Broken, GaveUp int64
	// Latency is the time from MAIL FROM to the final reply of the mails that were accepted.
	Latency *Histogram
	// Longest is the longest time without any 250.
	Longest time.Duration
	// Took is the whole run.
	Took time.Duration
	// Reply is one of the refusals.
	Reply string
}

// Rate is what was accepted in a second.
func (r Result) Rate() float64 { return float64(r.Accepted) / r.Took.Seconds() }

// run is a load under way.
type run struct {
	o       Options
	next    atomic.Int64
	count   int64
	start   time.Time
	latency *Histogram

	accepted, refused, broken, gaveUp atomic.Int64

	mu      sync.Mutex
	last    time.Time
	longest time.Duration
	reply   string
}

// Run sends count mails, or until ctx ends when count is 0.
func Run(ctx context.Context, o Options, count int) Result {
	if o.Mix == nil {
		o.Mix = Mix{{Size: 10_000, Share: 1}}
	}
	if o.Source == nil {
		o.Source = plain(o.Mix)
	}
	if o.Recipient == "" {
		o.Recipient = "in@example.com"
	}
	r := &run{o: o, count: int64(count), start: time.Now(), latency: &Histogram{}}
	r.last = r.start
	var wg sync.WaitGroup
	for range o.Connections {
		wg.Go(func() { r.work(ctx) })
	}
	wg.Wait()
	return Result{
		Accepted: r.accepted.Load(), Refused: r.refused.Load(), Broken: r.broken.Load(), GaveUp: r.gaveUp.Load(),
		Latency: r.latency, Longest: max(r.longest, time.Since(r.last)), Took: time.Since(r.start), Reply: r.reply,
	}
}

// work sends mail after mail over one session at a time.
func (r *run) work(ctx context.Context) {
	s := &session{}
	defer s.close()
	for ctx.Err() == nil {
		i := r.next.Add(1) - 1
		if r.count > 0 && i >= r.count {
			return
		}
		due := time.Now()
		if r.o.Rate > 0 {
			due = r.start.Add(time.Duration(float64(i) / r.o.Rate * float64(time.Second)))
			if wait(ctx, time.Until(due)) != nil {
				return
			}
		}
		r.one(ctx, s, r.o.First+int(i), due)
	}
}

// one sends one mail, again and again within the patience.
func (r *run) one(ctx context.Context, s *session, n int, due time.Time) {
	began := time.Now()
	for ctx.Err() == nil {
		id, err := s.send(ctx, r.o, r.o.Source(n))
		if err == nil {
			r.note(n, id, time.Since(due))
			return
		}
		if ctx.Err() != nil {
			return
		}
		if reply, ok := err.(replyError); ok {
			r.refused.Add(1)
			r.mu.Lock()
			r.reply = string(reply)
			r.mu.Unlock()
		} else {
			r.broken.Add(1)
		}
		s.close()
		if time.Since(began) >= r.o.Patience || wait(ctx, 100*time.Millisecond) != nil {
			r.gaveUp.Add(1)
			return
		}
	}
}

func (r *run) note(n int, id string, took time.Duration) {
	r.accepted.Add(1)
	r.latency.Add(took)
	now := time.Now()
	r.mu.Lock()
	r.longest = max(r.longest, now.Sub(r.last))
	r.last = now
	r.mu.Unlock()
	if r.o.Accepted != nil {
		r.o.Accepted(n, id, took)
	}
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SentField is the header field with the time at which a mail was made, in nanoseconds since 1970, and its number.
const SentField = "X-Load-Sent"
