package msgauth

import (
	"net/netip"
	"strconv"
	"strings"
)

// isSPFRecord reports whether a TXT record is an SPF record of version 1 (RFC 7208 4.5).
func isSPFRecord(txt string) bool {
	return len(txt) >= 6 && strings.EqualFold(txt[:6], "v=spf1") && (len(txt) == 6 || txt[6] == ' ')
}

// validSPF reports whether an SPF record keeps the grammar of RFC 7208 12 from end to end. Every syntax error anywhere
// in the record is a permerror (RFC 7208 4.6), even behind a mechanism that matches.
func validSPF(record string) bool {
	seen := map[string]bool{}
	for term := range strings.SplitSeq(record[len("v=spf1"):], " ") {
		if term == "" {
			continue
		}
		if name, value, ok := cutModifier(term); ok {
			if !validModifier(name, value, seen) {
				return false
			}
		} else if !validDirective(term) {
			return false
		}
	}
	return true
}

// cutModifier splits a term that starts with a modifier's name and an equals sign.
func cutModifier(term string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(term, "=")
	if !ok || name == "" || !isAlpha(name[0]) {
		return "", "", false
	}
	for i := range len(name) {
		if c := name[i]; !isAlphanum(c) && c != '-' && c != '_' && c != '.' {
			return "", "", false
		}
	}
	return strings.ToLower(name), value, true
}

// validModifier checks a modifier; redirect and exp may stand but once (RFC 7208 6).
func validModifier(name, value string, seen map[string]bool) bool {
	if name != "redirect" && name != "exp" {
		_, ok := macroString(value)
		return ok
	}
	if seen[name] {
		return false
	}
	seen[name] = true
	return validDomainSpec(value)
}

func validDirective(term string) bool {
	if strings.IndexByte("+-?~", term[0]) >= 0 {
		term = term[1:]
	}
	end := strings.IndexAny(term, ":/")
	if end < 0 {
		end = len(term)
	}
	name, rest := strings.ToLower(term[:end]), term[end:]
	spec, hasSpec := strings.CutPrefix(rest, ":")
	switch name {
	case "all":
		return rest == ""
	case "include", "exists":
		return hasSpec && validDomainSpec(spec)
	case "ptr":
		return rest == "" || hasSpec && validDomainSpec(spec)
	case "a", "mx":
		if !hasSpec {
			cut, ok := cutDualCIDR(rest)
			return ok && cut == ""
		}
		domain, ok := cutDualCIDR(spec)
		return ok && validDomainSpec(domain)
	case "ip4":
		return hasSpec && validNetwork(spec, netip.Addr.Is4, 32)
	case "ip6":
		return hasSpec && validNetwork(spec, netip.Addr.Is6, 128)
	}
	return false
}

func validNetwork(s string, family func(netip.Addr) bool, most int) bool {
	addr, bits, hasBits := strings.Cut(s, "/")
	ip, err := netip.ParseAddr(addr)
	return err == nil && ip.Zone() == "" && family(ip) && (!hasBits || validCIDR(bits, most))
}

// validCIDR checks a prefix length: no sign, no leading zero.
func validCIDR(s string, most int) bool {
	n, err := strconv.Atoi(s)
	return err == nil && s != "" && isDigits(s) && (s == "0" || s[0] != '0') && n <= most
}

// cutDualCIDR cuts [ "/" n ] [ "//" n ] off the end of a or mx. ok is false when what looks like one is none.
func cutDualCIDR(s string) (domain string, ok bool) {
	ok = true
	if i := strings.LastIndex(s, "//"); i >= 0 && isDigits(s[i+2:]) {
		ok = validCIDR(s[i+2:], 128)
		s = s[:i]
	}
	if i := strings.LastIndexByte(s, '/'); i >= 0 && isDigits(s[i+1:]) {
		ok = ok && validCIDR(s[i+1:], 32)
		s = s[:i]
	}
	return s, ok
}

// validDomainSpec checks domain-spec: a macro-string that ends in a macro or in a dot and a top label.
func validDomainSpec(s string) bool {
	tail, ok := macroString(s)
	if !ok || s == "" {
		return false
	}
	if tail == "" {
		return true // ends in a macro
	}
	tail = strings.TrimSuffix(tail, ".")
	dot := strings.LastIndexByte(tail, '.')
	return dot >= 0 && validTopLabel(tail[dot+1:])
}

// validTopLabel checks toplabel: letters, digits and inner hyphens, not digits alone.
func validTopLabel(s string) bool {
	if s == "" || isDigits(s) || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !isAlphanum(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

// macroString checks macro-string (RFC 7208 7.1) and returns the literal octets behind the last macro.
func macroString(s string) (tail string, ok bool) {
	start := 0
	for i := 0; i < len(s); i++ {
		if s[i] < 0x21 || s[i] > 0x7e {
			return "", false
		}
		if s[i] != '%' {
			continue
		}
		n := macroLen(s[i:])
		if n == 0 {
			return "", false
		}
		i += n - 1
		start = i + 1
	}
	return s[start:], true
}

// macroLen returns the length of the macro that s starts with, 0 when it is none. The letters c, r and t belong to
// explanations, which we do not fetch.
func macroLen(s string) int {
	if len(s) < 2 {
		return 0
	}
	if strings.IndexByte("%_-", s[1]) >= 0 {
		return 2
	}
	end := strings.IndexByte(s, '}')
	if s[1] != '{' || end < 3 || strings.IndexByte("slodiphv", s[2]|0x20) < 0 || !isAlpha(s[2]) {
		return 0
	}
	rest := s[3:end]
	digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	if digits != "" && strings.Trim(digits, "0") == "" {
		return 0
	}
	rest = rest[len(digits):]
	if rest != "" && rest[0]|0x20 == 'r' {
		rest = rest[1:]
	}
	if strings.Trim(rest, ".-+,/_=") != "" {
		return 0
	}
	return end + 1
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isAlphanum(c byte) bool { return isAlpha(c) || '0' <= c && c <= '9' }
