package msgauth

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
)

// budget is a Resolver for one message that stops asking after so many lookups: every method has its own limits, and
// this is the one for all of them together. Beyond it each lookup is a temporary failure, which verifies nobody.
type budget struct {
	Resolver
	left atomic.Int64
}

func newBudget(r Resolver, lookups int) *budget {
	b := &budget{Resolver: r}
	b.left.Store(int64(lookups))
	return b
}

func (b *budget) spend(name string) error {
	if b.left.Add(-1) < 0 {
		return &net.DNSError{Err: "too many lookups for one message", Name: name, IsTemporary: true}
	}
	return nil
}

func (b *budget) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := b.spend(name); err != nil {
		return nil, err
	}
	return b.Resolver.LookupTXT(ctx, name)
}

func (b *budget) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if err := b.spend(host); err != nil {
		return nil, err
	}
	return b.Resolver.LookupNetIP(ctx, network, host)
}

func (b *budget) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if err := b.spend(name); err != nil {
		return nil, err
	}
	return b.Resolver.LookupMX(ctx, name)
}

func (b *budget) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if err := b.spend(addr); err != nil {
		return nil, err
	}
	return b.Resolver.LookupAddr(ctx, addr)
}
