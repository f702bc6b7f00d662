package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"mxhook/pipeline"
)

func noWSHash(b []byte) string {
	h := sha256.Sum256(bytes.Join(bytes.Fields(b), nil))
	return hex.EncodeToString(h[:])
}

// same compares two short texts; for U+FFFD see contains.
func same(got, want string) bool {
	return got == want || strings.Contains(want, "\uFFFD") && contains(got, want)
}

// contains compares without white space. U+FFFD in what is wanted stands for a character that its project could not read.
func contains(s, want string) bool {
	s, want = squash(s), squash(want)
	if !strings.Contains(want, "\uFFFD") {
		return strings.Contains(s, want)
	}
	return regexp.MustCompile("(?s)" + strings.ReplaceAll(regexp.QuoteMeta(want), "\uFFFD", ".{0,3}")).MatchString(s)
}

// compare returns for each field that is judged whether it is as expected ("") or how it is not.
func compare(e expected, f found, gold bool) map[string]string {
	r := map[string]string{}
	judge := func(field string, ok bool, format string, args ...any) {
		if !e.fields[field] || slices.Contains(e.Soft, field) {
			return
		}
		r[field] = ""
		if !ok {
			r[field] = fmt.Sprintf(format, args...)
		}
	}
	c := f.c
	text := c.Text
	if !f.own {
		text = ""
	}
	if e.Subject != nil {
		judge("subject", same(fold(c.Subject), fold(*e.Subject)), "got %q, want %q", c.Subject, *e.Subject)
	}
	if e.MessageID != nil {
		judge("message_id", strings.Trim(c.MessageID, "<>") == strings.Trim(*e.MessageID, "<>"), "got %q, want %q", c.MessageID, *e.MessageID)
	}
	for _, l := range []struct {
		field string
		want  []expectedAddress
		got   []pipeline.Address
		named bool
	}{
		{"from", e.From, c.From, gold},
		{"to", e.To, c.To, gold},
		{"cc", e.Cc, c.Cc, gold},
		{"from_named", e.FromNamed, c.From, true},
		{"to_named", e.ToNamed, c.To, true},
		{"cc_named", e.CcNamed, c.Cc, true},
	} {
		got, want := addressLines(l.got, l.want, l.named)
		judge(l.field, slices.EqualFunc(got, want, same), "got %q, want %q", got, want)
	}
	if e.Text != nil {
		ok := squash(text) == squash(*e.Text)
		if gold {
			ok = contains(c.Text, *e.Text)
		}
		judge("text", ok, "got %.150q, want %.150q", fold(text), fold(*e.Text))
	}
	if e.HTML != nil {
		ok := squash(c.HTML) == squash(*e.HTML)
		if gold {
			ok = contains(c.HTML, *e.HTML)
		}
		judge("html", ok, "got %.150q, want %.150q", fold(c.HTML), fold(*e.HTML))
	}
	for _, w := range e.TextContains {
		judge("text_contains", contains(c.Text, w), "lacks %q", w)
	}
	for _, w := range e.HTMLContains {
		judge("html_contains", contains(c.HTML, w), "lacks %q", w)
	}
	compareParts(e, f, judge)
	return r
}

// addressLines makes comparable lists: sorted, names only where they are judged.
func addressLines(got []pipeline.Address, want []expectedAddress, named bool) (g, w []string) {
	known := map[string]bool{}
	for _, a := range want {
		line := strings.ToLower(a.Address)
		if named && (a.NameKnown == nil || *a.NameKnown) {
			known[line] = true
			line += " " + fold(a.Name)
		}
		w = append(w, strings.TrimSpace(line))
	}
	for _, a := range got {
		if a.Address == "" && !named {
			continue
		}
		line := strings.ToLower(a.Address)
		if known[line] {
			line += " " + fold(a.Name)
		}
		g = append(g, strings.TrimSpace(line))
	}
	sort.Strings(g)
	sort.Strings(w)
	return g, w
}

func compareParts(e expected, f found, judge func(string, bool, string, ...any)) {
	for _, b := range e.Binaries {
		if !f.hashes[b.SHA256] && !f.hashes["nows "+b.NoWS] {
			judge("binaries", false, "no attachment %+v", b)
			break
		}
		judge("binaries", true, "")
	}
	lost := ""
	for _, l := range e.Leaves {
		switch {
		case l.Kind == "message":
			if !f.nested {
				lost = "message"
			}
		case f.hashes[l.SHA256] || f.hashes["nows "+l.NoWS]:
		case l.Text != "" && slices.ContainsFunc(f.texts, func(t string) bool { return contains(t, l.Text) }):
		case l.Text == "" && l.Size != nil && *l.Size == 0, l.Text == "" && l.SHA256 == "":
		default:
			lost = fmt.Sprintf("%+v", l)
		}
	}
	judge("leaves", lost == "", "lost %s", lost)
	parts := 0
	for _, a := range f.c.Attachments {
		if a.Container == "" {
			parts++
		}
	}
	count := slices.Contains(e.Soft, "attachment_count") || len(e.Attachments) == parts
	if slices.Contains(e.Soft, "attachment_count") && !slices.ContainsFunc(e.Attachments, isNamed) {
		// How many attachments there are is open, and nothing else is said of them; their content is judged by leaves.
		return
	}
	missing := ""
	for _, w := range e.Attachments {
		if !slices.ContainsFunc(f.c.Attachments, func(a pipeline.Attachment) bool { return sameAttachment(w, a, f) }) {
			missing = fmt.Sprintf("%+v", w)
		}
	}
	var have []string
	for _, a := range f.c.Attachments {
		have = append(have, fmt.Sprintf("%s %s %d", a.Filename, a.ContentType, a.Size))
	}
	judge("attachments", count && missing == "", "count ok %v, missing %s, have %q", count, missing, have)
}

// isNamed reports whether an expectation says more of an attachment than that it is some text.
func isNamed(w expectedBinary) bool {
	return w.Name != "" || w.SHA256 != "" || w.Type != "" && w.Type != "text/plain"
}

func sameAttachment(w expectedBinary, a pipeline.Attachment, f found) bool {
	if w.Name != "" && !same(a.Filename, w.Name) && !same(a.SentName, w.Name) && fold(a.SentName) != fold(w.Name) {
		return false
	}
	if w.Type != "" && !strings.EqualFold(w.Type, a.ContentType) {
		return false
	}
	if w.SHA256 != "" {
		return f.hashes[w.SHA256] || f.hashes["nows "+w.NoWS]
	}
	return true
}
