package configs

import (
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxhook/ingest"
	"mxhook/pipeline"
)

// checker finds what is wrong with a configuration whose keys and types are right. What the strict pass has already
// complained about is not complained about again in other words.
type checker struct {
	*strict
	cfg *Config
}

// at finds the place of a key, or of the nearest group around it.
func (c *checker) at(key string) place {
	for {
		if p, ok := c.places[key]; ok {
			return p
		}
		if key == "" {
			break
		}
		key = parentOf(key)
	}
	if c.main.placed {
		return place{file: c.main.file, line: 1, column: 1}
	}
	return place{file: c.main.file}
}

func (c *checker) add(key, format string, args ...any) {
	c.say(false, key, format, args...)
}

func (c *checker) warn(key, format string, args ...any) {
	c.say(true, key, format, args...)
}

func (c *checker) say(warning bool, key, format string, args ...any) {
	if c.broken(key, false) {
		return
	}
	p := c.at(key)
	c.note(&Mistake{Warning: warning, File: p.file, Line: p.line, Column: p.column, Env: p.env, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) check() {
	if c.cfg.DataDir == "" {
		c.add("data_dir", "the folder is missing; name one, like /var/lib/mxhook")
	}
	c.smtp()
	c.domains()
	c.dns()
	c.auth()
	c.sinks()
	c.lists()
	c.signedAddresses()
	c.rules()
	c.tests()
	c.queue()
	c.process()
	c.links()
}

// plainName is what a sink's or listener's name looks like: it is in ids, metrics and file names.
var plainName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,39}$`)

func (c *checker) name(key, name, what string, seen map[string]bool) {
	switch {
	case name == "":
		if !c.broken(key[:strings.LastIndexByte(key, '.')], true) {
			c.add(key, "the %s has no name; give it one", what)
		}
	case !plainName.MatchString(name):
		c.add(key, "%q is not a name for a %s; use a letter a-z, then a-z, 0-9, _ and -, at most 40 in all", name, what)
	case seen[name]:
		c.add(key, "the name %q is taken by another %s; choose another", name, what)
	}
	seen[name] = true
}

// oneOf checks a word with few values.
func (c *checker) oneOf(key, value string, values ...string) {
	if slices.Contains(values, value) {
		return
	}
	advice := "write " + strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
	if len(values) == 1 {
		advice = "write " + values[0]
	}
	if near, ok := pipeline.Nearest(value, values); ok && near != "" {
		advice = "did you mean " + near + "?"
	}
	c.add(key, "%q is not known here; %s", value, advice)
}

func between[N int | Size](c *checker, key string, n, low, high N) {
	if n < low || n > high {
		c.add(key, "%v is not between %v and %v", n, low, high)
	}
}

func (c *checker) duration(key string, d Duration, low, high time.Duration) {
	if time.Duration(d) < low || time.Duration(d) > high {
		c.add(key, "%v is not between %v and %v", d, Duration(low), Duration(high))
	}
}

// address checks where to listen. It returns the host; ok is false after a complaint.
func (c *checker) address(key, address string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		switch {
		case address == "":
			c.add(key, `the address is missing; write ":25" or "192.0.2.1:25"`)
		case onlyDigits(address):
			c.add(key, `%q has no colon; write ":%s"`, address, address)
		default:
			c.add(key, `%q is not an address with a port; write ":25", "192.0.2.1:25" or "[2001:db8::1]:25"`, address)
		}
		return "", false
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		c.add(key, "%q is not a port; write a number from 1 to 65535", port)
		return "", false
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		c.add(key, `%q is not an IP address of this host; leave it away for all of them: ":%s"`, host, port)
		return "", false
	}
	return host, true
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func (c *checker) smtp() {
	s := &c.cfg.SMTP
	// A host name is checked as the front end checks domains; it has no wildcard.
	if _, err := ingest.NewDomains([]ingest.Domain{{Name: s.Hostname}}); err != nil || strings.Contains(s.Hostname, "*") {
		c.add("smtp.hostname", "%q is not a host name; write the name that the MX record points to, like mx.example.com", s.Hostname)
	}
	if len(s.Listeners) == 0 {
		c.add("smtp.listeners", `there is no listener; add one: {name: mx, address: ":25"}`)
	}
	names, addresses := map[string]bool{}, map[string]bool{}
	for i, l := range s.Listeners {
		key := fmt.Sprintf("smtp.listeners[%d]", i)
		c.name(key+".name", l.Name, "listener", names)
		host, ok := c.address(key+".address", l.Address)
		if ok && addresses[l.Address] && !strings.HasSuffix(l.Address, ":0") {
			c.add(key+".address", "%q is the address of another listener too; remove one", l.Address)
		}
		addresses[l.Address] = true
		c.oneOf(key+".protocol", l.Protocol, "smtp", "lmtp")
		c.listenerNetworks(key, &s.Listeners[i])
		c.oneOf(key+".tls", l.TLS, "none", "starttls", "implicit")
		switch {
		case l.TLS == "starttls" || l.TLS == "implicit":
			if len(s.TLS.Pairs()) == 0 && len(s.TLS.ACME.Domains) == 0 {
				c.add(key+".tls", "%s needs a certificate; set smtp.tls.cert_file and smtp.tls.key_file, or smtp.tls.acme.domains, or tls: none", l.TLS)
			}
		case l.TLS == "none" && ok && !isLoopback(host):
			c.warn(key+".tls", "mail arrives in clear text; set smtp.tls and tls: starttls")
		}
	}
	c.tls()
	between(c, "smtp.limits.message_size", s.Limits.MessageSize, 64*kibibyte, 256<<20)
	between(c, "smtp.limits.recipients", s.Limits.Recipients, 1, 10_000)
	between(c, "smtp.limits.connections", s.Limits.Connections, 1, 1_000_000)
	between(c, "smtp.limits.connections_per_ip", s.Limits.ConnectionsPerIP, 1, 1_000_000)
	c.duration("smtp.timeouts.handshake", s.Timeouts.Handshake, time.Second, time.Hour)
	c.duration("smtp.timeouts.command", s.Timeouts.Command, time.Second, day)
	c.duration("smtp.timeouts.data", s.Timeouts.Data, time.Second, day)
	c.duration("smtp.timeouts.transfer", s.Timeouts.Transfer, time.Second, day)
	c.duration("smtp.timeouts.write", s.Timeouts.Write, time.Second, time.Hour)
	c.policy()
}

func (c *checker) domains() {
	ds := c.cfg.Domains
	if len(ds) == 0 && !c.broken("domains", true) {
		c.add("domains", "there is no domain, so no mail would be taken; add one: - domain: example.com")
	}
	seen := map[string]bool{}
	for i := range ds {
		d := &ds[i]
		key := fmt.Sprintf("domains[%d]", i)
		switch {
		case d.Domain == "":
			if !c.broken(key, true) {
				c.add(key, "the domain is missing; add domain: example.com")
			}
			continue
		case seen[strings.ToLower(d.Domain)]:
			c.add(key+".domain", "%s is configured twice; put all of its recipients into one entry", d.Domain)
		}
		seen[strings.ToLower(d.Domain)] = true
		if err := tryDomain(ingest.Domain{Name: d.Domain}); err != "" {
			c.add(key+".domain", "%s", err)
		}
		if err := tryDomain(ingest.Domain{Name: "example.com", TagSeparator: d.TagSeparator}); err != "" {
			c.add(key+".tag_separator", "%s", err)
		}
		c.liveRecipients(key, d)
		for j, r := range d.Recipients {
			if err := tryDomain(ingest.Domain{Name: "example.com", Recipients: []string{r}}); err != "" {
				c.add(fmt.Sprintf("%s.recipients[%d]", key, j), "%s", err)
			}
		}
	}
	if !c.broken("domains", true) {
		if _, err := ingest.NewDomains(c.cfg.IngestDomains()); err != nil {
			c.add("domains", "%s", oneLine(err.Error()))
		}
	}
}

// tryDomain returns what the front end says against a domain, without naming it: the key does.
func tryDomain(d ingest.Domain) string {
	_, err := ingest.NewDomains([]ingest.Domain{d})
	if err == nil {
		return ""
	}
	text := oneLine(err.Error())
	prefix := fmt.Sprintf("domain %q", d.Name)
	for _, r := range d.Recipients {
		prefix += fmt.Sprintf(", recipient %q", r)
	}
	if rest, ok := strings.CutPrefix(text, prefix+": "); ok {
		text = rest
		switch {
		case len(d.Recipients) > 0:
			text = fmt.Sprintf("%q: %s", d.Recipients[0], text)
		case d.TagSeparator == "":
			text = fmt.Sprintf("%q: %s", d.Name, text)
		}
	}
	return text
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

func (c *checker) dns() {
	for i, s := range c.cfg.DNS.Servers {
		_, addrErr := netip.ParseAddr(s)
		_, portErr := netip.ParseAddrPort(s)
		if addrErr != nil && portErr != nil {
			c.add(fmt.Sprintf("dns.servers[%d]", i), "%q is not the address of a DNS server; write 192.0.2.53 or 192.0.2.53:53", s)
		}
	}
	c.duration("dns.timeout", c.cfg.DNS.Timeout, 100*time.Millisecond, time.Minute)
}

func unknownSink(sink string, sinks []string) string {
	if near, ok := pipeline.Nearest(sink, sinks); ok {
		return fmt.Sprintf("there is no sink %q; did you mean %s?", sink, near)
	}
	return fmt.Sprintf("there is no sink %q; there are %s", sink, strings.Join(sinks, ", "))
}

func (c *checker) mailbox(key, address string) {
	if a, err := mail.ParseAddress(address); err != nil || a.Name != "" || !strings.HasSuffix(address, a.Address[strings.LastIndexByte(a.Address, '@'):]) {
		c.add(key, "%q is not a mail address; write one like alice@example.org", address)
	}
}
