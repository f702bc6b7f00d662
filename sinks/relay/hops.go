package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mxhook/pipeline"
)

// Bounds of what is tried for one domain.
const (
	maxServers   = 10
	maxAddresses = 4
)

// hop is where a mail goes for some of its recipients.
type hop struct {
	// domain is the domain whose mail servers are meant; "" is the configured address.
	domain string
	rcpts  []*rcpt
}

// errNoAnswer is for recipients that the server did not speak of.
var errNoAnswer = errors.New("the server gave no answer for the recipient")

// fail settles what is open.
func (h *hop) fail(err error) {
	if err == nil {
		err = errNoAnswer
	}
	for _, rc := range h.rcpts {
		if errors.Is(rc.err, errPending) {
			rc.err = err
		}
	}
}

// hops groups the recipients that are not settled by where their mail goes.
func (r *Relay) hops(rcpts []*rcpt) []*hop {
	var hops []*hop
	byDomain := map[string]*hop{}
	for _, rc := range rcpts {
		if !errors.Is(rc.err, errPending) {
			continue
		}
		domain := ""
		if r.o.MX {
			_, domain = pipeline.SplitPath(rc.path)
			domain = strings.ToLower(domain)
		}
		h := byDomain[domain]
		if h == nil {
			h = &hop{domain: domain}
			byDomain[domain] = h
			hops = append(hops, h)
		}
		h.rcpts = append(h.rcpts, rc)
	}
	return hops
}

// server is one mail server: its name, for its certificate, and what to dial.
type server struct {
	host      string
	network   string
	addresses []string
}

func (s *server) key() string { return s.network + " " + s.host + " " + strings.Join(s.addresses, " ") }

// servers returns the servers of a hop, the one to try first in front.
func (r *Relay) servers(ctx context.Context, h *hop) ([]server, error) {
	if h.domain == "" {
		if path, ok := strings.CutPrefix(r.o.Address, "unix:"); ok {
			return []server{{host: "localhost", network: "unix", addresses: []string{path}}}, nil
		}
		host, _, _ := net.SplitHostPort(r.o.Address)
		return []server{{host: host, network: "tcp", addresses: []string{r.o.Address}}}, nil
	}
	if literal, ok := strings.CutPrefix(h.domain, "["); ok {
		ip, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimSuffix(literal, "]"), "ipv6:"))
		if err != nil {
			return nil, pipeline.Permanent(fmt.Errorf("%s is not an address", h.domain))
		}
		return []server{r.serverAt(h.domain, []netip.Addr{ip})}, nil
	}
	hosts, err := r.exchangers(ctx, h.domain)
	if err != nil {
		return nil, err
	}
	var servers []server
	var failed error
	for _, host := range hosts {
		ips, err := r.o.Resolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			if !isNotFound(err) {
				failed = fmt.Errorf("look up %s: %w", host, err)
			}
			continue
		}
		servers = append(servers, r.serverAt(host, ips))
	}
	switch {
	case len(servers) > 0:
		return servers, nil
	case failed != nil:
		return nil, failed
	}
	return nil, pipeline.Permanent(fmt.Errorf("%s has no mail server with an address (5.4.4)", h.domain))
}

func (r *Relay) serverAt(host string, ips []netip.Addr) server {
	s := server{host: host, network: "tcp"}
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		s.addresses = append(s.addresses, net.JoinHostPort(ip.Unmap().String(), strconv.Itoa(r.o.Port)))
	}
	return s
}

// exchangers returns the names of a domain's mail servers in the order to try them (RFC 5321 5.1): without those that are
// not nearer than we are.
func (r *Relay) exchangers(ctx context.Context, domain string) ([]string, error) {
	mxs, err := r.o.Resolver.LookupMX(ctx, domain)
	switch {
	case isNotFound(err) || err == nil && len(mxs) == 0:
		return []string{domain}, nil
	case err != nil:
		return nil, fmt.Errorf("look up the mail servers of %s: %w", domain, err)
	case len(mxs) == 1 && (mxs[0].Host == "." || mxs[0].Host == ""): // RFC 7505
		return nil, pipeline.Permanent(fmt.Errorf("%s takes no mail (5.1.10)", domain))
	}
	mxs = slices.Clone(mxs)
	rand.Shuffle(len(mxs), func(i, j int) { mxs[i], mxs[j] = mxs[j], mxs[i] })
	slices.SortStableFunc(mxs, func(a, b *net.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	var hosts []string
	for _, mx := range mxs {
		host := strings.ToLower(strings.TrimSuffix(mx.Host, "."))
		if host == strings.ToLower(r.o.Hostname) {
			nearer := slices.IndexFunc(mxs, func(o *net.MX) bool { return o.Pref >= mx.Pref })
			hosts = hosts[:min(len(hosts), nearer)]
			if len(hosts) == 0 {
				return nil, pipeline.Permanent(fmt.Errorf("mail loop: we are the mail server of %s (5.4.6)", domain))
			}
			break
		}
		hosts = append(hosts, host)
	}
	return hosts[:min(len(hosts), maxServers)], nil
}

func isNotFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}
