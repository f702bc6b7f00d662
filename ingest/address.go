package ingest

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of RFC 5321 4.5.3.1, in octets.
const (
	maxLocalPart = 64
	maxDomain    = 255
	maxPath      = 256 // with its angle brackets
	maxLabel     = 63  // RFC 1035 2.3.4
)

// Address is the mailbox of a path. The zero value is the null reverse-path.
type Address struct {
	// Local is the local part without the quotes of a quoted string.
	Local string
	// Domain is in lower case and as A-labels, or an address literal with its brackets; "" only for <postmaster>.
	Domain string
	// wire is the local part as it was sent, quotes included.
	wire string
	// international says that the address had octets beyond ASCII, also when the domain's were turned into A-labels.
	international bool
}

// String returns the address with the local part as it was sent; "" for the null reverse-path.
func (a Address) String() string {
	if a.Domain == "" {
		return a.wire
	}
	return a.wire + "@" + a.Domain
}

// ParseAddress parses a mailbox without angle brackets, as strictly as a forward-path.
func ParseAddress(s string) (Address, error) {
	path, err := parsePath("<"+s+">", forwardPath)
	if err != nil {
		return Address{}, err
	}
	if path.rest != "" {
		return Address{}, errors.New("there is something behind the address")
	}
	return path.address, nil
}

// pathKind says which of the two paths is parsed.
//
// A forward-path is one of ours, and RFC 5321 holds to the letter. A reverse-path is somebody else's, and refusing it
// loses mail: senders do use local parts of more than 64 octets (VERP, SRS) and misplaced dots.
type pathKind int

const (
	forwardPath pathKind = iota
	reversePath
)

// parsedPath is a path and what follows it on the command line.
type parsedPath struct {
	address Address
	rest    string
}

var (
	errNoBrackets = errors.New("an address stands in <angle brackets>")
	errNoAt       = errors.New("there is no @domain")
)

// parsePath parses a path (RFC 5321 4.1.2) at the start of s. A source route is checked and ignored (appendix C).
func parsePath(s string, kind pathKind) (parsedPath, error) {
	if s == "" || s[0] != '<' {
		return parsedPath{}, errNoBrackets
	}
	if kind == reversePath && strings.HasPrefix(s, "<>") {
		return parsedPath{rest: s[2:]}, nil
	}
	s, err := skipSourceRoute(s[1:])
	if err != nil {
		return parsedPath{}, err
	}
	a, s, err := parseLocalPart(s, kind)
	if err != nil {
		return parsedPath{}, err
	}
	if kind == forwardPath && strings.HasPrefix(s, ">") && strings.EqualFold(a.wire, "postmaster") {
		return parsedPath{a, s[1:]}, nil // RFC 5321 4.5.1
	}
	if !strings.HasPrefix(s, "@") {
		return parsedPath{}, errNoAt
	}
	end := strings.IndexByte(s, '>')
	if end < 0 {
		return parsedPath{}, errNoBrackets
	}
	domain := s[1:end]
	if a.Domain, err = parseDomainOrLiteral(domain); err != nil {
		return parsedPath{}, err
	}
	a.international = !isASCII(a.wire) || !isASCII(domain)
	if len("<@>")+len(a.wire)+len(a.Domain) > maxPath {
		return parsedPath{}, fmt.Errorf("it is longer than %d octets", maxPath)
	}
	return parsedPath{a, s[end+1:]}, nil
}

// skipSourceRoute drops "@one,@two:" in front of a mailbox.
func skipSourceRoute(s string) (string, error) {
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	route, mailbox, found := strings.Cut(s, ":")
	if !found {
		return "", errors.New("there is no local part")
	}
	for hop := range strings.SplitSeq(route, ",") {
		if !strings.HasPrefix(hop, "@") {
			return "", errors.New("the source route is not a list of @domains")
		}
		if _, err := parseDomain(hop[1:]); err != nil {
			return "", fmt.Errorf("in the source route: %w", err)
		}
	}
	return mailbox, nil
}

// parseLocalPart parses a local part at the start of s and returns what follows it.
func parseLocalPart(s string, kind pathKind) (Address, string, error) {
	parse := parseDotString
	if strings.HasPrefix(s, `"`) {
		parse = parseQuotedString
	}
	content, n, err := parse(s, kind)
	if err != nil {
		return Address{}, "", err
	}
	a := Address{Local: content, wire: s[:n]}
	switch {
	case content == "":
		return Address{}, "", errors.New("the local part is empty")
	case kind == forwardPath && len(a.wire) > maxLocalPart:
		return Address{}, "", fmt.Errorf("the local part is longer than %d octets", maxLocalPart)
	}
	return a, s[n:], nil
}

