package msgauth

import (
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxhook/pipeline"
)

// signature is a DKIM-Signature or ARC-Message-Signature field. Texts are as written but for blanks.
type signature struct {
	field pipeline.RawField
	// domain is the signing domain (d=) as normalDomain gives it, "" when it is none.
	domain, selector, algorithm string
	// auid is the domain of i=, and domain when there is no i=.
	auid string
	// b is the start of the signature, to tell signatures of one domain apart (RFC 6008).
	b string
	// names are those of h=, in lower case.
	names                      []string
	relaxedHeader, relaxedBody bool
	hasLength                  bool
	bodyHash, value            []byte
	// made and expires are t= and x=, zero without one.
	made, expires time.Time
	// err says why the tags cannot be used.
	err error
}

// maxNames bounds h= of one signature.
const maxNames = 1000

// parseSignature reads the tags of a DKIM-Signature field (RFC 6376 3.5).
func parseSignature(f pipeline.RawField) signature {
	tags, err := parseTags(string(f.Body))
	sig := parseCommon(f, tags)
	sig.auid = sig.domain
	if i, ok := tags["i"]; ok {
		i = stripSpace(i)
		sig.auid, _ = normalDomain(i[strings.LastIndexByte(i, '@')+1:])
	}
	switch {
	case err != nil:
		sig.err = err
	case stripSpace(tags["v"]) != "1":
		sig.err = errors.New("incompatible signature version")
	case sig.err == nil && sig.auid != sig.domain && !strings.HasSuffix(sig.auid, "."+sig.domain):
		sig.err = errors.New("domain mismatch")
	case sig.err == nil && !slices.Contains(sig.names, "from"):
		sig.err = errors.New("the From field is not signed")
	}
	return sig
}

// parseCommon reads what DKIM-Signature and ARC-Message-Signature share.
func parseCommon(f pipeline.RawField, tags map[string]string) signature {
	sig := signature{
		field:     f,
		selector:  stripSpace(tags["s"]),
		algorithm: strings.ToLower(stripSpace(tags["a"])),
		names:     tagList(tags, "h"),
	}
	sig.domain, _ = normalDomain(stripSpace(tags["d"]))
	if b := stripSpace(tags["b"]); len(b) >= 8 {
		sig.b = b[:8]
	}
	_, sig.hasLength = tags["l"]
	for _, read := range []func(map[string]string) error{sig.readRequired, sig.readForm, sig.readTimes} {
		if sig.err = read(tags); sig.err != nil {
			break
		}
	}
	return sig
}

func (sig *signature) readRequired(tags map[string]string) error {
	for _, tag := range []string{"a", "b", "bh", "d", "h", "s"} {
		if _, ok := tags[tag]; !ok {
			return errors.New("signature missing required tag " + tag)
		}
	}
	if sig.domain == "" {
		return errors.New("signing domain is no domain name")
	}
	if len(sig.names) > maxNames {
		return errors.New("too many signed fields")
	}
	var err error
	if sig.bodyHash, err = base64.StdEncoding.DecodeString(stripSpace(tags["bh"])); err != nil {
		return errors.New("malformed body hash")
	}
	if sig.value, err = base64.StdEncoding.DecodeString(stripSpace(tags["b"])); err != nil {
		return errors.New("malformed signature")
	}
	return nil
}

// readForm reads the canonicalizations, simple by default, and the query methods.
func (sig *signature) readForm(tags map[string]string) error {
	header, body, _ := strings.Cut(strings.ToLower(stripSpace(tags["c"])), "/")
	for _, form := range []string{header, body} {
		if form != "" && form != "simple" && form != "relaxed" {
			return errors.New("unsupported canonicalization algorithm")
		}
	}
	sig.relaxedHeader, sig.relaxedBody = header == "relaxed", body == "relaxed"
	if q := tagList(tags, "q"); q != nil && !slices.Contains(q, "dns/txt") {
		return errors.New("unsupported public key query method")
	}
	return nil
}

func (sig *signature) readTimes(tags map[string]string) error {
	for name, at := range map[string]*time.Time{"t": &sig.made, "x": &sig.expires} {
		v, ok := tags[name]
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(stripSpace(v), 10, 64)
		if err != nil || n < 0 {
			return errors.New("malformed time")
		}
		*at = time.Unix(n, 0)
	}
	if !sig.made.IsZero() && !sig.expires.IsZero() && sig.expires.Before(sig.made) {
		return errors.New("signature expires before it was made")
	}
	return nil
}

// maxAhead is how far the signer's clock may be ahead of ours.
const maxAhead = time.Hour

// validAt says why the signature does not count at that time, "" when it does.
func (sig *signature) validAt(at time.Time) string {
	switch {
	case !sig.expires.IsZero() && at.After(sig.expires):
		return "signature has expired"
	case sig.made.After(at.Add(maxAhead)):
		return "signature is from the future"
	}
	return ""
}

// parseTags reads a tag list (RFC 6376 3.2): what could be read, and an error when something could not. Blanks around
// names and values are dropped; a name may stand but once.
func parseTags(s string) (map[string]string, error) {
	tags := make(map[string]string)
	var bad error
	for spec := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(spec, "=")
		name = strings.Trim(name, tagSpace)
		if !ok && name == "" {
			continue
		}
		_, twice := tags[name]
		switch {
		case !ok:
			bad = errors.New("tag without a value")
		case !validTagName(name):
			bad = errors.New("tag name is not well formed")
		case twice:
			bad = errors.New("tag stands twice")
		default:
			tags[name] = strings.Trim(value, tagSpace)
		}
	}
	return tags, bad
}

const tagSpace = " \t\r\n"

func validTagName(s string) bool {
	if s == "" || !isAlpha(s[0]) {
		return false
	}
	for i := range len(s) {
		if !isAlphanum(s[i]) && s[i] != '_' {
			return false
		}
	}
	return true
}

// stripSpace removes folding white space, which may stand anywhere in most values.
func stripSpace(s string) string {
	if !strings.ContainsAny(s, tagSpace) {
		return s
	}
	if isASCII(s) {
		out := make([]byte, 0, len(s))
		for i := range len(s) {
			if !isTagSpace(s[i]) {
				out = append(out, s[i])
			}
		}
		return string(out)
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(tagSpace, r) {
			return -1
		}
		return r
	}, s)
}

// named reports whether a field has that name, and forgives blanks and controls around it as lenient readers do: a
// field that another reader could take for From must count here too.
func named(f pipeline.RawField, name string) bool {
	return f.Is(name) || strings.EqualFold(strings.TrimFunc(string(f.Name), func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0x85 || r == 0xa0 || r == 0xfeff }), name)
}
