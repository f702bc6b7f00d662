// Command compare runs mxhook side by side with what people use in its place, and with what this machine can do at the
// most, and prints one table. Everything is running all the time and is measured in turn, round after round, so that
// whatever else the machine does hits all of them.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mxhook/bench/accept"
	"mxhook/bench/endpoint"
	"mxhook/bench/load"
	"mxhook/bench/page"
	"mxhook/bench/peers"
	"mxhook/bench/server"
	"mxhook/bench/zone"
)

type options struct {
	dir, cache, only, page, json, size string
	rounds, connections, rate          int
	length                             time.Duration
}

func main() {
	if len(os.Args) > 3 && os.Args[1] == "serve" {
		if err := accept.Serve(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.dir, "dir", "", "where the data is kept; empty is a temporary directory, which is removed")
	flag.StringVar(&o.cache, "cache", "../.cache/bench", "where bench/deps has put what is installed")
	flag.StringVar(&o.only, "only", "", "names of what is measured, with commas; empty is everything")
	flag.StringVar(&o.page, "page", "", "a page of Markdown between whose marks the table goes as well")
	flag.StringVar(&o.json, "json", "", "a file for all figures")
	flag.StringVar(&o.size, "size", "10KB", "sizes of the mails, like 10KB or 1KB:9,1MB:1")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds")
	flag.IntVar(&o.connections, "connections", 16, "SMTP connections")
	flag.IntVar(&o.rate, "rate", 200, "mails in a second of the measurement of times")
	flag.DurationVar(&o.length, "for", 6*time.Second, "how long each is measured in a round, about")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// bench is one run of everything.
type bench struct {
	options
	hook     *endpoint.Endpoint
	names    *zone.Server
	source   load.Source
	programs string // directory of the programs of this module
	all      []*contender
}

func run(ctx context.Context, o options) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "mxhook-compare-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)                      //nolint:errcheck // a temporary directory
		if err := os.Chmod(dir, 0o755); err != nil { // Postfix works as a user of its own
			return err
		}
		o.dir = dir
	}
	var err error
	if o.cache, err = filepath.Abs(o.cache); err != nil {
		return err
	}
	mix, err := load.ParseMix(o.size)
	if err != nil {
		return err
	}
	b := &bench{options: o, programs: filepath.Join(o.dir, "bin")}
	var key string
	if b.source, key, err = load.Signed(mix); err != nil {
		return err
	}
	if b.names, err = zone.Listen(zone.Sender(load.Domain+".", load.Selector, key)); err != nil {
		return err
	}
	defer b.names.Close()
	if b.hook, err = endpoint.Listen("127.0.0.1:0"); err != nil {
		return err
	}
	defer b.hook.Close()
	if out, err := exec.Command("go", "build", "-o", b.programs+"/", "./peers/relay", "./limits").CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs of this module: %w\n%s", err, out)
	}
	bin, err := server.Build(b.programs)
	if err != nil {
		return err
	}
	b.contenders(bin)
	defer func() {
		for _, c := range b.all {
			if c.running != nil {
				c.running.Stop()
			}
		}
	}()
	for _, c := range b.all {
		if err := b.start(ctx, c); err != nil {
			c.failed = err.Error()
			progress("%s: left out: %v", c.title, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for round := range o.rounds {
		for _, c := range b.all {
			if c.failed != "" {
				continue
			}
			if err := c.measure(ctx); err != nil {
				c.failed = err.Error()
				progress("%s: left out: %v", c.title, err)
				continue
			}
			progress("round %d, %s: %s", round+1, c.title, c.samples[len(c.samples)-1])
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return b.report(os.Stdout)
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// report prints the tables, and writes them where the options say.
func (b *bench) report(w io.Writer) error {
	text := b.tables()
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	if b.page != "" {
		if err := page.Replace(b.page, "compare", page.Machine(b.dir)+"\n"+text); err != nil {
			return err
		}
	}
	if b.json == "" {
		return nil
	}
	out := map[string][]sample{}
	for _, c := range b.all {
		out[c.name] = c.samples
	}
	octets, err := json.MarshalIndent(out, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.json), 0o755); err != nil {
		return err
	}
	return os.WriteFile(b.json, append(octets, '\n'), 0o644)
}

// contenders lists what is measured, in the order of the table.
func (b *bench) contenders(bin string) {
	b.all = append(b.all,
		&contender{name: "mxhook", title: "**mxhook**", durable: true, delivers: true, start: func(e peers.Env) (*peers.Running, error) { return startMxhook(bin, e) }},
		&contender{name: "mxhook-accept", title: "**mxhook**, accepting only", durable: true, start: func(e peers.Env) (*peers.Running, error) {
			self, err := os.Executable()
			if err != nil {
				return nil, err
			}
			return startMxhook(self, e)
		}})
	for _, p := range peers.All() {
		b.all = append(b.all, &contender{name: p.Name, title: p.Title, durable: p.Durable, delivers: p.Delivers, start: p.Start})
	}
	for _, c := range b.all {
		c.measure = func(ctx context.Context) error { return b.round(ctx, c) }
	}
	b.all = append(b.all, &contender{name: "mxhook-latency", title: fmt.Sprintf("**mxhook**, %d mails in a second", b.rate), durable: true, delivers: true})
	slow := b.all[len(b.all)-1]
	slow.measure = func(ctx context.Context) error { return b.paced(ctx, slow) }
	for _, l := range []struct{ name, title string }{
		{"post", "POST of 10 KB to the endpoint, nothing else"},
		{"puback", "publish to the embedded NATS, synced, nothing else"},
		{"log", "a log that syncs once for all that wait, nothing else"},
	} {
		c := &contender{name: l.name, title: l.title, durable: l.name != "post", limit: true}
		c.measure = func(ctx context.Context) error { return b.limit(ctx, c) }
		b.all = append(b.all, c)
	}
	if b.only != "" {
		b.all = slices.DeleteFunc(b.all, func(c *contender) bool { return !slices.Contains(strings.Split(b.only, ","), c.name) })
	}
}

// startMxhook runs mxhook with the configuration of the main job.
func startMxhook(bin string, e peers.Env) (*peers.Running, error) {
	s, err := server.Start(bin, e.Dir, server.MainJob(e.Dir, e.URL, e.DNS, "queue: {durability: fsync, reserve: 100MB}"))
	if err != nil {
		return nil, err
	}
	return &peers.Running{SMTP: s.SMTP, Roots: []int{s.PID()}, Stop: func() { s.Kill() }}, nil
}
