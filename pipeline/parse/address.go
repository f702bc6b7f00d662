package parse

import (
	"bytes"
	"strings"

	"mxhook/pipeline"
)

// addresses reads an address list (RFC 5322 3.4) as senders write it. An entry that is broken costs only itself: it
// is kept with what is there, as a name or as an address.
func (w words) addresses(body []byte) []pipeline.Address {
	var list []pipeline.Address
	for _, e := range splitList(unfold(body)) {
		if a, ok := w.mailbox(e); ok {
			list = append(list, a)
		}
	}
	return list
}

// splitList cuts a list at its commas, and at the semicolons of groups and of Outlook. The name of a group is left out.
func splitList(b []byte) [][]byte {
	var list [][]byte
	// angle is the end of the entry's angle with an address in it, 0 when there was none.
	start, angle := 0, 0
	add := func(end, next int) {
		if e := bytes.TrimSpace(b[start:end]); len(e) > 0 {
			list = append(list, splitWords(e)...)
		}
		start, angle = next, 0
	}
	// The openers that lack their closer are text; once one lacked it, all later ones of its kind do.
	var lame [256]bool
	for i := 0; i < len(b); i++ {
		switch c := b[i]; c {
		case '\\':
			i++
		case '=':
			i += max(0, wordLength(b[i:])-1)
		case '"', '(', '<':
			if lame[c] {
				continue
			}
			if end := spanEnd(b, i); end > 0 {
				if c == '<' && bytes.IndexByte(b[i:end], '@') >= 0 {
					if angle > 0 {
						// "Bob <bob@example.org> Joe <joe@example.org>"
						add(angle+1, angle+1)
					}
					angle = end
				}
				i = end
			} else if c != '<' {
				lame[c] = true
			}
		case ',', ';':
			add(i, i+1)
		case ':':
			if isGroupName(b[start:i]) {
				start = i + 1
			}
		}
	}
	add(len(b), len(b))
	return list
}

// wordLength returns the length of the encoded word that b begins with, 0 when it begins with none: the commas in it
// are text. Words are short (RFC 2047 2), here up to 1000 octets.
func wordLength(b []byte) int {
	if len(b) < 2 || b[1] != '?' {
		return 0
	}
	b = cutBytes(b, 1000)
	_, n, _ := parseWord(b)
	if n > 2 && bytes.Contains(b[2:n], []byte("=?")) {
		// The first word lacks its end.
		return 0
	}
	return n
}

