package configs

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"mxhook/ingest"
	"mxhook/sinks"
	"mxhook/sinks/relay"
)

// Relay is another mail server. Protocol is "smtp" or "lmtp"; TLS is "none", "opportunistic", "required" or "verify". After
// Load, the sink's timeout is two minutes unless it is set: mail servers think about what they get.
type Relay struct {
	Address       string   `yaml:"address"`
	MX            bool     `yaml:"mx"`
	Protocol      string   `yaml:"protocol"`
	To            []string `yaml:"to"`
	TLS           string   `yaml:"tls"`
	ImplicitTLS   bool     `yaml:"implicit_tls"`
	CAFile        string   `yaml:"ca_file"`
	Username      string   `yaml:"username"`
	Password      Secret   `yaml:"password"`
	MaxHops       int      `yaml:"max_hops"`
	AllowPrivate  bool     `yaml:"allow_private"`
	AllowNetworks []string `yaml:"allow_networks"`
	SRS           SRS      `yaml:"srs"`
	ARC           ARC      `yaml:"arc"`

	roots string // what CAFile holds
	helo  string // smtp.hostname
}

// SRS rewrites reverse-paths into addresses of Domain; "" does not.
type SRS struct {
	Domain string   `yaml:"domain"`
	Keys   []Secret `yaml:"keys"`
}

// ARC seals with Key, a private key in PEM whose record is Selector._domainkey.Domain; a Domain of "" does not.
type ARC struct {
	Domain   string `yaml:"domain"`
	Selector string `yaml:"selector"`
	Key      Secret `yaml:"key"`
}

// largeTimeout is for sinks that large mail goes to over slow lines.
const largeTimeout = Duration(2 * time.Minute)

func defaultRelay() Relay {
	return Relay{Protocol: ingest.ProtocolSMTP, TLS: relay.TLSOpportunistic, MaxHops: relay.DefaultMaxHops}
}

func (r *Relay) config() *sinks.Relay {
	c := &sinks.Relay{AllowPrivate: r.AllowPrivate, Options: relay.Options{
		Address: r.Address, MX: r.MX, LMTP: r.Protocol == ingest.ProtocolLMTP, To: r.To, Hostname: r.helo, TLS: r.TLS, Implicit: r.ImplicitTLS,
		Username: r.Username, Password: r.Password.Reveal(), MaxHops: r.MaxHops,
	}}
	if r.roots != "" {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM([]byte(r.roots))
	}
	for _, n := range r.AllowNetworks {
		if p, err := netip.ParsePrefix(n); err == nil { // Load refuses all others
			c.AllowNetworks = append(c.AllowNetworks, p)
		}
	}
	if r.SRS.Domain != "" {
		c.SRS = r.SRS.options()
	}
	if r.ARC.Domain != "" {
		c.ARC = &sinks.ARC{Domain: r.ARC.Domain, Selector: r.ARC.Selector, Key: r.ARC.Key.Reveal()}
	}
	return c
}

func (s *SRS) options() *relay.SRSOptions {
	o := &relay.SRSOptions{Domain: s.Domain}
	for _, k := range s.Keys {
		o.Keys = append(o.Keys, k.Reveal())
	}
	return o
}

// ReturnAddresses are what relays make of reverse-paths, one for each that does.
func (c *Config) ReturnAddresses() []*relay.SRS {
	var out []*relay.SRS
	for i := range c.Sinks {
		if r := c.Sinks[i].Relay; r != nil && r.SRS.Domain != "" {
			if s, err := relay.NewSRS(*r.SRS.options()); err == nil { // Load refuses all others
				out = append(out, s)
			}
		}
	}
	return out
}

func (c *checker) largeTimeout(key string, s *Sink) {
	if _, set := c.places[key+".timeout"]; !set {
		s.Timeout = largeTimeout
	}
}

func (c *checker) relay(key string, s *Sink) {
	r := s.Relay
	r.helo = c.cfg.SMTP.Hostname
	at := key + ".relay"
	c.largeTimeout(key, s)
	c.oneOf(at+".protocol", r.Protocol, ingest.ProtocolSMTP, ingest.ProtocolLMTP)
	c.oneOf(at+".tls", r.TLS, relay.TLSNone, relay.TLSOpportunistic, relay.TLSRequired, relay.TLSVerify)
	between(c, at+".max_hops", r.MaxHops, 1, 1000)
	for i, to := range r.To {
		c.mailbox(fmt.Sprintf("%s.to[%d]", at, i), to)
	}
	for i, n := range r.AllowNetworks {
		if _, err := netip.ParsePrefix(n); err != nil {
			c.add(fmt.Sprintf("%s.allow_networks[%d]", at, i), `%q is not a network; write "10.1.0.0/16", and "10.1.2.3/32" for one address`, n)
		}
	}
	if r.CAFile != "" {
		pem, err := c.readFile(r.CAFile)
		r.roots = string(pem)
		switch {
		case err != nil:
			c.add(at+".ca_file", "the file cannot be read: %v", err)
		case !x509.NewCertPool().AppendCertsFromPEM(pem):
			c.add(at+".ca_file", "%s holds no certificate in PEM", r.CAFile)
		}
	}
	if (r.Username == "") != r.Password.IsZero() {
		c.add(at+".password", "username and password go together; set both or none")
	}
	if host, _, err := net.SplitHostPort(r.Address); err == nil && !r.AllowPrivate && len(r.AllowNetworks) == 0 && isLoopback(host) {
		c.add(at+".address", "%s is an internal address: set allow_private: true if the server is meant to be there", host)
	}
	if r.Username != "" && r.TLS == relay.TLSOpportunistic && !strings.HasPrefix(r.Address, "unix:") {
		c.warn(at+".tls", "the password is sent on encrypted connections only, and nobody checks whose they are; set tls: verify")
	}
	if r.SRS.Domain != "" && !c.broken("domains", true) && !c.broken(at+".srs", true) {
		c.takes(at+".srs.domain", "SRS0=x@"+r.SRS.Domain)
	}
}
