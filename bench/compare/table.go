package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

func mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755) // whatever the umask is
}

// spread is a median with the least and the most.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) (spread, bool) {
	values = slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return v == 0 || math.IsNaN(v) || math.IsInf(v, 0) })
	if len(values) == 0 {
		return spread{}, false
	}
	slices.Sort(values)
	m := values[len(values)/2]
	if len(values)%2 == 0 {
		m = (m + values[len(values)/2-1]) / 2
	}
	return spread{m, values[0], values[len(values)-1]}, true
}

// of takes one figure of all rounds.
func (c *contender) of(figure func(sample) float64) []float64 {
	out := make([]float64, len(c.samples))
	for i, s := range c.samples {
		out[i] = figure(s)
	}
	return out
}

// cell writes a figure of all rounds as "median (least-most)", divided by unit.
func (c *contender) cell(format string, unit float64, figure func(sample) float64) string {
	s, ok := spreadOf(c.of(figure))
	if !ok {
		return ""
	}
	f := func(v float64) string { return fmt.Sprintf(format, v/unit) }
	return f(s.median) + " (" + f(s.least) + "-" + f(s.most) + ")"
}

// Figures of a sample.
var figures = struct{ accepted, delivered, cpu, replyP50, replyP99, endP50, endP99, memory func(sample) float64 }{
	func(s sample) float64 { return s.Accepted }, func(s sample) float64 { return s.Delivered }, func(s sample) float64 { return s.CPU },
	func(s sample) float64 { return s.ReplyP50 }, func(s sample) float64 { return s.ReplyP99 },
	func(s sample) float64 { return s.EndP50 }, func(s sample) float64 { return s.EndP99 }, func(s sample) float64 { return float64(s.Memory) },
}

// tables are the table of all figures and that of the goals.
func (b *bench) tables() string {
	var w strings.Builder
	fmt.Fprintf(&w, "\nMedian of %d rounds, in brackets least and most. %s mails, %d connections.\n\n", b.rounds, b.size, b.connections)
	w.WriteString("| | durable | accepted /s | delivered /s | CPU µs/mail | × mxhook | reply p50 ms | reply p99 ms | end p50 ms | end p99 ms | memory MB |\n")
	w.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, c := range b.all {
		if len(c.samples) == 0 {
			fmt.Fprintf(&w, "| %s | not measured: %s | | | | | | | | | |\n", c.title, strings.ReplaceAll(firstLine(c.failed), "|", "/"))
			continue
		}
		durable, times := "no", ""
		if c.durable {
			durable = "yes"
		}
		base := b.named("mxhook")
		if !c.delivers {
			base = b.named("mxhook-accept")
		}
		if s, ok := b.ratio(c, base, figures.cpu); ok {
			times = fmt.Sprintf("%.2f", s.median)
		}
		fmt.Fprintf(&w, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", c.title, durable,
			c.cell("%.0f", 1, figures.accepted), c.cell("%.0f", 1, figures.delivered), c.cell("%.0f", 1, figures.cpu), times,
			c.cell("%.2f", 1000, figures.replyP50), c.cell("%.1f", 1000, figures.replyP99),
			c.cell("%.2f", 1000, figures.endP50), c.cell("%.1f", 1000, figures.endP99), c.cell("%.0f", 1<<20, figures.memory))
	}
	w.WriteString("\nCPU is of all processes of a server, × mxhook compares it with the line of mxhook that does the same. Memory is the most resident, shared pages divided.\n")
	for _, c := range b.all {
		var missing, repeated int64
		for _, s := range c.samples {
			missing, repeated = missing+s.Missing, max(repeated, s.Repeated)
		}
		if missing+repeated > 0 {
			fmt.Fprintf(&w, "\n%s: %d mails missing, %d webhooks repeated.\n", c.title, missing, repeated)
		}
		if c.failed != "" && len(c.samples) > 0 {
			fmt.Fprintf(&w, "\n%s: %d rounds only: %s\n", c.title, len(c.samples), firstLine(c.failed))
		}
	}
	w.WriteString("\n" + b.goals())
	return w.String()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (b *bench) named(name string) *contender {
	for _, c := range b.all {
		if c.name == name && len(c.samples) > 0 {
			return c
		}
	}
	return nil
}

// ratio divides a figure of c by that of other, round by round.
func (b *bench) ratio(c, other *contender, figure func(sample) float64) (spread, bool) {
	if c == nil || other == nil {
		return spread{}, false
	}
	x, y := c.of(figure), other.of(figure)
	var ratios []float64
	for i := range min(len(x), len(y)) {
		ratios = append(ratios, x[i]/y[i])
	}
	return spreadOf(ratios)
}
