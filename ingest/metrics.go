package ingest

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of one server.
type metrics struct {
	sessions     *prometheus.CounterVec // by listener
	refusals     *prometheus.CounterVec // by reason
	transactions *prometheus.CounterVec // by result
	recipients   *prometheus.CounterVec // by result
	lookups      *prometheus.CounterVec // by DNS list and result
	bytes        prometheus.Counter
	finalReply   prometheus.Histogram
	tlsFailures  prometheus.Counter
	panics       prometheus.Counter
	open         prometheus.GaugeFunc
}

// Results of a transaction, in the metrics and the log.
const (
	resultAccepted = "accepted"
	resultRefused  = "refused"  // 5xx
	resultDeferred = "deferred" // 4xx
	resultAborted  = "aborted"  // by the client: RSET, QUIT, a lost connection
)

func newMetrics(reg prometheus.Registerer, open func() float64) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mxhook_smtp_" + name, Help: help}, labels)
	}
	m := &metrics{
		sessions:     counter("sessions_total", "SMTP sessions begun.", "listener"),
		refusals:     counter("refusals_total", "Connections, commands and messages refused, by reason.", "reason"),
		transactions: counter("transactions_total", "Mail transactions ended, by result.", "result"),
		recipients:   counter("recipients_total", "RCPT commands answered, by result.", "result"),
		lookups:      counter("dns_list_answers_total", "Answers of DNS lists, by zone and result (listed, failed).", "zone", "result"),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mxhook_smtp_received_bytes_total", Help: "Octets of accepted messages.",
		}),
		finalReply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mxhook_smtp_final_reply_seconds",
			Help:    "Time from the end of the data to the reply that accepts or refuses the message.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		tlsFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mxhook_smtp_tls_failures_total", Help: "TLS handshakes that failed.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mxhook_smtp_panics_total", Help: "Panics caught in sessions. Every one is a bug.",
		}),
		open: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mxhook_smtp_connections", Help: "SMTP sessions open now.",
		}, open),
	}
	if reg == nil {
		return m, nil
	}
	for i, c := range m.collectors() {
		if err := reg.Register(c); err != nil {
			unregister(reg, m.collectors()[:i])
			return nil, fmt.Errorf("register SMTP metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.sessions, m.refusals, m.transactions, m.recipients, m.lookups, m.bytes, m.finalReply, m.tlsFailures, m.panics, m.open,
	}
}

// unregister takes back what was registered. Collectors that were not must not be named: a registry goes by
// description, and would drop another server's.
func unregister(reg prometheus.Registerer, cs []prometheus.Collector) {
	if reg == nil {
		return
	}
	for _, c := range cs {
		reg.Unregister(c)
	}
}

// recipient counts the answer to one RCPT. Replies of other makers are counted by their class.
func (m *metrics) recipient(r *Reply) {
	result := "refused"
	switch {
	case r == replyRcptOK:
		result = "accepted"
	case r == replyUnknownRecipient:
		result = "unknown"
	case r == replyRelayRefused:
		result = "relay"
	case r.Code < 500:
		result = "deferred"
	}
	m.recipients.WithLabelValues(result).Inc()
}
