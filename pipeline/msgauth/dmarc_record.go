package msgauth

import (
	"net/url"
	"strings"
)

// Policies of a DMARC record (RFC 9989 4.7).
const (
	policyNone       = "none"
	policyQuarantine = "quarantine"
	policyReject     = "reject"
	// policyInvalid stands for a policy tag whose value is none of the three.
	policyInvalid = "invalid"
)

// dmarcRecord is a DMARC Policy Record (RFC 9989 4.7) as far as a receiver's verdict needs it. Unknown tags, and pct,
// rf and ri of RFC 7489, are ignored.
type dmarcRecord struct {
	// p, sp and np are "" when the tag is absent.
	p, sp, np string
	// strictDKIM and strictSPF are adkim=s and aspf=s.
	strictDKIM, strictSPF bool
	// psd is 'y', 'n' or 'u'.
	psd byte
	// testing is t=y.
	testing bool
	// reports: rua has at least one well formed URI.
	reports bool
}

// parseDMARC reads a TXT record. ok is false when it is no DMARC record: v=DMARC1 must come first, in this case. All
// else is forgiven, because a receiver that rejects a record for a detail leaves the domain without protection.
func parseDMARC(txt string) (rec *dmarcRecord, ok bool) {
	rec = &dmarcRecord{psd: 'u'}
	seen := map[string]bool{}
	first := true
	for spec := range strings.SplitSeq(txt, ";") {
		name, value, _ := strings.Cut(spec, "=")
		name, value = strings.ToLower(strings.Trim(name, tagSpace)), strings.Trim(value, tagSpace)
		if first && (name != "v" || value != "DMARC1") {
			return nil, false
		}
		first = false
		rec.set(name, value, seen[name])
		seen[name] = true
	}
	return rec, true
}

// set takes up one tag. A policy that stands twice is invalid; of other tags the first one counts.
func (rec *dmarcRecord) set(name, value string, again bool) {
	lower := strings.ToLower(value)
	switch name {
	case "p":
		rec.p = policyOf(lower, again)
	case "sp":
		rec.sp = policyOf(lower, again)
	case "np":
		rec.np = policyOf(lower, again)
	}
	if again {
		return
	}
	switch name {
	case "adkim":
		rec.strictDKIM = lower == "s"
	case "aspf":
		rec.strictSPF = lower == "s"
	case "psd":
		if lower == "y" || lower == "n" {
			rec.psd = lower[0]
		}
	case "t":
		rec.testing = lower == "y"
	case "rua":
		rec.reports = hasURI(value)
	}
}

func policyOf(value string, again bool) string {
	if !again && (value == policyNone || value == policyQuarantine || value == policyReject) {
		return value
	}
	return policyInvalid
}

func hasURI(list string) bool {
	for s := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.Trim(s, tagSpace))
		if err == nil && u.Scheme != "" && (u.Opaque != "" || u.Host != "") {
			return true
		}
	}
	return false
}

// policy returns what the record asks for (RFC 9989 4.10.1): for the domain it stands at, or for a subdomain that
// exists or does not. One policy that is missing (p) or not valid takes the whole record down to p=none, and without a
// usable rua the record does not apply at all: ok is false. t=y asks for one step less.
func (rec *dmarcRecord) policy(subdomain, exists bool) (policy string, ok bool) {
	if rec.p == "" || rec.p == policyInvalid || rec.sp == policyInvalid || rec.np == policyInvalid {
		return policyNone, rec.reports
	}
	policy = rec.p
	if subdomain {
		if rec.sp != "" {
			policy = rec.sp
		}
		if !exists && rec.np != "" {
			policy = rec.np
		}
	}
	if rec.testing {
		policy = map[string]string{policyReject: policyQuarantine, policyQuarantine: policyNone, policyNone: policyNone}[policy]
	}
	return policy, true
}
