package configs

import (
	"net/url"
	"strings"
	"time"
)

// Links is where receivers get what a sink's inline_limit leaves out. BaseURL "" is off; Path is where the listener of
// Ops serves it; Key "" is one of this instance, kept in DataDir.
type Links struct {
	BaseURL string   `yaml:"base_url"`
	Path    string   `yaml:"path"`
	Valid   Duration `yaml:"valid"`
	Key     Secret   `yaml:"key"`
}

// minLinkKey is how short a key may be; maxLinkTime bounds how long a link may be valid.
const (
	minLinkKey  = 16
	maxLinkTime = Duration(30 * 24 * time.Hour)
)

func (c *checker) links() {
	l := c.cfg.Links
	c.duration("links.valid", l.Valid, time.Minute, time.Duration(maxLinkTime))
	if p := strings.Split(l.Path, "/"); len(p) < 3 || p[0] != "" || p[len(p)-1] != "" || !linkPath(p[1:len(p)-1]) {
		c.add("links.path", `%q is not a path for links; write letters, digits and hyphens between slashes, like /content/, and not api or console`, l.Path)
	}
	if !l.Key.IsZero() && len(l.Key.Reveal()) < minLinkKey {
		c.add("links.key", "the key is shorter than %d bytes; make one with: openssl rand -base64 32", minLinkKey)
	}
	if l.BaseURL == "" {
		return
	}
	u, err := url.Parse(l.BaseURL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		c.add("links.base_url", "this is not where receivers reach ops.address; write scheme and host, like https://mail.example.com")
	} else if u.Scheme == "http" && u.Hostname() != "localhost" && !isLoopback(u.Hostname()) {
		c.warn("links.base_url", "attachments go out in clear text; use https://")
	}
	if c.cfg.Queue.URL != "" && l.Key.IsZero() {
		c.add("links.key", "instances that share a queue must sign links with one key; make it with: openssl rand -base64 32")
	}
}

// linkPath reports whether these are segments that nothing else is served under.
func linkPath(segments []string) bool {
	for _, s := range segments {
		if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	switch segments[0] {
	case "api", "console", "metrics", "healthz", "readyz":
		return false
	}
	return true
}
