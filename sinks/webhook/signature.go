package webhook

import (
	"net/http"
	"time"
)

// Signature signs requests that carry no mail, by Standard Webhooks. Safe for concurrent use.
type Signature struct{ signer *signer }

// NewSignature checks the secrets. Its errors hold none of them.
func NewSignature(secrets ...string) (*Signature, error) {
	s, err := newSigner(secrets)
	if err != nil {
		return nil, err
	}
	return &Signature{s}, nil
}

// Sign sets the header fields of the signature of a request with that id and body.
func (s *Signature) Sign(h http.Header, id string, at time.Time, body []byte) error {
	seal := s.signer.seal(id, at)
	_, _ = seal.Write(body) // it has no errors
	return seal.finish(h)
}
