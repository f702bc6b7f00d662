package app

import (
	"crypto"
	"time"

	"mxhook/pipeline"
	"mxhook/pipeline/msgauth"
)

// seal is how relays seal: they and package msgauth do not know each other.
func seal(now func() time.Time) func(domain, selector string, key crypto.Signer) func([]byte, *pipeline.AuthResults) ([]byte, error) {
	return func(domain, selector string, key crypto.Signer) func([]byte, *pipeline.AuthResults) ([]byte, error) {
		return (&msgauth.Sealer{Domain: domain, Selector: selector, Key: key, Now: now}).Seal
	}
}
