// Command run measures mxhook by its main job: signed mail of 10 KB in by SMTP, webhooks out, every mail on disk before it
// is accepted.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mxhook/bench/endpoint"
	"mxhook/bench/load"
	"mxhook/bench/proc"
	"mxhook/bench/server"
	"mxhook/bench/zone"
)

type options struct {
	dir, bin, durability, size       string
	mails, warm, connections, rounds int
	rate                             float64
	perConnection                    int
	stepByStep, starttls             bool
	knobs                            endpoint.Knobs
	profiles                         map[string]string
	profileFor                       time.Duration
}

func main() {
	o := options{profiles: map[string]string{}}
	flag.StringVar(&o.dir, "dir", "", "where the data is kept; empty is a temporary directory, which is removed")
	flag.StringVar(&o.bin, "bin", "", "the mxhook to run; empty builds it from the sources beside this module")
	flag.StringVar(&o.durability, "durability", "fsync", "queue.durability")
	flag.StringVar(&o.size, "size", "10KB", "sizes of the mails, like 10KB or 1KB:9,1MB:1")
	flag.IntVar(&o.mails, "n", 10000, "mails of a round")
	flag.IntVar(&o.warm, "warm", 2000, "mails before the first round, which are not measured")
	flag.IntVar(&o.connections, "connections", 16, "SMTP connections")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds")
	flag.IntVar(&o.perConnection, "per-connection", 0, "mails of one connection; 0 is no bound, 1 a new connection for each")
	flag.BoolVar(&o.stepByStep, "step-by-step", false, "wait for the reply to each command, without pipelining")
	flag.BoolVar(&o.starttls, "starttls", false, "encrypt the connections")
	flag.DurationVar(&o.knobs.Delay, "delay", 0, "how long the endpoint takes to answer")
	flag.IntVar(&o.knobs.Status, "status", 0, "what it answers; 0 is 200")
	flag.Float64Var(&o.knobs.Flaky, "flaky", 0, "share of webhooks that get 503")
	flag.Float64Var(&o.rate, "rate", 0, "mails in a second; 0 is as fast as they are accepted")
	for _, p := range []string{"cpu", "allocs", "heap", "mutex", "block", "trace"} {
		name := p
		if p == "cpu" || p == "mutex" || p == "block" {
			name = p + "profile"
		} else if p == "allocs" || p == "heap" {
			name = map[string]string{"allocs": "memprofile", "heap": "heapprofile"}[p]
		}
		flag.Func(name, "write this profile of mxhook to a file, under the same load after the rounds", func(file string) error {
			o.profiles[p] = file
			return nil
		})
	}
	flag.DurationVar(&o.profileFor, "profile-for", 15*time.Second, "how long a profile is taken; a trace two seconds at the most")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "mxhook-run-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
		o.dir = dir
	}
	mix, err := load.ParseMix(o.size)
	if err != nil {
		return err
	}
	if o.bin == "" {
		if o.bin, err = server.Build(o.dir); err != nil {
			return err
		}
	}
	source, key, err := load.Signed(mix)
	if err != nil {
		return err
	}
	names, err := zone.Listen(zone.Sender(load.Domain+".", load.Selector, key))
	if err != nil {
		return err
	}
	defer names.Close()
	hook, err := endpoint.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer hook.Close()
	hook.Set("hook", o.knobs)
	config := server.MainJob(o.dir, "http://"+hook.Addr()+"/hook", names.Addr(), "queue: {durability: "+o.durability+", reserve: 100MB}")
	if o.starttls {
		if config, err = withCertificate(config, o.dir); err != nil {
			return err
		}
	}
	s, err := server.Start(o.bin, o.dir, config)
	if err != nil {
		return err
	}
	defer s.Stop()
	var sent endpoint.Ledger
	lo := load.Options{
		Addr: s.SMTP, Connections: o.connections, Source: source, Rate: o.rate, PerConnection: o.perConnection, StepByStep: o.stepByStep,
		Accepted: func(_ int, id string, _ time.Duration) { sent.Add(id) },
	}
	if o.starttls {
		lo.TLS = &tls.Config{InsecureSkipVerify: true} // the certificate is ours, and not what is measured
	}
	load.Run(ctx, lo, o.warm)
	if err := drain(ctx, hook, &sent); err != nil {
		return err
	}
	if first := hook.First("hook"); !bytes.Contains(first, []byte(`"spf_aligned":true,"dkim_aligned":true`)) {
		return fmt.Errorf("the mail was not authenticated; the first webhook: %.4000s", first)
	}
	fmt.Printf("| %5s | %9s | %9s | %9s | %9s | %9s | %9s | %9s | %9s | %7s | %8s |\n", "round", "accept /s", "end /s", "CPU µs",
		"reply p50", "reply p99", "end p50", "end p99", "peak MB", "queries", "repeated")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|")
	for round := range o.rounds {
		counts := hook.Counts("hook")
		*counts.Latency = load.Histogram{}
		cpu, queries, began := proc.CPU(s.PID()), names.Queries(), time.Now()
		peak := proc.Watch(250*time.Millisecond, s.PID())
		r := load.Run(ctx, lo, o.mails)
		if r.Refused+r.Broken > 0 {
			return fmt.Errorf("%d mails were refused, %d sessions broke: %s", r.Refused, r.Broken, r.Reply)
		}
		if err := drain(ctx, hook, &sent); err != nil {
			return err
		}
		took, used := time.Since(began), proc.CPU(s.PID())-cpu
		most, _ := peak()
		unit := 10 * time.Microsecond
		fmt.Printf("| %5d | %9.0f | %9.0f | %9.0f | %9s | %9s | %9s | %9s | %9d | %7d | %8d |\n", round+1, r.Rate(), float64(r.Accepted)/took.Seconds(),
			float64(used.Microseconds())/float64(r.Accepted), r.Latency.Quantile(.5).Round(unit), r.Latency.Quantile(.99).Round(unit),
			counts.Latency.Quantile(.5).Round(unit), counts.Latency.Quantile(.99).Round(unit), most>>20, names.Queries()-queries, hook.Counts("hook").Repeated)
	}
	return profile(ctx, o, s, lo)
}

// drain waits until every mail that was accepted is at the endpoint.
func drain(ctx context.Context, hook *endpoint.Endpoint, sent *endpoint.Ledger) error {
	for began := time.Now(); hook.Counts("hook").Unique < sent.Count(); time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > time.Minute {
			return fmt.Errorf("%d of %d mails did not arrive within a minute", hook.Missing("hook", sent), sent.Count())
		}
	}
	return nil
}

// profile takes profiles, one after the other, while mail flows.
func profile(ctx context.Context, o options, s *server.Server, lo load.Options) error {
	if len(o.profiles) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		load.Run(ctx, lo, 0)
	}()
	defer func() { cancel(); <-ended }()
	// What counts from the start of the process on comes last.
	last := func(name string) int { return strings.Index("cpu trace mutex block allocs heap", name) }
	for _, name := range slices.SortedFunc(maps.Keys(o.profiles), func(a, b string) int { return last(a) - last(b) }) {
		file, length := o.profiles[name], o.profileFor
		if name == "trace" {
			length = min(length, 2*time.Second)
		}
		if err := fetch(ctx, fmt.Sprintf("http://%s/api/v1/profile/%s?seconds=%g", s.Ops, name, length.Seconds()), file); err != nil {
			return fmt.Errorf("profile %s: %w", name, err)
		}
		fmt.Println("wrote", file)
	}
	return nil
}

func fetch(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", resp.Status)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
