package msgauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/emersion/go-msgauth/dkim"

	"mxhook/pipeline"
)

// Bounds on what one message may make the DKIM library do. It keeps the header as strings and walks all fields for
// each name in h=, so that a header made for the purpose would keep it busy for minutes.
const (
	maxDKIMHeader = 1 << 20   // octets of the header block
	maxDKIMWork   = 4_000_000 // fields of the message × names in h=, over all signatures
)

// checkDKIM verifies the signatures (RFC 6376), one result each in the order of the fields: the first s.maxSignatures
// are verified, as many more are listed as "policy", the rest only counted in a Problem.
func (s *Stage) checkDKIM(ctx context.Context, raw []byte) ([]dkimResult, []pipeline.Problem) {
	sigs, fields := findSignatures(raw)
	if len(sigs) == 0 {
		return nil, nil
	}
	var problems []pipeline.Problem
	results := make([]dkimResult, min(len(sigs), 2*s.maxSignatures))
	for i := range results {
		results[i] = dkimResult{signature: sigs[i], result: pipeline.ResultPolicy, reason: "not verified: too many signatures"}
	}
	if len(sigs) > s.maxSignatures {
		problems = append(problems, pipeline.Problem{
			Code: "dkim-signatures-limited", Where: "DKIM-Signature",
			Detail: fmt.Sprintf("%d signatures, the first %d were verified", len(sigs), s.maxSignatures),
		})
	}
	verify := results[:min(len(sigs), s.maxSignatures)]
	if !withinDKIMBounds(raw, verify, fields) {
		for i := range verify {
			verify[i].result, verify[i].reason = pipeline.ResultPolicy, "not verified: the header is too large"
		}
		return results, problems
	}
	s.verifyDKIM(ctx, raw, verify)
	return results, problems
}

// dkimResult is the verdict on a signature.
type dkimResult struct {
	signature
	result, reason string
}

func withinDKIMBounds(raw []byte, sigs []dkimResult, fields int) bool {
	work := 0
	for _, sig := range sigs {
		work += sig.headers * fields
	}
	return work <= maxDKIMWork && pipeline.HeaderEnd(raw) <= maxDKIMHeader
}

// verifyDKIM fills in the results of the first signatures of raw, len(results) of them.
func (s *Stage) verifyDKIM(ctx context.Context, raw []byte, results []dkimResult) {
	keys := &keyLookup{ctx: ctx, resolver: s.resolver, strict: make(map[string]bool)}
	vs, err := dkim.VerifyWithOptions(dkimReader(ctx, raw), &dkim.VerifyOptions{
		LookupTXT: keys.lookup, MaxVerifications: len(results),
	})
	if err != nil && !errors.Is(err, dkim.ErrTooManySignatures) || len(vs) != len(results) {
		// The library sees other fields than we do, or cannot read the header at all.
		result, why := pipeline.ResultPermError, "header cannot be read"
		if ctx.Err() != nil {
			result, why = pipeline.ResultTempError, "timed out"
		}
		for i := range results {
			results[i].result, results[i].reason = result, why
		}
		return
	}
	for i, v := range vs {
		r := &results[i]
		r.result, r.reason = s.judge(v, r.signature, keys)
		if r.result != pipeline.ResultPass && ctx.Err() != nil {
			r.result, r.reason = pipeline.ResultTempError, "timed out"
		}
	}
}

// judge turns a verification into a result, and holds a good one against what the library does not check.
func (s *Stage) judge(v *dkim.Verification, sig signature, keys *keyLookup) (result, reason string) {
	domain, _ := normalDomain(v.Domain)
	switch {
	case dkim.IsTempFail(v.Err):
		return pipeline.ResultTempError, dkimReason(v.Err)
	case dkim.IsPermFail(v.Err):
		return pipeline.ResultPermError, dkimReason(v.Err)
	case v.Err != nil:
		return pipeline.ResultFail, dkimReason(v.Err)
	case sig.err != nil:
		return pipeline.ResultPermError, sig.err.Error()
	case sig.domain == "" || sig.domain != domain:
		return pipeline.ResultPermError, "signing domain is no domain name"
	case !sig.expires.IsZero() && s.now().After(sig.expires):
		return pipeline.ResultPermError, "signature has expired"
	case keys.isStrict(sig.selector+"._domainkey."+sig.domain) && sig.auid != sig.domain: // RFC 6376 3.6.1, t=s
		return pipeline.ResultPermError, "key does not allow subdomains"
	}
	return pipeline.ResultPass, ""
}

func dkimReason(err error) string { return strings.TrimPrefix(err.Error(), "dkim: ") }

// keyLookup is LookupTXT within a context. It remembers which keys have the flag s, which the library reads and forgets.
type keyLookup struct {
	ctx      context.Context // of the one verification that this lookup is made for
	resolver Resolver
	mu       sync.Mutex
	strict   map[string]bool
}

func (k *keyLookup) lookup(name string) ([]string, error) {
	if normal, ok := normalDomain(name); ok {
		name = normal // a domain may stand there as U-labels (RFC 8616)
	}
	txts, err := k.resolver.LookupTXT(k.ctx, name)
	if err != nil {
		return nil, dnsError(name, err)
	}
	if len(txts) == 1 {
		tags, _ := parseTags(txts[0])
		for flag := range strings.SplitSeq(tags["t"], ":") {
			if strings.EqualFold(stripSpace(flag), "s") {
				k.mu.Lock()
				k.strict[name] = true
				k.mu.Unlock()
			}
		}
	}
	return txts, nil
}

func (k *keyLookup) isStrict(name string) bool {
	if normal, ok := normalDomain(name); ok {
		name = normal
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.strict[name]
}

// dkimReader reads raw without copying it. A message without a body may end without the empty line (RFC 5322 3.5),
// which the library insists on. When ctx ends the message does too: the library leaves goroutines behind when its reader
// gives an error, and a body that is cut short cannot verify.
func dkimReader(ctx context.Context, raw []byte) io.Reader {
	n := 0
	for f := range pipeline.Fields(raw) {
		n += len(f.Raw)
	}
	tail := ""
	if n == len(raw) {
		tail = "\r\n"
		if n > 0 && raw[n-1] != '\n' {
			tail = "\r\n\r\n"
		}
	}
	return &untilDone{ctx, io.MultiReader(bytes.NewReader(raw), strings.NewReader(tail))}
}

type untilDone struct {
	ctx context.Context // of the one verification that this reader is made for
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, io.EOF
	}
	return u.r.Read(p)
}
