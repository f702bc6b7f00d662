package configs

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"mxhook/pipeline"
	"mxhook/sinks"
	"mxhook/sinks/file"
	"mxhook/sinks/webhook"
)

// maxSteps bounds the retry clock's list.
const maxSteps = 100

// sampleKey is a secret for trial sinks, which are never used.
const sampleKey = "whsec_VGhpcyBpcyBhIHNhbXBsZTogbWFrZSB5b3VyIG93biE="

const makeSecret = `make one with: echo "whsec_$(openssl rand -base64 32)"`

func (c *checker) sinks() {
	if len(c.cfg.Sinks) == 0 && !c.broken("sinks", true) {
		c.add("sinks", "there is no sink, so mail could go nowhere; add one with a name and webhook: {url: ...}, file: {dir: ...} or relay: {address: ...}")
	}
	names := map[string]bool{}
	for i := range c.cfg.Sinks {
		s := &c.cfg.Sinks[i]
		key := fmt.Sprintf("sinks[%d]", i)
		c.name(key+".name", s.Name, "sink", names)
		between(c, key+".concurrency", s.Concurrency, 1, sinks.MaxConcurrency)
		if _, err := pipeline.ParseRate(s.Rate); err != nil {
			c.add(key+".rate", "%v", err)
		}
		kinds := s.config().Kinds()
		switch {
		case len(kinds) == 0:
			if !c.broken(key, true) {
				c.add(key, "the sink has no kind; add webhook: {url: ...}, file: {dir: ...} or another of docs/sinks.md")
			}
		case len(kinds) > 1:
			c.add(key+"."+kinds[1], "a sink is either %s or %s; make two sinks of it and name both in the rules", kinds[0], kinds[1])
		default:
			c.kind(kinds[0], key, s)
		}
		c.duration(key+".timeout", s.Timeout, 100*time.Millisecond, sinks.MaxTimeout)
		c.retry(key+".retry", &s.Retry)
		if !c.broken(key, true) { // whatever else it is that the sink would be refused for
			if err := trySink(s.config()); err != "" {
				at := key
				for _, kind := range kinds { // where the error begins with an option that is there, it is told there
					option, _, _ := strings.Cut(err, " ")
					option = kind + "." + strings.TrimSuffix(option, ":")
					if _, there := c.places[key+"."+option]; there {
						at += "." + option
						err = strings.TrimPrefix(err, strings.TrimPrefix(option, kind+".")+": ")
					}
				}
				c.add(at, "%s", err)
			}
		}
	}
	c.templateCaptures()
}

// kind checks what is of one kind.
func (c *checker) kind(kind, key string, s *Sink) {
	switch kind {
	case "webhook":
		c.webhook(key, s)
		return
	case "file":
		c.folder(key, s)
	case "s3":
		c.bucket(key, s)
	case "postgres":
		c.prefixes(key+".postgres.allow_networks", s.Postgres.AllowNetworks)
	case "relay":
		c.relay(key, s)
	case "nats":
		c.nats(key+".nats", s.NATS)
	case "kafka":
		c.kafka(key+".kafka", s.Kafka)
	case "exec":
		if !c.cfg.AllowExec {
			c.add(key+".exec", "programs are not run unless the configuration says so; add allow_exec: true to the top of the file")
		}
	}
	if len(s.PermanentStatuses) > 0 {
		c.add(key+".permanent_statuses", "statuses are for webhooks; remove them from this sink")
	}
}

// trySink builds a sink and returns what is said against it, without naming it.
func trySink(s sinks.Config) string {
	outlets, err := sinks.Build([]sinks.Config{s}, sinks.Deps{Log: slog.New(slog.DiscardHandler)})
	sinks.Close(outlets)
	if err == nil {
		return ""
	}
	text := strings.TrimPrefix(oneLine(err.Error()), fmt.Sprintf("sink %q: ", s.Name))
	for _, kind := range s.Kinds() {
		text = strings.TrimPrefix(text, kind+": ")
	}
	return text
}

// tryWebhook is trySink for a webhook that is right but for what change does to it.
func tryWebhook(change func(s *Sink, w *Webhook)) string {
	s := DefaultSink()
	s.Name = "trial"
	s.Webhook = &Webhook{URL: "https://app.example.com/", Secrets: []Secret{NewSecret(sampleKey)}}
	change(&s, s.Webhook)
	return trySink(s.config())
}

