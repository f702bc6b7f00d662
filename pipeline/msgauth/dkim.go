package msgauth

import (
	"context"
	"fmt"
	"time"

	"mxhook/pipeline"
)

// maxSignedHeader bounds the header block of a message whose signatures we verify: each one may hash all of it.
const maxSignedHeader = 1 << 20

// dkimResult is the verdict on a signature.
type dkimResult struct {
	signature
	result, reason string
}

// checkDKIM verifies the signatures (RFC 6376) as of a time, one result each in the order of the fields: the first
// s.maxSignatures are verified, as many more are listed as "policy", the rest only counted in a Problem.
func (s *Stage) checkDKIM(ctx context.Context, raw []byte, at time.Time) ([]dkimResult, []pipeline.Problem) {
	m := newSignedMail(raw)
	fields := m.fieldsLike("DKIM-Signature")
	if len(fields) == 0 {
		return nil, nil
	}
	var problems []pipeline.Problem
	if len(fields) > s.maxSignatures {
		problems = append(problems, pipeline.Problem{
			Code: "dkim-signatures-limited", Where: "DKIM-Signature",
			Detail: fmt.Sprintf("%d signatures, the first %d were verified", len(fields), s.maxSignatures),
		})
	}
	keys := s.newKeyring(ctx)
	large := pipeline.HeaderEnd(raw) > maxSignedHeader
	results := make([]dkimResult, min(len(fields), 2*s.maxSignatures))
	for i := range results {
		res := &results[i]
		res.signature = parseSignature(fields[i])
		switch {
		case large:
			res.result, res.reason = pipeline.ResultPolicy, "not verified: the header is too large"
		case i >= s.maxSignatures:
			res.result, res.reason = pipeline.ResultPolicy, "not verified: too many signatures"
		default:
			res.result, res.reason = verifyDKIM(ctx, m, &res.signature, keys, at)
		}
	}
	return results, problems
}

func verifyDKIM(ctx context.Context, m *signedMail, sig *signature, keys *keyring, at time.Time) (result, reason string) {
	if sig.err != nil {
		return pipeline.ResultPermError, sig.err.Error()
	}
	if why := sig.validAt(at); why != "" {
		return pipeline.ResultPermError, why
	}
	return m.verify(ctx, sig, keys)
}
