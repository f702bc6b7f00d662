package webhook

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what the webhook sinks of one process do. Safe for concurrent use; a nil *Metrics counts nothing.
type Metrics struct {
	answers     *prometheus.CounterVec
	octets      *prometheus.CounterVec
	connections *prometheus.CounterVec
	shapes      *prometheus.CounterVec
	shapeWork   *prometheus.CounterVec
}

// NewMetrics registers the metrics with r, or takes those that an earlier call registered there. r may be nil.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	if r == nil {
		return nil, nil
	}
	m := &Metrics{}
	for _, c := range []struct {
		into       **prometheus.CounterVec
		name, help string
		labels     []string
	}{
		{
			&m.answers, "mxhook_webhook_answers_total",
			"Attempts by what the endpoint answered: 2xx, 3xx, 4xx, 5xx, timeout, refused (address guard) or error.",
			[]string{"sink", "answer"},
		},
		{&m.octets, "mxhook_webhook_request_bytes_total", "Octets of request bodies of attempts.", []string{"sink"}},
		{
			&m.connections, "mxhook_webhook_connections_total",
			"Connections opened; close to the number of attempts when the endpoint does not keep them.",
			[]string{"sink"},
		},
		{&m.shapes, "mxhook_webhook_shapes_total", "Runs of shapes by result: ok, failed or interrupted.", []string{"sink", "result"}},
		{&m.shapeWork, "mxhook_webhook_shape_work_bytes_total", "Octets that shapes looked at or made.", []string{"sink"}},
	} {
		vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: c.name, Help: c.help}, c.labels)
		err := r.Register(vec)
		if was, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			if same, ok := was.ExistingCollector.(*prometheus.CounterVec); ok {
				vec, err = same, nil
			}
		}
		if err != nil {
			return nil, fmt.Errorf("register metric %s: %w", c.name, err)
		}
		*c.into = vec
	}
	return m, nil
}

func (m *Metrics) attempt(sink string, size int64) {
	if m != nil {
		m.octets.WithLabelValues(sink).Add(float64(size))
	}
}

func (m *Metrics) connection(sink string) {
	if m != nil {
		m.connections.WithLabelValues(sink).Inc()
	}
}

// shaped counts a run of a shape.
func (m *Metrics) shaped(sink string, work int64, err error, interrupted bool) {
	if m == nil {
		return
	}
	result := "ok"
	switch {
	case err != nil && interrupted:
		result = "interrupted"
	case err != nil:
		result = "failed"
	}
	m.shapes.WithLabelValues(sink, result).Inc()
	m.shapeWork.WithLabelValues(sink).Add(float64(work))
}

func (m *Metrics) answer(sink string, resp *http.Response, err error) {
	if m == nil {
		return
	}
	answer := "error"
	switch {
	case resp != nil && resp.StatusCode >= 100 && resp.StatusCode <= 599:
		answer = fmt.Sprintf("%dxx", resp.StatusCode/100)
	case errors.Is(err, ErrInternalAddress):
		answer = "refused"
	case timedOut(err):
		answer = "timeout"
	}
	m.answers.WithLabelValues(sink, answer).Inc()
}
