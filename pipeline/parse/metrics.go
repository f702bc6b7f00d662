package parse

import (
	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

// metrics counts what the stage read.
type metrics struct {
	messages *prometheus.CounterVec
	problems *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_parse_messages_total",
			Help: "Messages parsed, by kind; kind unreadable is one that got no content.",
		}, []string{"kind"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_parse_problems_total",
			Help: "Problems noted while parsing, by code.",
		}, []string{"code"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.messages, m.problems} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// count counts a message and the problems that were noted of it in this run.
func (m *metrics) count(msg *pipeline.Message, noted []pipeline.Problem) {
	kind := "unreadable"
	if msg.Content != nil {
		kind = msg.Content.Kind
	}
	m.messages.WithLabelValues(kind).Inc()
	for _, p := range noted {
		m.problems.WithLabelValues(p.Code).Inc()
	}
}
