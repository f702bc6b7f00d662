// Package sinks builds the configured sinks.
package sinks

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
	"mxhook/sinks/exec"
	"mxhook/sinks/file"
	"mxhook/sinks/kafka"
	"mxhook/sinks/nats"
	"mxhook/sinks/postgres"
	"mxhook/sinks/relay"
	"mxhook/sinks/s3"
	"mxhook/sinks/webhook"
)

// Config is one sink as configured. Exactly one of the kinds is set. What the sinks of all kinds have in common has
// defaults: see the constants and pipeline.DefaultSchedule.
type Config struct {
	// Name is part of delivery ids: 1 to 40 lower-case letters, digits, hyphens and underscores.
	Name string
	// Concurrency bounds the attempts under way at once, and Rate how fast they start, in all workers together.
	Concurrency int
	Rate        pipeline.Rate
	// Timeout bounds one attempt.
	Timeout time.Duration
	// Schedule is the retry clock; the zero value is the default.
	Schedule pipeline.Schedule

	// Webhook is without Sink, Concurrency, Version, Now and Metrics, which Build sets.
	Webhook *webhook.Options
	// File is without Encode and Now, which Build sets.
	File *file.Options
	// S3 is without Concurrency and Payload, which Build sets.
	S3 *s3.Options
	// Postgres is without Concurrency and Encode, which Build sets.
	Postgres *postgres.Options
	// Relay is without what Build sets.
	Relay *Relay
	// NATS is without Concurrency, and without what Build sets in its Record.
	NATS *nats.Options
	// Kafka is without what Build sets in its Record.
	Kafka *kafka.Options
	// Exec is without Encode, which Build sets.
	Exec *exec.Options
}

// Relay is a sink of the kind relay.
type Relay struct {
	// Options are without Resolver, SRS, Seal, Control and Idle, which Build sets.
	relay.Options
	// SRS rewrites reverse-paths; nil leaves them. Build sets its clock.
	SRS *relay.SRSOptions
	// ARC seals; nil seals nothing.
	ARC *ARC
	// AllowPrivate switches the address guard off; AllowNetworks lets it pass these networks besides the public internet.
	AllowPrivate  bool
	AllowNetworks []netip.Prefix
}

// ARC is a key to seal with, PEM, and the name of its record.
type ARC struct{ Domain, Selector, Key string }

// Defaults and bounds of Config.
const (
	DefaultConcurrency = 16
	MaxConcurrency     = 1024
	DefaultTimeout     = 15 * time.Second
	MaxTimeout         = 10 * time.Minute
	// MaxAge bounds Schedule.MaxAge, maxSteps the length of Schedule.Steps.
	MaxAge   = 30 * 24 * time.Hour
	maxSteps = 100
)

// Deps is what sinks share.
type Deps struct {
	// Log is for what happens while sinks are built; sinks themselves do not log. It must not be nil.
	Log *slog.Logger
	// Registerer may be nil.
	Registerer prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Version is ours, for user agents.
	Version string
	// Link makes the URLs of attachments, see webhook.Options; nil makes none.
	Link func(m *pipeline.Message, part string) string
	// Resolver finds mail servers; needed by relays with MX when they deliver.
	Resolver relay.Resolver
	// Seal makes what puts ARC sets on mails; nil: relays do not seal.
	Seal func(domain, selector string, key crypto.Signer) func(raw []byte, results *pipeline.AuthResults) ([]byte, error)
}

// Build checks the configurations and makes an outlet of each, in their order. It does not connect and touches no file.
// The error tells of every sink that is wrong, a line each. The outlets may be dropped, or handed to Close.
func Build(configs []Config, deps Deps) ([]pipeline.Outlet, error) {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	metrics, err := webhook.NewMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("build sinks: %w", err)
	}
	b := builder{deps: deps, metrics: metrics, slots: webhook.NewSlots()}
	var outlets []pipeline.Outlet
	var errs []error
	names := map[string]bool{}
	for i, c := range configs {
		if err := checkName(c.Name); err != nil {
			errs = append(errs, fmt.Errorf("sink %d: %w", i+1, err))
			continue
		}
		if names[c.Name] {
			errs = append(errs, fmt.Errorf("sink %q: the name is taken by an earlier sink: give each its own", c.Name))
			continue
		}
		names[c.Name] = true
		outlet, err := b.build(c)
		if err != nil {
			errs = append(errs, fmt.Errorf("sink %q: %w", c.Name, err))
			continue
		}
		outlets = append(outlets, outlet)
	}
	if len(errs) > 0 {
		Close(outlets)
		return nil, errors.Join(errs...)
	}
	deps.Log.Debug("sinks built", "sinks", len(outlets))
	return outlets, nil
}

// Close releases what sinks hold between attempts, such as idle connections. Attempts under way are not disturbed.
func Close(outlets []pipeline.Outlet) {
	for _, o := range outlets {
		if c, ok := o.Sink.(io.Closer); ok {
			c.Close()
		}
	}
}

func (c Config) withDefaults() Config {
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Schedule.MaxAge == 0 && c.Schedule.Every == 0 && c.Schedule.Jitter == 0 && len(c.Schedule.Steps) == 0 {
		c.Schedule = pipeline.DefaultSchedule()
	}
	return c
}

func (c Config) check() error {
	var errs []error
	if c.Concurrency < 1 || c.Concurrency > MaxConcurrency {
		errs = append(errs, fmt.Errorf("concurrency %d: set it to 1 to %d", c.Concurrency, MaxConcurrency))
	}
	if c.Timeout < 0 || c.Timeout > MaxTimeout {
		errs = append(errs, fmt.Errorf("timeout %v: set it to at most %v", c.Timeout, MaxTimeout))
	}
	errs = append(errs, checkSchedule(c.Schedule))
	return errors.Join(errs...)
}

func checkSchedule(s pipeline.Schedule) error {
	switch {
	case s.MaxAge < 0 || s.MaxAge > MaxAge:
		return fmt.Errorf("max_age %v: set it to 0 to %v", s.MaxAge, MaxAge)
	case s.Every < time.Second:
		return fmt.Errorf("schedule: the delay behind the last step is %v: set it to a second or more", s.Every)
	case s.Jitter < 0 || s.Jitter > 1:
		return fmt.Errorf("schedule: jitter %v: set it to 0 to 1", s.Jitter)
	case len(s.Steps) > maxSteps:
		return fmt.Errorf("schedule: %d steps: at most %d", len(s.Steps), maxSteps)
	}
	for i, step := range s.Steps {
		if step < 0 {
			return fmt.Errorf("schedule: step %d is %v: delays cannot be negative", i+1, step)
		}
	}
	return nil
}

// maxName bounds the length of names.
const maxName = 40

// checkName holds what delivery ids rely on: a name is safe in header fields, metrics and file names as it is.
func checkName(name string) error {
	const hint = "use 1 to 40 lower-case letters, digits, hyphens and underscores"
	if name == "" {
		return errors.New("name is missing: " + hint)
	}
	if len(name) > maxName || strings.IndexFunc(name, unfitForName) >= 0 {
		return fmt.Errorf("name %q: %s", name, hint)
	}
	return nil
}

func unfitForName(r rune) bool {
	return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}
