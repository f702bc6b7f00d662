package configs

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"mxhook/ingest"
	"mxhook/sinks/webhook"
)

// This file is what the front end holds against clients, and how recipients are decided: types, checks, and what package
// ingest gets of them.

// Policy is what is held against clients. Networks are prefixes or single addresses. BareLF and BareCR are "reject" or
// "keep".
type Policy struct {
	BareLF            string    `yaml:"bare_lf"`
	BareCR            string    `yaml:"bare_cr"`
	AllowNetworks     []string  `yaml:"allow_networks"`
	DenyNetworks      []string  `yaml:"deny_networks"`
	RequireReverseDNS bool      `yaml:"require_reverse_dns"`
	DNSLists          []DNSList `yaml:"dns_lists"`
	RefuseAt          int       `yaml:"refuse_at"`
	DNSTimeout        Duration  `yaml:"dns_timeout"`
	Tarpit            Duration  `yaml:"tarpit"`
	UnknownPause      Duration  `yaml:"unknown_pause"`
	Greylist          Greylist  `yaml:"greylist"`
}

// DNSList is a list of addresses that is asked by DNS (RFC 5782). A negative Score speaks for the client. Answers are
// those that mean "listed"; none means the usual.
type DNSList struct {
	Zone    string   `yaml:"zone"`
	Score   int      `yaml:"score"`
	Answers []string `yaml:"answers"`
}

// Greylist makes unknown clients try again; a Delay of 0 is off.
type Greylist struct {
	Delay  Duration `yaml:"delay"`
	Window Duration `yaml:"window"`
	Keep   Duration `yaml:"keep"`
}

// Callout asks an HTTP server for recipients; a URL of "" is off. Authorization is the header field of that name, Secret
// signs like that of a webhook.
type Callout struct {
	URL             string   `yaml:"url"`
	Authorization   Secret   `yaml:"authorization"`
	Secret          Secret   `yaml:"secret"`
	AllowPrivate    bool     `yaml:"allow_private"`
	AllowNetworks   []string `yaml:"allow_networks"`
	Timeout         Duration `yaml:"timeout"`
	Cache           Duration `yaml:"cache"`
	NegativeCache   Duration `yaml:"negative_cache"`
	AcceptOnFailure bool     `yaml:"accept_on_failure"`
}

// Guard protects a catch-all; New 0 is off.
type Guard struct {
	New       int  `yaml:"new"`
	Permanent bool `yaml:"permanent"`
}

func defaultPolicy() Policy {
	return Policy{
		BareLF: ingest.LinesReject, BareCR: ingest.LinesKeep, RefuseAt: 1, DNSTimeout: Duration(5 * time.Second),
		UnknownPause: Duration(5 * time.Second), Greylist: Greylist{Window: Duration(2 * day), Keep: Duration(36 * day)},
	}
}

func defaultDomain() Domain {
	return Domain{
		TagSeparator: "+", DMARC: DMARCAccept,
		Callout: Callout{Timeout: Duration(5 * time.Second), Cache: Duration(10 * time.Minute), NegativeCache: Duration(time.Minute)},
	}
}

func (DNSList) defaulted() any { return DNSList{Score: 1} }

func (c *checker) listenerNetworks(key string, l *Listener) {
	for _, list := range []struct {
		name     string
		networks []string
	}{{"proxy_networks", l.ProxyNetworks}, {"xclient_networks", l.XclientNetworks}} {
		c.networks(key+"."+list.name, list.networks)
		for i, n := range list.networks {
			if p, err := parseNetwork(n); err == nil && p.Bits() == 0 {
				c.warn(fmt.Sprintf("%s.%s[%d]", key, list.name, i), "everybody may then say to be any client; name the networks of your own balancers and relays")
			}
		}
	}
}

// networks checks prefixes and addresses.
func (c *checker) networks(key string, networks []string) {
	for i, n := range networks {
		if _, err := parseNetwork(n); err != nil {
			c.add(fmt.Sprintf("%s[%d]", key, i), "%q is not a network; write 192.0.2.0/24, 2001:db8::/32 or one address", n)
		}
	}
}

func parseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// parseNetworks returns what networks has found right.
func parseNetworks(networks []string) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range networks {
		if p, err := parseNetwork(n); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func (c *checker) policy() {
	l, t, p := &c.cfg.SMTP.Limits, &c.cfg.SMTP.Timeouts, &c.cfg.SMTP.Policy
	between(c, "smtp.limits.connections_per_network", l.ConnectionsPerNetwork, 0, 1_000_000)
	between(c, "smtp.limits.errors", l.Errors, 1, 10_000)
	between(c, "smtp.limits.idle_commands", l.IdleCommands, 10, 100_000)
	between(c, "smtp.limits.unknown_recipients", l.UnknownRecipients, 0, 100_000)
	between(c, "smtp.limits.transactions", l.Transactions, 0, 1_000_000)
	between(c, "smtp.limits.waiting", l.Waiting, 1, 100_000)
	between(c, "smtp.limits.min_rate", l.MinRate, 0, megabyte)
	between(c, "smtp.limits.connections_per_minute", l.ConnectionsPerMinute, 0, 1_000_000)
	between(c, "smtp.limits.messages_per_minute", l.MessagesPerMinute, 0, 1_000_000)
	between(c, "smtp.limits.recipients_per_minute", l.RecipientsPerMinute, 0, 10_000_000)
	c.duration("smtp.timeouts.greet_delay", t.GreetDelay, 0, time.Minute)
	c.duration("smtp.timeouts.proxy", t.Proxy, 100*time.Millisecond, time.Minute)
	c.duration("smtp.timeouts.session", t.Session, 0, 30*day)
	c.oneOf("smtp.policy.bare_lf", p.BareLF, ingest.LinesReject, ingest.LinesKeep)
	c.oneOf("smtp.policy.bare_cr", p.BareCR, ingest.LinesReject, ingest.LinesKeep)
	c.networks("smtp.policy.allow_networks", p.AllowNetworks)
	c.networks("smtp.policy.deny_networks", p.DenyNetworks)
	for i, list := range p.DNSLists {
		key := fmt.Sprintf("smtp.policy.dns_lists[%d]", i)
		if err := tryDomain(ingest.Domain{Name: list.Zone}); err != "" || strings.Contains(list.Zone, "*") {
			c.add(key+".zone", "%q is not a zone; write a name like zen.example.org", list.Zone)
		}
		between(c, key+".score", list.Score, -1000, 1000)
		c.networks(key+".answers", list.Answers)
	}
	between(c, "smtp.policy.refuse_at", p.RefuseAt, 1, 100_000)
	c.duration("smtp.policy.dns_timeout", p.DNSTimeout, 100*time.Millisecond, time.Minute)
	c.duration("smtp.policy.tarpit", p.Tarpit, 0, time.Minute)
	c.duration("smtp.policy.unknown_pause", p.UnknownPause, 0, time.Minute)
	c.duration("smtp.policy.greylist.delay", p.Greylist.Delay, 0, 12*time.Hour)
	c.duration("smtp.policy.greylist.window", p.Greylist.Window, time.Hour, 30*day)
	c.duration("smtp.policy.greylist.keep", p.Greylist.Keep, time.Hour, 365*day)
}

// liveRecipients checks what the front end asks for while it runs.
func (c *checker) liveRecipients(key string, d *Domain) {
	for j, b := range d.Blocked {
		if err := tryDomain(ingest.Domain{Name: "example.com", Recipients: []string{b}}); err != "" {
			c.add(fmt.Sprintf("%s.blocked[%d]", key, j), "%s", err)
		}
	}
	if d.RecipientsFile != "" {
		if _, err := os.Stat(d.RecipientsFile); err != nil {
			c.add(key+".recipients_file", "the file cannot be read: %v", err)
		}
	}
	c.oneOf(key+".dmarc", d.DMARC, DMARCAccept, DMARCReject)
	between(c, key+".quota", d.Quota, 0, 10_000_000)
	between(c, key+".guard.new", d.Guard.New, 0, 1_000_000)
	if d.Callout.URL == "" {
		return
	}
	if u, err := url.Parse(d.Callout.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		c.add(key+".callout.url", "%q is not the URL of an HTTP server; write one like https://app.example.com/recipient", d.Callout.URL)
	}
	c.callout(key+".callout", &d.Callout)
	c.duration(key+".callout.timeout", d.Callout.Timeout, 10*time.Millisecond, 30*time.Second)
	c.duration(key+".callout.cache", d.Callout.Cache, time.Second, day)
	c.duration(key+".callout.negative_cache", d.Callout.NegativeCache, time.Second, day)
}

// callout checks where a callout goes and what it is signed with.
func (c *checker) callout(key string, o *Callout) {
	c.prefixes(key+".allow_networks", o.AllowNetworks)
	if !o.Secret.IsZero() {
		c.secret(key+".secret", o.Secret)
	}
	u, err := url.Parse(o.URL)
	if err != nil || o.AllowPrivate {
		return
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); err == nil {
		if err := webhook.DialControl(prefixes(o.AllowNetworks))("tcp", netip.AddrPortFrom(ip, 443).String(), nil); err != nil {
			c.add(key+".url", "%v", err)
		}
	} else if host == "localhost" && len(o.AllowNetworks) == 0 {
		c.add(key+".url", "localhost is an internal address: set allow_private: true if the server is meant to be there")
	}
}

// IngestPolicy returns the policy as the front end takes it, without resolver and memory.
func (c *Config) IngestPolicy() ingest.Policy {
	p, l := &c.SMTP.Policy, &c.SMTP.Limits
	out := ingest.Policy{
		Allow: parseNetworks(p.AllowNetworks), Deny: parseNetworks(p.DenyNetworks), BareLF: p.BareLF, BareCR: p.BareCR,
		Rates:  ingest.Rates{Connections: l.ConnectionsPerMinute, Messages: l.MessagesPerMinute, Recipients: l.RecipientsPerMinute},
		Tarpit: time.Duration(p.Tarpit), UnknownPause: time.Duration(p.UnknownPause),
		RefuseAt: p.RefuseAt, ReverseDNS: p.RequireReverseDNS, DNSTimeout: time.Duration(p.DNSTimeout),
		Greylist: ingest.Greylist{
			Delay: time.Duration(p.Greylist.Delay), Window: time.Duration(p.Greylist.Window), Keep: time.Duration(p.Greylist.Keep),
		},
	}
	for _, list := range p.DNSLists {
		out.DNSLists = append(out.DNSLists, ingest.DNSList{Zone: list.Zone, Score: list.Score, Answers: parseNetworks(list.Answers)})
	}
	return out
}

// IngestLimits returns the limits as the front end takes them.
func (c *Config) IngestLimits() ingest.Limits {
	l := &c.SMTP.Limits
	return ingest.Limits{
		MessageSize: int64(l.MessageSize), Recipients: l.Recipients, Connections: l.Connections, ConnectionsPerIP: l.ConnectionsPerIP,
		ConnectionsPerNetwork: l.ConnectionsPerNetwork, Errors: l.Errors, IdleCommands: l.IdleCommands,
		UnknownRecipients: l.UnknownRecipients, Transactions: l.Transactions, MinRate: int64(l.MinRate),
	}
}

// IngestTimeouts returns the timeouts as the front end takes them.
func (c *Config) IngestTimeouts() ingest.Timeouts {
	t := &c.SMTP.Timeouts
	return ingest.Timeouts{
		GreetDelay: time.Duration(t.GreetDelay), Proxy: time.Duration(t.Proxy), Session: time.Duration(t.Session),
		Handshake: time.Duration(t.Handshake), Command: time.Duration(t.Command), Data: time.Duration(t.Data),
		Transfer: time.Duration(t.Transfer), Write: time.Duration(t.Write),
	}
}

// IngestListeners returns the listeners as the front end takes them.
func (c *Config) IngestListeners() []ingest.Listener {
	var out []ingest.Listener
	for _, l := range c.SMTP.Listeners {
		out = append(out, ingest.Listener{
			Name: l.Name, Address: l.Address, Protocol: l.Protocol, TLS: l.TLS,
			Proxy: parseNetworks(l.ProxyNetworks), Xclient: parseNetworks(l.XclientNetworks),
		})
	}
	return out
}

func (d *Domain) ingest() ingest.Domain {
	out := ingest.Domain{
		Name: d.Domain, Recipients: d.Recipients, TagSeparator: d.TagSeparator, CaseSensitive: d.CaseSensitive,
		Blocked: d.Blocked, File: d.RecipientsFile, Quota: d.Quota,
	}
	if d.Guard.New > 0 {
		out.Guard = &ingest.Guard{New: d.Guard.New, Permanent: d.Guard.Permanent}
	}
	if c := d.Callout; c.URL != "" {
		out.Callout = &ingest.Callout{
			URL: c.URL, Timeout: time.Duration(c.Timeout), Cache: time.Duration(c.Cache), NegativeCache: time.Duration(c.NegativeCache),
			AcceptOnFailure: c.AcceptOnFailure,
		}
		if !c.AllowPrivate {
			out.Callout.Control = webhook.DialControl(prefixes(c.AllowNetworks))
		}
		if s, err := webhook.NewSignature(c.Secret.Reveal()); !c.Secret.IsZero() && err == nil { // Load refuses a wrong one
			out.Callout.Sign = s.Sign
		}
		if !c.Authorization.IsZero() {
			out.Callout.Header = http.Header{"Authorization": {c.Authorization.Reveal()}}
		}
	}
	return out
}
