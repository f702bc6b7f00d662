package webhook

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrInternalAddress says that the endpoint's address is not one of the public internet and was not allowed.
var ErrInternalAddress = errors.New("internal address")

// guard decides which addresses may be dialled. It is asked for the address itself, after the name was resolved and
// for every address tried, so that a name that changes its address between check and use gains nothing.
type guard struct {
	public  *ssrf.Guardian
	allowed []netip.Prefix
}

func newGuard(allowed []netip.Prefix) *guard {
	g := &guard{public: ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork())}
	for _, p := range allowed {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		g.allowed = append(g.allowed, p.Masked())
	}
	return g
}

// DialControl returns the same judgement as a net.Dialer.Control for sinks of other kinds.
func DialControl(allowed []netip.Prefix) func(network, address string, c syscall.RawConn) error {
	return newGuard(allowed).control
}

// control is a net.Dialer.Control.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("check address %q: %w", address, ErrInternalAddress)
	}
	return g.check(ap.Addr())
}

// check returns an error that wraps ErrInternalAddress unless ip may be dialled. A zone is ignored; an IPv4-mapped
// address is judged as the IPv4 address that the system would dial. Listing the NAT64 prefix allows the public IPv4
// addresses behind it only (RFC 6052 2.1).
func (g *guard) check(ip netip.Addr) error {
	ip = ip.WithZone("").Unmap()
	judged := ip
	if ssrf.IPv6NAT64Prefix.Contains(ip) && g.allows(ip) {
		octets := ip.As16()
		judged = netip.AddrFrom4([4]byte(octets[12:]))
	}
	if g.allows(judged) || g.public.SafeAddr(judged) == nil {
		return nil
	}
	return fmt.Errorf("%w %s: set allow_private, or list it in allow_networks, if the endpoint is meant to be there",
		ErrInternalAddress, ip)
}

func (g *guard) allows(ip netip.Addr) bool {
	for _, p := range g.allowed {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
