package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The header fields of Standard Webhooks 1.0.0.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// Prefixes of serialized keys (Standard Webhooks 1.0.0, "Signature scheme").
const (
	prefixSymmetric = "whsec_"
	prefixPrivate   = "whsk_"
	prefixPublic    = "whpk_"
)

// Versions of signatures.
const (
	versionHMAC    = "v1"
	versionEd25519 = "v1a"
)

// key is one secret of an endpoint: either hmac or private is set; public is set with private, or alone in a key that
// can only verify.
type key struct {
	hmac    []byte
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

// parseKey reads a serialized key. The error never quotes it.
func parseKey(s string) (key, error) {
	prefix, encoded, _ := strings.Cut(s, "_")
	prefix += "_"
	if prefix != prefixSymmetric && prefix != prefixPrivate && prefix != prefixPublic {
		return key{}, errors.New(`does not start with "whsec_": make one with: echo "whsec_$(openssl rand -base64 32)"`)
	}
	octets, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return key{}, fmt.Errorf("what follows %q is not base64", prefix)
	}
	switch prefix {
	case prefixSymmetric:
		if len(octets) < 24 || len(octets) > 64 {
			return key{}, fmt.Errorf("is %d octets long; Standard Webhooks wants 24 to 64", len(octets))
		}
		return key{hmac: octets}, nil
	case prefixPublic:
		if len(octets) != ed25519.PublicKeySize {
			return key{}, fmt.Errorf("is %d octets long; an ed25519 public key has %d", len(octets), ed25519.PublicKeySize)
		}
		return key{public: octets}, nil
	}
	return parsePrivateKey(octets)
}

// parsePrivateKey takes an ed25519 key as the seed alone or as seed and public key (RFC 8032 5.1.5).
func parsePrivateKey(octets []byte) (key, error) {
	if len(octets) != ed25519.SeedSize && len(octets) != ed25519.PrivateKeySize {
		return key{}, fmt.Errorf("is %d octets long; an ed25519 private key has %d or %d",
			len(octets), ed25519.SeedSize, ed25519.PrivateKeySize)
	}
	private := ed25519.NewKeyFromSeed(octets[:ed25519.SeedSize])
	if len(octets) == ed25519.PrivateKeySize && !private.Equal(ed25519.PrivateKey(octets)) {
		return key{}, errors.New("is not an ed25519 private key: its halves do not belong together")
	}
	return key{private: private, public: private.Public().(ed25519.PublicKey)}, nil
}

// OldSecret is a secret that requests are signed with besides the others until a time: what receivers that still hold it
// need while a secret is changed.
type OldSecret struct {
	Secret string
	Until  time.Time
}

// signer makes the webhook-signature of requests: one value per key, in the order of the keys. Safe for concurrent use.
type signer struct {
	keys []key
	// until has when keys[i] is no longer used; the zero time is never.
	until []time.Time
}

// newSigner reads the secrets of a sink. More than one is a rotation: receivers take a request when one value fits.
func newSigner(secrets []string, old ...OldSecret) (*signer, error) {
	if len(secrets)+len(old) > maxSecrets {
		return nil, fmt.Errorf("%d secrets: at most %d", len(secrets)+len(old), maxSecrets)
	}
	s := &signer{}
	for i, secret := range secrets {
		k, err := parseSigningKey(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d %w", i+1, err)
		}
		s.keys, s.until = append(s.keys, k), append(s.until, time.Time{})
	}
	for i, o := range old {
		k, err := parseSigningKey(o.Secret)
		if err == nil && o.Until.IsZero() {
			err = errors.New("has no time until which it is used")
		}
		if err != nil {
			return nil, fmt.Errorf("old secret %d %w", i+1, err)
		}
		s.keys, s.until = append(s.keys, k), append(s.until, o.Until)
	}
	return s, nil
}

func parseSigningKey(secret string) (key, error) {
	k, err := parseKey(secret)
	if err == nil && k.hmac == nil && k.private == nil {
		err = errors.New(`is a public key, which cannot sign: give the private one ("whsk_...")`)
	}
	return k, err
}

// seal begins the signature of one request.
func (s *signer) seal(id string, at time.Time) *standardSeal {
	prefix := []byte(id + "." + strconv.FormatInt(at.Unix(), 10) + ".")
	z := &standardSeal{id: id, at: at}
	for i, k := range s.keys {
		if until := s.until[i]; !until.IsZero() && !at.Before(until) {
			continue
		}
		v := sealValue{private: k.private}
		if k.private == nil {
			v.mac = hmac.New(sha256.New, k.hmac)
			v.mac.Write(prefix)
		} else if z.whole == nil {
			z.whole = append(z.whole, prefix...)
		}
		z.values = append(z.values, v)
	}
	return z
}

// standardSeal is the signature of Standard Webhooks 1.0.0. For ed25519 it holds the body: that reads what it signs
// twice (RFC 8032 5.1.6).
type standardSeal struct {
	id     string
	at     time.Time
	values []sealValue
	whole  []byte // nil when no key needs it
}

// sealValue is one value in the making; one of the two is set.
type sealValue struct {
	mac     hash.Hash
	private ed25519.PrivateKey
}

// Write implements io.Writer.
func (z *standardSeal) Write(p []byte) (int, error) {
	for _, v := range z.values {
		if v.mac != nil {
			v.mac.Write(p)
		}
	}
	if z.whole != nil {
		z.whole = append(z.whole, p...)
	}
	return len(p), nil
}

// finish implements seal.
func (z *standardSeal) finish(h http.Header) error {
	values := make([]string, len(z.values))
	for i, v := range z.values {
		if v.mac != nil {
			values[i] = signatureValue(versionHMAC, v.mac.Sum(nil))
		} else {
			values[i] = signatureValue(versionEd25519, ed25519.Sign(v.private, z.whole))
		}
	}
	h.Set(HeaderID, z.id)
	h.Set(HeaderTimestamp, strconv.FormatInt(z.at.Unix(), 10))
	h.Set(HeaderSignature, strings.Join(values, " "))
	return nil
}

func signatureValue(version string, signature []byte) string {
	return version + "," + base64.StdEncoding.EncodeToString(signature)
}
