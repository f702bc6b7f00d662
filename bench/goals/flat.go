package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxhook/bench/endpoint"
	"mxhook/bench/load"
	"mxhook/bench/proc"
	"mxhook/bench/server"
)

// variant is a configuration whose cost is compared with that of the plain one.
type variant struct {
	name, title string
	config      string
	server      *server.Server
	arrived     int64
	costs       []float64 // µs of CPU for each mail, by round
}

// flat measures goal 7: the cost of a mail over the size of what is configured, and of what waits.
func (b *bench) flat(ctx context.Context) error {
	variants, err := b.variants()
	if err != nil {
		return err
	}
	defer func() {
		for _, v := range variants {
			if v.server != nil {
				v.server.Kill()
			}
		}
	}()
	for _, v := range variants {
		dir := filepath.Join(b.dir, v.name)
		if v.server, err = server.Start(b.bin, dir, v.config); err != nil {
			return err
		}
		if _, err := b.cost(ctx, v, 1000); err != nil {
			return err
		}
	}
	for range b.rounds {
		for _, v := range variants {
			c, err := b.cost(ctx, v, int(b.length.Seconds()*500))
			if err != nil {
				return err
			}
			v.costs = append(v.costs, c)
		}
	}
	plain := variants[0].costs
	for _, v := range variants[1:] {
		var ratios []float64
		for i, c := range v.costs {
			ratios = append(ratios, c/plain[i])
		}
		slices.Sort(ratios)
		m := ratios[len(ratios)/2]
		b.goal("7. CPU of a mail with "+v.title, "1 ± 0.15 ×", m <= 1.15, "%.2f × (%.2f-%.2f)", m, ratios[0], ratios[len(ratios)-1])
	}
	rules := slices.Sorted(slices.Values(variants[1].costs))[len(plain)/2] - slices.Sorted(slices.Values(plain))[len(plain)/2]
	b.note("7. A rule that does not match costs %.0f ns a mail (the slope over 1,000 of them).", rules)
	if b.backlog == "" {
		return nil
	}
	return b.waiting(ctx)
}

// cost is the CPU of a mail in microseconds.
func (b *bench) cost(ctx context.Context, v *variant, count int) (float64, error) {
	used := proc.CPU(v.server.PID())
	r := load.Run(ctx, load.Options{Addr: v.server.SMTP, Connections: 16, Source: b.source}, count)
	if r.Accepted < int64(count) {
		return 0, fmt.Errorf("%s: %d of %d mails were accepted: %s", v.title, r.Accepted, count, r.Reply)
	}
	v.arrived += r.Accepted
	if err := b.arrive(ctx, v.name, v.arrived, time.Minute); err != nil {
		return 0, fmt.Errorf("%s: %w", v.title, err)
	}
	return float64((proc.CPU(v.server.PID()) - used).Microseconds()) / float64(count), nil
}

func (b *bench) variants() ([]*variant, error) {
	out := []*variant{
		{name: "plain"},
		{name: "rules", title: "1,000 rules that do not match"},
		{name: "recipients", title: "100,000 recipients"},
		{name: "sinks", title: "50 sinks"},
	}
	for _, v := range out {
		dir := filepath.Join(b.dir, v.name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		v.config = server.MainJob(dir, b.url(v.name), b.names.Addr(), "queue: {durability: fsync, reserve: 100MB}")
		b.hook.Set(v.name, endpoint.Knobs{})
		var more strings.Builder
		switch v.name {
		case "rules":
			more.WriteString("rules:\n")
			for i := range 1000 {
				fmt.Fprintf(&more, "  - {name: r%d, when: 'recipient.local == \"box%d\" and subject contains \"ticket %d\"', to: [hook]}\n", i, i, i)
			}
			v.config += more.String()
		case "recipients":
			more.WriteString("in\n")
			for i := range 100_000 {
				fmt.Fprintf(&more, "box%d\n", i)
			}
			file := filepath.Join(dir, "recipients")
			if err := os.WriteFile(file, []byte(more.String()), 0o644); err != nil {
				return nil, err
			}
			v.config = strings.Replace(v.config, "domains: [{domain: example.com}]", fmt.Sprintf("domains: [{domain: example.com, recipients_file: %q}]", file), 1)
		case "sinks":
			for i := range 49 {
				fmt.Fprintf(&more, "  - {name: other%d, webhook: {url: %q, secret: \"whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs\", allow_private: true}}\n", i, b.url("other"))
			}
			v.config = strings.Replace(v.config, "default: [hook]", more.String()+"default: [hook]", 1)
		}
	}
	return out, nil
}

// waiting runs bench/backlog, whose table has the CPU of a mail to another sink beside what waits.
func (b *bench) waiting(ctx context.Context) error {
	program := filepath.Join(b.dir, "backlog-program")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./backlog").CombinedOutput(); err != nil {
		return fmt.Errorf("build backlog: %w\n%s", err, out)
	}
	if err := os.MkdirAll(filepath.Join(b.dir, "backlog"), 0o755); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, program, "-due", "24h", "-points", b.backlog, "-drain", "0", "-dir", filepath.Join(b.dir, "backlog")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("backlog: %w\n%s", err, out)
	}
	costs := map[string]float64{}
	var table []string
	for line := range strings.Lines(string(out)) {
		f := strings.Split(line, "|")
		if len(f) < 8 {
			continue
		}
		table = append(table, strings.TrimSpace(line))
		if us, err := strconv.ParseFloat(strings.TrimSpace(f[6]), 64); err == nil {
			if name := strings.TrimSpace(f[1]); costs[name] == 0 {
				costs[name] = us
			}
		}
	}
	points := strings.Split(b.backlog, ",")
	first, last := points[0], points[len(points)-1]
	if costs[first] == 0 || costs[last] == 0 {
		return fmt.Errorf("the table of backlog has no lines %s and %s:\n%s", first, last, out)
	}
	ratio := costs[last] / costs[first]
	b.goal(fmt.Sprintf("7. CPU of a mail while %s deliveries wait, against %s", last, first), "1 ± 0.15 ×", ratio <= 1.15, "%.2f ×", ratio)
	b.note("7. Beside a backlog (`go run ./backlog`), 10 KB of plain text to another sink:\n\n%s", strings.Join(table, "\n"))
	return os.RemoveAll(filepath.Join(b.dir, "backlog"))
}
