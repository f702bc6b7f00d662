package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/expr-lang/expr"
)

// function is one of our own: unlike the builtins of the expression language it is made here, and unlike the words it
// sees nothing but its arguments.
type function struct {
	Word
	call func(args ...any) (any, error)
	// types are the signatures, as nil functions of that type.
	types []any
	// fixed checks the arguments from index from on, which must be fixed texts; nil checks none.
	fixed func(text string) error
	from  int
	shape string
}

// ownFunctions is the table of them.
func ownFunctions() []function {
	return []function{
		{
			Word:  Word{Name: "inDomain", Type: "inDomain(address or domain, domain...) yes/no", Meaning: "it is in one of the domains or below; of a list, one of its addresses is", Example: `inDomain(envelope.mail_from, "example.org")`},
			call:  callInDomain,
			types: []any{new(func(string, ...string) bool), new(func([]mailbox, ...string) bool), new(func([]recipient, ...string) bool), new(func([]string, ...string) bool)},
			fixed: checkDomainText, from: 1, shape: `inDomain(envelope.mail_from, "example.org")`,
		},
		{
			Word:  Word{Name: "glob", Type: "glob(text, pattern...) yes/no", Meaning: "the whole text fits one of the patterns: * is any run of characters, ? one; case does not count", Example: `glob(subject, "*invoice*", "re: *")`},
			call:  callGlob,
			types: []any{new(func(string, ...string) bool)},
			fixed: checkGlobText, from: 1, shape: `glob(subject, "*invoice*")`,
		},
		{
			Word:  Word{Name: "tagOf", Type: "tagOf(address) text", Meaning: `the tag behind the first + of an address: "42" of a+42@example.org, "" without one`, Example: `tagOf(envelope.mail_from) == "42"`},
			call:  func(args ...any) (any, error) { _, tag, _ := splitAddress(args[0].(string)); return tag, nil },
			types: []any{new(func(string) string)},
		},
		{
			Word:  Word{Name: "domainOf", Type: "domainOf(address) text", Meaning: "what stands behind the last @", Example: `domainOf(envelope.mail_from) == sender.domain`},
			call:  func(args ...any) (any, error) { _, _, domain := splitAddress(args[0].(string)); return domain, nil },
			types: []any{new(func(string) string)},
		},
		{
			Word:  Word{Name: "attached", Type: "attached(attachments, pattern...) yes/no", Meaning: "an attachment fits one of the patterns, its media type if there is a / in the pattern, else its file name", Example: `attached(attachments, "*.pdf", "image/*")`},
			call:  callAttached,
			types: []any{new(func([]attachment, ...string) bool)},
			fixed: checkGlobText, from: 1, shape: `attached(attachments, "*.pdf", "image/*")`,
		},
		{
			Word:  Word{Name: "inHours", Type: "inHours(time, from, to, zone) yes/no", Meaning: "the time of day lies between the two, the second excluded; from 22:00 to 06:00 goes over midnight", Example: `inHours(now, "09:00", "17:30", "Europe/Berlin")`},
			call:  callInHours,
			types: []any{new(func(time.Time, string, string, string) bool)},
		},
		{
			Word:  Word{Name: "weekday", Type: "weekday(time, zone) text", Meaning: `the day of the week in English, "monday" to "sunday"`, Example: `weekday(now, "Europe/Berlin") in ["saturday", "sunday"]`},
			call:  callWeekday,
			types: []any{new(func(time.Time, string) string)},
		},
		{
			Word:  Word{Name: "list", Type: "list(name) list of the configuration", Meaning: "a list of `lists:`, to be used with in", Example: `envelope.mail_from in list("vip")`},
			call:  func(...any) (any, error) { return namedList{}, nil }, // the patcher puts the list here
			types: []any{new(func(string) namedList)},
		},
	}
}

// namedList is a list of the configuration.
type namedList map[string]struct{}

func makeList(entries []string) namedList {
	l := make(namedList, len(entries))
	for _, e := range entries {
		l[strings.ToLower(e)] = struct{}{}
	}
	return l
}

// functionOptions makes our functions known to the expression language.
func functionOptions() []expr.Option {
	var o []expr.Option
	for _, f := range ownFunctions() {
		o = append(o, expr.Function(f.Name, f.call, f.types...))
	}
	return o
}

