package parse

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// words decodes header text: encoded words (RFC 2047) as they come, and octets above 127 that nobody encoded.
type words struct {
	notes *notes
	// where is the name of the field, or the id of the part.
	where string
	// raw is the charset that octets above 127 are in when nobody encoded them and they are not UTF-8: that of the
	// body, if it names one.
	raw string
}

// decode returns the text of an unfolded field body, valid UTF-8.
func (w words) decode(b []byte) string {
	if !bytes.Contains(b, []byte("=?")) {
		return w.octets("", b)
	}
	var out strings.Builder
	var run wordRun
	noEnd := false
	for len(b) > 0 {
		i := bytes.Index(b, []byte("=?"))
		if i < 0 || noEnd {
			break
		}
		word, n, unended := parseWord(b[i:])
		noEnd = unended
		if n == 0 {
			// No word: what stands here is text, and the next look begins behind it.
			w.flush(&out, &run)
			out.WriteString(w.octets("", b[:i+2]))
			b = b[i+2:]
			continue
		}
		// Blanks between two words are not part of the text (RFC 2047 6.2).
		gap := b[:i]
		if len(bytes.TrimSpace(gap)) > 0 || !run.open {
			w.flush(&out, &run)
			out.WriteString(w.octets("", gap))
			gap = nil
		} else if !strings.EqualFold(run.charset, word.charset) {
			w.flush(&out, &run)
		}
		run.add(word, gap, b[i:i+n])
		b = b[i+n:]
	}
	w.flush(&out, &run)
	out.WriteString(w.octets("", b))
	return out.String()
}

// octets decodes octets of a charset and notes what had to be replaced.
func (w words) octets(charset string, b []byte) string {
	if charset == "" && w.raw != "" && !utf8.Valid(b) {
		w.notes.add(noteCharsetReplaced, w.where, "read as %s, as the text is", cut(w.raw, 40))
		charset = w.raw
	}
	d := decodeText(charset, b)
	if d.note != "" {
		w.notes.add(d.note, w.where, "%s", d.detail)
	}
	return d.text
}

// flush writes the run of words as one text: characters may be split between words of one charset. Words of an
// unknown charset stay as they are.
func (w words) flush(out *strings.Builder, run *wordRun) {
	if !run.open {
		return
	}
	if _, known := lookupCharset(run.charset); !known && !utf8.Valid(run.octets) {
		w.notes.add(noteCharsetUnknown, w.where, "unknown charset %q, left encoded", cut(run.charset, 40))
		out.WriteString(w.octets("", run.raw))
	} else {
		out.WriteString(oneLine(w.octets(run.charset, run.octets)))
	}
	*run = wordRun{}
}

// oneLine keeps line ends and NUL that someone encoded out of header text.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\r\n\x00") {
		return s
	}
	return strings.NewReplacer("\r\n", " ", "\r", " ", "\n", " ", "\x00", "").Replace(s)
}

// wordRun is a run of adjacent encoded words of one charset.
type wordRun struct {
	open        bool
	charset     string
	octets, raw []byte
}

// add adds a word that follows the run, or the run before it, after a gap of blanks.
func (r *wordRun) add(w encodedWord, gap, raw []byte) {
	r.raw = append(r.raw, gap...)
	r.open, r.charset = true, w.charset
	r.octets = append(r.octets, w.octets...)
	r.raw = append(r.raw, raw...)
}

// encodedWord is one word, its transfer encoding removed.
type encodedWord struct {
	charset string
	octets  []byte
}

// parseWord parses the encoded word that b begins with and returns its length, 0 when it is none. The text may hold
// blanks and question marks, which RFC 2047 2 forbids and senders write. unended says that no word can end in b.
func parseWord(b []byte) (w encodedWord, n int, unended bool) {
	head := cutBytes(b, 80)
	i := bytes.IndexByte(head[2:], '?')
	if i <= 0 || i+4 >= len(b) || b[i+4] != '?' {
		return w, 0, false
	}
	charset, encoding := head[2:2+i], b[i+3]
	if bytes.ContainsAny(charset, " \t=") {
		return w, 0, false
	}
	text := b[i+5:]
	end := bytes.Index(text, []byte("?="))
	if end < 0 {
		return w, 0, true
	}
	switch encoding {
	case 'q', 'Q':
		w.octets = decodeQ(text[:end])
	case 'b', 'B':
		w.octets = decodeAll("base64", text[:end])
	default:
		return w, 0, false
	}
	w.charset, _, _ = strings.Cut(validUTF8(string(charset)), "*")
	return w, i + 5 + end + 2, false
}

// decodeQ decodes the Q encoding (RFC 2047 4.2).
func decodeQ(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '_':
			out = append(out, ' ')
		case c == '=' && i+2 < len(b) && unhex(b[i+1]) >= 0 && unhex(b[i+2]) >= 0:
			out = append(out, byte(unhex(b[i+1])<<4|unhex(b[i+2])))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out
}
