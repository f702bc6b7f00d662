package msgauth

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"mxhook/pipeline"
)

// signature is a DKIM-Signature field as far as we report and check it beside the library, which tells neither
// selector nor algorithm and compares domains by case.
type signature struct {
	// domain is the signing domain (d=) as normalDomain gives it, "" when it is none.
	domain, selector, algorithm string
	// auid is the domain of i=, and domain when there is no i=.
	auid string
	// b is the start of the signature, to tell signatures of one domain apart (RFC 6008).
	b string
	// expires is x=, zero without one.
	expires time.Time
	// headers is the number of names in h=.
	headers int
	// err says why the tags cannot be read.
	err error
}

// findSignatures returns the DKIM-Signature fields in order, and the number of fields there are.
func findSignatures(raw []byte) (sigs []signature, fields int) {
	for f := range pipeline.Fields(raw) {
		fields++
		if named(f, "DKIM-Signature") {
			sigs = append(sigs, parseSignature(string(f.Body)))
		}
	}
	return sigs, fields
}

// parseSignature reads the tags of a DKIM-Signature field (RFC 6376 3.5).
func parseSignature(body string) signature {
	tags, err := parseTags(body)
	sig := signature{
		selector:  stripSpace(tags["s"]),
		algorithm: strings.ToLower(stripSpace(tags["a"])),
		headers:   strings.Count(tags["h"], ":") + 1,
		err:       err,
	}
	sig.domain, _ = normalDomain(stripSpace(tags["d"]))
	sig.auid = sig.domain
	if i, ok := tags["i"]; ok {
		i = stripSpace(i)
		sig.auid, _ = normalDomain(i[strings.LastIndexByte(i, '@')+1:])
	}
	if b := stripSpace(tags["b"]); len(b) >= 8 {
		sig.b = b[:8]
	}
	if x, ok := tags["x"]; ok && err == nil {
		n, err := strconv.ParseInt(stripSpace(x), 10, 64)
		if err != nil {
			sig.err = errors.New("expiration time is no number")
		}
		sig.expires = time.Unix(n, 0)
	}
	return sig
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
