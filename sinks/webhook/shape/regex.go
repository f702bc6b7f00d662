package shape

import (
	"fmt"
	"io"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// maxPattern bounds a regular expression, maxMatches what it finds.
const (
	maxPattern = 1 << 10
	maxMatches = 10_000
	// reading is how many times more than an octet of a search for the first match one for the next costs.
	reading = 8
)

// pattern is a regular expression that was read, for one text.
type pattern struct {
	*regexp.Regexp
	m    *meter
	text string
	expr string
	all  bool
	// price is what an octet costs that is looked at.
	price int64
}

// pattern charges the work of looking at the text once: it is in proportion to the text, the compiled expression, and its
// groups, which every place that it may be at has for itself.
func (m *meter) pattern(v, re, flags any) (*pattern, error) {
	if flags == nil {
		flags = ""
	}
	s, err := m.texts(v, re, flags)
	if err != nil {
		return nil, err
	}
	if len(s[1]) > maxPattern {
		return nil, fmt.Errorf("the regular expression is longer than %d octets", maxPattern)
	}
	if strings.Trim(s[2], "gims") != "" {
		return nil, fmt.Errorf("flags of regular expressions are g, i, m and s, not %q", s[2])
	}
	p := &pattern{m: m, text: s[0], expr: s[1], all: strings.Contains(s[2], "g")}
	if on := strings.ReplaceAll(strings.ReplaceAll(s[2], "g", ""), "m", "s"); on != "" {
		p.expr = "(?" + on + ")" + p.expr
	}
	parsed, err := syntax.Parse(p.expr, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the regular expression cannot be read: %w", err)
	}
	compiled, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("the regular expression cannot be read: %w", err)
	}
	n, groups := int64(len(compiled.Inst)), int64(compiled.NumCap/2)
	p.price = 1 + n*(16+groups)/256
	if !m.fits(64*n+16*n*groups) || !m.charge(int64(len(p.text))*p.price) {
		return nil, m.err
	}
	if p.Regexp, err = regexp.Compile(p.expr); err != nil {
		return nil, fmt.Errorf("the regular expression cannot be read: %w", err)
	}
	return p, nil
}

func (m *meter) isMatch(v, re, flags any) any {
	p, err := m.pattern(v, re, flags)
	if err != nil {
		return err
	}
	return p.MatchString(p.text)
}

// find returns where the first match is and, if all are wanted, those behind it. What is looked at for a match may be all
// of the rest of the text, however short the match: so it is counted, and package regexp is not asked for all at once.
func (p *pattern) find() ([][]int, error) {
	first := p.FindStringSubmatchIndex(p.text)
	switch {
	case first == nil:
		return nil, nil
	case !p.all:
		return [][]int{first}, nil
	}
	// What is in front of the rest is read with it, so that ^ and \b mean what they mean.
	rest, err := regexp.Compile(`\A(?s:.)(?s:.*?)(` + p.expr + `)`)
	if err != nil {
		return nil, fmt.Errorf("the regular expression cannot be read: %w", err)
	}
	found, from := [][]int{first}, first[1]
	if first[0] == first[1] { // after one of nothing, one character further
		from = p.after(from)
	}
	for end := first[1]; from <= len(p.text) && len(found) <= maxMatches; {
		start := 0
		if from > 0 {
			_, w := utf8.DecodeLastRuneInString(p.text[:from])
			start = from - w
		}
		match := rest.FindReaderSubmatchIndex(&counted{p: p, at: start})
		if p.m.err != nil {
			return nil, p.m.err
		}
		if match == nil {
			break
		}
		match = match[2:]
		for i := range match {
			if match[i] >= 0 {
				match[i] += start
			}
		}
		if match[0] < match[1] || match[0] != end { // nothing behind a match is none
			found = append(found, match)
		}
		end = match[1]
		if from = end; match[0] == match[1] {
			from = p.after(from)
		}
	}
	return found, nil
}

// after is the place behind the character at i.
func (p *pattern) after(i int) int {
	if _, w := utf8.DecodeRuneInString(p.text[i:]); w > 0 {
		return i + w
	}
	return len(p.text) + 1
}

// counted is a text from some place on, which charges for what is read of it. When the run is over it ends.
type counted struct {
	p  *pattern
	at int
}

// ReadRune implements io.RuneReader.
func (c *counted) ReadRune() (rune, int, error) {
	m := c.p.m
	if c.at >= len(c.p.text) || !m.charge(reading*c.p.price) {
		return 0, 0, io.EOF
	}
	if c.at%1024 == 0 && m.Context.Err() != nil {
		m.fail(m.Context.Err())
		return 0, 0, io.EOF
	}
	r, w := utf8.DecodeRuneInString(c.p.text[c.at:])
	c.at += w
	return r, w, nil
}

// matches lists what is found: {before, string, captures: {NAME: string}, list: [string]}, and at the end {before} with the
// rest of the text.
func (m *meter) matches(v, re, flags any) any {
	p, err := m.pattern(v, re, flags)
	if err != nil {
		return err
	}
	found, err := p.find()
	if err != nil {
		return err
	}
	text, names := p.text, p.SubexpNames()
	if len(found) > maxMatches {
		return fmt.Errorf("the regular expression matches more than %d times", maxMatches)
	}
	if !m.fits(int64(len(found)+1) * int64(4*perMember+3*perElement*len(names))) {
		return m.err
	}
	out := make([]any, 0, len(found)+1)
	at := 0
	for _, at2 := range found {
		captures, list := map[string]any{}, []any{}
		for i := 1; i < len(names); i++ {
			var s any
			if at2[2*i] >= 0 {
				s = text[at2[2*i]:at2[2*i+1]]
			}
			list = append(list, s)
			if names[i] != "" {
				captures[names[i]] = s
			}
		}
		out = append(out, map[string]any{"before": text[at:at2[0]], "string": text[at2[0]:at2[1]], "captures": captures, "list": list})
		at = at2[1]
	}
	return append(out, map[string]any{"before": text[at:]})
}
