package msgauth

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"mxhook/pipeline"
)

// Bounds of an RSA key: below, RFC 8301 3.2 forbids it; above, only our time is wasted.
const (
	minRSABits = 1024
	maxRSABits = 8192
)

// publicKey is a key record (RFC 6376 3.6.1).
type publicKey struct {
	// kind is "rsa" or "ed25519"; rsa or ed is set.
	kind string
	rsa  *rsa.PublicKey
	ed   ed25519.PublicKey
	// hashes and services are nil when all are allowed.
	hashes, services []string
	// strict is the flag s: i= must name the very domain of d=.
	strict bool
}

// parseKey reads a key record.
func parseKey(txt string) (*publicKey, error) {
	tags, err := parseTags(txt)
	if err != nil {
		return nil, fmt.Errorf("key record error: %w", err)
	}
	if v, ok := tags["v"]; ok && v != "DKIM1" {
		return nil, errors.New("incompatible public key version")
	}
	p, ok := tags["p"]
	if !ok {
		return nil, errors.New("key syntax error: missing public key data")
	}
	if p = stripSpace(p); p == "" {
		return nil, errors.New("key revoked")
	}
	octets, err := base64.StdEncoding.DecodeString(p)
	if err != nil {
		return nil, errors.New("key syntax error: not base64")
	}
	k := &publicKey{kind: strings.ToLower(tags["k"]), hashes: tagList(tags, "h"), services: tagList(tags, "s")}
	if k.kind == "" {
		k.kind = "rsa"
	}
	k.strict = slices.Contains(tagList(tags, "t"), "s")
	if slices.Contains(k.services, "*") {
		k.services = nil
	}
	return k, k.read(octets)
}

func (k *publicKey) read(octets []byte) error {
	switch k.kind {
	case "rsa":
		// RFC 6376 says both, SubjectPublicKeyInfo and RSAPublicKey (erratum 3017).
		pub, err := x509.ParsePKIXPublicKey(octets)
		if err != nil {
			pub, err = x509.ParsePKCS1PublicKey(octets)
		}
		if k.rsa, _ = pub.(*rsa.PublicKey); err != nil || k.rsa == nil {
			return errors.New("key syntax error: not an RSA public key")
		}
		if bits := k.rsa.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("key of %d bits is not between %d and %d", bits, minRSABits, maxRSABits)
		}
	case "ed25519": // RFC 8463
		if len(octets) != ed25519.PublicKeySize {
			return fmt.Errorf("Ed25519 public key has %d octets", len(octets))
		}
		k.ed = octets
	default:
		return errors.New("unsupported key algorithm")
	}
	return nil
}

// tagList returns the members of a list of words in lower case, nil when the tag is not there.
func tagList(tags map[string]string, name string) []string {
	v, ok := tags[name]
	if !ok {
		return nil
	}
	return strings.Split(strings.ToLower(stripSpace(v)), ":")
}

// verify checks a signature over a SHA-256.
func (k *publicKey) verify(sum, signature []byte) bool {
	if k.ed != nil {
		return ed25519.Verify(k.ed, sum, signature)
	}
	return rsa.VerifyPKCS1v15(k.rsa, signatureHash, sum, signature) == nil
}

// keyring looks up the keys of one message's signatures, each name once. It is not safe for concurrent use.
type keyring struct {
	ctx      context.Context // of the one verification that it is made for
	resolver Resolver
	parsed   *parsedKeys
	seen     map[string]foundKey
}

// parsedKeys are key records with the keys that they hold, since reading an RSA key takes longer than hashing a mail of usual
// size. A record always holds the same key, so there is nothing to expire: how long it is good for is the resolver's business.
type parsedKeys = lru.Cache[string, *publicKey]

// maxParsedKeys bounds their number, maxParsedRecord the length of a record that is kept: one of a usual key has 400 octets.
const (
	maxParsedKeys   = 2000
	maxParsedRecord = 2 << 10
)

type foundKey struct {
	key            *publicKey
	result, reason string
}

func (s *Stage) newKeyring(ctx context.Context) *keyring {
	return &keyring{ctx: ctx, resolver: s.resolver, parsed: s.keys, seen: make(map[string]foundKey)}
}

// find returns the key of a signature, when it may be used for it; otherwise result and reason say why not.
func (k *keyring) find(sig *signature) (key *publicKey, result, reason string) {
	name, ok := normalDomain(sig.selector + "._domainkey." + sig.domain)
	if !ok {
		return nil, pipeline.ResultPermError, "no key for signature: not a domain name"
	}
	f, ok := k.seen[name]
	if !ok {
		f = k.lookup(name)
		k.seen[name] = f
	}
	if f.key == nil {
		return nil, f.result, f.reason
	}
	if why := f.key.mayVerify(sig); why != "" {
		return nil, pipeline.ResultPermError, why
	}
	return f.key, "", ""
}

func (k *keyring) lookup(name string) foundKey {
	txts, err := k.resolver.LookupTXT(k.ctx, name)
	switch {
	case k.ctx.Err() != nil:
		return foundKey{nil, pipeline.ResultTempError, "timed out"}
	case isNotFound(err) || err == nil && len(txts) == 0:
		return foundKey{nil, pipeline.ResultPermError, "no key for signature"}
	case err != nil:
		return foundKey{nil, pipeline.ResultTempError, "key unavailable: " + reason(dnsError(name, err))}
	case len(txts) > 1: // RFC 6376 3.6.2.2
		return foundKey{nil, pipeline.ResultPermError, "multiple TXT records found for key"}
	}
	if key, ok := k.parsed.Get(txts[0]); ok {
		return foundKey{key: key}
	}
	key, err := parseKey(txts[0])
	if err != nil {
		return foundKey{nil, pipeline.ResultPermError, err.Error()}
	}
	if len(txts[0]) <= maxParsedRecord {
		k.parsed.Add(txts[0], key)
	}
	return foundKey{key: key}
}

// mayVerify says why a key is not for this signature, "" when it is (RFC 6376 6.1.2).
func (k *publicKey) mayVerify(sig *signature) string {
	kind, hash, _ := strings.Cut(sig.algorithm, "-")
	switch {
	case hash == "sha1": // RFC 8301 3.1
		return "hash algorithm too weak: sha1"
	case hash != "sha256":
		return "unsupported hash algorithm"
	case k.hashes != nil && !slices.Contains(k.hashes, hash):
		return "inappropriate hash algorithm"
	case k.kind != kind:
		return "inappropriate key algorithm"
	case k.services != nil && !slices.Contains(k.services, "email"):
		return "inappropriate service"
	case k.strict && sig.auid != sig.domain:
		return "key does not allow subdomains"
	}
	return ""
}
