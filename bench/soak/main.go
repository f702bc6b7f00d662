// Command soak runs mxhook for a long time at a high rate, with a retention of minutes, so that what it keeps goes
// through many generations, and writes down what it uses: a table, a CSV file and a picture. It fails when the last
// quarter of the run uses more than the second.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
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
  - name: healthy
    webhook: {url: "http://%[2]s/healthy", secret: "whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs", allow_private: true}
  - name: flaky
    webhook: {url: "http://%[2]s/flaky", secret: "whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs", allow_private: true}
    retry: {steps: [1s, 5s, 10s], every: 10s}
  - name: gone
    webhook: {url: "http://%[2]s/gone", secret: "whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs", allow_private: true}
rules:
  - {name: all, to: [healthy]}
  - {name: some, when: 'subject endsWith "1" or subject endsWith "2"', to: [flaky]}
  - {name: few, when: 'subject endsWith "77"', to: [gone]}
queue: {reserve: 100MB}
ops: {address: "127.0.0.1:0"}
log: {level: info, format: json}
`

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		exit(serve(os.Args[3])) // the process that is measured
	}
	duration := flag.Duration("duration", 45*time.Minute, "how long")
	rate := flag.Float64("rate", 100, "mails in a second")
	sizes := flag.String("sizes", "2KB:60,10KB:30,100KB:9,1MB:1", "the mails and their shares")
	connections := flag.Int("connections", 32, "SMTP connections")
	every := flag.Duration("every", 5*time.Second, "how often is sampled")
	out := flag.String("out", "soak", "name of the results, without .csv and .png")
	dir := flag.String("dir", "", "where the data is kept; empty is a temporary directory, which is removed")
	flag.Parse()
	mix, err := load.ParseMix(*sizes)
	if err != nil {
		exit(err)
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "mxhook-soak-"); err != nil {
			exit(err)
		}
		defer os.RemoveAll(*dir) //nolint:errcheck // a temporary directory
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *duration)
	defer cancel()
	exit(run(ctx, *dir, *out, *every, load.Options{Connections: *connections, PerConnection: 20, Rate: *rate, Mix: mix, Patience: time.Minute}))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, dir, out string, every time.Duration, o load.Options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	hooks, err := endpoint.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer hooks.Close()
	hooks.Set("flaky", endpoint.Knobs{Flaky: 0.3})
	hooks.Set("gone", endpoint.Knobs{Status: 410})
	s, err := server.Start(self, dir, fmt.Sprintf(config, dir, hooks.Addr()))
	if err != nil {
		return err
	}
	defer s.Kill()

	var sent endpoint.Ledger
	o.Addr = s.SMTP
	o.Accepted = func(_ int, id string, _ time.Duration) { sent.Add(id) }
	ended := make(chan load.Result, 1)
	go func() { ended <- load.Run(ctx, o, 0) }()
	var samples []sample
	tick := time.NewTicker(every)
	defer tick.Stop()
	began := time.Now()
sampling:
	for {
		select {
		case <-ctx.Done():
			break sampling
		case <-tick.C:
		}
		p, err := s.Sample()
		if err != nil {
			return err
		}
		samples = append(samples, newSample(p, p.At.Sub(began), sent.Count(), filepath.Join(dir, "data")))
		if err := write(out, samples); err != nil {
			return err
		}
	}
	r := <-ended
	for deadline := time.Now().Add(5 * time.Minute); hooks.Missing("healthy", &sent) > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Second)
	}
	missing, c := hooks.Missing("healthy", &sent), hooks.Counts("healthy")
	fmt.Printf("%s, accepted %d (%.0f /s), refused %d, broken %d, p99 of the reply %s; delivered to the healthy sink %d, repeated %d, missing %d, p99 end to end %s\n",
		r.Took.Round(time.Second), r.Accepted, r.Rate(), r.Refused, r.Broken, r.Latency.Quantile(.99).Round(time.Millisecond),
		c.Unique, c.Repeated, missing, c.Latency.Quantile(.99).Round(time.Millisecond))
	if missing > 0 {
		return fmt.Errorf("%d mails that were accepted did not arrive", missing)
	}
	return flat(samples)
}
