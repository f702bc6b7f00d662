package pipeline

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// SinkStatus is how a configured sink is, for people and monitors.
type SinkStatus struct {
	Name string
	SinkState
	// Limits are those of all workers together, Slots the part of Concurrency that is this worker's, Used its attempts under
	// way.
	Concurrency int
	Rate        Rate
	Slots, Used int
}

// Sinks returns the state of every sink of the plan in force, by name.
func (a *Attempts) Sinks() []SinkStatus {
	i, n := a.board.Place()
	outlets := a.plan().outlets
	all := make([]SinkStatus, 0, len(outlets))
	for _, name := range slices.Sorted(maps.Keys(outlets)) {
		out, g := outlets[name].Outlet, a.gate(name)
		g.mu.Lock()
		used := g.used
		g.mu.Unlock()
		all = append(all, SinkStatus{
			Name: name, SinkState: a.board.State(name), Concurrency: out.Concurrency, Rate: out.Rate,
			Slots: share(max(1, out.Concurrency), name, i, n), Used: used,
		})
	}
	return all
}

// sinkCollector shows Sinks as gauges.
type sinkCollector struct {
	attempts                    *Attempts
	breaker, paused, used, most *prometheus.Desc
}

func newSinkCollector(a *Attempts) *sinkCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("mxhook_sink_"+name, help, []string{"sink"}, nil)
	}
	return &sinkCollector{
		attempts: a,
		breaker:  desc("breaker_open", "1 while the sink's circuit breaker is open and its deliveries wait."),
		paused:   desc("paused", "1 while the sink is paused by hand."),
		used:     desc("attempts_under_way", "Attempts of this process that are under way."),
		most:     desc("slots", "Attempts that this process may have under way: its part of concurrency."),
	}
}

// Describe implements prometheus.Collector.
func (c *sinkCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.breaker, c.paused, c.used, c.most} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *sinkCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, sink string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, sink)
	}
	truth := map[bool]float64{true: 1}
	for _, s := range c.attempts.Sinks() {
		gauge(c.breaker, truth[s.Breaker.Open()], s.Name)
		gauge(c.paused, truth[!s.Pause.Since.IsZero()], s.Name)
		gauge(c.used, float64(s.Used), s.Name)
		gauge(c.most, float64(s.Slots), s.Name)
	}
}
