package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mxhook/bench/endpoint"
	"mxhook/bench/load"
	"mxhook/bench/peers"
	"mxhook/bench/proc"
)

// contender is one line of the table.
type contender struct {
	name, title              string
	durable, delivers, limit bool
	start                    func(peers.Env) (*peers.Running, error) // nil: there is nothing to start
	measure                  func(context.Context) error
	running                  *peers.Running
	// mails of a round, sent the mails so far.
	mails, sent int
	accepted    endpoint.Ledger
	samples     []sample
	// failed is why it is not measured (any more).
	failed string
}

// sample is what one round has shown. Times are in microseconds, memory is in bytes.
type sample struct {
	// Accepted and Delivered are rates in a second: of the final replies, and from the first mail to the last webhook.
	Accepted  float64 `json:"accepted"`
	Delivered float64 `json:"delivered,omitempty"`
	// CPU is the processor time of all processes of the server for each mail.
	CPU      float64 `json:"cpu"`
	ReplyP50 float64 `json:"reply_p50"`
	ReplyP99 float64 `json:"reply_p99"`
	EndP50   float64 `json:"end_p50,omitempty"`
	EndP99   float64 `json:"end_p99,omitempty"`
	// Memory is the most that was seen, Anon of that what is not mapped from files.
	Memory   int64 `json:"memory,omitempty"`
	Anon     int64 `json:"anon,omitempty"`
	Mails    int   `json:"mails,omitempty"`
	Missing  int64 `json:"missing,omitempty"`
	Repeated int64 `json:"repeated,omitempty"`
}

func (s sample) String() string {
	return fmt.Sprintf("%.0f /s accepted, %.0f /s delivered, %.0f µs CPU, reply p99 %.1f ms, end p99 %.1f ms", s.Accepted, s.Delivered, s.CPU, s.ReplyP99/1000, s.EndP99/1000)
}

// start starts a contender, warms it and finds out how many mails make a round.
func (b *bench) start(ctx context.Context, c *contender) error {
	if c.start == nil {
		return nil
	}
	dir := filepath.Join(b.dir, c.name)
	if err := mkdir(dir); err != nil {
		return err
	}
	var err error
	if c.running, err = c.start(peers.Env{Dir: dir, Cache: b.cache, Programs: b.programs, URL: "http://" + b.hook.Addr() + "/" + c.name, DNS: b.names.Addr()}); err != nil {
		return err
	}
	c.mails = 300
	for _, length := range []time.Duration{3 * time.Second, b.length} {
		s, err := b.send(ctx, c, 0)
		if err != nil {
			return err
		}
		rate := s.Accepted
		if c.delivers {
			rate = s.Delivered
		}
		c.mails = max(100, int(rate*length.Seconds()))
	}
	if first := b.hook.First("mxhook"); c.name == "mxhook" && !bytes.Contains(first, []byte(`"spf_aligned":true,"dkim_aligned":true`)) {
		return fmt.Errorf("the mail was not authenticated; the first webhook: %.4000s", first)
	}
	progress("%s: %d mails in a round", c.title, c.mails)
	return nil
}

// round measures as many mails as a contender takes in a round.
func (b *bench) round(ctx context.Context, c *contender) error {
	s, err := b.send(ctx, c, 0)
	if err == nil {
		c.samples = append(c.samples, s)
	}
	return err
}

// paced measures mxhook at a rate that it keeps up with.
func (b *bench) paced(ctx context.Context, c *contender) error {
	for _, other := range b.all {
		if other.name != "mxhook" || other.running == nil {
			continue
		}
		full := other.mails
		other.mails = int(float64(b.rate) * (b.length + 4*time.Second).Seconds())
		s, err := b.send(ctx, other, float64(b.rate))
		other.mails = full
		c.samples = append(c.samples, s)
		return err
	}
	return errors.New("mxhook does not run")
}

