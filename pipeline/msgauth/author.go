package msgauth

import (
	"errors"
	"strings"

	"mxhook/pipeline"
)

// maxFrom bounds the From field that we read.
const maxFrom = 64 << 10

var (
	errNoFrom      = errors.New("no From field")
	errSeveralFrom = errors.New("several From fields")
	errFromSyntax  = errors.New("from field is not well formed")
	errNoDomain    = errors.New("author has no domain name")
	errManyDomains = errors.New("authors of several domains")
)

// authorDomain returns the domain that the one From field names (RFC 9989 4.4: the author domain). Several authors are
// well when they share one domain. Everything that two readers could read in two ways is an error: several From
// fields, text behind an address, source routes, controls. It reads the header only and never copies the message.
func authorDomain(raw []byte) (string, error) {
	var body []byte
	n := 0
	for f := range pipeline.Fields(raw) {
		if named(f, "From") {
			body = f.Body
			n++
		}
	}
	switch {
	case n == 0:
		return "", errNoFrom
	case n > 1:
		return "", errSeveralFrom
	case len(body) > maxFrom:
		return "", errFromSyntax
	}
	return domainOfMailboxes(string(body))
}

func domainOfMailboxes(body string) (string, error) {
	domains, err := mailboxDomains(body)
	if err != nil {
		return "", err
	}
	author := ""
	for _, d := range domains {
		d, ok := normalDomain(d)
		switch {
		case !ok:
			return "", errNoDomain
		case author != "" && d != author:
			return "", errManyDomains
		}
		author = d
	}
	if author == "" {
		return "", errNoDomain
	}
	return author, nil
}

// token is a piece of an address list: a special character, or a word with kind wordAtom, wordQuoted or wordLiteral.
type token struct {
	kind byte
	text string
}

const (
	wordAtom    = 'a'
	wordQuoted  = 'q'
	wordLiteral = 'l'
)

func (t token) isWord() bool { return t.kind == wordAtom || t.kind == wordQuoted }

// mailboxDomains returns the domain of each mailbox of an address list, groups included (RFC 5322 3.4, RFC 6854). It
// allows unquoted words before an angle address whatever they are, since that is how many display names are written.
func mailboxDomains(body string) ([]string, error) {
	tokens, err := tokenize(body)
	if err != nil {
		return nil, err
	}
	var domains []string
	inGroup := false
	for len(tokens) > 0 {
		n := 0
		for n < len(tokens) && strings.IndexByte("<,:;", tokens[n].kind) < 0 {
			n++
		}
		words, rest := tokens[:n], tokens[n:]
		end := byte(',')
		if len(rest) > 0 {
			end, rest = rest[0].kind, rest[1:]
		}
		switch end {
		case '<':
			if words, rest, err = cutAngle(rest); err != nil {
				return nil, err
			}
		case ':':
			if inGroup || hasKind(words, '@') {
				return nil, errFromSyntax
			}
			inGroup, words = true, nil
		case ';':
			if !inGroup || len(rest) > 0 && rest[0].kind != ',' {
				return nil, errFromSyntax
			}
			inGroup = false
		}
		if len(words) > 0 {
			domain, err := addrSpecDomain(words)
			if err != nil {
				return nil, err
			}
			domains = append(domains, domain)
		}
		tokens = rest
	}
	return domains, nil
}

// cutAngle returns the tokens up to the closing bracket and those behind it; there the list goes on or ends.
func cutAngle(tokens []token) (inside, rest []token, err error) {
	for i, t := range tokens {
		if t.kind != '>' {
			continue
		}
		rest = tokens[i+1:]
		if i == 0 || len(rest) > 0 && rest[0].kind != ',' && rest[0].kind != ';' {
			return nil, nil, errFromSyntax
		}
		return tokens[:i], rest, nil
	}
	return nil, nil, errFromSyntax
}

// addrSpecDomain returns the domain of an addr-spec: words, one @, one word.
func addrSpecDomain(ts []token) (string, error) {
	n := len(ts)
	if n < 2 || !hasKind(ts, '@') {
		return "", errNoDomain
	}
	if n != 3 || ts[1].kind != '@' || !ts[0].isWord() {
		return "", errFromSyntax
	}
	if ts[2].kind != wordAtom {
		return "", errNoDomain // a domain literal
	}
	return ts[2].text, nil
}

func hasKind(ts []token, kind byte) bool {
	for _, t := range ts {
		if t.kind == kind {
			return true
		}
	}
	return false
}

// tokenize cuts an address list into tokens and leaves out blanks and comments.
func tokenize(s string) ([]token, error) {
	var ts []token
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		case c < ' ' || c == 0x7f:
			return nil, errFromSyntax
		case c == '(':
			n := commentLen(s[i:])
			if n == 0 {
				return nil, errFromSyntax
			}
			i += n
		case c == '"':
			n := quotedLen(s[i:], '"')
			if n == 0 {
				return nil, errFromSyntax
			}
			ts = append(ts, token{wordQuoted, s[i : i+n]})
			i += n
		case c == '[':
			n := quotedLen(s[i:], ']')
			if n == 0 {
				return nil, errFromSyntax
			}
			ts = append(ts, token{wordLiteral, s[i : i+n]})
			i += n
		case strings.IndexByte("<>,:;@", c) >= 0:
			ts = append(ts, token{kind: c})
			i++
		case c == ')' || c == ']':
			return nil, errFromSyntax
		default:
			n := strings.IndexFunc(s[i:], endsAtom)
			if n < 0 {
				n = len(s) - i
			}
			ts = append(ts, token{wordAtom, s[i : i+n]})
			i += n
		}
	}
	return ts, nil
}

func endsAtom(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`()<>[]:;@,"`, r)
}

// commentLen returns the length of the comment that s starts with, comments inside included; 0 when it does not end.
func commentLen(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// quotedLen returns the length of the quoted text that s starts with, up to and with closing; 0 when it does not end.
func quotedLen(s string, closing byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case closing:
			return i + 1
		}
	}
	return 0
}
