package msgauth

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The SPF library cuts the domain of a: and mx: off at the first slash, which may be part of a name, and knows no %{p}.
// Both are put into the record before it sees it. Should it learn them, this file can go.

// slashMark stands for a slash in a domain-spec; it cannot be in a record that is well formed.
const slashMark = "\x01"

// rewrite returns a well formed record of a domain as the library understands it.
func (r *spfResolver) rewrite(ctx context.Context, record, domain string) string {
	if strings.Contains(record, "%{p") || strings.Contains(record, "%{P") {
		record = r.expandP(ctx, record, domain)
	}
	if strings.IndexByte(record, '/') < 0 {
		return record
	}
	terms := strings.Split(record, " ")
	for i, term := range terms {
		mechanism, spec, ok := strings.Cut(term, ":")
		switch strings.ToLower(strings.TrimLeft(mechanism, "+-?~")) {
		case "a", "mx":
			if name, _ := cutDualCIDR(spec); ok {
				terms[i] = mechanism + ":" + strings.ReplaceAll(name, "/", slashMark) + spec[len(name):]
			}
		}
	}
	return strings.Join(terms, " ")
}

// expandP replaces the macro p (RFC 7208 7.2, 7.3), in all its forms, by the validated name of the client.
func (r *spfResolver) expandP(ctx context.Context, record, domain string) string {
	name := ""
	var b strings.Builder
	for i := 0; i < len(record); {
		n := 1
		if record[i] == '%' {
			n = max(1, macroLen(record[i:]))
		}
		if n > 3 && record[i+2]|0x20 == 'p' {
			if name == "" {
				name = r.validatedName(ctx, domain)
			}
			b.WriteString(transform(name, record[i+3:i+n-1]))
		} else {
			b.WriteString(record[i : i+n])
		}
		i += n
	}
	return b.String()
}

// transform applies the transformers of a macro: how many labels from the right, reversed, split at what.
func transform(s, transformers string) string {
	rest := strings.TrimLeft(transformers, "0123456789")
	digits, _ := strconv.Atoi(transformers[:len(transformers)-len(rest)])
	reverse := rest != "" && rest[0]|0x20 == 'r'
	if reverse {
		rest = rest[1:]
	}
	if rest == "" {
		rest = "."
	}
	parts := strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune(rest, c) })
	if reverse {
		slices.Reverse(parts)
	}
	if digits > 0 && digits < len(parts) {
		parts = parts[len(parts)-digits:]
	}
	return strings.Join(parts, ".")
}

// validatedName returns the name of the client that its address confirms: the domain itself, else one below it, else
// any (RFC 7208 7.3); "unknown" when there is none or DNS does not say.
func (r *spfResolver) validatedName(ctx context.Context, domain string) string {
	domain, _ = normalDomain(domain)
	best, rank := "unknown", 0
	names, err := r.resolver.LookupAddr(ctx, r.ip.String())
	if err != nil {
		return best
	}
	for _, name := range names[:min(len(names), maxPTR)] {
		name, ok := normalDomain(name)
		n := 1
		switch {
		case name == domain:
			n = 3
		case strings.HasSuffix(name, "."+domain):
			n = 2
		}
		if ok && n > rank && hasAddress(ctx, r.resolver, name, r.ip) {
			best, rank = name, n
		}
	}
	return best
}

// hasAddress reports whether a name has that address. When DNS does not say, it has not.
func hasAddress(ctx context.Context, r Resolver, name string, ip netip.Addr) bool {
	network := "ip4"
	if ip.Is6() {
		network = "ip6"
	}
	addrs, err := r.LookupNetIP(ctx, network, name)
	return err == nil && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap().WithZone("") == ip })
}
