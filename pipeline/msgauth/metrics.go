package msgauth

import (
	"errors"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Results of a DNS lookup, as a metric's label.
const (
	resultFound    = "found"
	resultNotFound = "not_found"
	resultTimeout  = "timeout"
	resultError    = "error"
)

func resultOf(err error) string {
	var d *net.DNSError
	switch {
	case !errors.As(err, &d):
		return resultError
	case d.IsNotFound:
		return resultNotFound
	case d.IsTimeout:
		return resultTimeout
	}
	return resultError
}

type resolverMetrics struct {
	lookups   *prometheus.CounterVec
	cacheHits prometheus.Counter
	authentic prometheus.Counter
	exchanges prometheus.Histogram
}

func newResolverMetrics(reg prometheus.Registerer) *resolverMetrics {
	with := promauto.With(reg)
	return &resolverMetrics{
		lookups: with.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_dns_lookups_total", Help: "DNS lookups of the message authentication, by result, answers from the cache included.",
		}, []string{"result"}),
		cacheHits: with.NewCounter(prometheus.CounterOpts{
			Name: "mxhook_dns_cache_hits_total", Help: "DNS lookups that the cache answered.",
		}),
		authentic: with.NewCounter(prometheus.CounterOpts{
			Name: "mxhook_dns_authentic_total", Help: "DNS lookups whose answer a validating server has found authentic by DNSSEC, answers from the cache included.",
		}),
		exchanges: with.NewHistogram(prometheus.HistogramOpts{
			Name: "mxhook_dns_exchange_seconds", Help: "Time of one exchange with one DNS server.",
			Buckets: []float64{.001, .005, .02, .1, .5, 1, 2, 5},
		}),
	}
}

func (m *resolverMetrics) lookup(result string) { m.lookups.WithLabelValues(result).Inc() }

type stageMetrics struct {
	results *prometheus.CounterVec
	seconds prometheus.Histogram
}

func newStageMetrics(reg prometheus.Registerer) *stageMetrics {
	with := promauto.With(reg)
	return &stageMetrics{
		results: with.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_auth_results_total", Help: "Results of message authentication, by method; sender is pass when verified.",
		}, []string{"method", "result"}),
		seconds: with.NewHistogram(prometheus.HistogramOpts{
			Name: "mxhook_auth_seconds", Help: "Time to authenticate one message.",
			Buckets: []float64{.0005, .002, .01, .05, .2, 1, 5, 20},
		}),
	}
}
