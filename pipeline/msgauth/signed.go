package msgauth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"strings"

	"mxhook/pipeline"
)

// signedMail is a message as signatures look at it: its fields by name, and the hashes of its body. It makes each hash
// once, however many signatures ask for it. It is not safe for concurrent use.
type signedMail struct {
	body   []byte
	fields []pipeline.RawField
	byName map[string][]int // indexes into fields, in order; names in lower case
	hashes [2][]byte        // of the body: simple, relaxed
}

func newSignedMail(raw []byte) *signedMail {
	m := &signedMail{body: raw[pipeline.HeaderEnd(raw):], byName: make(map[string][]int)}
	for f := range pipeline.Fields(raw) {
		name := strings.ToLower(string(f.Name))
		m.byName[name] = append(m.byName[name], len(m.fields))
		m.fields = append(m.fields, f)
	}
	return m
}

// named returns the fields with that name, in order.
func (m *signedMail) named(name string) []pipeline.RawField {
	var fs []pipeline.RawField
	for _, i := range m.byName[strings.ToLower(name)] {
		fs = append(fs, m.fields[i])
	}
	return fs
}

// fieldsLike returns the fields that a lenient reader takes for that name, in order.
func (m *signedMail) fieldsLike(name string) []pipeline.RawField {
	var fs []pipeline.RawField
	for _, f := range m.fields {
		if named(f, name) {
			fs = append(fs, f)
		}
	}
	return fs
}

// bodyHash returns the SHA-256 of the canonical body.
func (m *signedMail) bodyHash(ctx context.Context, relaxed bool) ([]byte, error) {
	which := 0
	if relaxed {
		which = 1
	}
	if m.hashes[which] == nil {
		h := sha256.New()
		if err := writeBody(untilDone{ctx, h}, m.body, relaxed); err != nil {
			return nil, err
		}
		m.hashes[which] = h.Sum(nil)
	}
	return m.hashes[which], nil
}

// untilDone writes until its context ends.
type untilDone struct {
	ctx context.Context // of the one verification that this writer is made for
	w   io.Writer
}

func (u untilDone) Write(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.w.Write(p)
}

// headerHash returns the SHA-256 over the fields that a signature names and over the signature's own field without its
// value (RFC 6376 3.7). Each name stands for the last field of that name that has not been taken yet, or for nothing.
func (m *signedMail) headerHash(sig *signature) []byte {
	h := sha256.New()
	appendField := appendSimpleField
	if sig.relaxedHeader {
		appendField = appendRelaxedField
	}
	taken := make(map[string]int, len(sig.names))
	var buf []byte
	for _, name := range sig.names {
		at := m.byName[name]
		n := len(at) - 1 - taken[name]
		if n < 0 {
			continue
		}
		taken[name]++
		buf = appendField(buf[:0], m.fields[at[n]])
		h.Write(buf)
	}
	buf = appendField(buf[:0], withoutSignature(sig.field))
	h.Write(buf[:len(buf)-len("\r\n")])
	return h.Sum(nil)
}

// withoutSignature returns a field with an empty b= tag.
func withoutSignature(f pipeline.RawField) pipeline.RawField {
	off := len(f.Raw) - len(f.Body)
	for rest := string(f.Body); ; {
		spec, tail, more := strings.Cut(rest, ";")
		name, _, ok := strings.Cut(spec, "=")
		if ok && strings.Trim(name, tagSpace) == "b" {
			start := off + len(name) + 1
			raw := append(append([]byte(nil), f.Raw[:start]...), f.Raw[off+len(spec):]...)
			return pipeline.RawField{Raw: raw, Name: f.Name, Body: raw[len(f.Raw)-len(f.Body):]}
		}
		if !more {
			return f
		}
		off += len(spec) + 1
		rest = tail
	}
}

// verify holds a signature against the message: DKIM-Signature and ARC-Message-Signature alike (RFC 6376 6.1, RFC 8617
// 4.1.2). What is wrong with the tags themselves the caller has asked about already.
func (m *signedMail) verify(ctx context.Context, sig *signature, keys *keyring) (result, reason string) {
	key, result, reason := keys.find(sig)
	if key == nil {
		return result, reason
	}
	if sig.hasLength { // anyone can add to a body that is signed in part (RFC 6376 8.2)
		return pipeline.ResultFail, "message contains an insecure body length tag"
	}
	sum, err := m.bodyHash(ctx, sig.relaxedBody)
	if err != nil {
		return pipeline.ResultTempError, "timed out"
	}
	if subtle.ConstantTimeCompare(sum, sig.bodyHash) != 1 {
		return pipeline.ResultFail, "body hash did not verify"
	}
	if !key.verify(m.headerHash(sig), sig.value) {
		return pipeline.ResultFail, "signature did not verify"
	}
	return pipeline.ResultPass, ""
}

const signatureHash = crypto.SHA256
