// Command backlog fills mxhook with deliveries that wait for an endpoint that is dead, and measures on the way what that
// costs: memory, the rate at which other mail is accepted and delivered, the time of a start, and the drain when the
// endpoint is back.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"mxhook/bench/endpoint"
	"mxhook/bench/load"
	"mxhook/bench/server"
)

const config = `
data_dir: %[1]s/data
smtp:
  hostname: mx.example.com
  listeners: [{name: mx, address: "127.0.0.1:0", protocol: smtp, tls: none}]
  limits: {connections_per_ip: 5000}
domains: [{domain: example.com}]
dns: {servers: ["127.0.0.1:1"]}
sinks:
  - name: dead
    webhook: {url: "http://%[2]s/dead", secret: "whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs", allow_private: true}
    %[4]s
  - name: healthy
    webhook: {url: "http://%[3]s/healthy", secret: "whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs", allow_private: true}
rules:
  - {name: dead, when: 'recipient.local == "dead"', to: [dead]}
  - {name: healthy, when: 'recipient.local == "healthy"', to: [healthy]}
queue: {durability: %[5]s, reserve: 100MB}
ops: {address: "127.0.0.1:0"}
log: {level: info, format: json}
`

type options struct {
	dir, retry, durability, sizes string
	points                        []int
	store                         bool
	due                           time.Duration
	probe, connections            int
	drain                         time.Duration
}

func main() {
	o := options{}
	points := flag.String("points", "1000,10000,100000", "sizes of the backlog at which is measured, growing")
	flag.StringVar(&o.dir, "dir", "", "where the data is kept; empty is a temporary directory, which is removed")
	flag.StringVar(&o.retry, "retry", "", "a line of YAML for the dead sink, such as 'retry: {steps: [1h]}'; empty is the default schedule")
	flag.StringVar(&o.durability, "durability", "fsync", "queue.durability")
	flag.StringVar(&o.sizes, "sizes", "1KB", "the mails that wait")
	flag.BoolVar(&o.store, "store", false, "fill the store of a stopped mxhook, without a sync for each; otherwise fill by SMTP")
	flag.DurationVar(&o.due, "due", 0, "with -store: the deliveries have a next attempt after this time, a fifth more or less; 0: they wait behind an open breaker")
	flag.IntVar(&o.probe, "probe", 3000, "mails of 10 KB to the healthy sink at each point")
	flag.IntVar(&o.connections, "connections", 16, "SMTP connections")
	flag.DurationVar(&o.drain, "drain", 30*time.Minute, "how long the drain may take; 0 leaves it out")
	flag.Parse()
	for text := range strings.SplitSeq(*points, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			fmt.Fprintln(os.Stderr, "backlog: -points:", err)
			os.Exit(2)
		}
		o.points = append(o.points, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "backlog:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	options
	bin, config string
	server      *server.Server
	healthy     *endpoint.Endpoint
	// waiting are the mails for the dead sink, probes those for the healthy one.
	waiting, probes endpoint.Ledger
}

func run(ctx context.Context, o options) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "mxhook-backlog-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
		o.dir = dir
	}
	b := &bench{options: o}
	var err error
	if b.bin, err = server.Build(o.dir); err != nil {
		return err
	}
	if b.healthy, err = endpoint.Listen("127.0.0.1:0"); err != nil {
		return err
	}
	defer b.healthy.Close()
	dead, err := net.Listen("tcp", "127.0.0.1:0") // an address that nobody answers at, as yet
	if err != nil {
		return err
	}
	_ = dead.Close()
	b.config = fmt.Sprintf(config, o.dir, dead.Addr(), b.healthy.Addr(), o.retry, o.durability)
	if err := b.start(); err != nil {
		return err
	}
	defer func() { b.server.Kill() }()

	fmt.Printf("| %-10s | %9s | %9s | %9s | %9s | %10s | %10s | %10s | %8s | %8s |\n", "waiting", "fill /s", "accept /s", "accept p99", "end p99",
		"CPU µs/mail", "memory MB", "peak MB", "disk MB", "fds")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	if err := b.measure(ctx, "0", 0); err != nil {
		return err
	}
	for _, n := range o.points {
		rate, err := b.fill(ctx, n)
		if err != nil {
			return err
		}
		if err := b.measure(ctx, strconv.Itoa(n), rate); err != nil {
			return err
		}
	}
	if err := b.restarts(ctx); err != nil {
		return err
	}
	if o.drain > 0 {
		if err := b.drained(ctx, dead.Addr().String()); err != nil {
			return err
		}
	}
	fmt.Printf("missing at the healthy sink: %d of %d\n", b.healthy.Missing("healthy", &b.probes), b.probes.Count())
	return nil
}

