package msgauth

import (
	"slices"
	"strings"

	"mxhook/pipeline"
)

// sealers are the domains that sealed the chain, oldest first.
func (r *arcResult) sealers() []string {
	domains := []string{}
	for _, set := range r.sets {
		domains = append(domains, set.seal.domain)
	}
	return domains
}

// trusted reports whether the chain is intact and every sealer is one that we trust.
func (r *arcResult) trusted(sealers map[string]bool) bool {
	if r.result != pipeline.ResultPass {
		return false
	}
	for _, set := range r.sets {
		if !sealers[set.seal.domain] {
			return false
		}
	}
	return true
}

// vouchesFor reports whether a trusted sealer saw DMARC pass for the author domain. It goes from the newest set to older
// ones and stops at the first sealer that is not trusted: what that one sealed, and all before it, anybody may have made
// up. A sealer is believed for the very author domain only, since a list may have put another From there meanwhile, and
// only when the newest message signature covers From.
func (r *arcResult) vouchesFor(author string, sealers map[string]bool) bool {
	if author == "" || r.result != pipeline.ResultPass || !slices.Contains(r.sets[len(r.sets)-1].signature.names, "from") {
		return false
	}
	for i := len(r.sets) - 1; i >= 0 && sealers[r.sets[i].seal.domain]; i-- {
		p, err := parseResults(r.sets[i].results)
		if err == nil && p.dmarcPassed(author) {
			return true
		}
	}
	return false
}

// dmarcPassed reports whether the results say that DMARC passed for a domain, and nowhere that it did not.
func (p parsedResults) dmarcPassed(domain string) bool {
	passed := false
	for _, r := range p.results {
		if r.method != "dmarc" {
			continue
		}
		if from, ok := normalDomain(domainOf(r.properties["header.from"])); !ok || from != domain || r.result != pipeline.ResultPass {
			return false
		}
		passed = true
	}
	return passed
}

// domainOf returns what is behind the last @, or all of it.
func domainOf(addr string) string { return addr[strings.LastIndexByte(addr, '@')+1:] }
