package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
)

// DNSList is a list of addresses that is asked by DNS (RFC 5782): one that speaks against a client, or with a negative
// Score one that speaks for it.
type DNSList struct {
	Zone string
	// Score counts when the list has the client. 0 means 1.
	Score int
	// Answers are those that mean "listed"; none means all of 127.0.0.0/8 but 127.255.255.0/24, in which lists say that
	// they do not answer us.
	Answers []netip.Prefix
}

// reputation is what the outside world says of a client.
type reputation struct {
	refusal *Reply // nil: nothing against it
}

// judge asks what is known about the client, once a session.
func (s *session) judge(ctx context.Context) *Reply {
	if s.reputation == nil {
		s.reputation = &reputation{s.askAround(ctx)}
	}
	return s.reputation.refusal
}

func (s *session) askAround(ctx context.Context) *Reply {
	a := s.srv.admission
	if !s.client.IP.IsValid() || len(a.DNSLists) == 0 && !a.ReverseDNS {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.DNSTimeout)
	defer cancel()
	scores := make([]int, len(a.DNSLists))
	var asked sync.WaitGroup
	for i := range a.DNSLists {
		asked.Go(func() { scores[i] = s.askList(ctx, &a.DNSLists[i]) })
	}
	named := true
	if a.ReverseDNS {
		named = s.hasReverseName(ctx)
	}
	asked.Wait()
	total := 0
	for _, score := range scores {
		total += score
	}
	switch {
	case total >= a.RefuseAt && len(a.DNSLists) > 0:
		return replyListed
	case !named:
		return replyNoReverseDNS
	}
	return nil
}

// askList returns the score of one list for the client: 0 when it is not listed, or nobody knows.
func (s *session) askList(ctx context.Context, list *DNSList) int {
	answers, err := s.srv.admission.Resolver.LookupNetIP(ctx, "ip4", reverseName(s.client.IP)+"."+list.Zone)
	if err != nil {
		if !isNotFound(err) {
			s.srv.metrics.lookups.WithLabelValues(list.Zone, "failed").Inc()
			s.log.Warn("DNS list does not answer", "zone", list.Zone, "error", err)
		}
		return 0
	}
	for _, answer := range answers {
		switch answer = answer.Unmap(); {
		case list.lists(answer):
			s.srv.metrics.lookups.WithLabelValues(list.Zone, "listed").Inc()
			s.log.Info("client is on a DNS list", "zone", list.Zone, "answer", answer)
			if list.Score == 0 {
				return 1
			}
			return list.Score
		case isListError(answer):
			s.srv.metrics.lookups.WithLabelValues(list.Zone, "failed").Inc()
			s.log.Warn("DNS list refuses to answer us", "zone", list.Zone, "answer", answer)
		}
	}
	return 0
}

// lists reports whether an answer means "listed". Others come from resolvers that invent answers, and from expired
// zones.
func (l *DNSList) lists(answer netip.Addr) bool {
	if len(l.Answers) > 0 {
		return contains(l.Answers, answer)
	}
	return answer.Is4() && answer.IsLoopback() && !isListError(answer)
}

func isListError(answer netip.Addr) bool {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 255, 255, 0}), 24).Contains(answer)
}

// hasReverseName reports whether one of the address's names leads back to it (RFC 8601 2.7.3, iprev). When nobody knows,
// it does.
func (s *session) hasReverseName(ctx context.Context) bool {
	resolver := s.srv.admission.Resolver
	names, err := resolver.LookupAddr(ctx, s.client.IP.String())
	if err != nil && !isNotFound(err) {
		s.log.Warn("look up the client's name", "error", err)
		return true
	}
	for _, name := range names[:min(len(names), maxReverseNames)] {
		ips, err := resolver.LookupNetIP(ctx, "ip", strings.TrimSuffix(name, "."))
		if err != nil && !isNotFound(err) {
			s.log.Warn("look up the client's name", "name", name, "error", err)
			return true
		}
		for _, ip := range ips {
			if ip.Unmap() == s.client.IP {
				return true
			}
		}
	}
	return false
}

// maxReverseNames bounds the names of one address that are looked up.
const maxReverseNames = 10

// reverseName is the address as it stands in front of a list's zone: octets or nibbles backwards (RFC 5782 2.1, 2.4).
func reverseName(ip netip.Addr) string {
	ip = ip.Unmap()
	var labels []string
	if ip.Is4() {
		for _, octet := range ip.As4() {
			labels = append(labels, strconv.Itoa(int(octet)))
		}
	} else {
		octets := ip.As16()
		for _, nibble := range hex.EncodeToString(octets[:]) {
			labels = append(labels, string(nibble))
		}
	}
	var b strings.Builder
	for i := len(labels) - 1; i >= 0; i-- {
		b.WriteString(labels[i])
		if i > 0 {
			b.WriteByte('.')
		}
	}
	return b.String()
}

func isNotFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}