// splitWords cuts an entry that is nothing but addresses with blanks between them.
func splitWords(e []byte) [][]byte {
	if bytes.ContainsAny(e, `<"(\`) || bytes.Count(e, []byte("@")) < 2 {
		return [][]byte{e}
	}
	fields := bytes.Fields(e)
	for _, f := range fields {
		if at := bytes.IndexByte(f, '@'); at <= 0 || at == len(f)-1 {
			return [][]byte{e}
		}
	}
	return fields
}

// isGroupName reports whether what stands before a colon is the display name of a group, not part of an address.
func isGroupName(b []byte) bool {
	return bytes.IndexByte(b, '@') < 0 && bytes.IndexByte(b, '<') < 0 && !bytes.EqualFold(bytes.TrimSpace(b), []byte("mailto")) &&
		!bytes.Contains(b, []byte("=?"))
}

// spanEnd returns the offset of the closer of the quoted string, comment or angle that opens at i, or 0.
func spanEnd(b []byte, i int) int {
	switch b[i] {
	case '"':
		for j := i + 1; j < len(b); j++ {
			switch b[j] {
			case '\\':
				j++
			case '"':
				return j
			}
		}
	case '<':
		for j := i + 1; j < len(b); j++ {
			switch b[j] {
			case '>':
				return j
			case '<':
				return 0
			}
		}
	case '(':
		depth := 0
		for j := i; j < len(b); j++ {
			switch b[j] {
			case '\\':
				j++
			case '(':
				depth++
			case ')':
				if depth--; depth == 0 {
					return j
				}
			}
		}
	}
	return 0
}

// tokens is an entry taken apart: the content of the angle that holds the address, the comments, and the rest.
type tokens struct {
	angle    []byte
	hasAngle bool
	phrase   []byte
	comment  []byte
}

// mailbox reads one entry. It returns false for one that holds nothing.
func (w words) mailbox(e []byte) (pipeline.Address, bool) {
	t := splitEntry(e)
	var a pipeline.Address
	if t.hasAngle {
		a = pipeline.Address{Name: w.name(t.phrase), Address: w.addrSpec(t.angle)}
		if a.Address == "" && strings.Contains(a.Name, "@") {
			// "joe@example.org <>"
			a = pipeline.Address{Address: a.Name}
		}
	} else {
		a = w.bare(t.phrase)
	}
	if a.Name == "" {
		a.Name = w.name(t.comment)
	}
	if a.Name == a.Address && strings.Contains(a.Address, "@") && !t.hasAngle {
		a.Name = ""
	}
	if a.Address == "" && a.Name != "" {
		w.notes.add(noteAddressBroken, w.where, "%q has no address", cut(a.Name, 60))
	}
	return a, a.Name != "" || a.Address != ""
}

// splitEntry takes an entry apart. The address is in the last angle, unless an earlier one looks like it.
func splitEntry(e []byte) tokens {
	var t tokens
	var lame [256]bool
	last := bytes.LastIndexByte(e, '<')
	for i := 0; i < len(e); i++ {
		c := e[i]
		end := 0
		if (c == '"' || c == '(' || c == '<') && !lame[c] {
			end = spanEnd(e, i)
			lame[c] = end == 0 && c != '<'
		}
		switch {
		case c == '\\' && i+1 < len(e):
			t.phrase = append(t.phrase, c, e[i+1])
			i++
		case end > 0 && c == '"':
			t.phrase = append(t.phrase, e[i:end+1]...)
			i = end
		case end > 0 && c == '(':
			t.comment = append(append(t.comment, ' '), e[i+1:end]...)
			t.phrase = append(t.phrase, ' ')
			i = end
		case end > 0 && c == '<':
			if in := e[i+1 : end]; bytes.IndexByte(in, '@') >= 0 || i == last && !t.hasAngle {
				t.angle, t.hasAngle = in, true
			} else {
				t.phrase = append(t.phrase, in...)
			}
			i = end
		case c == '<' && i == last && !t.hasAngle:
			t.angle, t.hasAngle = e[i+1:], true
			return t
		default:
			t.phrase = append(t.phrase, c)
		}
	}
	return t
}

// bare reads an entry without an angle: an address, a name with an address in it, or only a name.
func (w words) bare(phrase []byte) pipeline.Address {
	phrase = bytes.TrimSpace(phrase)
	if i := bytes.LastIndexByte(phrase, '@'); i >= 0 {
		if tight := tighten(phrase); bytes.ContainsAny(tight, " \t") && phrase[0] != '"' {
			return w.wordWithAt(tight)
		}
		return pipeline.Address{Address: w.addrSpec(phrase)}
	}
	name := w.name(phrase)
	if at := strings.IndexByte(name, '@'); at >= 0 && bytes.Contains(phrase, []byte("=?")) {
		// The whole entry was encoded, address and all.
		return w.decodedEntry(name)
	}
	if strings.EqualFold(strings.ReplaceAll(name, " ", "-"), "undisclosed-recipients") {
		return pipeline.Address{}
	}
	if !strings.ContainsAny(name, " \t\"") && name != "" && isASCII([]byte(name)) {
		// "root", "MAILER-DAEMON": a local part without a domain.
		return pipeline.Address{Address: name}
	}
	return pipeline.Address{Name: name}
}

// decodedEntry reads an entry that was wholly encoded, once.
func (w words) decodedEntry(s string) pipeline.Address {
	t := splitEntry([]byte(s))
	if t.hasAngle {
		return pipeline.Address{Name: w.name(t.phrase), Address: w.addrSpec(t.angle)}
	}
	return w.wordWithAt([]byte(s))
}

// wordWithAt makes the last word with an at sign the address and all other words the name.
func (w words) wordWithAt(b []byte) pipeline.Address {
	fields := bytes.Fields(b)
	for i := len(fields) - 1; i >= 0; i-- {
		if bytes.IndexByte(fields[i], '@') >= 0 {
			rest := append(append([][]byte{}, fields[:i]...), fields[i+1:]...)
			return pipeline.Address{Name: w.name(bytes.Join(rest, []byte(" "))), Address: w.addrSpec(fields[i])}
		}
	}
	return pipeline.Address{Name: w.name(b)}
}

// tighten removes the blanks around at signs and dots ("joe @ example . org").
func tighten(b []byte) []byte {
	fields := bytes.Fields(b)
	var out []byte
	for i, f := range fields {
		if i > 0 && !isOneOf(out[len(out)-1], "@.") && !isOneOf(f[0], "@.") {
			out = append(out, ' ')
		}
		out = append(out, f...)
	}
	return out
}

// addrSpec cleans an address: no comments, blanks, route (RFC 5322 4.4), "mailto:", or quotes around all of it.
func (w words) addrSpec(b []byte) string {
	b = bytes.TrimSpace(b)
	if bytes.IndexByte(b, '(') >= 0 {
		b = bytes.TrimSpace(splitEntry(b).phrase)
	}
	b = bytes.Trim(b, "<>")
	if len(b) >= 7 && bytes.EqualFold(b[:7], []byte("mailto:")) {
		b = b[7:]
	}
	if len(b) > 0 && b[0] == '@' {
		if i := bytes.IndexByte(b, ':'); i >= 0 {
			b = b[i+1:]
		}
	}
	b = unquoteWhole(bytes.TrimSpace(b))
	s := w.decode(b)
	if len(b) == 0 || b[0] != '"' {
		s = strings.Join(strings.Fields(s), "")
	}
	return oneLine(s)
}

// unquoteWhole removes quotes around an address that stands in them as a whole.
func unquoteWhole(b []byte) []byte {
	for len(b) > 2 && (b[0] == '"' || b[0] == '\'') && b[len(b)-1] == b[0] && bytes.IndexByte(b, '@') >= 0 {
		b = b[1 : len(b)-1]
	}
	return b
}

// name decodes a display name: quotes removed, words decoded, blanks folded.
func (w words) name(b []byte) string {
	b = bytes.TrimSpace(b)
	if bytes.ContainsAny(b, `"\`) {
		b = unquotePhrase(b)
	}
	s := oneLine(w.decode(b))
	return strings.Join(strings.Fields(s), " ")
}

// unquotePhrase removes the quotes of quoted strings and the backslashes of quoted pairs. Escapes of ISO-2022 are
// octets like any others.
func unquotePhrase(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\\' && i+1 < len(b):
			i++
			out = append(out, b[i])
		case b[i] == '"':
		default:
			out = append(out, b[i])
		}
	}
	return out
}
