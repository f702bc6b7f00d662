package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"mxhook/pipeline"
)

// SRS rewrites reverse-paths into addresses of a domain of ours, so that a mail that we hand on passes SPF, and turns the
// bounces that come back to them into what they were (Sender Rewriting Scheme). Only who has the keys can make such an
// address, and it is good for SRSDays. Safe for concurrent use.
type SRS struct {
	domain string
	keys   [][]byte
	now    func() time.Time
}

// SRSOptions are the inputs of NewSRS.
type SRSOptions struct {
	// Domain is one that mail is taken for; what comes to SRS0=... and SRS1=... there is for Reverse.
	Domain string
	// Keys sign and verify: the first signs, all verify. At least MinSRSKey bytes each.
	Keys []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// MinSRSKey is the least length of a key, in bytes; SRSDays is how long an address is good for.
const (
	MinSRSKey = 16
	SRSDays   = 21
)

// Errors of Reverse.
var (
	ErrNotSRS     = errors.New("not an SRS address of ours")
	ErrSRSForged  = errors.New("the SRS address was not made here")
	ErrSRSExpired = errors.New("the SRS address has expired")
)

// NewSRS checks the options.
func NewSRS(o SRSOptions) (*SRS, error) {
	s := &SRS{domain: strings.ToLower(o.Domain), now: o.Now}
	if s.now == nil {
		s.now = time.Now
	}
	if s.domain == "" || strings.ContainsAny(s.domain, "@ *") {
		return nil, fmt.Errorf("srs.domain %q: set it to a domain that mail is taken for, like srs.example.com", o.Domain)
	}
	if len(o.Keys) == 0 {
		return nil, errors.New("srs.keys is missing: add one, made with: openssl rand -base64 32")
	}
	for i, k := range o.Keys {
		if len(k) < MinSRSKey {
			return nil, fmt.Errorf("srs.keys[%d] has %d bytes, at least %d are needed: make one with: openssl rand -base64 32", i, len(k), MinSRSKey)
		}
		s.keys = append(s.keys, []byte(k))
	}
	return s, nil
}

// Forward returns the address that goes out instead of a reverse-path. The null reverse-path, and addresses of the domain
// itself, stay as they are.
func (s *SRS) Forward(path string) string {
	local, domain := pipeline.SplitPath(path)
	if domain == "" || strings.EqualFold(domain, s.domain) {
		return path
	}
	switch kind, rest := srsKind(local); kind {
	case 0: // of another forwarder: its SRS0 goes with us as it is
		return s.first(1, domain, rest)
	case 1:
		if _, host, rest, ok := cutSRS1(rest); ok {
			return s.first(1, host, rest)
		}
	}
	return s.first(0, s.stamp()+"="+domain, "="+local)
}

// first makes an address: the hash is over everything behind it.
func (s *SRS) first(kind int, head, rest string) string {
	body := head + rest
	if kind == 1 {
		body = head + "=" + rest
	}
	return joinPath(fmt.Sprintf("SRS%d=%s=%s", kind, tag(s.keys[0], kind, body), body), s.domain)
}

// Owns reports whether an address is one of ours, by its looks.
func (s *SRS) Owns(address string) bool {
	local, domain := pipeline.SplitPath(address)
	kind, _ := srsKind(local)
	return kind >= 0 && strings.EqualFold(domain, s.domain)
}

// Check returns why a mail with that reverse-path must not go to an address that Owns, nil when it may: only bounces,
// which have the null reverse-path, come back.
func (s *SRS) Check(address, reversePath string) error {
	if _, err := s.Reverse(address); err != nil {
		return err
	}
	if reversePath != "" {
		return errors.New("only bounces, with the null reverse-path, are taken for SRS addresses")
	}
	return nil
}

// Reverse returns what an address stands for: the sender, or the forwarder before us.
func (s *SRS) Reverse(address string) (string, error) {
	if !s.Owns(address) {
		return "", ErrNotSRS
	}
	local, _ := pipeline.SplitPath(address)
	kind, rest := srsKind(local)
	hash, body, ok := strings.Cut(rest[1:], "=")
	if !ok || !s.made(kind, hash, body) {
		return "", ErrSRSForged
	}
	if kind == 1 {
		_, host, rest, ok := cutSRS1(rest)
		if !ok {
			return "", ErrSRSForged
		}
		return joinPath("SRS0"+rest, host), nil
	}
	stamp, body, _ := strings.Cut(body, "=")
	domain, local, ok := strings.Cut(body, "=")
	if !ok {
		return "", ErrSRSForged
	}
	if !s.fresh(stamp) {
		return "", ErrSRSExpired
	}
	return joinPath(local, domain), nil
}

func (s *SRS) made(kind int, hash, body string) bool {
	for _, k := range s.keys {
		if hmac.Equal([]byte(strings.ToLower(hash)), []byte(tag(k, kind, body))) {
			return true
		}
	}
	return false
}

// tag is 40 bits of an HMAC, in letters and digits that keep their meaning in any case, since relays fold local parts.
func tag(key []byte, kind int, body string) string {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "srs%d\x00%s", kind, strings.ToLower(body))
	return strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)[:5]))
}

// stampDays is the period after which stamps repeat.
const (
	stampDays  = 1024
	stampChars = "abcdefghijklmnopqrstuvwxyz234567"
)

func (s *SRS) today() int { return int(s.now().Unix() / 86400 % stampDays) }

func (s *SRS) stamp() string {
	day := s.today()
	return string([]byte{stampChars[day>>5], stampChars[day&31]})
}

func (s *SRS) fresh(stamp string) bool {
	stamp = strings.ToLower(stamp)
	if len(stamp) != 2 {
		return false
	}
	hi, lo := strings.IndexByte(stampChars, stamp[0]), strings.IndexByte(stampChars, stamp[1])
	return hi >= 0 && lo >= 0 && (s.today()-hi<<5-lo+2*stampDays)%stampDays <= SRSDays
}

// srsKind returns 0 or 1 for SRS0 and SRS1, and what follows, the separator first; -1 for other local parts.
func srsKind(local string) (kind int, rest string) {
	if len(local) < 6 || !strings.EqualFold(local[:3], "SRS") || local[3] != '0' && local[3] != '1' || strings.IndexByte("=+-", local[4]) < 0 {
		return -1, ""
	}
	return int(local[3] - '0'), local[4:]
}

// cutSRS1 takes "=hash=host=rest" apart; rest begins with the separator of the SRS0 address.
func cutSRS1(s string) (hash, host, rest string, ok bool) {
	parts := strings.SplitN(s[1:], "=", 3)
	if len(parts) < 3 || parts[1] == "" || parts[2] == "" || strings.IndexByte("=+-", parts[2][0]) < 0 {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}
