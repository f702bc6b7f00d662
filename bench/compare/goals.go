package main

import (
	"fmt"
	"strings"

	"mxhook/bench/page"
)

// goals says of each goal that these figures speak of whether it is met.
func (b *bench) goals() string {
	var w strings.Builder
	w.WriteString("| goal | wanted | seen | |\n|---|--:|--:|---|\n")
	ours, accepting := b.named("mxhook"), b.named("mxhook-accept")
	line := func(what, wanted, seen string, met bool) {
		fmt.Fprintf(&w, "| %s | %s | %s | %s |\n", what, wanted, seen, page.Met(met))
	}
	// compare demands that our figure, divided by that of another, is below or above a bound.
	compare := func(what string, c *contender, name string, figure func(sample) float64, bound float64, atLeast bool) {
		other := b.named(name)
		s, ok := b.ratio(c, other, figure)
		sign := "≤"
		if atLeast {
			sign = "≥"
		}
		if !ok {
			fmt.Fprintf(&w, "| %s | %s %.3g × | not measured | |\n", what, sign, bound)
			return
		}
		met := s.median <= bound
		if atLeast {
			met = s.median >= bound
		}
		line(what, fmt.Sprintf("%s %.3g ×", sign, bound), fmt.Sprintf("%.3g × (%.3g-%.3g)", s.median, s.least, s.most), met)
	}
	if ours != nil {
		s, _ := spreadOf(ours.of(figures.cpu))
		line("1. CPU of a mail", "≤ 430 µs", fmt.Sprintf("%.0f µs", s.median), s.median <= 430)
	}
	compare("1. CPU against the Go relay with SPF, which keeps nothing", ours, "relay", figures.cpu, .4, false)
	compare("1. CPU against the Go relay that checks nothing", ours, "bare-relay", figures.cpu, .4, false)
	compare("1. CPU against Postfix → LMTP → HTTP", ours, "postfix-lmtp", figures.cpu, 1./15, false)
	compare("1. CPU against Node", ours, "node", figures.cpu, 1./6, false)
	for _, kind := range []struct {
		durable bool
		what    string
		bound   float64
	}{{false, "2. delivered, against the fastest that keeps nothing", 1.8}, {true, "2. delivered, against the fastest durable one", 10}} {
		best := ""
		most := 0.
		for _, c := range b.all {
			if s, ok := spreadOf(c.of(figures.delivered)); ok && c.delivers && c.durable == kind.durable && !strings.HasPrefix(c.name, "mxhook") && s.median > most {
				best, most = c.name, s.median
			}
		}
		compare(kind.what+" ("+best+")", ours, best, figures.delivered, kind.bound, true)
	}
	compare("3. accepted, against Postfix", accepting, "postfix", figures.accepted, 5, true)
	compare("3. accepted, against Postfix with all mail on hold", accepting, "postfix-hold", figures.accepted, 2, true)
	compare("3. accepted, against smtp-sink", accepting, "smtp-sink", figures.accepted, .4, true)
	compare("3. p99 of the final reply, against a bare synced publish", accepting, "puback", figures.replyP99, 2, false)
	if s, ok := b.ratio(accepting, b.named("log"), figures.accepted); ok {
		fmt.Fprintf(&w, "| 3. accepted, against a log that syncs for all that wait | (reported) | %.3g × | |\n", s.median)
	}
	if slow := b.named("mxhook-latency"); slow != nil {
		p50, _ := spreadOf(slow.of(figures.endP50))
		p99, _ := spreadOf(slow.of(figures.endP99))
		line(fmt.Sprintf("4. from the sender to the endpoint at %d mails in a second, p50", b.rate), "≤ 5 ms", fmt.Sprintf("%.2f ms", p50.median/1000), p50.median <= 5000)
		line("4. the same, p99", "≤ 25 ms", fmt.Sprintf("%.1f ms", p99.median/1000), p99.median <= 25000)
	}
	return w.String()
}
