package parse

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"mxhook/pipeline"
)

// expected is what a corpus expects of a message: the gold of its own project, or the consensus of other parsers.
type expected struct {
	Subject      *string           `json:"subject"`
	MessageID    *string           `json:"message_id"`
	From         []expectedAddress `json:"from"`
	To           []expectedAddress `json:"to"`
	Cc           []expectedAddress `json:"cc"`
	FromNamed    []expectedAddress `json:"from_named"`
	ToNamed      []expectedAddress `json:"to_named"`
	CcNamed      []expectedAddress `json:"cc_named"`
	Text         *string           `json:"text"`
	HTML         *string           `json:"html"`
	TextContains []string          `json:"text_contains"`
	HTMLContains []string          `json:"html_contains"`
	HTMLAsText   json.RawMessage   `json:"html_as_text"`
	Attachments  []expectedBinary  `json:"attachments"`
	Binaries     []expectedBinary  `json:"binaries"`
	Leaves       []expectedBinary  `json:"leaves"`
	Soft         []string          `json:"soft"`
	fields       map[string]bool
}

type expectedAddress struct {
	Name, Address string
	NameKnown     *bool `json:"name_known"`
}

type expectedBinary struct {
	Name, Type, Kind, SHA256, NoWS, Text string
	Size                                 *int64
}

func readExpected(t *testing.T, path string) (expected, bool) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		return expected{}, false
	}
	var e expected
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		t.Fatal(err)
	}
	e.fields = map[string]bool{}
	for k := range raw {
		e.fields[k] = true
	}
	return e, true
}

// found is what we made of a message, with all that is inside the messages attached to it.
type found struct {
	c      *pipeline.Content
	own    bool // the text is the message's own, not made from HTML
	texts  []string
	hashes map[string]bool
	nested bool
}

func flatten(t *testing.T, s *Stage, m *pipeline.Message, depth int) found {
	t.Helper()
	f := found{c: m.Content, own: true, hashes: map[string]bool{}}
	for _, p := range m.Problems {
		f.own = f.own && p.Code != noteTextFromHTML
	}
	f.texts = []string{m.Content.HTML}
	if f.own {
		f.texts = append(f.texts, m.Content.Text)
	}
	for _, a := range m.Content.Attachments {
		b, err := io.ReadAll(a.Open())
		if err != nil {
			t.Fatal(err)
		}
		f.hashes[hex.EncodeToString(a.SHA256[:])] = true
		f.hashes["nows "+noWSHash(b)] = true
		f.texts = append(f.texts, string(b), decodeText("", b).text)
		if strings.HasPrefix(a.ContentType, "message/") {
			f.nested = true
		}
		if a.ContentType == "message/rfc822" && depth < 5 {
			in := flatten(t, s, run(t, s, b), depth+1)
			f.texts = append(f.texts, in.texts...)
			for h := range in.hashes {
				f.hashes[h] = true
			}
		}
	}
	return f
}

func noWSHash(b []byte) string {
	h := sha256.Sum256(bytes.Join(bytes.Fields(b), nil))
	return hex.EncodeToString(h[:])
}

func fold(s string) string { return strings.Join(strings.Fields(s), " ") }

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

func squash(s string) string { return strings.Join(strings.Fields(s), "") }

// compare returns for each field that is judged whether it is as expected ("") or how it is not.
func compare(e expected, f found, gold bool) map[string]string {
	r := map[string]string{}
	judge := func(field string, ok bool, format string, args ...any) {
		if !e.fields[field] || slices.Contains(e.Soft, field) {
			return
		}
		r[field] = ""
		if !ok {
			r[field] = cut(fmt.Sprintf(format, args...), 400)
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
		judge("text", ok, "got %q, want %q", cut(fold(text), 150), cut(fold(*e.Text), 150))
	}
	if e.HTML != nil {
		ok := squash(c.HTML) == squash(*e.HTML)
		if gold {
			ok = contains(c.HTML, *e.HTML)
		}
		judge("html", ok, "got %q, want %q", cut(fold(c.HTML), 150), cut(fold(*e.HTML), 150))
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
	count := slices.Contains(e.Soft, "attachment_count") || len(e.Attachments) == len(f.c.Attachments)
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

func sameAttachment(w expectedBinary, a pipeline.Attachment, f found) bool {
	if w.Name != "" && w.Name != a.Filename && !same(a.Filename, cleanFilename(w.Name)) && !same(a.Filename, w.Name) {
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

// score counts fields.
type score struct{ right, all, mails, whole int }

func (s *score) add(r map[string]string) {
	s.mails++
	whole := true
	for _, d := range r {
		s.all++
		if d == "" {
			s.right++
		} else {
			whole = false
		}
	}
	if whole {
		s.whole++
	}
}

func (s score) percent() float64 { return 100 * float64(s.right) / float64(max(1, s.all)) }

func (s score) String() string {
	return fmt.Sprintf("%d of %d fields (%.1f %%), %d of %d messages without a difference", s.right, s.all, s.percent(), s.whole, s.mails)
}

// TestCorpusScoreDoesNotFall holds what was reached against the expectations of other projects. PARSE_DIFF=1 prints
// every difference.
func TestCorpusScoreDoesNotFall(t *testing.T) {
	t.Parallel()
	s := newStage(t, Limits{})
	totals := map[string]*score{"gold": {}, "consensus": {}}
	corpusMails(t, func(t *testing.T, name string, raw []byte) {
		base := strings.TrimSuffix(filepath.Join(corpus, name), ".eml")
		for kind, total := range totals {
			e, ok := readExpected(t, base+"."+kind+".json")
			if !ok {
				continue
			}
			r := compare(e, flatten(t, s, run(t, s, raw), 0), kind == "gold")
			total.add(r)
			for field, d := range r {
				if d != "" && os.Getenv("PARSE_DIFF") != "" {
					t.Logf("DIFF %s %s %s: %s", kind, name, field, d)
				}
			}
		}
	})
	for kind, floor := range map[string]float64{"gold": 90, "consensus": 95} {
		total := totals[kind]
		t.Logf("%s: %v", kind, total)
		if total.all > 0 && total.percent() < floor {
			t.Errorf("%s: %.1f %% of the fields are right, want at least %.1f", kind, total.percent(), floor)
		}
	}
}
