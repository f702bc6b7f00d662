package msgauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxhook/pipeline"
)

// maxARCSets is the longest chain that there can be (RFC 8617 4.2.1).
const maxARCSets = 50

// The three fields of an ARC set (RFC 8617 4.1).
const (
	fieldAAR  = "ARC-Authentication-Results"
	fieldAMS  = "ARC-Message-Signature"
	fieldSeal = "ARC-Seal"
)

// arcSet is what one sealer added.
type arcSet struct {
	aar       pipeline.RawField
	results   string // of aar, without the instance
	signature signature
	seal      arcSeal
	has       [3]bool // aar, signature, seal
}

// arcSeal is an ARC-Seal field.
type arcSeal struct {
	signature        // of its tags only domain, selector, algorithm, value and field count
	cv        string // "none", "pass" or "fail"
}

// arcResult is the verdict on a chain. sets are there, oldest first, when the chain is whole.
type arcResult struct {
	result, reason string
	sets           []arcSet
}

// checkARC validates the chain (RFC 8617 5.2). A failure of DNS is a temperror, which nobody acts on.
func (s *Stage) checkARC(ctx context.Context, raw []byte, at time.Time) arcResult {
	if !hasChain(raw) {
		return arcResult{result: pipeline.ResultNone}
	}
	if pipeline.HeaderEnd(raw) > maxSignedHeader {
		return arcResult{result: pipeline.ResultPolicy, reason: "not verified: the header is too large"}
	}
	m := newSignedMail(raw)
	sets, err := arcSets(m)
	if err != nil {
		return arcResult{result: pipeline.ResultFail, reason: err.Error()}
	}
	res := arcResult{sets: sets}
	res.result, res.reason = validateChain(ctx, m, sets, s.newKeyring(ctx), at)
	return res
}

// hasChain reports whether there is any field of a set.
func hasChain(raw []byte) bool {
	for f := range pipeline.Fields(raw) {
		if f.Is(fieldAAR) || f.Is(fieldAMS) || f.Is(fieldSeal) {
			return true
		}
	}
	return false
}

// validateChain is steps 2 to 6 of RFC 8617 5.2 over sets that are complete.
func validateChain(ctx context.Context, m *signedMail, sets []arcSet, keys *keyring, at time.Time) (result, reason string) {
	last := len(sets) - 1
	if sets[last].seal.cv == pipeline.ResultFail {
		return pipeline.ResultFail, "the newest seal says that the chain failed before"
	}
	for i, set := range sets {
		want := pipeline.ResultPass
		if i == 0 {
			want = pipeline.ResultNone
		}
		if set.seal.cv != want {
			return pipeline.ResultFail, fmt.Sprintf("seal %d has cv=%s", i+1, clean(set.seal.cv))
		}
	}
	newest := &sets[last].signature
	if why := newest.validAt(at); why != "" {
		return pipeline.ResultFail, why
	}
	if result, reason = m.verify(ctx, newest, keys); result != pipeline.ResultPass {
		return arcFailure(result), fmt.Sprintf("message signature %d: %s", last+1, reason)
	}
	for i := last; i >= 0; i-- {
		key, result, reason := keys.find(&sets[i].seal.signature)
		if key == nil {
			return arcFailure(result), fmt.Sprintf("seal %d: %s", i+1, reason)
		}
		if !key.verify(sealHash(sets[:i+1]), sets[i].seal.value) {
			return pipeline.ResultFail, fmt.Sprintf("seal %d: signature did not verify", i+1)
		}
		if ctx.Err() != nil {
			return pipeline.ResultTempError, "timed out"
		}
	}
	return pipeline.ResultPass, ""
}

// arcFailure: a chain knows no permerror (RFC 8617 4.4).
func arcFailure(result string) string {
	if result == pipeline.ResultTempError {
		return result
	}
	return pipeline.ResultFail
}

// sealHash is over all sets up to the one whose seal it is, relaxed, that seal without its value (RFC 8617 5.1.1).
func sealHash(sets []arcSet) []byte {
	h := sha256.New()
	var buf []byte
	for i, set := range sets {
		buf = appendRelaxedField(buf[:0], set.aar)
		buf = appendRelaxedField(buf, set.signature.field)
		if i < len(sets)-1 {
			buf = appendRelaxedField(buf, set.seal.field)
		} else {
			buf = appendRelaxedField(buf, withoutSignature(set.seal.field))
			buf = buf[:len(buf)-len("\r\n")]
		}
		h.Write(buf)
	}
	return h.Sum(nil)
}

