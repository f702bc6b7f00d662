package app

import (
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/configs"
	"mxhook/ingest"
	"mxhook/pipeline/msgauth"
	"mxhook/pipeline/queue"
)

// This file turns the configuration into the rooms' own options; every default is the configuration's.

func queueConfig(c *configs.Config, log *slog.Logger, registry prometheus.Registerer, now func() time.Time) queue.Config {
	return queue.Config{
		URL: c.Queue.URL, Credentials: c.Queue.Credentials, Replicas: c.Queue.Replicas,
		Dir: filepath.Join(c.DataDir, "queue"), Durability: c.Queue.Durability,
		Retention: time.Duration(c.Queue.Retention), DeadKeep: time.Duration(c.DeadLetters.Keep),
		Reserve: int64(c.Queue.Reserve), Inline: int(c.Queue.Inline), Shards: c.Queue.Shards,
		Memory: int64(c.Limits.Memory), MaxMessageSize: int64(c.SMTP.Limits.MessageSize),
		Log: log, Registerer: registry, Now: now,
	}
}

func newServer(o Options, recipients ingest.Recipients, s ingest.Spool, certs *certificates, registry prometheus.Registerer) (*ingest.Server, error) {
	c := o.Config
	opts := ingest.Options{
		Hostname: c.SMTP.Hostname, TLSConfig: certs.config(&c.SMTP.TLS), Recipients: recipients, Spool: s, Log: o.Log, Registerer: registry, Now: o.Now,
		Limits: ingest.Limits{
			MessageSize: int64(c.SMTP.Limits.MessageSize), Recipients: c.SMTP.Limits.Recipients,
			Connections: c.SMTP.Limits.Connections, ConnectionsPerIP: c.SMTP.Limits.ConnectionsPerIP,
		},
		Timeouts: ingest.Timeouts{
			Handshake: time.Duration(c.SMTP.Timeouts.Handshake), Command: time.Duration(c.SMTP.Timeouts.Command),
			Data: time.Duration(c.SMTP.Timeouts.Data), Transfer: time.Duration(c.SMTP.Timeouts.Transfer),
			Write: time.Duration(c.SMTP.Timeouts.Write),
		},
	}
	for _, l := range c.SMTP.Listeners {
		opts.Listeners = append(opts.Listeners, ingest.Listener{Name: l.Name, Address: l.Address, Protocol: l.Protocol, TLS: l.TLS})
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

func newResolver(c *configs.Config, log *slog.Logger, registry prometheus.Registerer) (msgauth.Resolver, error) {
	r, err := msgauth.NewResolver(msgauth.ResolverConfig{
		Servers: c.DNS.Servers, Timeout: time.Duration(c.DNS.Timeout), Log: log, Registerer: registry,
	})
	if err != nil {
		return nil, fmt.Errorf("make the DNS resolver: %w", err)
	}
	return r, nil
}

// memoryOverhead is what the process needs besides the messages it holds: the embedded server, its caches, sessions.
const memoryOverhead = 256 << 20

// setMemoryLimit makes the garbage collector keep the process near what it needs: cold reads of the embedded queue load
// whole blocks, which would otherwise pile up. A limit from the environment (GOMEMLIMIT) stands.
func setMemoryLimit(c *configs.Config, log *slog.Logger) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	limit := 2*int64(c.Limits.Memory) + memoryOverhead
	debug.SetMemoryLimit(limit)
	log.Debug("memory limit set", "bytes", limit)
}
