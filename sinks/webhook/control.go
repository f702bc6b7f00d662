package webhook

import (
	"net/netip"
	"syscall"
)

// Control returns a net.Dialer.Control with the address guard of webhooks, for sinks that connect otherwise: only
// addresses of the public internet and of these networks may be dialled, else the error is ErrInternalAddress.
func Control(allowed []netip.Prefix) func(network, address string, c syscall.RawConn) error {
	return newGuard(allowed).control
}
