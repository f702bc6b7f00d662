package msgauth

import (
	"context"
	"errors"
	"net"
	"strings"

	"mxhook/pipeline"
)

// discovery is what DNS says about an author domain (RFC 9989 4.10.1).
type discovery struct {
	domain string
	// rec is the record that applies, nil when there is none; at is the domain that it was found at.
	rec *dmarcRecord
	at  string
	// policy is the policy that applies, "" when there is no record or none that can be understood.
	policy string
	// org is the organizational domain; it is not known when orgErr is set. alone: no record applies, so that only the
	// very same domain aligns.
	org    string
	alone  bool
	orgErr error
	// err says why the record is not known.
	err error
}

// discover finds the record for an author domain and its organizational domain.
func (s *Stage) discover(w *walker, domain string) discovery {
	d := discovery{domain: domain}
	fs, err := w.walk(domain)
	d.orgErr = err
	d.org = organizational(domain, fs)
	d.alone = len(fs) == 0
	switch {
	case len(fs) > 0 && fs[0].domain == domain:
		d.rec, d.at = fs[0].rec, domain
	case err != nil:
		d.err = err
		return d
	case len(fs) > 0:
		// Without a record of its own: that of the organizational domain, else that of the public suffix. Both are the
		// last one found: the walk ends at psd=y, and the organizational domain below it may have a record before it.
		last := fs[len(fs)-1]
		for _, f := range fs {
			if f.domain == d.org {
				last = f
			}
		}
		d.rec, d.at = last.rec, last.domain
	default:
		return d
	}
	subdomain := d.at != domain
	exists := !subdomain || d.rec.np == "" || s.exists(w.ctx, domain)
	policy, ok := d.rec.policy(subdomain, exists)
	if !ok {
		d.rec, d.alone = nil, true // as if there were none
		return d
	}
	d.policy = policy
	return d
}

// exists reports whether a domain exists: it does unless DNS says that there is no such name (RFC 9989 3.2.13, RFC 8020),
// whatever records it has. When DNS does not say it counts as there, so that sp applies and not np. With a resolver that
// does not tell a missing name from a missing record, one without addresses and mail servers does not exist.
func (s *Stage) exists(ctx context.Context, domain string) bool {
	_, err := s.resolver.LookupNetIP(ctx, "ip", domain)
	var d *net.DNSError
	if !errors.As(err, &d) || !d.IsNotFound || d.Err == noSuchRecord {
		return true
	}
	if d.Err == noSuchName {
		return false
	}
	_, err = s.resolver.LookupMX(ctx, domain)
	return !isNotFound(err)
}

// aligned reports whether an authenticated domain aligns with the author domain (RFC 9989 4.4). Relaxed alignment needs
// the organizational domain of both; err says why that is not known.
func (d *discovery) aligned(w *walker, id string, strict bool) (bool, error) {
	switch {
	case id == "" || d.domain == "":
		return false, nil
	case id == d.domain:
		return true, nil
	case strict:
		return false, nil
	case d.orgErr != nil:
		if topLabel(id) != topLabel(d.domain) {
			return false, nil
		}
		return false, d.orgErr
	case d.alone || id != d.org && !strings.HasSuffix(id, "."+d.org):
		// An organizational domain is the domain itself or above it.
		return false, nil
	}
	fs, err := w.walk(id)
	if err != nil {
		return false, err
	}
	return organizational(id, fs) == d.org, nil
}

func topLabel(domain string) string { return domain[strings.LastIndexByte(domain, '.')+1:] }

// evaluate decides DMARC (RFC 9989 5) and marks the DKIM results that align. authorErr is why there is no author domain;
// d is not looked at then.
func (d *discovery) evaluate(w *walker, authorErr error, spf pipeline.SPFResult, dkim []dkimResult) (pipeline.DMARCResult, []bool) {
	alignedDKIM := make([]bool, len(dkim))
	if authorErr != nil {
		return pipeline.DMARCResult{Result: pipeline.ResultPermError, Reason: authorErr.Error()}, alignedDKIM
	}
	r := pipeline.DMARCResult{Domain: d.domain, Policy: d.policy}
	strictSPF, strictDKIM := false, false
	if d.rec != nil {
		strictSPF, strictDKIM = d.rec.strictSPF, d.rec.strictDKIM
	}
	var open string // why a failure may yet turn out to be a pass
	for i, sig := range dkim {
		if sig.result != pipeline.ResultPass && sig.result != pipeline.ResultTempError {
			continue
		}
		ok, err := d.aligned(w, sig.domain, strictDKIM)
		switch {
		case err != nil:
			open = reason(err)
		case ok && sig.result == pipeline.ResultTempError:
			alignedDKIM[i] = true
			open = "dkim: " + sig.reason
		case ok:
			alignedDKIM[i] = true
			r.DKIMAligned = true
		}
	}
	if spf.Result == pipeline.ResultPass || spf.Result == pipeline.ResultTempError {
		ok, err := d.aligned(w, spf.Domain, strictSPF)
		switch {
		case err != nil:
			open = reason(err)
		case ok && spf.Result == pipeline.ResultTempError:
			open = "spf: " + spf.Reason
		case ok:
			r.SPFAligned = true
		}
	}
	switch {
	case d.err != nil:
		r.Result, r.Reason = pipeline.ResultTempError, reason(d.err)
	case d.rec == nil:
		r.Result = pipeline.ResultNone
	case r.SPFAligned || r.DKIMAligned:
		r.Result = pipeline.ResultPass
	case open != "":
		r.Result, r.Reason = pipeline.ResultTempError, open
	default:
		r.Result = pipeline.ResultFail
	}
	return r, alignedDKIM
}

// senderOf is the one verdict. It stands on alignment, not on the policy that the domain publishes:
//
//	dmarc      spf or dkim aligned  verified
//	pass       yes                  yes, by dmarc, whatever the policy
//	pass       no                   yes, by dmarc: a trusted upstream saw it pass
//	none       yes                  yes, by dmarc: SPF or DKIM passed for exactly the author domain
//	temperror  yes                  yes, by dmarc: the very same domain passed, which no record could take back
//	permerror  (no)                 no: there is no single author domain; Domain is ""
//	all else                        by arc when a trusted sealer's intact chain says that DMARC passed for the author
//	                                domain, else no
//
// Domain is the author domain, verified or not.
func senderOf(r pipeline.DMARCResult, sealed bool) pipeline.SenderResult {
	sender := pipeline.SenderResult{Domain: r.Domain}
	switch {
	case r.Domain == "":
	case r.SPFAligned || r.DKIMAligned || r.Result == pipeline.ResultPass:
		sender.Verified, sender.By = true, "dmarc"
	case sealed:
		sender.Verified, sender.By = true, "arc"
	}
	return sender
}
