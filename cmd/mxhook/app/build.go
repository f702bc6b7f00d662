package app

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/alerts"
	"mxhook/configs"
	"mxhook/ingest"
	"mxhook/pipeline/msgauth"
	"mxhook/pipeline/queue"
)

// This file turns the configuration into the rooms' own options; every default is the configuration's.

func queueConfig(o Options, registry prometheus.Registerer) queue.Config {
	c := o.Config
	return queue.Config{
		URL: c.Queue.URL, Credentials: c.Queue.Credentials, Replicas: c.Queue.Replicas,
		Dir: filepath.Join(c.DataDir, "queue"), Durability: c.Queue.Durability,
		Retention: time.Duration(c.Queue.Retention), DeadKeep: time.Duration(c.DeadLetters.Keep),
		Reserve: int64(c.Queue.Reserve), Inline: int(c.Queue.Inline), Shards: c.Queue.Shards,
		Memory: handled(c), InFlight: inFlight(c), MaxMessageSize: int64(c.SMTP.Limits.MessageSize),
		EncryptionKey: c.Queue.EncryptionKey.Reveal(), Compress: c.Queue.Compression == "s2", DedupeWindow: time.Duration(c.Queue.DedupeWindow),
		Log: o.Log, Registerer: registry, Now: o.Now, Events: o.events,
	}
}

// buildAlerts makes what hears of events.
func (a *App) buildAlerts() error {
	c := &a.opts.Config.Alerts
	o := alerts.Options{
		Kinds: c.Kinds, Interval: time.Duration(c.Interval), Instance: a.opts.Config.SMTP.Hostname,
		Log: a.opts.Log, Registerer: a.registry, Now: a.opts.Now,
	}
	poster, err := c.Poster(a.opts.Version, a.opts.Now)
	if err != nil {
		return fmt.Errorf("alerts: %w", err)
	}
	if poster != nil {
		o.Poster = poster
	}
	if a.alerts, err = alerts.New(o); err == nil {
		a.opts.events = a.alerts
	}
	return err
}

func newServer(o Options, recipients ingest.Recipients, s *spool, certs *certificates, registry prometheus.Registerer) (*ingest.Server, error) {
	c := o.Config
	policy := ingestPolicy(o, s)
	opts := ingest.Options{
		Hostname: c.SMTP.Hostname, TLSConfig: certs.config(&c.SMTP.TLS), Recipients: recipients, Spool: s, Log: o.Log, Registerer: registry, Now: o.Now,
		Listeners: c.IngestListeners(), Limits: c.IngestLimits(), Timeouts: c.IngestTimeouts(), Policy: policy,
	}
	for i := range opts.Listeners {
		opts.Listeners[i].Open = o.Listeners[opts.Listeners[i].Name]
	}
	return ingest.New(opts)
}

func authOptions(c *configs.Config, resolver msgauth.Resolver, log *slog.Logger) msgauth.Options {
	o := msgauth.Options{Resolver: resolver, Log: log, TrustedSealers: c.Auth.TrustedSealers}
	for _, u := range c.Auth.TrustedUpstreams {
		o.TrustedUpstreams = append(o.TrustedUpstreams, msgauth.Upstream{Networks: u.Prefixes(), AuthservID: u.AuthservID})
	}
	return o
}

// newAuth makes the stage that finds out who sent a message: for the front end where it has to know, else for the workers.
func newAuth(o Options, registry prometheus.Registerer) *msgauth.Stage {
	ao := authOptions(o.Config, o.Resolver, o.Log)
	ao.Now, ao.Registerer = o.Now, registry
	return msgauth.New(ao)
}

// ingestPolicy is what is held against clients, with what it asks.
func ingestPolicy(o Options, s *spool) ingest.Policy {
	policy := o.Config.IngestPolicy()
	if policy.Greylist.Delay > 0 {
		policy.Greylist.Memory = &greylistMemory{spool: s}
	}
	if policy.ReverseDNS || len(policy.DNSLists) > 0 {
		policy.Resolver = o.Resolver
	}
	return policy
}

func newResolver(c *configs.Config, log *slog.Logger, registry prometheus.Registerer) (msgauth.Resolver, error) {
	r, err := msgauth.NewResolver(msgauth.ResolverConfig{
		Servers: c.DNS.Servers, Timeout: time.Duration(c.DNS.Timeout), Validating: c.DNS.Validating, Log: log, Registerer: registry,
	})
	if err != nil {
		return nil, fmt.Errorf("make the DNS resolver: %w", err)
	}
	return r, nil
}
