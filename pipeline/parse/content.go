package parse

import (
	"crypto/sha256"
	"io"
	"strings"

	"mxhook/pipeline"
)

// content fills in texts and attachments. Every leaf becomes one or the other, so that nothing is lost.
func (rd *reading) content(c *pipeline.Content, parts []part) {
	var texts, htmls body
	// named is the first text with a file name that its sender did not call an attachment.
	var named *part
	for i := range parts {
		p := &parts[i]
		if p.multipart {
			continue
		}
		rd.undivided(p)
		if t := rd.bodyType(p); t != "" {
			s := rd.text(p, t)
			if t == "text/html" {
				htmls.add(s)
			} else {
				texts.add(s)
				rd.unpackUU(c, p, s)
			}
			continue
		}
		if p.media.typ == "message/partial" {
			rd.fragment(p)
		}
		if a, ok := rd.attachment(p); ok {
			c.Attachments = append(c.Attachments, a)
			if isTNEF(p, a.Filename) {
				rd.unpackTNEF(c, p)
			}
		}
		if named == nil && isText(p) && p.disposition.typ != "attachment" {
			named = p
		}
	}
	if texts.Len() == 0 && htmls.Len() == 0 && named != nil {
		// All the text there is: readers show it, so it is the text of the message besides being an attachment.
		if s := rd.text(named, named.media.typ); named.media.typ == "text/html" {
			htmls.add(s)
		} else {
			texts.add(s)
		}
	}
	c.Text, c.HTML = texts.String(), htmls.String()
	if c.Text != "" {
		c.TextFrom = pipeline.TextOwn
	}
	if strings.TrimSpace(c.Text) == "" && strings.TrimSpace(c.HTML) != "" {
		if c.Text = rd.textOfHTML(c.HTML); c.Text != "" {
			c.TextFrom = pipeline.TextOfHTML
		}
		rd.notes.add(noteTextFromHTML, "", "the message has no text of its own")
	}
}

// undivided makes text of a multipart in which no part was found.
func (rd *reading) undivided(p *part) {
	if p.media.isMultipart() && p.depth < rd.limits.Depth {
		if len(p.body) > 0 {
			rd.notes.add(noteBoundaryMissing, p.id, "no part in %s", p.media.typ)
		}
		p.media = media{typ: "text/plain"}
		if p.id == "" {
			p.id = "1"
		}
	}
}

// bodyType returns "text/plain" or "text/html" for a leaf that belongs to the text of the message, and "" for all
// others. A text with a file name is an attachment, unless it is all there is.
func (rd *reading) bodyType(p *part) string {
	if !isText(p) || p.disposition.typ == "attachment" {
		return ""
	}
	if p.parent >= 0 && rd.sentName(p) != "" {
		return ""
	}
	return p.media.typ
}

func isText(p *part) bool { return p.media.typ == "text/plain" || p.media.typ == "text/html" }

// body joins texts.
type body struct{ strings.Builder }

func (b *body) add(s string) {
	if s == "" {
		return
	}
	if b.Len() > 0 && !strings.HasSuffix(b.String(), "\n") {
		b.WriteByte('\n')
	}
	b.WriteString(s)
}

// attachment describes a leaf, after having read all of it once. It returns false for a leaf over the limit.
func (rd *reading) attachment(p *part) (pipeline.Attachment, bool) {
	d, known := newDecoder(p.encoding, p.body)
	if !known {
		rd.notes.add(noteEncodingUnknown, p.id, "%q", cut(p.encoding, 40))
	}
	h := sha256.New()
	size, err := io.Copy(h, d)
	if err != nil {
		// Neither the decoders nor the hash can fail.
		panic(err)
	}
	if d.damaged() {
		rd.notes.add(noteEncodingDamaged, p.id, "not all of it is %s", p.encoding)
	}
	if rd.decoded+size > rd.limits.DecodedBytes {
		rd.notes.add(noteDecodedLimit, p.id, "attachments over %d octets: left out %d", rd.limits.DecodedBytes, size)
		return pipeline.Attachment{}, false
	}
	rd.decoded += size
	filename, sent := rd.filename(p)
	a := pipeline.Attachment{
		ID:          p.id,
		Filename:    filename,
		SentName:    sent,
		ContentType: validUTF8(p.media.typ),
		Disposition: "attachment",
		ContentID:   contentID(p),
		Size:        size,
		Message:     rd.summary(p),
		Open:        opener(p.encoding, p.body),
	}
	if p.disposition.typ == "inline" || p.disposition.typ == "" && a.ContentID != "" {
		a.Disposition = "inline"
	}
	h.Sum(a.SHA256[:0])
	return a, true
}

// fragment notes which piece of a mail a message/partial is (RFC 2046 5.2.2). It is kept as it came: the others come in mails
// of their own, if at all, and what is put together from pieces has passed no check as a whole.
func (rd *reading) fragment(p *part) {
	value := func(name string) string {
		t, _ := p.media.value(name)
		return cut(oneLine(decodeText(t.charset, t.octets).text), 80)
	}
	of := value("total")
	first(&of, "an unknown number")
	rd.notes.add(noteFragment, p.id, "piece %s of %s, id %q: pieces are not put together", value("number"), of, value("id"))
}

// opener returns a function that begins to decode anew at every call.
func opener(encoding string, src []byte) func() io.Reader {
	return func() io.Reader {
		d, _ := newDecoder(encoding, src)
		return d
	}
}

// contentID returns the Content-ID without its angle brackets (RFC 2392).
func contentID(p *part) string {
	f, ok := p.field("Content-ID")
	if !ok {
		return ""
	}
	s := validUTF8(string(cutBytes(unfold(f.body), 1000)))
	return oneLine(strings.Trim(dropComments(s), "<> \t"))
}
