package msgauth

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"mxhook/pipeline"
)

// maxPTR bounds the names of one address that are looked up.
const maxPTR = 10

// checkIPRev is the iprev method (RFC 8601 2.7.3, 3): the client's address has a name, and the name has that address.
func (s *Stage) checkIPRev(ctx context.Context, ip netip.Addr) pipeline.IPRevResult {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() {
		return pipeline.IPRevResult{Result: pipeline.ResultNone}
	}
	names, err := s.resolver.LookupAddr(ctx, ip.String())
	switch {
	case isNotFound(err) || err == nil && len(names) == 0:
		return pipeline.IPRevResult{Result: pipeline.ResultPermError}
	case err != nil:
		return pipeline.IPRevResult{Result: pipeline.ResultTempError}
	}
	network := "ip4"
	if ip.Is6() {
		network = "ip6"
	}
	result := pipeline.ResultFail
	for _, name := range names[:min(len(names), maxPTR)] {
		addrs, err := s.resolver.LookupNetIP(ctx, network, name)
		if err != nil && !isNotFound(err) {
			result = pipeline.ResultTempError
		}
		same := func(a netip.Addr) bool { return a.Unmap().WithZone("") == ip }
		if domain, ok := normalDomain(name); ok && slices.ContainsFunc(addrs, same) {
			return pipeline.IPRevResult{Result: pipeline.ResultPass, Name: domain}
		}
	}
	return pipeline.IPRevResult{Result: result}
}

// ipText is the address as results show it.
func ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return strings.ToLower(ip.Unmap().WithZone("").String())
}