func (c *checker) retry(key string, r *Retry) {
	c.duration(key+".max_age", r.MaxAge, time.Second, sinks.MaxAge)
	c.duration(key+".every", r.Every, time.Second, sinks.MaxAge)
	if r.Jitter < 0 || r.Jitter > 1 {
		c.add(key+".jitter", "%v is not between 0 and 1; 0.2 spreads attempts by 20 %% in both directions", r.Jitter)
	}
	if len(r.Steps) > maxSteps {
		c.add(key+".steps", "there are %d steps, at most %d are allowed; what follows them is every", len(r.Steps), maxSteps)
	}
	for i, step := range r.Steps {
		c.duration(fmt.Sprintf("%s.steps[%d]", key, i), step, time.Second, sinks.MaxAge)
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
		c.duration(key+".webhook.timeout", w.Timeout, 100*time.Millisecond, sinks.MaxTimeout)
		if !c.broken(key+".webhook.timeout", false) {
			s.Timeout = w.Timeout
		}
	}
	for i, status := range s.PermanentStatuses {
		if err := tryWebhook(func(s *Sink, _ *Webhook) { s.PermanentStatuses = []int{status} }); err != "" {
			c.add(fmt.Sprintf("%s.permanent_statuses[%d]", key, i), "%s", strings.TrimPrefix(err, "permanent_statuses: "))
		}
	}
	for i, h := range w.Headers {
		at := fmt.Sprintf("%s.webhook.headers[%d]", key, i)
		if err := tryWebhook(func(_ *Sink, w *Webhook) { w.Headers = []Header{h} }); err != "" && !c.broken(at, true) {
			c.add(at, "%s", err)
		}
	}
	c.webhookRest(key+".webhook", w)
	c.prefixes(key+".webhook.allow_networks", w.AllowNetworks)
}

// url never quotes the URL: it may hold a password.
func (c *checker) url(key string, w *Webhook) {
	if w.URL == "" {
		if !c.broken(strings.TrimSuffix(key, ".url"), true) {
			c.add(key, "the URL is missing; add url: https://app.example.com/mail")
		}
		return
	}
	err := tryWebhook(func(_ *Sink, trial *Webhook) {
		trial.URL, trial.AllowPrivate, trial.AllowNetworks = w.URL, w.AllowPrivate, w.AllowNetworks
	})
	if err != "" {
		c.add(key, "%s", strings.TrimPrefix(strings.TrimPrefix(err, "url: "), "url "))
		return
	}
	u, parseErr := url.Parse(w.URL)
	if parseErr != nil {
		return // the sink has read it
	}
	local := u.Hostname() == "localhost"
	switch {
	case w.AllowPrivate || len(w.AllowNetworks) > 0:
	case local:
		c.add(key, "localhost is an internal address: set allow_private: true if the endpoint is meant to be there")
	case u.Scheme == "http":
		c.warn(key, "mail goes out in clear text; use https://")
	}
}

// secrets moves secret to the front of secrets. The texts are never quoted.
func (c *checker) secrets(key string, w *Webhook) {
	for i, s := range w.Secrets {
		c.secret(fmt.Sprintf("%s.secrets[%d]", key, i), s)
	}
	if !w.Secret.IsZero() {
		c.secret(key+".secret", w.Secret)
		w.Secrets = append([]Secret{w.Secret}, w.Secrets...)
	}
	if len(w.Secrets) == 0 && webhook.NeedsSecret(w.Format) && w.Shape == "" && !c.broken(key, true) {
		c.add(key+".secret", "the secret that signs requests is missing; "+makeSecret)
	}
}

func (c *checker) secret(key string, s Secret) {
	if err := tryWebhook(func(_ *Sink, w *Webhook) { w.Secrets = []Secret{s} }); err != "" {
		text := strings.TrimPrefix(err, "secret 1 ")
		if !strings.Contains(text, "openssl") {
			text += "; " + makeSecret
		}
		c.add(key, "%s", text)
	}
}

func (c *checker) folder(key string, s *Sink) {
	if s.File.Dir == "" && !c.broken(key+".file", true) {
		c.add(key+".file.dir", "the folder is missing; name one, like /var/mail/in")
	}
	c.oneOf(key+".file.layout", s.File.Layout, file.Maildir, file.EML)
	for _, o := range []struct {
		key   string
		trial File
	}{
		{"dir", File{Dir: s.File.Dir, Layout: file.Maildir}},
		{"name", File{Dir: "/mail", Layout: s.File.Layout, Name: s.File.Name}},
	} {
		trial := DefaultSink()
		trial.Name, trial.File = "trial", &o.trial
		if err := trySink(trial.config()); s.File.Dir != "" && !c.broken(key+".file.layout", false) && err != "" {
			c.add(key+".file."+o.key, "%s", strings.TrimPrefix(err, o.key+": "))
		}
	}
}
