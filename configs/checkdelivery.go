package configs

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Bounds of the retry clock: the contract with those who write endpoints.
const (
	maxAge       = 30 * day
	maxSteps     = 50
	minRetention = day // of a message, beyond the longest max_age
	maxRetention = 3650 * day
)

func (c *checker) sinks() {
	if len(c.cfg.Sinks) == 0 && !c.broken("sinks", true) {
		c.add("sinks", "there is no sink, so mail could go nowhere; add one with a name and webhook: {url: ...} or file: {dir: ...}")
	}
	names := map[string]bool{}
	for i := range c.cfg.Sinks {
		s := &c.cfg.Sinks[i]
		key := fmt.Sprintf("sinks[%d]", i)
		c.name(key+".name", s.Name, "sink", names)
		between(c, key+".concurrency", s.Concurrency, 1, 1000)
		switch {
		case s.Webhook == nil && s.File == nil:
			if !c.broken(key, true) {
				c.add(key, "the sink has no kind; add webhook: {url: ...} or file: {dir: ...}")
			}
		case s.Webhook != nil && s.File != nil:
			c.add(key+".file", "a sink is either webhook or file; make two sinks of it and name both in the rules")
		case s.Webhook != nil:
			c.webhook(key, s)
		default:
			c.folder(key, s)
		}
		c.duration(key+".timeout", s.Timeout, 100*time.Millisecond, 10*time.Minute)
		c.retry(key+".retry", &s.Retry)
	}
}

func (c *checker) retry(key string, r *Retry) {
	c.duration(key+".max_age", r.MaxAge, 0, maxAge)
	c.duration(key+".every", r.Every, time.Second, maxAge)
	if r.Jitter < 0 || r.Jitter > 1 {
		c.add(key+".jitter", "%v is not between 0 and 1; 0.2 spreads attempts by 20 %% in both directions", r.Jitter)
	}
	if len(r.Steps) > maxSteps {
		c.add(key+".steps", "there are %d steps, at most %d are allowed; what follows them is every", len(r.Steps), maxSteps)
	}
	for i, step := range r.Steps {
		c.duration(fmt.Sprintf("%s.steps[%d]", key, i), step, time.Second, maxAge)
	}
}

func (c *checker) webhook(key string, s *Sink) {
	w := s.Webhook
	c.url(key+".webhook.url", w)
	c.secrets(key+".webhook", w)
	if w.Timeout != 0 {
		if _, both := c.places[key+".timeout"]; both {
			c.add(key+".webhook.timeout", "the timeout is set for the sink already; remove one")
		}
		c.duration(key+".webhook.timeout", w.Timeout, 100*time.Millisecond, 10*time.Minute)
		if !c.broken(key+".webhook.timeout", false) {
			s.Timeout = w.Timeout
		}
	}
	for i, status := range s.PermanentStatuses {
		if status < 300 || status > 599 {
			c.add(fmt.Sprintf("%s.permanent_statuses[%d]", key, i), "%d is not the status of a failure; write numbers from 300 to 599", status)
		}
	}
	for i, h := range w.Headers {
		c.header(fmt.Sprintf("%s.webhook.headers[%d]", key, i), h)
	}
	for i, n := range w.AllowNetworks {
		if _, err := netip.ParsePrefix(n); err != nil {
			c.add(fmt.Sprintf("%s.webhook.allow_networks[%d]", key, i), `%q is not a network; write "10.1.0.0/16", and "10.1.2.3/32" for one address`, n)
		}
	}
}

