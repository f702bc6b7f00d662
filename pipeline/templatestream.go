package pipeline

import (
	"strings"
)

// maxTopic bounds the name of a Kafka topic, in bytes.
const maxTopic = 249

// subjectValue is cleanValue for a token of a subject, or a part of one: dots, which would make two tokens of it, become
// underscores. A value that has underscores of its own carries a mark, so that a_b is not taken for a.b.
func subjectValue(value string) string {
	clean := strings.ReplaceAll(cleanRunes(value), ".", "_")
	return marked(value, clean, clean == strings.ReplaceAll(value, ".", "_") && !strings.Contains(value, "_"))
}

// topicValue is cleanValue in the characters that topics have.
func topicValue(value string) string {
	clean := strings.Map(func(r rune) rune {
		if !topicRune(r) {
			return '_'
		}
		return r
	}, cleanRunes(value))
	return marked(value, clean, clean == value)
}

func topicRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r)
}

// checkSubject finds what makes no subject to publish to: empty tokens, wildcards, and those of the server itself.
func (t *Template) checkSubject() string {
	text := t.outline()
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '*' || r == '>' || r == '\uFFFD' }):
		return "the subject has a space, a wildcard (* or >) or a character that has no place in one"
	case strings.HasPrefix(text, "$"):
		return "subjects that begin with $ are the server's own"
	case strings.HasPrefix(text, "."), strings.HasSuffix(text, "."), strings.Contains(text, ".."):
		return "the subject has an empty token: write mail.in, with one dot between two tokens"
	}
	return ""
}

// checkTopic finds what makes no name of a topic.
func (t *Template) checkTopic() string {
	text := t.outline()
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return !topicRune(r) }):
		return "names of topics have letters, digits, dots, underscores and hyphens only"
	case text == "." || text == "..":
		return "a topic cannot be called " + text
	case t.Fixed() && len(text) > maxTopic:
		return "names of topics have at most 249 characters"
	}
	return ""
}

// outline is the text with an x for each field.
func (t *Template) outline() string {
	var b strings.Builder
	for _, p := range t.pieces {
		if p.field != nil {
			b.WriteByte('x')
			continue
		}
		b.WriteString(p.text)
	}
	return b.String()
}