// start starts mxhook over what the data directory has.
func (b *bench) start() error {
	s, err := server.Start(b.bin, b.dir, b.config)
	if err == nil {
		b.server = s
	}
	return err
}

// fill sends mail for the dead sink until that many wait, and returns the rate of it.
func (b *bench) fill(ctx context.Context, n int) (float64, error) {
	if b.store {
		return b.fillStore(ctx, n)
	}
	mix, err := load.ParseMix(b.sizes)
	if err != nil {
		return 0, err
	}
	r := load.Run(ctx, load.Options{
		Addr: b.server.SMTP, Connections: 2 * b.connections, Mix: mix, Recipient: "dead@example.com", Patience: time.Minute,
		Accepted: func(_ int, id string, _ time.Duration) { b.waiting.Add(id) },
	}, n-int(b.waiting.Count()))
	if r.GaveUp > 0 {
		return 0, fmt.Errorf("%d mails were refused: %s", r.GaveUp, r.Reply)
	}
	return r.Rate(), ctx.Err()
}

// measure sends mail to the healthy sink beside the backlog and prints a line of the table.
func (b *bench) measure(ctx context.Context, what string, fill float64) error {
	// What was accepted last is written down as waiting first: that is the cost of the fill.
	for {
		s, err := b.server.Sample()
		if err != nil {
			return err
		}
		if s.Sum("mxhook_queue_messages_waiting") == 0 || ctx.Err() != nil {
			break
		}
		time.Sleep(time.Second)
	}
	before, err := b.server.Sample()
	if err != nil {
		return err
	}
	counts := b.healthy.Counts("healthy")
	*counts.Latency = load.Histogram{}
	r := load.Run(ctx, load.Options{
		Addr: b.server.SMTP, Connections: b.connections, Recipient: "healthy@example.com", Patience: time.Minute,
		Accepted: func(_ int, id string, _ time.Duration) { b.probes.Add(id) },
	}, b.probe)
	for ctx.Err() == nil && b.healthy.Missing("healthy", &b.probes) > 0 {
		time.Sleep(50 * time.Millisecond)
	}
	after, err := b.server.Sample()
	if err != nil {
		return err
	}
	fmt.Printf("| %-10s | %9.0f | %9.0f | %9s | %9s | %10.0f | %10d | %10d | %8d | %8d |\n", what, fill, r.Rate(),
		r.Latency.Quantile(.99).Round(100*time.Microsecond), counts.Latency.Quantile(.99).Round(100*time.Microsecond),
		float64((after.CPU-before.CPU).Microseconds())/float64(max(1, r.Accepted)), after.RSS>>20, after.Peak>>20, after.Disk>>20, after.FDs)
	return ctx.Err()
}

// restarts stops in order, and by a kill, and prints what the next start takes.
func (b *bench) restarts(ctx context.Context) error {
	for _, how := range []string{"stop in order", "kill -9"} {
		var took time.Duration
		if how == "kill -9" {
			took = b.server.Kill()
		} else {
			took = b.server.Stop()
		}
		if err := b.start(); err != nil {
			return err
		}
		s, err := b.server.Sample()
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s, then ready after %s with %d MB resident\n", how, took.Round(time.Millisecond), b.server.Ready.Round(time.Millisecond), s.RSS>>20)
		if err := b.measure(ctx, "after it", 0); err != nil {
			return err
		}
	}
	return nil
}

// drained brings the endpoint back and waits until it has everything.
func (b *bench) drained(ctx context.Context, addr string) error {
	back, err := endpoint.Listen(addr)
	if err != nil {
		return err
	}
	defer back.Close()
	began, first := time.Now(), time.Time{}
	all := b.waiting.Count()
	last, lastAt := int64(0), began
	for tick := time.NewTicker(time.Second); ; <-tick.C {
		c := back.Counts("dead")
		if c.Unique > 0 && first.IsZero() {
			first = time.Now()
		}
		if time.Since(lastAt) > 30*time.Second || c.Unique >= all {
			s, err := b.server.Sample()
			if err != nil {
				return err
			}
			fmt.Printf("drain: after %s %d of %d, %.0f /s, %d MB resident\n", time.Since(began).Round(time.Second), c.Unique, all,
				float64(c.Unique-last)/time.Since(lastAt).Seconds(), s.RSS>>20)
			last, lastAt = c.Unique, time.Now()
		}
		if c.Unique >= all || time.Since(began) > b.drain || ctx.Err() != nil {
			fmt.Printf("drain: %d of %d in %s from the first, which came %s after the endpoint was back; %.0f /s; repeated %d, missing %d\n", c.Unique, all,
				time.Since(first).Round(time.Second), first.Sub(began).Round(time.Second), float64(c.Unique)/time.Since(first).Seconds(), c.Repeated, back.Missing("dead", &b.waiting))
			break
		}
	}
	return b.measure(ctx, "drained", 0)
}
