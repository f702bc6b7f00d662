package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
)

// Resolver finds the addresses of a host. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// proxyURL reads the address of a proxy; nil without one. Errors do not quote it: it may hold a password.
func proxyURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, nil
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
		return nil, errors.New("proxy: write http://proxy.example.com:3128, with user:password@ in front of the host where it asks for them")
	}
	return u, nil
}

// proxyGuard judges targets that are reached through a proxy, where it is the proxy that connects: the target's addresses
// as we resolve them must all be allowed. A name that only the proxy can resolve passes. The proxy resolves again, so a
// name that changes its address in between is for the proxy to refuse.
type proxyGuard struct {
	guard    *guard
	resolver Resolver
}

func (g *proxyGuard) check(ctx context.Context, host string) error {
	if ip, err := netip.ParseAddr(host); err == nil {
		return g.guard.check(ip)
	}
	ips, err := g.resolver.LookupNetIP(ctx, "ip", host)
	if _, isDNS := errors.AsType[*net.DNSError](err); isDNS && ctx.Err() == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("resolve the host name: %w", err)
	}
	for _, ip := range ips {
		if err := g.guard.check(ip); err != nil {
			return err
		}
	}
	return nil
}
