package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
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

// signer makes the webhook-signature of requests: one value per key, in the order of the keys. Safe for concurrent use.
type signer struct{ keys []key }

// newSigner reads the secrets of a sink. More than one is a rotation: receivers take a request when one value fits.
func newSigner(secrets []string) (*signer, error) {
	if len(secrets) == 0 {
		return nil, errors.New(`no secret: add one, made with: echo "whsec_$(openssl rand -base64 32)"`)
	}
	if len(secrets) > maxSecrets {
		return nil, fmt.Errorf("%d secrets: at most %d", len(secrets), maxSecrets)
	}
	s := &signer{}
	for i, secret := range secrets {
		k, err := parseKey(secret)
		if err == nil && k.hmac == nil && k.private == nil {
			err = errors.New(`is a public key, which cannot sign: give the private one ("whsk_...")`)
		}
		if err != nil {
			return nil, fmt.Errorf("secret %d %w", i+1, err)
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

// wholeBody reports whether a key needs the body in one piece: ed25519 reads what it signs twice (RFC 8032 5.1.6).
func (s *signer) wholeBody() bool {
	for _, k := range s.keys {
		if k.private != nil {
			return true
		}
	}
	return false
}

// sign returns the value of webhook-signature for a body in memory: signed is signedPrefix's and the body in one piece.
func (s *signer) sign(signed []byte) string {
	values := make([]string, 0, len(s.keys))
	for _, k := range s.keys {
		if k.private != nil {
			values = append(values, signatureValue(versionEd25519, ed25519.Sign(k.private, signed)))
			continue
		}
		mac := hmac.New(sha256.New, k.hmac)
		mac.Write(signed)
		values = append(values, signatureValue(versionHMAC, mac.Sum(nil)))
	}
	return strings.Join(values, " ")
}

// signStream does the same for a body that is read once; every key must be symmetric.
func (s *signer) signStream(prefix string, body io.Reader) (string, error) {
	macs := make([]hash.Hash, 0, len(s.keys))
	ws := make([]io.Writer, 0, len(s.keys))
	for _, k := range s.keys {
		mac := hmac.New(sha256.New, k.hmac)
		mac.Write([]byte(prefix))
		macs, ws = append(macs, mac), append(ws, mac)
	}
	if _, err := io.Copy(io.MultiWriter(ws...), body); err != nil {
		return "", err
	}
	values := make([]string, 0, len(macs))
	for _, mac := range macs {
		values = append(values, signatureValue(versionHMAC, mac.Sum(nil)))
	}
	return strings.Join(values, " "), nil
}

// signedPrefix is what stands before the body in the signed content: id.timestamp.
func signedPrefix(id string, at time.Time) string { return fmt.Sprintf("%s.%d.", id, at.Unix()) }

func signatureValue(version string, signature []byte) string {
	return version + "," + base64.StdEncoding.EncodeToString(signature)
}
