package main

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"

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

// readExpected returns the expectation of a file and which fields it has; false when there is no such file.
func readExpected(path string) (expected, bool, error) {
	var raw map[string]json.RawMessage
	var e expected
	ok, err := readJSON(path, &raw)
	if err != nil || !ok {
		return e, false, err
	}
	if _, err := readJSON(path, &e); err != nil {
		return e, false, err
	}
	e.fields = map[string]bool{}
	for k := range raw {
		e.fields[k] = true
	}
	return e, true, nil
}

// found is what we made of a message, with all that is inside the messages attached to it.
type found struct {
	c      *pipeline.Content
	own    bool // the text is the message's own, not made from HTML
	texts  []string
	hashes map[string]bool
	nested bool
}

// flatten reads a message and the messages in it.
func flatten(r *reader, m *pipeline.Message, depth int) (found, error) {
	f := found{c: m.Content, own: m.Content.TextFrom != pipeline.TextOfHTML, hashes: map[string]bool{}}
	f.texts = []string{m.Content.HTML}
	if f.own {
		f.texts = append(f.texts, m.Content.Text)
	}
	for _, a := range m.Content.Attachments {
		b, err := io.ReadAll(a.Open())
		if err != nil {
			return f, err
		}
		f.hashes[hex.EncodeToString(a.SHA256[:])] = true
		f.hashes["nows "+noWSHash(b)] = true
		f.texts = append(f.texts, string(b), latin(b))
		if strings.HasPrefix(a.ContentType, "message/") {
			f.nested = true
		}
		if a.ContentType == "message/rfc822" && depth < 5 {
			inner, err := r.read(b, m.Envelope.ReversePath)
			if err != nil {
				return f, err
			}
			in, err := flatten(r, inner, depth+1)
			if err != nil {
				return f, err
			}
			f.texts = append(f.texts, in.texts...)
			for h := range in.hashes {
				f.hashes[h] = true
			}
		}
	}
	return f, nil
}

// latin reads octets as ISO 8859-1, for leaves whose text is judged and that nobody declared.
func latin(b []byte) string {
	rs := make([]rune, len(b))
	for i, c := range b {
		rs[i] = rune(c)
	}
	return string(rs)
}
