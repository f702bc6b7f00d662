package configs

import (
	"net/netip"
	"time"

	"mxhook/sinks"
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
	c := sinks.Config{Name: s.Name, Concurrency: s.Concurrency, Timeout: time.Duration(s.Timeout), Schedule: s.Schedule()}
	if w := s.Webhook; w != nil {
		o := set(&c.Webhook)
		o.URL, o.Raw, o.OmitAttachments = w.URL, w.Raw, w.OmitAttachments
		o.AllowPrivate, o.PermanentStatuses = w.AllowPrivate, s.PermanentStatuses
		for _, secret := range w.Secrets {
			o.Secrets = append(o.Secrets, secret.Reveal())
		}
		for _, h := range w.Headers {
			o.Headers = append(o.Headers, struct{ Name, Value string }{h.Name, h.Value.Reveal()})
		}
		for _, n := range w.AllowNetworks {
			if p, err := netip.ParsePrefix(n); err == nil { // Load refuses all others
				o.AllowNetworks = append(o.AllowNetworks, p)
			}
		}
	}
	if f := s.File; f != nil {
		o := set(&c.File)
		o.Dir, o.Layout = f.Dir, f.Layout
	}
	return c
}

// set makes *p point to a new zero value. It spares the import of each kind's package for the name of its options.
func set[T any](p **T) *T {
	*p = new(T)
	return *p
}