// parseDotString parses a Dot-string (RFC 5321 4.1.2, RFC 6531 3.3) and returns it and its length.
func parseDotString(s string, kind pathKind) (string, int, error) {
	n := 0
	for n < len(s) && s[n] != '@' && s[n] != '>' {
		r, size := utf8.DecodeRuneInString(s[n:])
		if r != '.' && !isAtext(r, size) {
			return "", 0, fmt.Errorf("%q cannot stand in a local part without quotes", r)
		}
		n += size
	}
	local := s[:n]
	if kind == forwardPath && (strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") || strings.Contains(local, "..")) {
		return "", 0, errors.New("a dot is at the start or end of the local part, or beside another")
	}
	return local, n, nil
}

// parseQuotedString parses a Quoted-string and returns its content and its length on the wire.
func parseQuotedString(s string, _ pathKind) (string, int, error) {
	var content strings.Builder
	for n := 1; n < len(s); {
		r, size := utf8.DecodeRuneInString(s[n:])
		n += size
		switch {
		case r == '"':
			return content.String(), n, nil
		case r == '\\':
			// RFC 5321 quoted-pairSMTP: any printable ASCII may follow.
			if n == len(s) || s[n] < ' ' || s[n] > '~' {
				return "", 0, errors.New("a backslash quotes nothing")
			}
			content.WriteByte(s[n])
			n++
		case !isPrintable(r, size):
			return "", 0, fmt.Errorf("%q cannot stand in a local part", r)
		default:
			content.WriteRune(r)
		}
	}
	return "", 0, errors.New("the quotes are not closed")
}

// parseDomainOrLiteral returns the normal form of what stands behind the @.
func parseDomainOrLiteral(s string) (string, error) {
	if !strings.HasPrefix(s, "[") {
		return parseDomain(s)
	}
	// RFC 5321 4.1.3; no other tag than IPv6 has ever been registered.
	inner, closed := strings.CutSuffix(s[1:], "]")
	v6, isV6 := cutPrefixFold(inner, "IPv6:")
	ip, err := netip.ParseAddr(v6)
	if !closed || err != nil || ip.Zone() != "" || isV6 != ip.Is6() {
		return "", errors.New("it is no address literal like [192.0.2.1] or [IPv6:2001:db8::1]")
	}
	return addressLiteral(ip), nil
}

// addressLiteral writes an IP address as in RFC 5321 4.1.3. It keeps an IPv4-mapped address as it is.
func addressLiteral(ip netip.Addr) string {
	if ip.Is6() {
		return "[IPv6:" + ip.String() + "]"
	}
	return "[" + ip.String() + "]"
}

// parseDomain returns a domain in lower case and as A-labels. Underscores are let through: they are not allowed in
// host names, and are in use.
func parseDomain(s string) (string, error) {
	ascii := strings.ToLower(s)
	if !isASCII(s) {
		if !utf8.ValidString(s) {
			return "", errors.New("the domain is not UTF-8")
		}
		var err error
		if ascii, err = idna.Lookup.ToASCII(s); err != nil {
			return "", errors.New("the domain is no valid internationalized name")
		}
	}
	if len(ascii) > maxDomain {
		return "", fmt.Errorf("the domain is longer than %d octets", maxDomain)
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	return ascii, nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("the domain or a part of it is empty")
	case len(label) > maxLabel:
		return fmt.Errorf("a part of the domain is longer than %d octets", maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return errors.New("a part of the domain starts or ends with a hyphen")
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("%q cannot stand in a domain", rune(c))
		}
	}
	return nil
}

// isAtext is atext of RFC 5322 3.2.3 with the UTF-8 of RFC 6531 3.3.
func isAtext(r rune, size int) bool {
	switch {
	case r >= utf8.RuneSelf:
		return isPrintable(r, size)
	case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
		return true
	}
	return strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// isPrintable refuses controls, of C1 too, and octets that are not UTF-8.
func isPrintable(r rune, size int) bool {
	return !unicode.IsControl(r) && (r != utf8.RuneError || size > 1)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}
