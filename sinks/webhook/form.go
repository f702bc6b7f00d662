package webhook

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"mxhook/pipeline"
)

// form is a form to be posted: fields and files in order. Names are ours; values and file names come from the mail.
type form struct {
	fields []formField
	files  []formFile
}

// formField is a field; open is for values that are large, value for all others.
type formField struct {
	name, value string
	open        func() io.Reader
}

type formFile struct {
	name string
	pipeline.Attachment
}

func (f *form) add(name, value string) {
	f.fields = append(f.fields, formField{name: name, value: value})
}

func (f *form) addLarge(name string, open func() io.Reader) {
	f.fields = append(f.fields, formField{name: name, open: open})
}

func (f *form) addFile(name string, a pipeline.Attachment) {
	f.files = append(f.files, formFile{name, a})
}

// urlencoded is the form as application/x-www-form-urlencoded, without files.
func (f *form) urlencoded() *content {
	var segments segments
	for i, field := range f.fields {
		name := url.QueryEscape(field.name) + "="
		if i > 0 {
			name = "&" + name
		}
		if field.open == nil {
			segments.text(name + url.QueryEscape(field.value))
			continue
		}
		segments.text(name)
		segments.reader(-1, func() io.Reader { return escaping(field.open(), escapeForm) })
	}
	return segments.content("application/x-www-form-urlencoded")
}

// multipart is the form as multipart/form-data (RFC 7578). The boundary is random: who writes the mail must not be able
// to write further fields.
func (f *form) multipart() *content {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	boundary := "mxhook-" + hex.EncodeToString(random[:])
	var segments segments
	for _, field := range f.fields {
		segments.text("--" + boundary + "\r\nContent-Disposition: form-data; name=" + quoted(field.name) + "\r\n\r\n")
		if field.open == nil {
			segments.text(field.value)
		} else {
			segments.reader(-1, field.open)
		}
		segments.text("\r\n")
	}
	for _, file := range f.files {
		segments.text("--" + boundary + "\r\nContent-Disposition: form-data; name=" + quoted(file.name) + "; " + fileName(file.Filename) +
			"\r\nContent-Type: " + mediaType(file.ContentType) + "\r\n\r\n")
		segments.reader(file.Size, func() io.Reader { return &exactReader{src: file.Open(), left: file.Size} })
		segments.text("\r\n")
	}
	segments.text("--" + boundary + "--\r\n")
	return segments.content("multipart/form-data; boundary=" + boundary)
}

// quoted is a quoted string in a header field. Backslashes are what all receivers that were tried understand.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", " ", "\n", " ", "\x00", "").Replace(s) + `"`
}

// fileName gives a name in both spellings where it is not ASCII: some receivers read only the one, some the other right.
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r == '/' || r == '\\':
			return '_'
		case r < ' ' || r == 0x7f:
			return -1
		}
		return r
	}, name)
	if name == "" {
		name = "attachment" // a file without a name is no file to some
	}
	s := "filename=" + quoted(name)
	for i := range len(name) {
		if name[i] >= 0x80 {
			return s + "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
		}
	}
	return s
}

// mediaType is a media type that can stand in a header field.
func mediaType(s string) string {
	if t, _, err := mime.ParseMediaType(s); err == nil && strings.Count(t, "/") == 1 {
		return t
	}
	return "application/octet-stream"
}

// segments is a body in pieces.
type segments struct {
	open []func() io.Reader
	size int64
	run  bytes.Buffer // texts that follow each other
	some bool         // pieces are of a size that is not known
}

func (s *segments) text(t string) { s.run.WriteString(t) }

// reader adds a piece of that size; -1 is not known.
func (s *segments) reader(size int64, open func() io.Reader) {
	s.flush()
	s.open = append(s.open, open)
	if size < 0 {
		s.some = true
	}
	s.size += size
}

func (s *segments) flush() {
	if s.run.Len() == 0 {
		return
	}
	octets := bytes.Clone(s.run.Bytes())
	s.run.Reset()
	s.size += int64(len(octets))
	s.open = append(s.open, func() io.Reader { return bytes.NewReader(octets) })
}

func (s *segments) content(contentType string) *content {
	s.flush()
	pieces, size := s.open, s.size
	if s.some {
		size = -1
	}
	return &content{
		header: http.Header{"Content-Type": {contentType}}, size: size,
		open: func() io.Reader {
			rs := make([]io.Reader, len(pieces))
			for i, open := range pieces {
				rs[i] = open()
			}
			return io.MultiReader(rs...)
		},
	}
}

// fieldName reports whether the name of a header field may become the name of a form field or a key of JSON. Receivers
// make structure of brackets, dots and underscores in front, and what cannot be parsed there can never be delivered; fields
// of other names are in the lists of all fields.
func fieldName(name string) bool {
	if name == "" || len(name) > 100 || !isLetter(name[0]) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isLetter(c) && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return !strings.EqualFold(name, "constructor") && !strings.EqualFold(name, "prototype") // of objects in JavaScript
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
