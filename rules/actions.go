package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what a rule says.
const (
	// MaxTags bounds the tags of a rule.
	MaxTags = 16
	// maxReplyText bounds the text of a reply, so that the line stays within RFC 5321 4.5.3.1.5.
	maxReplyText = 400
)

// tagName is what a tag looks like: it is a label of metrics.
var tagName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,39}$`)

// checkActions finds what is wrong with what a rule does.
func checkActions(r *Rule, add func(field, format string, args ...any)) {
	ways := waysOf(r)
	switch {
	case len(ways) == 0 && len(r.Tags) == 0:
		add("to", "the rule sends nowhere; name sinks in to, or set drop: true")
	case len(ways) > 1 && slices.Contains(ways, "drop") && ways[0] == "to":
		add("drop", "a rule either sends or drops; remove drop or to")
	case len(ways) > 1:
		add(ways[1], "a rule does one of these; remove %s", strings.Join(ways, " or "))
	}
	if len(r.Tags) > 0 && (r.Drop || r.Discard || r.refuses()) {
		add("tags", "nothing is delivered that could carry the tags; remove them")
	}
	if len(r.Tags) > MaxTags {
		add("tags", "there are %d tags, at most %d are allowed", len(r.Tags), MaxTags)
	}
	for j, tag := range r.Tags {
		if !tagName.MatchString(tag) {
			add(fmt.Sprintf("tags[%d]", j), "%q is not a tag; use a-z, 0-9, _, . and -, at most 40 in all", tag)
		}
	}
	for j, sink := range r.Copy {
		if slices.Contains(r.To, sink) || slices.Contains(r.Copy[:j], sink) {
			add(fmt.Sprintf("copy[%d]", j), "the sink %q is named twice; remove one", sink)
		}
	}
	if !(r.Sample >= 0 && r.Sample <= 100) {
		add("sample", "%v is not a percentage; write a number from 0.01 to 100", r.Sample)
	} else if r.Sample > 0 && r.Sample < 0.01 {
		add("sample", "%v is less than the smallest share, 0.01 percent", r.Sample)
	}
	checkWait(r, add)
	if r.OnError != "" && r.OnError != OnErrorSkip && r.OnError != OnErrorMatch {
		add("on_error", "%q is not known here; write %s or %s", r.OnError, OnErrorSkip, OnErrorMatch)
	}
	checkReply("reject", r.Reject, 5, add)
	checkReply("defer", r.Defer, 4, add)
}

// MaxWait bounds Wait.Timeout: senders wait ten minutes for the last reply (RFC 5321 4.5.3.2.6), some of them less.
const MaxWait = 5 * time.Minute

// checkWait finds rules whose sender could not be answered.
func checkWait(r *Rule, add func(field, format string, args ...any)) {
	if r.Wait == nil {
		return
	}
	switch ways := waysOf(r); {
	case len(ways) > 0 && ways[0] != "to":
		add("wait", "%s asks nobody whose answer could be waited for; remove wait", ways[0])
	case len(r.To) != 1:
		add("wait", "the sender hears one answer, and to names %d sinks; name one, and the others in a rule before this one", len(r.To))
	case !r.Stop:
		add("wait", "another rule could have the sender wait for another answer; set stop: true, and put rules for further sinks before this one")
	case r.Sample > 0:
		add("wait", "a sample is chosen by message id, and a message that is sent again has another; remove sample")
	}
	if r.Wait.Timeout < time.Second || r.Wait.Timeout > MaxWait {
		add("wait.timeout", "%v is not between 1s and %v; senders wait ten minutes at the most", r.Wait.Timeout, MaxWait)
	}
}

// waysOf names the actions of a rule of which there can be one.
func waysOf(r *Rule) []string {
	var ways []string
	for _, w := range []struct {
		name string
		set  bool
	}{
		{"to", len(r.To) > 0 || len(r.Copy) > 0},
		{"drop", r.Drop},
		{"reject", r.Reject != nil},
		{"defer", r.Defer != nil},
		{"discard", r.Discard},
	} {
		if w.set {
			ways = append(ways, w.name)
		}
	}
	return ways
}

// enhanced is an enhanced status code: class, subject and detail (RFC 3463 2).
var enhanced = regexp.MustCompile(`^([245])\.(\d{1,3})\.(\d{1,3})$`)

func checkReply(field string, r *Reply, class int, add func(field, format string, args ...any)) {
	if r == nil {
		return
	}
	switch {
	case r.Code/100 != class:
		add(field+".code", "%d is not a reply code of this action; write one from %d00 to %d99, like %s", r.Code, class, class, usualCode(class))
	case r.Code == 421:
		add(field+".code", "421 would close the session of the client; write 450 or 451")
	case r.Code%100 > 59:
		add(field+".code", "%d is not a reply code of SMTP; write %s, for example", r.Code, usualCode(class))
	}
	switch parts := enhanced.FindStringSubmatch(r.Status); {
	case parts == nil:
		add(field+".status", "%q is not an enhanced status code (RFC 3463); write one like %d.7.1", r.Status, class)
	case parts[1] != fmt.Sprint(class):
		add(field+".status", "%q is of class %s and the code is of class %d; write %d.%s.%s", r.Status, parts[1], class, class, parts[2], parts[3])
	}
	if r.Text == "" || len(r.Text) > maxReplyText || strings.ContainsFunc(r.Text, func(c rune) bool { return c < ' ' || c > '~' }) {
		add(field+".text", "the text of a reply is one line of 1 to %d characters of ASCII", maxReplyText)
	}
}

func usualCode(class int) string {
	if class == 4 {
		return "451"
	}
	return "550"
}

// onlyEarly reports whether all words are known before the data.
func onlyEarly(uses map[string]bool) bool {
	for word := range uses {
		if !isEarly(word) {
			return false
		}
	}
	return true
}

// isEarly says whether a word is known when a recipient is named: its own address, the client, and of the envelope what
// does not come later.
func isEarly(word string) bool {
	root, field, _ := strings.Cut(word, ".")
	switch root {
	case "recipient", "client", "now", "inNetwork", "token":
		return true
	case "envelope":
		return slices.Contains([]string{"", "id", "mail_from", "helo", "smtputf8", "listener", "received_at"}, field)
	}
	return false
}

// checkEarly finds rules that refuse too late: by words that are not known yet, or behind a rule that may have taken the
// mail by such words. Else the order of the rules would not be the order in which they act.
func (t *Table) checkEarly(i int, r *rule) []*Finding {
	if !r.refuses() && !r.Discard && r.Wait == nil {
		return nil
	}
	t.early = true
	what := "wait"
	if r.Wait == nil {
		what = waysOf(&r.Rule)[0]
	}
	finding := func(field, format string, args ...any) []*Finding {
		return []*Finding{{Rule: i, Name: r.Name, Field: field, File: r.File, Text: fmt.Sprintf(format, args...)}}
	}
	if !r.early {
		instead := ", or drop: true"
		if r.Wait != nil {
			instead = ""
		}
		return finding("when", "%s is decided before the message is there, and %s is not known then; use recipient, client, envelope.mail_from, envelope.helo%s", what, lateWord(r.condition.uses), instead)
	}
	for j := range t.rules {
		if before := &t.rules[j]; before.ends() && !before.early && !before.refuses() && !before.Discard && before.Wait == nil {
			return finding(what, "%s is decided before the message is there, but rule %q, which comes first, may end the run by %s; move this rule up", what, before.Name, lateWord(before.condition.uses))
		}
	}
	return nil
}

func lateWord(uses map[string]bool) string {
	late := ""
	for word := range uses {
		if !isEarly(word) && (late == "" || len(word) > len(late) || len(word) == len(late) && word < late) {
			late = word
		}
	}
	return strings.ReplaceAll(late, "[]", "")
}

// maxCapture bounds a captured text, in bytes.
const maxCapture = 1024

func cutCapture(s string) string {
	if len(s) <= maxCapture {
		return s
	}
	n := maxCapture
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
