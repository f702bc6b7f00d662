package configs

import (
	"slices"
	"strings"
	"time"

	"mxhook/pipeline"
	"mxhook/sinks/webhook"
)

// Alerts is where operational events are posted; URL "" is nowhere. No Kinds means all.
type Alerts struct {
	URL           string   `yaml:"url"`
	Secret        Secret   `yaml:"secret"`
	Kinds         []string `yaml:"kinds"`
	Interval      Duration `yaml:"interval"`
	AllowPrivate  bool     `yaml:"allow_private"`
	AllowNetworks []string `yaml:"allow_networks"`
}

// Poster returns what posts them; nil when there is no URL.
func (a *Alerts) Poster(version string, now func() time.Time) (*webhook.Poster, error) {
	if a.URL == "" {
		return nil, nil
	}
	o := webhook.PosterOptions{
		URL: a.URL, AllowPrivate: a.AllowPrivate, AllowNetworks: prefixes(a.AllowNetworks), Version: version, Now: now,
	}
	if !a.Secret.IsZero() {
		o.Secrets = []string{a.Secret.Reveal()}
	}
	return webhook.NewPoster(o)
}

func (c *checker) alerts() {
	a := &c.cfg.Alerts
	known := make([]string, 0, len(pipeline.EventKinds()))
	for _, k := range pipeline.EventKinds() {
		known = append(known, string(k))
	}
	for _, k := range a.Kinds {
		if !slices.Contains(known, k) {
			c.add("alerts.kinds", "there is no event %q; write some of %s", k, strings.Join(known, ", "))
		}
	}
	c.duration("alerts.interval", a.Interval, time.Second, day)
	c.prefixes("alerts.allow_networks", a.AllowNetworks)
	if a.URL == "" {
		if !a.Secret.IsZero() {
			c.add("alerts.secret", "a secret without a URL; add alerts.url, or remove it")
		}
		return
	}
	if c.broken("alerts", true) {
		return
	}
	if _, err := a.Poster("", nil); err != nil {
		key := "alerts.secret"
		if strings.HasPrefix(err.Error(), "url: ") {
			key = "alerts.url"
		}
		c.add(key, "%s", strings.TrimPrefix(err.Error(), "url: "))
	}
}
