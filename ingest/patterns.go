package ingest

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// localPattern is a pattern of local parts that is not exact: wildcards or a regular expression.
type localPattern struct {
	glob   []string // the literal pieces between the stars, folded; nil for a regular expression
	regexp *regexp.Regexp
}

// localPatterns are patterns of local parts, compiled. They never change once they are in use.
type localPatterns struct {
	sensitive bool // to case
	all       bool
	exact     map[string]struct{}
	others    []localPattern // in the order they were added
}

func newLocalPatterns(sensitive bool, room int) *localPatterns {
	return &localPatterns{sensitive: sensitive, exact: make(map[string]struct{}, room)}
}

// add compiles a pattern.
func (l *localPatterns) add(pattern string) error {
	switch {
	case pattern == "":
		return errors.New("it is empty; remove it, or write * for every local part")
	case len(pattern) > 1 && pattern[0] == '/' && pattern[len(pattern)-1] == '/':
		flags := "(?i)"
		if l.sensitive {
			flags = ""
		}
		re, err := regexp.Compile(flags + pattern[1:len(pattern)-1])
		if err != nil {
			return fmt.Errorf("%w; correct the expression between the slashes (RE2 syntax)", err)
		}
		l.others = append(l.others, localPattern{regexp: re})
		return nil
	case strings.Contains(pattern, "@"):
		return fmt.Errorf("it has an @; write only the local part, %q", pattern[:strings.LastIndexByte(pattern, '@')])
	case pattern[0] == '/':
		return errors.New("the closing slash of the regular expression is missing; add it")
	}
	if err := checkLocalLiteral(pattern); err != nil {
		return err
	}
	switch {
	case strings.Trim(pattern, "*") == "":
		l.all = true
	case strings.Contains(pattern, "*"):
		l.others = append(l.others, localPattern{glob: strings.Split(l.fold(pattern), "*")})
	default:
		l.exact[l.fold(pattern)] = struct{}{}
	}
	return nil
}

// match reports whether a pattern has the local part, whole or without its tag, and what it captured. The pattern for
// everything is not asked.
func (l *localPatterns) match(whole, base string) (map[string]string, bool) {
	if len(l.exact) > 0 {
		if _, ok := l.exact[l.fold(whole)]; ok {
			return nil, true
		}
		if _, ok := l.exact[l.fold(base)]; ok {
			return nil, true
		}
	}
	for _, p := range l.others {
		if captures, ok := p.match(whole, l.fold(whole)); ok {
			return captures, true
		}
		if base == whole {
			continue
		}
		if captures, ok := p.match(base, l.fold(base)); ok {
			return captures, true
		}
	}
	return nil, false
}

// fold is the form in which local parts are compared.
func (l *localPatterns) fold(s string) string {
	if l.sensitive {
		return composed(s)
	}
	return foldLocal(s)
}

// checkLocalLiteral finds what no local part can have, so that a slip does not become a recipient that never matches.
func checkLocalLiteral(pattern string) error {
	for i, r := range pattern {
		_, size := utf8.DecodeRuneInString(pattern[i:])
		if !isPrintable(r, size) {
			return fmt.Errorf("it has %q, which no address can have; remove it", r)
		}
	}
	switch {
	case strings.TrimSpace(pattern) != pattern:
		return errors.New("it starts or ends with a space; remove the space")
	case strings.HasPrefix(pattern, `"`):
		return errors.New("it starts with a quotation mark; write the local part without quotes")
	case len(pattern) > maxLocalPart:
		return fmt.Errorf("it is longer than %d octets, as no local part can be; shorten it", maxLocalPart)
	}
	return nil
}

func (p *localPattern) match(local, folded string) (map[string]string, bool) {
	if p.regexp == nil {
		return nil, matchGlob(p.glob, folded)
	}
	local = composed(local)
	groups := p.regexp.FindStringSubmatchIndex(local)
	if groups == nil {
		return nil, false
	}
	var captures map[string]string
	for i, name := range p.regexp.SubexpNames() {
		if name == "" || groups[2*i] < 0 {
			continue
		}
		if captures == nil {
			captures = make(map[string]string)
		}
		captures[name] = local[groups[2*i]:groups[2*i+1]]
	}
	return captures, true
}

// matchGlob matches the pieces between stars: the first at the start, the last at the end, the others in order.
func matchGlob(pieces []string, s string) bool {
	first, last := pieces[0], pieces[len(pieces)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, piece := range pieces[1 : len(pieces)-1] {
		i := strings.Index(s, piece)
		if i < 0 {
			return false
		}
		s = s[i+len(piece):]
	}
	return true
}

// foldLocal is the form in which local parts are compared where case does not count.
func foldLocal(s string) string { return strings.ToLower(composed(s)) }

// composed is one form for what can be written in several (RFC 6532 3.1).
func composed(s string) string {
	if isASCII(s) {
		return s
	}
	return norm.NFC.String(s)
}
