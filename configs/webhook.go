package configs

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"mxhook/sinks/webhook"
)

// This file is what a webhook has besides the keys that all need: types, checks, and what package webhook gets of them.

// OldSecret signs besides the secrets until a time: a date or an RFC 3339 time.
type OldSecret struct {
	Secret Secret `yaml:"secret"`
	Until  string `yaml:"until"`
}

// ClientTLS is the TLS of requests, PEM texts, "" being the system's authorities and no certificate of ours. As
// "file:/path" they are read again when the file changes.
type ClientTLS struct {
	CA          Secret `yaml:"ca"`
	Certificate Secret `yaml:"certificate"`
	Key         Secret `yaml:"key"`
}

// ClientAuth is who we are to the endpoint: a token, user and password, or a token that is got for OAuth2.
type ClientAuth struct {
	Bearer   Secret  `yaml:"bearer"`
	User     string  `yaml:"user"`
	Password Secret  `yaml:"password"`
	OAuth2   *OAuth2 `yaml:"oauth2"`
}

// OAuth2 is the client credentials grant. Credentials is "header" or "body": how the client's own go to the token endpoint.
type OAuth2 struct {
	TokenURL     string   `yaml:"token_url"`
	ClientID     string   `yaml:"client_id"`
	ClientSecret Secret   `yaml:"client_secret"`
	Scopes       []string `yaml:"scopes"`
	Audience     string   `yaml:"audience"`
	Credentials  string   `yaml:"credentials"`
}

// OnStatus says what becomes of a delivery when the endpoint answers with a status ("404") or a class of them ("4xx").
type OnStatus struct {
	Status string `yaml:"status"`
	Do     string `yaml:"do"`
}

// Compat are the settings of the formats of other services; each format uses some of them, and "" is what the service does.
type Compat struct {
	Key            Secret `yaml:"key"`
	Requests       string `yaml:"requests"`
	Form           string `yaml:"form"`
	Token          string `yaml:"token"`
	RawEncoding    string `yaml:"raw_encoding"`
	SignatureURL   string `yaml:"signature_url"`
	TopicARN       string `yaml:"topic_arn"`
	CertificateURL string `yaml:"certificate_url"`
}

const (
	credentialsHeader = "header"
	credentialsBody   = "body"
)

func (Webhook) defaulted() any { return Webhook{Format: webhook.FormatMXHook} }
func (OAuth2) defaulted() any  { return OAuth2{Credentials: credentialsHeader} }

// parseUntil reads the time at which an old secret ends.
func parseUntil(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time; write 2026-12-01 or 2026-12-01T08:00:00Z", s)
}

// addTo puts what stands in this file into the options of the sink.
func (w *Webhook) addTo(o *webhook.Options) {
	for _, s := range w.OldSecrets {
		if until, err := parseUntil(s.Until); err == nil { // Load refuses all others
			o.OldSecrets = append(o.OldSecrets, webhook.OldSecret{Secret: s.Secret.Reveal(), Until: until})
		}
	}
	o.CA, o.Certificate, o.CertificateKey = w.TLS.CA.Reveal(), w.TLS.Certificate.Reveal(), w.TLS.Key.Reveal()
	o.Bearer, o.User, o.Password = w.Auth.Bearer.Reveal(), w.Auth.User, w.Auth.Password.Reveal()
	if a := w.Auth.OAuth2; a != nil {
		o.OAuth2 = &webhook.OAuth2{
			TokenURL: a.TokenURL, ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal(), Scopes: a.Scopes, Audience: a.Audience,
			InBody: a.Credentials == credentialsBody,
		}
	}
	o.Proxy = w.Proxy.Reveal()
	o.Shape, o.ShapeType = string(w.Shape), w.ShapeType
	o.Format = w.Format
	o.Compat = webhook.Compat{
		Key: w.Compat.Key.Reveal(), Requests: w.Compat.Requests, Form: w.Compat.Form, Token: w.Compat.Token, RawEncoding: w.Compat.RawEncoding,
		SignatureURL: w.Compat.SignatureURL, TopicARN: w.Compat.TopicARN, CertificateURL: w.Compat.CertificateURL,
	}
	for _, s := range w.OnStatus {
		o.OnStatus = append(o.OnStatus, webhook.OnStatus{Status: s.Status, Do: webhook.Action(s.Do)})
	}
}

// webhookRest checks them, each by itself, so that a mistake is told where it stands.
func (c *checker) webhookRest(key string, w *Webhook) {
	try := func(at, trim string, change func(trial *Webhook)) {
		err := tryWebhook(func(_ *Sink, trial *Webhook) {
			trial.AllowPrivate, trial.AllowNetworks = w.AllowPrivate, w.AllowNetworks
			change(trial)
		})
		if err != "" && !c.broken(at, true) {
			c.add(at, "%s", strings.TrimPrefix(err, trim))
		}
	}
	if c.oneOf(key+".format", w.Format, webhook.Formats()...); slices.Contains(webhook.Formats(), w.Format) {
		try(key+".compat", "compat: ", func(trial *Webhook) { trial.Format, trial.Compat = w.Format, w.Compat })
		if w.Raw {
			try(key+".raw", "raw: ", func(trial *Webhook) { trial.Format, trial.Compat, trial.Raw = w.Format, w.Compat, true })
		}
		if w.Reply {
			try(key+".reply", "reply: ", func(trial *Webhook) { trial.Format, trial.Compat, trial.Reply = w.Format, w.Compat, true })
		}
	}
	c.shape(key, w)
	for i, s := range w.OldSecrets {
		at := fmt.Sprintf("%s.old_secrets[%d]", key, i)
		until, err := parseUntil(s.Until)
		switch {
		case err != nil:
			c.add(at+".until", "%v", err)
		case time.Now().After(until):
			c.warn(at+".until", "the time is over, and the secret is not used any more; remove it")
		}
		c.secret(at+".secret", s.Secret)
	}
	try(key+".tls", "tls: ", func(trial *Webhook) { trial.TLS = w.TLS })
	try(key+".proxy", "proxy: ", func(trial *Webhook) { trial.Proxy = w.Proxy })
	if a := w.Auth.OAuth2; a != nil {
		c.oneOf(key+".auth.oauth2.credentials", a.Credentials, credentialsHeader, credentialsBody)
	}
	try(key+".auth", "oauth2: ", func(trial *Webhook) { trial.Auth = w.Auth })
	for i, s := range w.OnStatus {
		try(fmt.Sprintf("%s.on_status[%d]", key, i), "on_status 1: ", func(trial *Webhook) { trial.OnStatus = []OnStatus{s} })
	}
	if u, err := url.Parse(w.URL); err == nil && u.Scheme == "http" && w.Auth != (ClientAuth{}) && !w.AllowPrivate && len(w.AllowNetworks) == 0 {
		c.warn(key+".auth", "the credentials go out in clear text; use https://")
	}
}
