package configs

import (
	"net/netip"
	"time"

	"mxhook/sinks"
	"mxhook/sinks/file"
	"mxhook/sinks/webhook"
)

// SinkConfigs returns the sinks as package sinks builds them.
func (c *Config) SinkConfigs() []sinks.Config {
	out := make([]sinks.Config, len(c.Sinks))
	for i := range c.Sinks {
		out[i] = c.Sinks[i].config()
	}
	return out
}

func (s *Sink) config() sinks.Config {
	c := sinks.Config{Name: s.Name, Concurrency: s.Concurrency, Timeout: time.Duration(s.Timeout), Schedule: s.Schedule()}
	if s.Webhook != nil {
		o := s.Webhook.options()
		o.PermanentStatuses = s.PermanentStatuses
		c.Webhook = &o
	}
	if s.File != nil {
		c.File = &file.Options{Dir: s.File.Dir, Layout: s.File.Layout}
	}
	return c
}

// options leaves out networks that do not parse: Load has refused them.
func (w *Webhook) options() webhook.Options {
	o := webhook.Options{URL: w.URL, AllowPrivate: w.AllowPrivate, Raw: w.Raw, OmitAttachments: w.OmitAttachments}
	for _, secret := range w.Secrets {
		o.Secrets = append(o.Secrets, secret.Reveal())
	}
	for _, h := range w.Headers {
		o.Headers = append(o.Headers, webhook.Header{Name: h.Name, Value: h.Value.Reveal()})
	}
	for _, n := range w.AllowNetworks {
		if prefix, err := netip.ParsePrefix(n); err == nil {
			o.AllowNetworks = append(o.AllowNetworks, prefix)
		}
	}
	return o
}
