package queue

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

// metrics are the queue's; without a registerer they count for nobody.
type metrics struct {
	reg prometheus.Registerer
	all []prometheus.Collector

	up, mailWaiting, deadLetters, storageUsed, storageFree, storageLimit, oldestMail, oldestDelivery, ageAlarm, leaderless prometheus.Gauge

	deliveries                                   *prometheus.GaugeVec
	commits                                      *prometheus.HistogramVec
	settled, refusals, purged                    *prometheus.CounterVec
	buried, rebuilds, unlogged, repeats, orphans prometheus.Counter
}

func newMetrics(q *Queue) (*metrics, error) {
	m := &metrics{reg: q.cfg.Registerer}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "mxhook_queue_" + name, Help: help})
		m.all = append(m.all, g)
		return g
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mxhook_queue_" + name, Help: help}, labels)
		m.all = append(m.all, c)
		return c
	}
	m.up = gauge("up", "1 while the queue works.")
	m.mailWaiting = gauge("messages_waiting", "Messages that are not settled.")
	m.deadLetters = gauge("dead_letters", "Dead letters kept.")
	m.storageUsed = gauge("storage_used_bytes", "Bytes that the queue stores.")
	m.storageFree = gauge("storage_free_bytes", "Bytes that may still be stored, the reserve included.")
	m.storageLimit = gauge("storage_limit_bytes", "The quota; 0 is none.")
	m.oldestMail = gauge("oldest_message_seconds", "Age of the oldest message that is not settled.")
	m.oldestDelivery = gauge("oldest_delivery_seconds", "Age of the message of the oldest delivery that waits.")
	m.ageAlarm = gauge("age_alarm", "1 while something unsettled is within 24 hours of the retention.")
	m.leaderless = gauge("mail_streams_without_leader", "Mail streams of an external cluster that nothing can be stored in just now; new mail goes to the others.")
	m.buried = counter("buried_total", "Deliveries that became dead letters.").WithLabelValues()
	m.unlogged = counter("deliveries_unrecorded_total", "Deliveries that succeeded and are not in the list of those: the queue did not take the record in time.").WithLabelValues()
	m.repeats = counter("repeats_total", "Messages that were taken before, and were answered with the first one's id.").WithLabelValues()
	m.rebuilds = counter("rebuilds_total", "Times that the embedded server was started anew.").WithLabelValues()
	m.orphans = counter("orphans_total", "Messages in parts that never became whole, after a crash for one, and whose parts were removed.").WithLabelValues()
	m.settled = counter("settled_total", "Messages and deliveries settled, by outcome.", "what", "outcome")
	m.refusals = counter("refused_total", "Messages not admitted or not committed, by reason.", "reason")
	m.purged = counter("purged_total", "Stored pieces of settled messages that were removed, by reason.", "reason")
	m.deliveries = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "mxhook_queue_deliveries", Help: "Deliveries that wait, by sink and state (due, scheduled).",
	}, []string{"sink", "state"})
	m.commits = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "mxhook_queue_commit_seconds", Help: "Time until a message was durable.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"result"})
	mode := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mxhook_queue_durability", Help: "Always 1; the mode in force: what a 250 stands for.", ConstLabels: prometheus.Labels{"mode": q.cfg.Durability},
	})
	mode.Set(1)
	m.all = append(m.all, mode)
	inFlight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mxhook_queue_in_flight_bytes", Help: "Octets of messages on their way into the queue.",
	}, func() float64 { return float64(q.inFlightBytes.Load()) })
	m.all = append(m.all, m.deliveries, m.commits, inFlight)
	if m.reg == nil {
		return m, nil
	}
	for i, c := range m.all {
		if err := m.reg.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m.reg == nil {
		return
	}
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}

func (m *metrics) refused(err error) {
	reason := "unavailable"
	if errors.Is(err, pipeline.ErrStorage) {
		reason = "storage"
	}
	m.refusals.WithLabelValues(reason).Inc()
}

func (m *metrics) committed(took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = "error"
		m.refused(err)
	}
	m.commits.WithLabelValues(result).Observe(took.Seconds())
}

// show sets the gauges to a status.
func (m *metrics) show(s Status) {
	m.mailWaiting.Set(float64(s.Messages))
	m.deadLetters.Set(float64(s.DeadLetters))
	m.storageUsed.Set(float64(s.StorageUsed))
	m.storageFree.Set(float64(s.StorageFree))
	m.storageLimit.Set(float64(s.StorageLimit))
	m.oldestMail.Set(s.OldestMessage.Seconds())
	m.oldestDelivery.Set(s.OldestDelivery.Seconds())
	m.deliveries.Reset()
	for sink, n := range s.Deliveries {
		m.deliveries.WithLabelValues(sink, "due").Set(float64(n.Due))
		m.deliveries.WithLabelValues(sink, "scheduled").Set(float64(n.Scheduled))
	}
}
