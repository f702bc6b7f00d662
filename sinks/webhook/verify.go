package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far a request's timestamp may be from the verifier's clock, as Standard Webhooks recommends.
const Tolerance = 5 * time.Minute

// maxSecrets bounds the keys of a sink, maxSignatures the values of a webhook-signature that are looked at.
const (
	maxSecrets    = 8
	maxSignatures = 32
)

// Reasons why a request is not genuine.
var (
	ErrSignatureHeader    = errors.New("a webhook header field is missing, repeated or malformed")
	ErrSignatureTimestamp = errors.New("the timestamp is too far from the present")
	ErrSignatureMismatch  = errors.New("no signature fits")
)

// Verifier checks on the receiving side that a request comes from the holder of a secret. Safe for concurrent use.
type Verifier struct {
	keys []key
	now  func() time.Time
}

// NewVerifier takes the secrets that are valid, as configured in the sink ("whsec_...", "whsk_...") or as given to a
// receiver ("whpk_..."). now is the clock; nil is time.Now.
func NewVerifier(secrets []string, now func() time.Time) (*Verifier, error) {
	if len(secrets) == 0 || len(secrets) > maxSecrets {
		return nil, fmt.Errorf("%d secrets: give 1 to %d", len(secrets), maxSecrets)
	}
	if now == nil {
		now = time.Now
	}
	v := &Verifier{now: now}
	for i, secret := range secrets {
		k, err := parseKey(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d %w", i+1, err)
		}
		v.keys = append(v.keys, k)
	}
	return v, nil
}

// Verify returns nil when one of the signatures in h fits the body under one of the secrets and the timestamp is within
// Tolerance; otherwise an error that is one of the three reasons.
func (v *Verifier) Verify(h http.Header, body []byte) error {
	id, err := single(h, HeaderID)
	if err != nil {
		return err
	}
	stamp, err := single(h, HeaderTimestamp)
	if err != nil {
		return err
	}
	signatures, err := single(h, HeaderSignature)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", HeaderTimestamp, ErrSignatureHeader)
	}
	at := time.Unix(seconds, 0)
	if now := v.now(); at.Before(now.Add(-Tolerance)) || at.After(now.Add(Tolerance)) {
		return ErrSignatureTimestamp
	}
	prefix := id + "." + stamp + "."
	values := strings.SplitN(signatures, " ", maxSignatures+1)
	for _, value := range values[:min(len(values), maxSignatures)] {
		version, encoded, _ := strings.Cut(value, ",")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			continue
		}
		for _, k := range v.keys {
			if k.fits(version, prefix, body, signature) {
				return nil
			}
		}
	}
	return ErrSignatureMismatch
}

func (k key) fits(version, prefix string, body, signature []byte) bool {
	switch {
	case version == versionHMAC && k.hmac != nil:
		mac := hmac.New(sha256.New, k.hmac)
		mac.Write([]byte(prefix))
		mac.Write(body)
		return hmac.Equal(mac.Sum(nil), signature)
	case version == versionEd25519 && k.public != nil:
		return ed25519.Verify(k.public, append([]byte(prefix), body...), signature)
	}
	return false
}

// single returns the one value of a header field; two of them may be read differently by two parties.
func single(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) != 1 || values[0] == "" {
		return "", fmt.Errorf("%s: %w", name, ErrSignatureHeader)
	}
	return values[0], nil
}
