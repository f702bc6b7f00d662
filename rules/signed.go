package rules

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// SignedAddress makes and checks addresses that carry a token in their tag, reply+<token>@example.com: a text of the
// application and an end of validity, under a key. Who does not have the key cannot make one that is accepted.
//
// A token is base32 in lower case without padding, because local parts are turned to lower or upper case on the way:
//
//	0  hours since 1970 of the end of validity, big endian; 0 is without end      3 octets
//	3  the payload                                                                0 to 22 octets or so
//	n  HMAC-SHA256 over name, NUL, the octets before and the address, truncated   10 octets
//
// 80 bits are the least that RFC 2104 5 allows; a guess costs an SMTP command each.
type SignedAddress struct {
	// Name is what rules call it, and part of what is signed.
	Name string
	// Local and Domain are the address without its tag, in lower case; Separator is what the tag stands behind.
	Local, Domain, Separator string
	// Keys verify; the first one signs. Several are a rotation.
	Keys [][]byte
}

const (
	tokenExpiry = 3
	tokenMAC    = 10
	// maxLocal is RFC 5321 4.5.3.1.1.
	maxLocal = 64
	// MinAddressKey is the least length of a key, in bytes.
	MinAddressKey = 16
)

// Errors of Check.
var (
	ErrNotSigned = errors.New("the address has no valid token")
	ErrExpired   = errors.New("the token has expired")
)

// tokenText is base32 as in RFC 4648 6, in lower case.
func tokenText() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

// Make returns the address that carries the payload until the time; the zero time is without end. The end is rounded up
// to a whole hour. It fails when the address would be longer than SMTP allows.
func (a *SignedAddress) Make(payload string, until time.Time) (string, error) {
	if len(a.Keys) == 0 {
		return "", fmt.Errorf("sign an address of %s: there is no key", a.Name)
	}
	var hours uint32
	if !until.IsZero() {
		h := (until.Unix() + 3599) / 3600
		if h < 1 || h >= 1<<24 {
			return "", fmt.Errorf("sign an address of %s: the end of validity %v is out of range", a.Name, until)
		}
		hours = uint32(h)
	}
	body := binary.BigEndian.AppendUint32(nil, hours)[1:]
	body = append(body, payload...)
	token := tokenText().EncodeToString(append(body, a.mac(a.Keys[0], body)...))
	local := a.Local + a.Separator + token
	if len(local) > maxLocal {
		return "", fmt.Errorf("sign an address of %s: the payload has %d bytes, at most %d fit", a.Name, len(payload), a.MaxPayload())
	}
	return local + "@" + a.Domain, nil
}

// MaxPayload is the number of bytes that a token can carry.
func (a *SignedAddress) MaxPayload() int {
	room := maxLocal - len(a.Local) - len(a.Separator)
	return max(0, tokenText().DecodedLen(room)-tokenExpiry-tokenMAC)
}

// Owns reports whether the address is one of a, with or without a token.
func (a *SignedAddress) Owns(address string) bool {
	_, ok := a.tokenOf(address)
	return ok
}

func (a *SignedAddress) tokenOf(address string) (string, bool) {
	address = strings.ToLower(address)
	at := strings.LastIndexByte(address, '@')
	if at < 0 || address[at+1:] != a.Domain {
		return "", false
	}
	local := address[:at]
	if local == a.Local {
		return "", true
	}
	return strings.CutPrefix(local, a.Local+a.Separator)
}

// Check returns the payload of an address, or ErrNotSigned or ErrExpired. It takes the same time for every wrong token.
func (a *SignedAddress) Check(address string, now time.Time) (string, error) {
	token, ok := a.tokenOf(address)
	if !ok {
		return "", ErrNotSigned
	}
	raw, err := tokenText().DecodeString(token)
	// Only the one way to write a token that Make chooses is right: unused bits must be zero.
	if err != nil || len(raw) < tokenExpiry+tokenMAC || tokenText().EncodeToString(raw) != token {
		return "", ErrNotSigned
	}
	body, mac := raw[:len(raw)-tokenMAC], raw[len(raw)-tokenMAC:]
	genuine := false
	for _, key := range a.Keys {
		genuine = hmac.Equal(mac, a.mac(key, body)) || genuine
	}
	if !genuine {
		return "", ErrNotSigned
	}
	hours := int64(body[0])<<16 | int64(body[1])<<8 | int64(body[2])
	if hours != 0 && now.Unix() >= hours*3600 {
		return "", ErrExpired
	}
	return string(body[tokenExpiry:]), nil
}

func (a *SignedAddress) mac(key, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(a.Name + "\x00" + a.Local + "@" + a.Domain + "\x00"))
	h.Write(body)
	return h.Sum(nil)[:tokenMAC]
}
