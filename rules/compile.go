package rules

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Table is compiled rules. It never changes and is safe for concurrent use.
type Table struct {
	rules    []rule
	sieve    sieve // one entry for each rule
	defaults []string
	uses     map[string]bool
	lexicon  *lexicon
	signed   map[string]*SignedAddress
	early    bool // there is a rule that is decided before the data
	runners  sync.Pool
	now      func() time.Time
}

type rule struct {
	Rule
	condition condition
	// shared: the condition says nothing of the recipient and has one answer for the whole message.
	shared bool
	// early: the condition uses only what is known before the data.
	early bool
}

// refuses reports whether the rule is decided before the data and at no other time.
func (r *Rule) refuses() bool { return r.Reject != nil || r.Defer != nil }

// ends reports whether a match ends the run.
func (r *Rule) ends() bool { return r.Stop || r.Drop || r.Discard || r.refuses() }

// Compile checks the rules and makes a table of them. The error joins a *Finding for every mistake, in the order of the
// rules.
func Compile(rs []Rule, o Options) (*Table, error) {
	defaults := o.Defaults
	l := newLexicon(o.Lists, o.Signed)
	t := &Table{defaults: slices.Clone(defaults), uses: map[string]bool{}, now: time.Now, lexicon: l, signed: map[string]*SignedAddress{}}
	for _, a := range o.Signed {
		t.signed[a.Name] = a
	}
	t.runners.New = func() any { return newRunner(t) }
	var errs []error
	if len(rs) > MaxRules {
		errs = append(errs, &Finding{Rule: MaxRules, Name: rs[MaxRules].Name, Field: "name", File: rs[MaxRules].File, Text: fmt.Sprintf("there are %d rules, at most %d are allowed", len(rs), MaxRules)})
		rs = rs[:MaxRules]
	}
	names := map[string]int{}
	for i := range rs {
		for _, f := range checkShape(i, &rs[i], names) {
			errs = append(errs, f)
		}
		r := rule{Rule: rs[i]}
		r.To, r.early = slices.Clone(r.To), true
		if r.When != "" {
			var mistakes []mistake
			r.condition, mistakes = parse(r.When, l)
			for _, m := range mistakes {
				errs = append(errs, m.in(i, &rs[i]))
			}
			for word := range r.condition.uses {
				t.uses[word] = true
			}
			r.shared = !r.condition.uses["recipient"]
			r.early = onlyEarly(r.condition.uses)
			if len(mistakes) > 0 {
				r.early = true // it is not known
			}
		}
		for _, f := range t.checkEarly(i, &r) {
			errs = append(errs, f)
		}
		t.rules = append(t.rules, r)
	}
	for i, f := range repeated(defaults) {
		if f {
			errs = append(errs, &Finding{Rule: -1, Field: fmt.Sprintf("[%d]", i), Text: fmt.Sprintf("the sink %q is named twice; remove one", defaults[i])})
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	t.sieve = sieveOf(t.rules)
	return t, nil
}

// checkShape finds what is wrong with a rule apart from its condition.
func checkShape(i int, r *Rule, names map[string]int) []*Finding {
	var fs []*Finding
	add := func(field, format string, args ...any) {
		fs = append(fs, &Finding{Rule: i, Name: r.Name, Field: field, File: r.File, Text: fmt.Sprintf(format, args...)})
	}
	first, taken := names[r.Name]
	switch {
	case r.Name == "":
		add("name", "the rule has no name; give it one, it shows in the log and in the payload")
	case r.Name == DefaultRule:
		add("name", "%q is the name of what happens when no rule matches; choose another", DefaultRule)
	case taken:
		add("name", "the name is taken by rule %d; choose another", first+1)
	default:
		names[r.Name] = i
	}
	checkActions(r, add)
	for j, again := range repeated(r.To) {
		if again {
			add(fmt.Sprintf("to[%d]", j), "the sink %q is named twice; remove one", r.To[j])
		}
	}
	return fs
}

// repeated says of each name whether it stood there before.
func repeated(names []string) []bool {
	again := make([]bool, len(names))
	for i, n := range names {
		again[i] = slices.Contains(names[:i], n)
	}
	return again
}
