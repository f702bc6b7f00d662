package msgauth

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mxhook/pipeline"
)

// Sealer adds ARC sets to messages that leave us again (RFC 8617 5.1). It is safe for concurrent use when Key is.
type Sealer struct {
	// Domain and Selector name the record of the public key: Selector._domainkey.Domain.
	Domain, Selector string
	// Key is an *rsa.PrivateKey of 1024 bits or more, or an ed25519.PrivateKey; or a signer for one of them elsewhere.
	Key crypto.Signer
	// Headers are the fields that the message signature covers, where the message has them; nil: DefaultSealed. From is
	// always covered.
	Headers []string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// DefaultSealed are the fields that readers see, that steer them, and those of DKIM (RFC 6376 5.4.1).
func DefaultSealed() []string {
	return []string{
		"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post",
		"DKIM-Signature",
	}
}

// ErrChainEnded says that a message's chain has failed before, or is full, so that nobody may add to it (RFC 8617 5.1).
var ErrChainEnded = errors.New("the ARC chain has ended")

// Seal returns the three fields of a set to put on top of raw, each ending in CRLF. results is what we found out about the
// message, as Stage left it; its Field becomes the ARC-Authentication-Results and its ARC.Result the seal's cv. raw is the
// message as it will be sent below the set. A chain that did not validate is sealed as failed; one that could not be
// judged (a temporary failure) is an error, since what the seal says is for good.
func (s *Sealer) Seal(raw []byte, results *pipeline.AuthResults) ([]byte, error) {
	_, body, ok := strings.Cut(results.Field, ":")
	if !ok {
		return nil, errors.New("seal: no results to seal")
	}
	return s.seal(raw, strings.TrimSpace(body), results.ARC.Result)
}

func (s *Sealer) seal(raw []byte, results, chain string) ([]byte, error) {
	m := newSignedMail(raw)
	sets, instance, err := s.base(m, chain)
	if err != nil {
		return nil, err
	}
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	at := strconv.FormatInt(now().Unix(), 10)
	i := strconv.Itoa(instance)

	var set arcSet
	set.aar = makeField(fieldAAR, "i="+i+"; "+results)
	names := s.names(m)
	h := sha256.New()
	if err := writeBody(h, m.body, true); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	bodyHash := base64.StdEncoding.EncodeToString(h.Sum(nil))
	ams := func(b string) pipeline.RawField {
		return makeField(fieldAMS, strings.Join([]string{
			"a=" + s.algorithm(), "b=" + b, "bh=" + bodyHash, "c=relaxed/relaxed",
			"d=" + s.Domain, "h=" + nameList(names), "i=" + i, "s=" + s.Selector, "t=" + at,
		}, tagFold))
	}
	unsigned := signature{field: ams(""), names: lower(names), relaxedHeader: true}
	value, err := s.sign(m.headerHash(&unsigned))
	if err != nil {
		return nil, err
	}
	set.signature.field = ams(value)

	cv := "cv=" + chain
	seal := func(b string) pipeline.RawField {
		return makeField(fieldSeal, strings.Join([]string{
			"a=" + s.algorithm(), "b=" + b, cv, "d=" + s.Domain, "i=" + i, "s=" + s.Selector, "t=" + at,
		}, tagFold))
	}
	set.seal.field = seal("")
	if value, err = s.sign(sealHash(append(sets, set))); err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{seal(value).Raw, set.signature.field.Raw, set.aar.Raw}, nil), nil
}

// tagFold stands between tags. It is a blank and no tab: dkimpy looks for " i=1;" as it is.
const tagFold = ";\r\n "

// base returns the sets that the new seal covers and the new instance. A seal over a failed chain covers its own set
// only, since what is broken has no form to cover (RFC 8617 5.1.2).
func (s *Sealer) base(m *signedMail, chain string) ([]arcSet, int, error) {
	highest := 0
	for _, f := range m.named(fieldSeal) {
		tags, _ := parseTags(string(f.Body))
		if i, err := arcInstance(tags["i"]); err == nil && i > highest {
			highest = i
			if strings.EqualFold(stripSpace(tags["cv"]), pipeline.ResultFail) {
				return nil, 0, ErrChainEnded
			}
		}
	}
	if highest == maxARCSets {
		return nil, 0, ErrChainEnded
	}
	switch chain {
	case pipeline.ResultNone:
		return nil, 1, nil
	case pipeline.ResultFail:
		return nil, highest + 1, nil
	case pipeline.ResultPass:
		sets, err := arcSets(m)
		if err == nil && len(sets) == 0 {
			err = errors.New("there is no chain")
		}
		if err != nil {
			return nil, 0, fmt.Errorf("seal: %w", err)
		}
		return sets, len(sets) + 1, nil
	}
	return nil, 0, fmt.Errorf("seal: the chain could not be judged: %s", chain)
}

// names are the fields that the signature covers: each that the message has, once for every time it has it, up to ten.
func (s *Sealer) names(m *signedMail) []string {
	headers := s.Headers
	if headers == nil {
		headers = DefaultSealed()
	}
	from := false
	var names []string
	for _, name := range headers {
		from = from || strings.EqualFold(name, "From")
		for range min(len(m.byName[strings.ToLower(name)]), 10) {
			names = append(names, name)
		}
	}
	if !from {
		names = append([]string{"From"}, names...)
	}
	return names
}

// nameList is h=, folded behind every tenth name.
func nameList(names []string) string {
	var b strings.Builder
	for i, n := range names {
		switch {
		case i > 0 && i%10 == 0:
			b.WriteString(":\r\n\t ")
		case i > 0:
			b.WriteByte(':')
		}
		b.WriteString(n)
	}
	return b.String()
}

func lower(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}

func (s *Sealer) algorithm() string {
	if _, ok := s.Key.Public().(ed25519.PublicKey); ok {
		return "ed25519-sha256"
	}
	return "rsa-sha256"
}

// sign returns the signature over a SHA-256, in base64 folded to short lines.
func (s *Sealer) sign(sum []byte) (string, error) {
	var opts crypto.SignerOpts = crypto.SHA256
	switch key := s.Key.Public().(type) {
	case ed25519.PublicKey:
		opts = crypto.Hash(0) // RFC 8463: the signature of the hash, not a hash inside of it
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSABits {
			return "", fmt.Errorf("seal: key of %d bits is too short", key.N.BitLen())
		}
	default:
		return "", fmt.Errorf("seal: keys of type %T cannot seal", key)
	}
	signed, err := s.Key.Sign(rand.Reader, sum, opts)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return foldBase64(base64.StdEncoding.EncodeToString(signed)), nil
}

// foldBase64 folds what would not fit a line of 998 octets; the signatures of usual keys do.
func foldBase64(s string) string {
	const width = 900
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width] + "\r\n\t ")
		s = s[width:]
	}
	b.WriteString(s)
	return b.String()
}

// makeField makes a field whose body starts behind one space.
func makeField(name, body string) pipeline.RawField {
	raw := []byte(name + ": " + body + "\r\n")
	return pipeline.RawField{Raw: raw, Name: raw[:len(name)], Body: raw[len(name)+1:]}
}