// rest takes the texts of a variadic function out of its arguments.
func rest(args []any, from int) []string {
	var texts []string
	for _, a := range args[from:] {
		switch a := a.(type) {
		case string:
			texts = append(texts, a)
		case []string:
			texts = append(texts, a...)
		}
	}
	return texts
}

func callInDomain(args ...any) (any, error) {
	domains := rest(args, 1)
	for _, text := range textsOf(args[0]) {
		name := strings.ToLower(text[strings.LastIndexByte(text, '@')+1:])
		for _, d := range domains {
			if d = strings.ToLower(d); d != "" && (name == d || strings.HasSuffix(name, "."+d)) {
				return true, nil
			}
		}
	}
	return false, nil
}

func checkDomainText(text string) error {
	switch {
	case text == "":
		return fmt.Errorf(`the domain is empty; write "example.org"`)
	case strings.ContainsAny(text, "@* "):
		return fmt.Errorf("%q is not a domain; write it without @ and *, subdomains are meant too", text)
	}
	return nil
}

func callGlob(args ...any) (any, error) {
	for _, pattern := range rest(args, 1) {
		if globs(args[0].(string), pattern) {
			return true, nil
		}
	}
	return false, nil
}

func callAttached(args ...any) (any, error) {
	for _, a := range args[0].([]attachment) {
		for _, pattern := range rest(args, 1) {
			text := a.Filename
			if strings.ContainsRune(pattern, '/') {
				text = a.ContentType
			}
			if globs(text, pattern) {
				return true, nil
			}
		}
	}
	return false, nil
}

// maxGlob bounds a pattern, and with it what a comparison costs: at most its length for each character of the text.
const maxGlob = 256

func checkGlobText(text string) error {
	switch {
	case text == "":
		return fmt.Errorf(`the pattern is empty; write one like "*.pdf"`)
	case len(text) > maxGlob:
		return fmt.Errorf("the pattern is %d bytes long, at most %d are allowed", len(text), maxGlob)
	}
	return nil
}

// globs reports whether the whole text fits the pattern. It goes back to the last star only, so that it takes at most
// len(pattern) steps for each character.
func globs(text, pattern string) bool {
	t, p := []rune(strings.ToLower(text)), []rune(strings.ToLower(pattern))
	i, j, star, from := 0, 0, -1, 0
	for i < len(t) {
		switch {
		case j < len(p) && p[j] == '*':
			star, from = j, i
			j++
		case j < len(p) && (p[j] == '?' || p[j] == t[i]):
			i++
			j++
		case star >= 0:
			from++
			i, j = from, star+1
		default:
			return false
		}
	}
	for j < len(p) && p[j] == '*' {
		j++
	}
	return j == len(p)
}

// splitAddress takes an address apart, in lower case; the tag stands behind the first + that is not at the start.
func splitAddress(address string) (local, tag, domain string) {
	local = strings.ToLower(address)
	if at := strings.LastIndexByte(local, '@'); at >= 0 {
		local, domain = local[:at], local[at+1:]
	}
	if plus := strings.IndexByte(local, '+'); plus > 0 {
		local, tag = local[:plus], local[plus+1:]
	}
	return local, tag, domain
}

func callInHours(args ...any) (any, error) {
	zone, err := time.LoadLocation(args[3].(string))
	if err != nil {
		return false, err
	}
	from, err := minuteOf(args[1].(string))
	if err != nil {
		return false, err
	}
	to, err := minuteOf(args[2].(string))
	if err != nil {
		return false, err
	}
	at := args[0].(time.Time).In(zone)
	minute := at.Hour()*60 + at.Minute()
	if from <= to {
		return from <= minute && minute < to, nil
	}
	return minute >= from || minute < to, nil
}

// minuteOf reads "09:30"; "24:00" is the end of the day.
func minuteOf(text string) (int, error) {
	if text == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf(`%q is not a time of day; write "09:30"`, text)
	}
	return t.Hour()*60 + t.Minute(), nil
}

func callWeekday(args ...any) (any, error) {
	zone, err := time.LoadLocation(args[1].(string))
	if err != nil {
		return "", err
	}
	return strings.ToLower(args[0].(time.Time).In(zone).Weekday().String()), nil
}
