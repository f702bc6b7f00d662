package relay

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// minRSABits is what verifiers ask of a key (RFC 8301 3.2).
const minRSABits = 1024

// ParseKey reads a private key to seal with: RSA of 1024 bits or more, or ed25519, PEM. Its errors do not quote it.
func ParseKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("not a private key in PEM; make one with: openssl genrsa 2048")
	}
	var key any
	var err error
	if block.Type == "RSA PRIVATE KEY" {
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, errors.New("not a private key in PEM; make one with: openssl genrsa 2048")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("the key has %d bits, at least %d are needed; 2048 are usual", key.N.BitLen(), minRSABits)
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("keys of this kind cannot seal; use RSA or ed25519")
}
