package configs

import (
	"net/netip"
	"time"

	"mxhook/pipeline"
	"mxhook/sinks"
	"mxhook/sinks/file"
	"mxhook/sinks/webhook"
)

// SinkConfigs returns the sinks as package sinks takes them.
func (c *Config) SinkConfigs() []sinks.Config {
	out := make([]sinks.Config, len(c.Sinks))
	for i := range c.Sinks {
		out[i] = c.Sinks[i].config()
	}
	return out
}

func (s *Sink) config() sinks.Config {
	c := sinks.Config{Name: s.Name, Concurrency: s.Concurrency, Rate: s.rate(), Timeout: time.Duration(s.Timeout), Schedule: s.Schedule()}
	if w := s.Webhook; w != nil {
		c.Webhook = &webhook.Options{
			URL: w.URL, Raw: w.Raw, OmitAttachments: w.OmitAttachments, InlineLimit: int64(w.InlineLimit), Reply: w.Reply, AllowPrivate: w.AllowPrivate,
			PermanentStatuses: s.PermanentStatuses,
		}
		w.addTo(c.Webhook)
		for _, secret := range w.Secrets {
			c.Webhook.Secrets = append(c.Webhook.Secrets, secret.Reveal())
		}
		for _, h := range w.Headers {
			c.Webhook.Headers = append(c.Webhook.Headers, webhook.Header{Name: h.Name, Value: h.Value.Reveal()})
		}
		c.Webhook.AllowNetworks = prefixes(w.AllowNetworks)
	}
	if f := s.File; f != nil {
		c.File = &file.Options{Dir: f.Dir, Layout: f.Layout, Name: f.Name}
	}
	if s.S3 != nil {
		c.S3 = s.S3.options()
	}
	if s.Postgres != nil {
		c.Postgres = s.Postgres.options()
	}
	if r := s.Relay; r != nil {
		c.Relay = r.config()
	}
	if s.NATS != nil {
		c.NATS = s.NATS.options()
	}
	if s.Kafka != nil {
		c.Kafka = s.Kafka.options()
	}
	if s.Exec != nil {
		c.Exec = s.Exec.options()
	}
	return c
}

func prefixes(networks []string) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range networks {
		if p, err := netip.ParsePrefix(n); err == nil { // Load refuses all others
			out = append(out, p)
		}
	}
	return out
}

// rate is none when it is wrong: Load refuses that.
func (s *Sink) rate() pipeline.Rate {
	r, err := pipeline.ParseRate(s.Rate)
	if err != nil {
		return pipeline.Rate{}
	}
	return r
}
