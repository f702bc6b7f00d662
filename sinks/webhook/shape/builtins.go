package shape

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// builtin is a function of gojq that shapes may call. Strict ones look at all of their input and arguments in one
// instruction, in time and memory in proportion to both; the others do so little that the count of steps bounds them.
type builtin struct {
	arities []int
	strict  bool
}

// builtins are the functions of gojq that shapes may call. What is not here is either written anew in words.jq, because one
// instruction of gojq's takes more than its input's size, or has no business in a shape: environment, input, modules, time.
func builtins() map[string]builtin {
	all := map[string]builtin{
		"error": {[]int{0, 1}, true}, "range": {[]int{1, 2, 3}, false}, "flatten": {[]int{0, 1}, true}, "del": {[]int{1}, true},
	}
	for _, s := range []struct {
		arity  int
		strict bool
		names  string
	}{
		{0, false, "empty not type values nulls strings numbers booleans arrays objects scalars iterables floor round ceil trunc fabs abs"},
		{1, false, "select isempty repeat recurse first last"},
		{2, false, "while until limit skip recurse nth"},
		{0, true, "length utf8bytelength keys add tostring reverse ltrim rtrim trim ascii_downcase ascii_upcase tojson fromjson" +
			" min max sort unique todate fromdate mktime gmtime"},
		{1, true, "has startswith endswith ltrimstr rtrimstr trimstr strftime strptime _sort_by _group_by _unique_by _min_by _max_by"},
		// Functions of our own charge for themselves; words.jq alone calls them.
		{0, false, "_number"},
		{1, false, "_cut _split _join _has_text"},
		{2, false, "_replace _index_of _matches _is_match"},
	} {
		for name := range strings.FieldsSeq(s.names) {
			b := all[name]
			all[name] = builtin{append(b.arities, s.arity), s.strict}
		}
	}
	return all
}

// find gives the place of the first use of a word in a program, outside of strings and comments as far as a glance tells.
func find(text, word string) (line, column int) {
	if word == "" {
		return 0, 0
	}
	part := func(r rune) bool { return r == '_' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r) }
	inText, inComment := false, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inComment:
			inComment = c != '\n'
		case c == '\\' && inText:
			if i+1 < len(text) && text[i+1] == '(' {
				inText = false // an expression; its end is taken for that of the string
			}
			i++
		case c == '"':
			inText = !inText
		case c == '#' && !inText:
			inComment = true
		case !inText && strings.HasPrefix(text[i:], word):
			before, _ := utf8.DecodeLastRuneInString(text[:i])
			after, _ := utf8.DecodeRuneInString(text[i+len(word):])
			if !part(before) && before != '.' && !part(after) {
				return position(text, i)
			}
		}
	}
	return 0, 0
}