// send sends the mails of a round and waits until they have arrived.
func (b *bench) send(ctx context.Context, c *contender, rate float64) (sample, error) {
	counts := b.hook.Counts(c.name)
	*counts.Latency = load.Histogram{}
	lo := load.Options{Addr: c.running.SMTP, Connections: b.connections, Source: b.source, First: c.sent, Rate: rate, Accepted: func(n int, id string, _ time.Duration) {
		if !strings.HasPrefix(c.name, "mxhook") { // others go by the number of the mail
			id = strconv.Itoa(n)
		}
		c.accepted.Add(id)
	}}
	used, began := proc.CPU(c.running.Roots...), time.Now()
	peak := proc.Watch(500*time.Millisecond, c.running.Roots...)
	r := load.Run(ctx, lo, c.mails)
	c.sent += c.mails
	var err error
	if r.Accepted < int64(c.mails) {
		err = fmt.Errorf("of %d mails %d were refused, %d sessions broke: %s", c.mails, r.Refused, r.Broken, r.Reply)
	}
	end := r.Took
	if c.delivers && err == nil {
		end, err = b.arrived(ctx, c, began)
	} else {
		settle(c.running.Roots)
	}
	spent := proc.CPU(c.running.Roots...) - used
	memory, anon := peak()
	if err != nil {
		return sample{}, err
	}
	n := float64(r.Accepted)
	s := sample{
		Accepted: r.Rate(), CPU: us(spent) / n, ReplyP50: us(r.Latency.Quantile(.5)), ReplyP99: us(r.Latency.Quantile(.99)),
		Memory: memory, Anon: anon, Mails: c.mails,
	}
	if c.delivers {
		counts = b.hook.Counts(c.name)
		s.Delivered, s.EndP50, s.EndP99 = n/end.Seconds(), us(counts.Latency.Quantile(.5)), us(counts.Latency.Quantile(.99))
		s.Repeated, s.Missing = counts.Repeated, b.hook.Missing(c.name, &c.accepted)
	}
	return s, nil
}

// arrived waits for the webhooks of all that was accepted, and returns how long that took.
func (b *bench) arrived(ctx context.Context, c *contender, began time.Time) (time.Duration, error) {
	last, lastAt := int64(-1), time.Now()
	for ctx.Err() == nil {
		n := b.hook.Counts(c.name).Unique
		if n >= c.accepted.Count() {
			return time.Since(began), nil
		}
		if n != last {
			last, lastAt = n, time.Now()
		}
		if time.Since(lastAt) > 15*time.Second {
			return 0, fmt.Errorf("%d of %d mails did not arrive", b.hook.Missing(c.name, &c.accepted), c.accepted.Count())
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, ctx.Err()
}

// settle waits until processes have no more to do, ten seconds at the most: what a mail costs after it was accepted is
// a part of its cost.
func settle(roots []int) {
	const every = 250 * time.Millisecond
	last := proc.CPU(roots...)
	for range 40 {
		time.Sleep(every)
		now := proc.CPU(roots...)
		if now-last <= every/25 {
			return
		}
		last = now
	}
}

// limit runs one of the programs that do one thing only.
func (b *bench) limit(ctx context.Context, c *contender) error {
	dir := filepath.Join(b.dir, c.name)
	if err := mkdir(dir); err != nil {
		return err
	}
	streams, err := filepath.Glob(filepath.Join(b.dir, "mxhook/data/nats/jetstream/*/streams/MXHOOK_MAIL_*"))
	if err != nil {
		return err
	}
	n := len(streams)
	if n == 0 {
		n = 4
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.programs, "limits"), "-dir", dir, "-url", "http://"+b.hook.Addr()+"/post", "-for", (b.length / 2).String(),
		"-workers", strconv.Itoa(b.connections), "-streams", strconv.Itoa(n), c.name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, stderr.String())
	}
	var r struct{ Rate, CPU, P50, P99 float64 }
	if err := json.Unmarshal(out, &r); err != nil {
		return err
	}
	c.samples = append(c.samples, sample{Accepted: r.Rate, CPU: r.CPU, ReplyP50: r.P50, ReplyP99: r.P99})
	return nil
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