// url never quotes the URL: it may hold a password.
func (c *checker) url(key string, w *Webhook) {
	u, err := url.Parse(w.URL)
	switch {
	case w.URL == "":
		if !c.broken(strings.TrimSuffix(key, ".url"), true) {
			c.add(key, "the URL is missing; add url: https://app.example.com/mail")
		}
		return
	case err != nil:
		c.add(key, "this is not a URL; percent-encode special characters, and write something like https://app.example.com/mail")
		return
	case u.Scheme != "http" && u.Scheme != "https":
		c.add(key, "the URL must begin with https:// or http://")
		return
	case u.Hostname() == "":
		c.add(key, "the URL has no host; write something like https://app.example.com/mail")
		return
	case u.Fragment != "":
		c.add(key, "the URL has a fragment (#...), which is never sent; remove it")
		return
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	private := host == "localhost" || err == nil && (addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast())
	switch {
	case private && !w.AllowPrivate && len(w.AllowNetworks) == 0:
		c.add(key, "the URL leads to %s, which is refused to protect what runs there; set allow_private: true if it is meant", host)
	case u.Scheme == "http" && !private && !w.AllowPrivate:
		c.warn(key, "mail goes out in clear text; use https://")
	}
}

// secrets moves secret to the front of secrets. The texts are never quoted.
func (c *checker) secrets(key string, w *Webhook) {
	if !w.Secret.IsZero() {
		c.secret(key+".secret", w.Secret)
		w.Secrets = append([]Secret{w.Secret}, w.Secrets...)
	}
	if len(w.Secrets) == 0 && !c.broken(key, true) {
		c.add(key+".secret", "the secret that signs requests is missing; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	if len(w.Secrets) > 8 {
		c.add(key+".secrets", "there are %d secrets, at most 8 are allowed; remove those that are rotated out", len(w.Secrets))
	}
	if w.Secret.IsZero() {
		for i, s := range w.Secrets {
			c.secret(fmt.Sprintf("%s.secrets[%d]", key, i), s)
		}
		return
	}
	for i, s := range w.Secrets[1:] {
		c.secret(fmt.Sprintf("%s.secrets[%d]", key, i), s)
	}
}

func (c *checker) secret(key string, s Secret) {
	text := s.Reveal()
	encoded, hmac := strings.CutPrefix(text, "whsec_")
	if !hmac {
		var ed25519 bool
		if encoded, ed25519 = strings.CutPrefix(text, "whsk_"); !ed25519 {
			c.add(key, "the secret does not begin with whsec_; make one with: echo whsec_$(openssl rand -base64 32)")
			return
		}
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case err != nil:
		c.add(key, "the secret is not base64 behind its prefix; make one with: echo whsec_$(openssl rand -base64 32)")
	case hmac && (len(raw) < 24 || len(raw) > 64):
		c.add(key, "the secret has %d bytes, 24 to 64 are needed; make one with: echo whsec_$(openssl rand -base64 32)", len(raw))
	case !hmac && len(raw) != 32 && len(raw) != 64:
		c.add(key, "an ed25519 key has 32 or 64 bytes, this one has %d", len(raw))
	}
}

func (c *checker) header(key string, h Header) {
	switch {
	case h.Name == "":
		if !c.broken(key, true) {
			c.add(key+".name", "the header field has no name; give it one")
		}
	case strings.ContainsFunc(h.Name, func(r rune) bool { return !isToken(r) }):
		c.add(key+".name", "%q is not the name of a header field", h.Name)
	case isReserved(http.CanonicalHeaderKey(h.Name)):
		c.add(key+".name", "%s is written by mxhook itself; remove it", h.Name)
	}
	if strings.ContainsFunc(h.Value.Reveal(), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		c.add(key+".value", "the value has control characters; is there a line end in it?")
	}
}

// isToken: RFC 9110 5.6.2.
func isToken(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

func isReserved(canonical string) bool {
	switch canonical {
	case "Content-Type", "Content-Length", "Host", "User-Agent", "Transfer-Encoding", "Connection", "Traceparent":
		return true
	}
	return strings.HasPrefix(canonical, "Webhook-")
}

func (c *checker) folder(key string, s *Sink) {
	if s.File.Dir == "" && !c.broken(key+".file", true) {
		c.add(key+".file.dir", "the folder is missing; name one, like /var/mail/in")
	}
	c.oneOf(key+".file.layout", s.File.Layout, "maildir", "eml")
	if len(s.PermanentStatuses) > 0 {
		c.add(key+".permanent_statuses", "statuses are for webhooks; remove them from this sink")
	}
}

func (c *checker) queue() {
	q := &c.cfg.Queue
	for _, server := range strings.Split(q.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if q.URL != "" && (err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls") {
			c.add("queue.url", "this is not the URL of a NATS server; write nats://host:4222 or tls://host:4222, several with commas")
			break
		}
	}
	if q.URL == "" && q.Credentials != "" {
		c.add("queue.credentials", "credentials are for an external queue; set queue.url, or remove them")
	}
	if q.Durability != "" {
		c.oneOf("queue.durability", q.Durability, "fsync", "os", "replicated")
	}
	switch {
	case q.Durability == "replicated" && q.URL == "":
		c.add("queue.durability", "replicated needs a cluster; set queue.url, or write fsync")
	case q.URL != "" && q.Replicas < 3 && (q.Durability == "" || q.Durability == "replicated"):
		c.add("queue.replicas", "durability replicated needs 3 or 5 replicas; with one server, write durability: fsync")
	case q.Durability == "os":
		c.warn("queue.durability", "mail that was accepted is lost when the power fails; write fsync unless the loss does not matter")
	}
	if q.Replicas != 1 && q.Replicas != 3 && q.Replicas != 5 {
		c.add("queue.replicas", "%d is none of 1, 3, 5", q.Replicas)
	}
	c.duration("queue.retention", q.Retention, time.Hour, maxRetention)
	longest := Duration(0)
	for _, s := range c.cfg.Sinks {
		longest = max(longest, s.Retry.MaxAge)
	}
	if need := longest + Duration(minRetention); q.Retention < need && longest <= Duration(maxAge) {
		c.add("queue.retention", "%v is too short: a sink tries for %v, and the message must outlive that by %v; write at least %v",
			q.Retention, longest, Duration(minRetention), need)
	}
	between(c, "queue.reserve", q.Reserve, 0, 1<<50)
	between(c, "queue.inline", q.Inline, 4*kibibyte, 512*kibibyte)
	between(c, "queue.shards", q.Shards, 0, 64)
	c.duration("dead_letters.keep", c.cfg.DeadLetters.Keep, time.Hour, maxRetention)
}

// process checks what concerns this process alone.
func (c *checker) process() {
	between(c, "limits.memory", c.cfg.Limits.Memory, 16*megabyte, 1<<50)
	between(c, "limits.workers", c.cfg.Limits.Workers, 0, 4096)
	c.duration("limits.shutdown", c.cfg.Limits.Shutdown, time.Second, time.Hour)
	if host, ok := c.address("ops.address", c.cfg.Ops.Address); ok && !isLoopback(host) && c.cfg.Ops.Token.IsZero() {
		c.add("ops.address", "others than this host could read all mail here; set ops.token, or listen on 127.0.0.1")
	}
	c.oneOf("log.level", c.cfg.Log.Level, "debug", "info", "warn", "error")
	c.oneOf("log.format", c.cfg.Log.Format, "text", "json")
}