// arcSets collects the sets of a message, oldest first: of each instance from 1 on exactly one field of each kind.
func arcSets(m *signedMail) ([]arcSet, error) {
	var sets []arcSet
	for kind, name := range []string{fieldAAR, fieldAMS, fieldSeal} {
		fields := m.named(name)
		if len(fields) > maxARCSets {
			return nil, errors.New("more than 50 sets")
		}
		if kind == 0 {
			sets = make([]arcSet, len(fields))
		}
		if len(fields) != len(sets) {
			return nil, errors.New("sets are not complete")
		}
		for _, f := range fields {
			i, take, err := readARCField(kind, f)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if i > len(sets) || sets[i-1].has[kind] {
				return nil, fmt.Errorf("%s: instance %d does not fit", name, i)
			}
			sets[i-1].has[kind] = true
			take(&sets[i-1])
		}
	}
	return sets, nil
}

// readARCField reads one field of a set: its instance, and how to put it into its set.
func readARCField(kind int, f pipeline.RawField) (instance int, take func(*arcSet), err error) {
	if kind == 0 {
		instance, results, err := readAAR(f)
		return instance, func(s *arcSet) { s.aar, s.results = f, results }, err
	}
	tags, err := parseTags(string(f.Body))
	if err != nil {
		return 0, nil, err
	}
	if instance, err = arcInstance(tags["i"]); err != nil {
		return 0, nil, err
	}
	if kind == 2 {
		seal, err := readSeal(f, tags)
		return instance, func(s *arcSet) { s.seal = seal }, err
	}
	if _, ok := tags["c"]; !ok {
		tags["c"] = "relaxed/relaxed" // what sealers meant who left it out
	}
	sig := parseCommon(f, tags)
	sig.auid = sig.domain
	if sig.err == nil && slices.Contains(sig.names, strings.ToLower(fieldSeal)) { // RFC 8617 4.1.2
		sig.err = errors.New("signs a seal")
	}
	return instance, func(s *arcSet) { s.signature = sig }, sig.err
}

func arcInstance(s string) (int, error) {
	s = stripSpace(s)
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxARCSets || !isDigits(s) {
		return 0, errors.New("instance is not between 1 and 50")
	}
	return n, nil
}

// readAAR splits the instance off an ARC-Authentication-Results field (RFC 8617 4.1.1).
func readAAR(f pipeline.RawField) (instance int, results string, err error) {
	first, rest, ok := bytes.Cut(f.Body, []byte(";"))
	name, value, _ := strings.Cut(string(first), "=")
	if !ok || strings.Trim(name, tagSpace) != "i" {
		return 0, "", errors.New("no instance")
	}
	instance, err = arcInstance(value)
	return instance, string(rest), err
}

// readSeal reads an ARC-Seal field (RFC 8617 4.1.3). A seal covers no fields of its choice: h= would claim that.
func readSeal(f pipeline.RawField, tags map[string]string) (arcSeal, error) {
	seal := arcSeal{cv: strings.ToLower(stripSpace(tags["cv"]))}
	seal.field = f
	seal.selector = stripSpace(tags["s"])
	seal.algorithm = strings.ToLower(stripSpace(tags["a"]))
	seal.domain, _ = normalDomain(stripSpace(tags["d"]))
	seal.auid = seal.domain
	for _, tag := range []string{"a", "b", "cv", "d", "s"} {
		if _, ok := tags[tag]; !ok {
			return seal, errors.New("missing required tag " + tag)
		}
	}
	if _, ok := tags["h"]; ok {
		return seal, errors.New("has a tag h")
	}
	if _, ok := tags["bh"]; ok {
		return seal, errors.New("has a tag bh")
	}
	if seal.domain == "" {
		return seal, errors.New("signing domain is no domain name")
	}
	if t, ok := tags["t"]; ok && !isDigits(stripSpace(t)) {
		return seal, errors.New("malformed time")
	}
	var err error
	if seal.value, err = base64.StdEncoding.DecodeString(stripSpace(tags["b"])); err != nil {
		return seal, errors.New("malformed signature")
	}
	return seal, nil
}
