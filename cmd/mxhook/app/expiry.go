package app

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

// expiryThresholds are how long before the end of a certificate the log warns, once each, the shortest first.
var expiryThresholds = []time.Duration{24 * time.Hour, 7 * 24 * time.Hour, 21 * 24 * time.Hour}

// warn logs each certificate that has passed another threshold since it was looked at last.
func (c *certificates) warn() {
	now := c.now()
	leaves := c.leaves()
	c.mu.Lock()
	defer c.mu.Unlock()
	warned := make(map[[sha256.Size]byte]time.Duration, len(leaves))
	for _, leaf := range leaves {
		id := sha256.Sum256(leaf.Raw)
		left := leaf.NotAfter.Sub(now)
		threshold, passed := passedThreshold(left)
		if !passed {
			continue
		}
		warned[id] = threshold
		if before, ok := c.warned[id]; ok && before <= threshold {
			continue
		}
		level, text := slog.LevelWarn, "a certificate expires soon"
		if left <= 0 {
			level, text = slog.LevelError, "a certificate has expired"
		}
		c.log.Log(context.Background(), level, text, "names", leafNames(leaf), "expires", leaf.NotAfter.UTC(), "left", left.Round(time.Minute).String())
		if c.events != nil {
			c.events.Emit(pipeline.Event{
				Kind: pipeline.EventCertificateExpiring, At: now,
				Reason: text + ": " + strings.Join(leafNames(leaf), ", ") + ", until " + leaf.NotAfter.UTC().Format(time.RFC3339),
			})
		}
	}
	c.warned = warned
}

// passedThreshold returns the shortest threshold that what is left lies within; 0 when nothing is left.
func passedThreshold(left time.Duration) (time.Duration, bool) {
	if left <= 0 {
		return 0, true
	}
	for _, t := range expiryThresholds {
		if left <= t {
			return t, true
		}
	}
	return 0, false
}

// expiryCollector shows when the certificates in use expire.
type expiryCollector struct{ *certificates }

var expiryDesc = prometheus.NewDesc("mxhook_tls_certificate_expiry_seconds",
	"When the certificate for a name expires, as Unix time; the earliest when there are several.", []string{"name"}, nil)

// Describe implements prometheus.Collector.
func (expiryCollector) Describe(ch chan<- *prometheus.Desc) { ch <- expiryDesc }

// Collect implements prometheus.Collector.
func (e expiryCollector) Collect(ch chan<- prometheus.Metric) {
	earliest := make(map[string]time.Time)
	for _, leaf := range e.leaves() {
		for _, name := range leafNames(leaf) {
			if t, ok := earliest[name]; !ok || leaf.NotAfter.Before(t) {
				earliest[name] = leaf.NotAfter
			}
		}
	}
	for name, t := range earliest {
		ch <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(t.Unix()), name)
	}
}
