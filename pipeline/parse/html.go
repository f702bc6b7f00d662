package parse

import (
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// textOfHTML makes a text of HTML, within the limit.
func (rd *reading) textOfHTML(s string) string {
	if len(s) > rd.limits.HTMLBytes {
		rd.notes.add(noteHTMLLimit, "", "HTML over %d octets", rd.limits.HTMLBytes)
		s = cut(s, rd.limits.HTMLBytes)
	}
	return htmlToText(s)
}

// htmlToText makes readable text of HTML: paragraphs and rows on lines of their own, list items marked, links followed
// by their target, quotes by "> ", no scripts and styles. It reads tokens and builds no tree, so that nesting costs
// nothing; work is linear in the input.
func htmlToText(s string) string {
	t := htmlText{z: html.NewTokenizer(strings.NewReader(s))}
	for {
		switch t.z.Next() {
		case html.ErrorToken:
			return strings.TrimSpace(t.out.String())
		case html.TextToken:
			if t.hidden == 0 {
				t.text(string(t.z.Text()))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			t.startTag()
		case html.EndTagToken:
			name, _ := t.z.TagName()
			t.endTag(atom.Lookup(name))
		}
	}
}

// htmlText is the text so far.
type htmlText struct {
	z   *html.Tokenizer
	out strings.Builder
	// breaks are the line ends owed before the next text; blank says that a blank is.
	breaks int
	blank  bool
	// hidden is the element whose content is no text.
	hidden atom.Atom
	pre    int
	quotes int
	// href is the target of the link that is open; label where its text begins.
	href  string
	label int
}

// maxQuotes bounds the marks that a line of nested quotes gets.
const maxQuotes = 8

func (t *htmlText) startTag() {
	name, more := t.z.TagName()
	a := atom.Lookup(name)
	if t.hidden != 0 {
		return
	}
	switch a {
	case atom.Script, atom.Style, atom.Title, atom.Template, atom.Noscript:
		t.hidden = a
	case atom.Br:
		t.breaks++
		t.blank = false
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Table, atom.Ul, atom.Ol, atom.Dl:
		t.paragraph()
	case atom.Pre:
		t.paragraph()
		t.pre++
	case atom.Blockquote:
		t.paragraph()
		t.quotes++
	case atom.Li:
		t.line()
		t.word("*")
		t.blank = true
	case atom.Hr:
		t.line()
		t.text("----------")
		t.line()
	case atom.Div, atom.Tr, atom.Section, atom.Article, atom.Header, atom.Footer, atom.Dt, atom.Dd, atom.Address, atom.Center,
		atom.Form, atom.Fieldset, atom.Caption, atom.Body:
		t.line()
	case atom.Td, atom.Th:
		t.blank = true
	case atom.A:
		t.href, t.label = t.attr(more, "href"), t.out.Len()
	case atom.Img:
		if alt := t.attr(more, "alt"); alt != "" {
			t.text(alt)
		}
	}
}

func (t *htmlText) endTag(a atom.Atom) {
	if t.hidden != 0 {
		if a == t.hidden {
			t.hidden = 0
		}
		return
	}
	switch a {
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Table, atom.Ul, atom.Ol, atom.Dl:
		t.paragraph()
	case atom.Pre:
		t.pre = max(0, t.pre-1)
		t.paragraph()
	case atom.Blockquote:
		t.paragraph()
		t.quotes = max(0, t.quotes-1)
	case atom.Div, atom.Tr, atom.Li, atom.Section, atom.Article, atom.Header, atom.Footer, atom.Dt, atom.Dd, atom.Address,
		atom.Center, atom.Form, atom.Fieldset, atom.Caption:
		t.line()
	case atom.A:
		t.endLink()
	}
}

// endLink writes the target of a link behind its text, unless the text says it already.
func (t *htmlText) endLink() {
	href := t.href
	t.href = ""
	if len(href) > 2000 || !strings.HasPrefix(href, "http://") && !strings.HasPrefix(href, "https://") {
		return
	}
	label := strings.TrimSpace(t.out.String()[min(t.label, t.out.Len()):])
	if label == "" || label == href || "http://"+label == href || "https://"+label == href {
		return
	}
	t.text(" (" + href + ")")
}

// attr returns an attribute of the tag that is being read.
func (t *htmlText) attr(more bool, name string) string {
	for more {
		var k, v []byte
		k, v, more = t.z.TagAttr()
		if string(k) == name {
			return strings.TrimSpace(string(v))
		}
	}
	return ""
}

func (t *htmlText) line()      { t.breaks, t.blank = max(t.breaks, 1), false }
func (t *htmlText) paragraph() { t.breaks, t.blank = max(t.breaks, 2), false }

// text writes text with its white space folded, or as it is inside pre.
func (t *htmlText) text(s string) {
	if t.pre > 0 {
		for i, l := range strings.Split(s, "\n") {
			if i > 0 {
				t.breaks++
			}
			t.word(l)
		}
		return
	}
	for s != "" {
		rest := strings.TrimLeftFunc(s, unicode.IsSpace)
		if len(rest) < len(s) {
			t.blank = true
		}
		n := strings.IndexFunc(rest, unicode.IsSpace)
		if n < 0 {
			n = len(rest)
		}
		t.word(rest[:n])
		s = rest[n:]
	}
}

// word writes what is owed and then a word.
func (t *htmlText) word(w string) {
	if w == "" {
		return
	}
	switch {
	case t.out.Len() == 0:
		t.mark()
	case t.breaks > 0:
		for range min(t.breaks, 2) {
			t.out.WriteByte('\n')
		}
		t.mark()
	case t.blank:
		t.out.WriteByte(' ')
	}
	t.breaks, t.blank = 0, false
	t.out.WriteString(w)
}

// mark begins a line with the marks of its quotes.
func (t *htmlText) mark() {
	t.out.WriteString(strings.Repeat("> ", min(t.quotes, maxQuotes)))
}
