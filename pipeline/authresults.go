package pipeline

// Results of a method, in the words of RFC 8601 2.7. Not every method knows every result.
const (
	ResultNone      = "none"
	ResultPass      = "pass"
	ResultFail      = "fail"
	ResultSoftFail  = "softfail"
	ResultNeutral   = "neutral"
	ResultPolicy    = "policy"
	ResultTempError = "temperror"
	ResultPermError = "permerror"
)

// AuthResults is what we found out about who sent the message. It is made once, when the message is first processed,
// and travels with deliveries that wait, because keys and records change.
type AuthResults struct {
	Sender SenderResult `json:"sender"`
	SPF    SPFResult    `json:"spf"`
	DKIM   []DKIMResult `json:"dkim"`
	DMARC  DMARCResult  `json:"dmarc"`
	ARC    ARCResult    `json:"arc"`
	IPRev  IPRevResult  `json:"iprev"`
	// Upstream: a trusted upstream connected, so that SPF and iprev speak of the client that it took the mail from.
	Upstream bool `json:"upstream,omitempty"`
	// Field is our Authentication-Results field (RFC 8601), folded, ending in CRLF; "" when nothing was checked.
	Field string `json:"field,omitempty"`
}

// SenderResult is the one verdict that is safe to act on. By is "dmarc" or "arc", and "" when not verified.
type SenderResult struct {
	Verified bool   `json:"verified"`
	Domain   string `json:"domain"`
	By       string `json:"by"`
}

// SPFResult is RFC 7208's; Identity is "mailfrom" or "helo".
type SPFResult struct {
	Result   string `json:"result"`
	Domain   string `json:"domain"`
	Identity string `json:"identity"`
	Reason   string `json:"reason"`
}

// DKIMResult is the verdict on one signature (RFC 6376). Aligned: its domain aligns with the author's (DMARC).
type DKIMResult struct {
	Result    string `json:"result"`
	Domain    string `json:"domain"`
	Selector  string `json:"selector"`
	Algorithm string `json:"algorithm"`
	Aligned   bool   `json:"aligned"`
	Reason    string `json:"reason"`
}

// DMARCResult is RFC 9989's. Domain is the author domain; Policy is the policy that applies ("none", "quarantine",
// "reject") or "" when there is no record.
type DMARCResult struct {
	Result      string `json:"result"`
	Domain      string `json:"domain"`
	Policy      string `json:"policy"`
	SPFAligned  bool   `json:"spf_aligned"`
	DKIMAligned bool   `json:"dkim_aligned"`
	Reason      string `json:"reason,omitempty"`
}

// ARCResult is RFC 8617's. Sealers are the domains of the chain, oldest first. Trusted: the chain passes and every sealer
// is one that is trusted.
type ARCResult struct {
	Result  string   `json:"result"`
	Sealers []string `json:"sealers"`
	Trusted bool     `json:"trusted"`
}

// IPRevResult is RFC 8601 2.7.3's; Name is the verified host name, "" without one.
type IPRevResult struct {
	Result string `json:"result"`
	Name   string `json:"name"`
}
