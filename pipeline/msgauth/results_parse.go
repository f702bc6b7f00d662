package msgauth

import (
	"errors"
	"strings"
)

// maxResultsField and maxResults bound what we read of other people's Authentication-Results.
const (
	maxResultsField = 64 << 10
	maxResults      = 100
)

var errResultsSyntax = errors.New("results are not well formed")

// parsedResults is an Authentication-Results field that somebody else wrote (RFC 8601 2.2).
type parsedResults struct {
	// authservID is in lower case without a final dot.
	authservID string
	results    []parsedResult
}

// parsedResult is one resinfo. Keys of properties ("header.from") and the method are in lower case; of a property that
// stands twice the first value counts.
type parsedResult struct {
	method, result string
	properties     map[string]string
}

// parseResults reads the body of an Authentication-Results field. It is strict: a reader that guesses can be led by
// whoever wrote a part of the field, so that anything odd is an error. Comments are dropped; what is quoted never ends
// a result.
func parseResults(body string) (parsedResults, error) {
	if len(body) > maxResultsField {
		return parsedResults{}, errResultsSyntax
	}
	tokens, err := resultTokens(body)
	if err != nil {
		return parsedResults{}, err
	}
	var parts [][]resultToken
	start := 0
	for i, t := range tokens {
		if t.kind == ';' {
			parts = append(parts, tokens[start:i])
			start = i + 1
		}
	}
	if start < len(tokens) || len(parts) == 0 {
		parts = append(parts, tokens[start:])
	}
	head := parts[0]
	if len(head) == 0 || len(head) > 2 || head[0].kind != wordAtom && head[0].kind != wordQuoted ||
		len(head) == 2 && head[1].text != "1" || len(parts) > maxResults {
		return parsedResults{}, errResultsSyntax
	}
	p := parsedResults{authservID: strings.ToLower(strings.TrimSuffix(head[0].text, "."))}
	for _, part := range parts[1:] {
		if len(part) == 1 && strings.EqualFold(part[0].text, "none") && len(parts) == 2 {
			return p, nil
		}
		r, err := readResult(part)
		if err != nil {
			return parsedResults{}, err
		}
		p.results = append(p.results, r)
	}
	return p, nil
}

// readResult reads method "=" result and the properties behind it.
func readResult(ts []resultToken) (parsedResult, error) {
	r := parsedResult{properties: make(map[string]string)}
	for i := 0; len(ts) > 0; i++ {
		if len(ts) < 3 || ts[0].kind != wordAtom || ts[1].kind != '=' || ts[2].kind == '=' {
			return r, errResultsSyntax
		}
		name, value := strings.ToLower(ts[0].text), ts[2].text
		ts = ts[3:]
		if i == 0 {
			r.method, _, _ = strings.Cut(name, "/") // a version
			r.result = strings.ToLower(value)
		} else if _, twice := r.properties[name]; !twice {
			r.properties[name] = value
		}
	}
	if r.method == "" || r.result == "" {
		return r, errResultsSyntax
	}
	return r, nil
}

// resultToken is "=", ";" or a word; the text of a quoted one is unquoted.
type resultToken struct {
	kind byte
	text string
}

func resultTokens(s string) ([]resultToken, error) {
	var ts []resultToken
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		case c < ' ' || c == 0x7f || c == ')':
			return nil, errResultsSyntax
		case c == '(':
			n := commentLen(s[i:])
			if n == 0 {
				return nil, errResultsSyntax
			}
			i += n
		case c == '"':
			n := quotedLen(s[i:], '"')
			if n == 0 {
				return nil, errResultsSyntax
			}
			text := unquote(s[i+1 : i+n-1])
			ts = append(ts, resultToken{wordQuoted, text})
			i += n
		case c == ';' || c == '=':
			ts = append(ts, resultToken{kind: c})
			i++
		default:
			n := i
			for n < len(s) && s[n] > ' ' && s[n] != 0x7f && strings.IndexByte(`";()`, s[n]) < 0 && (s[n] != '=' || !endsName(ts)) {
				n++
			}
			ts = append(ts, resultToken{wordAtom, s[i:n]})
			i = n
		}
	}
	return ts, nil
}

// endsName reports whether the next equals sign stands behind a name: a value may hold some ("header.b=ab/c=").
func endsName(before []resultToken) bool {
	return len(before) == 0 || before[len(before)-1].kind != '='
}

// unquote undoes the quoting of what stood between quotes.
func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
