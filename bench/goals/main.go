// Command goals measures what the table of bench/compare does not show: large mails, idle connections and starts, cost
// over size of configuration and backlog, and two workers against one. It prints each goal with met or not met.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mxhook/bench/accept"
	"mxhook/bench/endpoint"
	"mxhook/bench/load"
	"mxhook/bench/page"
	"mxhook/bench/server"
	"mxhook/bench/zone"
)

type options struct {
	dir, only, page, backlog string
	rounds, kept             int
	length                   time.Duration
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
	flag.StringVar(&o.only, "only", "5,6,7,8", "the numbers of the goals")
	flag.StringVar(&o.page, "page", "", "a page of Markdown between whose marks the table goes as well")
	flag.StringVar(&o.backlog, "backlog", "1000,1000000", "deliveries that wait; empty leaves that out")
	flag.IntVar(&o.kept, "kept", 1_000_000, "messages that are kept when a start is timed; 0 leaves that out")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of what is compared")
	flag.DurationVar(&o.length, "for", 6*time.Second, "how long each is measured in a round, about")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "goals:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	options
	bin, self string
	hook      *endpoint.Endpoint
	names     *zone.Server
	source    load.Source
	// lines are those of the table, notes what goes below it.
	lines, notes []string
}

func run(ctx context.Context, o options) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "mxhook-goals-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
		o.dir = dir
	}
	b := &bench{options: o}
	var err error
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.bin, err = server.Build(o.dir); err != nil {
		return err
	}
	var key string
	if b.source, key, err = load.Signed(load.Mix{{Size: 10_000, Share: 1}}); err != nil {
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
	for _, part := range []struct {
		goal string
		run  func(context.Context) error
	}{{"5", b.large}, {"6", b.idle}, {"7", b.flat}, {"8", b.scale}} {
		if !strings.Contains(o.only, part.goal) {
			continue
		}
		if err := part.run(ctx); err != nil {
			b.note("%s. broke off: %v", part.goal, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	text := "| goal | wanted | seen | |\n|---|--:|--:|---|\n" + strings.Join(b.lines, "") + "\n" + strings.Join(b.notes, "\n\n") + "\n"
	fmt.Print("\n", text)
	if o.page != "" {
		return page.Replace(o.page, "goals", page.Machine(o.dir)+"\n"+text)
	}
	return nil
}

// goal notes a line of the table.
func (b *bench) goal(what, wanted string, met bool, format string, args ...any) {
	line := fmt.Sprintf("| %s | %s | %s | %s |\n", what, wanted, fmt.Sprintf(format, args...), page.Met(met))
	fmt.Fprint(os.Stderr, line)
	b.lines = append(b.lines, line)
}

func (b *bench) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, text)
	b.notes = append(b.notes, text)
}

// start starts mxhook with the configuration of the main job in a directory of that name; bin may be b.self, which
// accepts only. more are further groups of keys.
func (b *bench) start(bin, name, more string, args ...string) (*server.Server, error) {
	if !strings.Contains(more, "queue:") {
		more += "\nqueue: {durability: fsync, reserve: 100MB}"
	}
	return b.startWith(bin, name, server.MainJob(filepath.Join(b.dir, name), b.url(name), b.names.Addr(), more), args...)
}

func (b *bench) startWith(bin, name, config string, args ...string) (*server.Server, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return server.Start(bin, dir, config, args...)
}

func (b *bench) url(name string) string { return "http://" + b.hook.Addr() + "/" + name }

// arrive waits until an endpoint has had so many mails.
func (b *bench) arrive(ctx context.Context, name string, want int64, patience time.Duration) error {
	for until := time.Now().Add(patience); b.hook.Counts(name).Unique < want; time.Sleep(2 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d of %d mails arrived within %s", b.hook.Counts(name).Unique, want, patience)
		}
	}
	return nil
}
