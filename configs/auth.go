package configs

import (
	"fmt"
	"net/netip"
	"strings"

	"mxhook/ingest"
)

// Auth is whose word counts about who really sent a mail. TrustedSealers are domains whose ARC seals are believed.
type Auth struct {
	TrustedSealers   []string   `yaml:"trusted_sealers"`
	TrustedUpstreams []Upstream `yaml:"trusted_upstreams"`
}

// Upstream is hosts that hand on mail for us: Networks are addresses or networks; AuthservID is the name in the
// Authentication-Results that they add, "" believes none.
type Upstream struct {
	Networks   []string `yaml:"networks"`
	AuthservID string   `yaml:"authserv_id"`
}

// Prefixes returns the networks, a single address as the network of it alone. Those that Load would refuse are left out.
func (u *Upstream) Prefixes() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, n := range u.Networks {
		if p, ok := network(n); ok {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

func network(s string) (netip.Prefix, bool) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		return netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

// widest are the networks that are taken for a slip: whoever connects from an upstream can say who the client was.
const (
	widest4 = 8
	widest6 = 16
)

func (c *checker) auth() {
	for i, d := range c.cfg.Auth.TrustedSealers {
		if _, err := ingest.ParseAddress("x@" + d); err != nil || strings.ContainsAny(d, "@[*") {
			c.add(fmt.Sprintf("auth.trusted_sealers[%d]", i), "%q is not the domain of a sealer; write the d= of its ARC-Seal fields, like google.com", d)
		}
	}
	for i, u := range c.cfg.Auth.TrustedUpstreams {
		key := fmt.Sprintf("auth.trusted_upstreams[%d]", i)
		if len(u.Networks) == 0 {
			c.add(key+".networks", "no network says which hosts are meant; write the addresses they connect from")
		}
		for j, n := range u.Networks {
			at := fmt.Sprintf("%s.networks[%d]", key, j)
			switch p, ok := network(n); {
			case !ok:
				c.add(at, "%q is not an address or a network; write 192.0.2.8 or 192.0.2.0/24", n)
			case p.Addr().Is4() && p.Bits() < widest4 || p.Addr().Is6() && p.Bits() < widest6:
				c.add(at, "%s is too wide: whoever connects from there can claim that any client sent the mail", n)
			}
		}
		if strings.ContainsAny(u.AuthservID, " \t;\"") {
			c.add(key+".authserv_id", "%q is not a name; write what stands first in the Authentication-Results of these hosts", u.AuthservID)
		}
		if u.AuthservID != "" && strings.EqualFold(u.AuthservID, c.cfg.SMTP.Hostname) {
			c.add(key+".authserv_id", "%s is our own name (smtp.hostname), whose results are removed from mail that comes in", u.AuthservID)
		}
	}
}
