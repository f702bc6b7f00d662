package sinks

import (
	"errors"
	"fmt"

	"mxhook/pipeline"
	"mxhook/sinks/relay"
	"mxhook/sinks/webhook"
)

// relay gives the kind what it must not know of: the webhook's address guard and, from outside, who seals.
func (b builder) relay(c Config) (pipeline.Sink, error) {
	o := c.Relay.Options
	o.Resolver, o.Idle = b.deps.Resolver, c.Concurrency
	if !c.Relay.AllowPrivate {
		o.Control = webhook.Control(c.Relay.AllowNetworks)
	}
	if s := c.Relay.SRS; s != nil {
		srs := *s
		srs.Now = b.deps.Now
		var err error
		if o.SRS, err = relay.NewSRS(srs); err != nil {
			return nil, err
		}
	}
	if a := c.Relay.ARC; a != nil {
		key, err := relay.ParseKey(a.Key)
		if err != nil {
			return nil, fmt.Errorf("arc.key: %w", err)
		}
		if a.Domain == "" || a.Selector == "" {
			return nil, errors.New("arc: domain and selector name the record with the public key: set both")
		}
		if b.deps.Seal != nil {
			o.Seal = b.deps.Seal(a.Domain, a.Selector, key)
		}
	}
	return relay.New(o)
}
