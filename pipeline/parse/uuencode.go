package parse

import (
	"bytes"
	"io"
	"strings"

	"mxhook/pipeline"
)

// uuDecoder reads uuencoded octets line by line, between "begin" and "end" where these stand. Lines whose length does not
// go with their first octet are junk.
type uuDecoder struct {
	src, out []byte
	junk     bool
}

func newUUDecoder(src []byte) *uuDecoder {
	if i := uuBegin(src); i >= 0 {
		src = src[lineEnd(src, i):]
	}
	return &uuDecoder{src: src}
}

func (d *uuDecoder) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if len(d.src) == 0 {
			return 0, io.EOF
		}
		n := lineEnd(d.src, 0)
		line := bytes.TrimRight(d.src[:n], "\r\n")
		d.src = d.src[n:]
		if string(bytes.TrimSpace(line)) == "end" {
			d.src = nil
			continue
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var ok bool
		if d.out, ok = uuLine(line); !ok {
			d.junk = true
		}
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

func (d *uuDecoder) damaged() bool { return d.junk }

// uuLine decodes one line: its first octet is the number of octets that the rest stands for, at most 63. Blanks at the
// end that got lost on the way are put back.
func uuLine(line []byte) ([]byte, bool) {
	if line[0] < ' ' || line[0] > '`' {
		return nil, false
	}
	n := int(line[0]-' ') & 63
	line = line[1:]
	if want := (n + 2) / 3 * 4; len(line) > want+2 || len(line) < want-3 {
		return nil, false
	}
	out := make([]byte, 0, n+2)
	for i := 0; i < (n+2)/3*4; i += 4 {
		var bits uint32
		for j := range 4 {
			c := byte(' ')
			if i+j < len(line) {
				c = line[i+j]
			}
			if c < ' ' || c > '`' {
				return nil, false
			}
			bits = bits<<6 | uint32(c-' ')&63
		}
		out = append(out, byte(bits>>16), byte(bits>>8), byte(bits))
	}
	return out[:n], true
}

// uuBegin returns the offset of the first line "begin MODE NAME", or -1.
func uuBegin(b []byte) int {
	for pos := 0; ; {
		if !bytes.HasPrefix(b[pos:], []byte("begin ")) {
			n := bytes.Index(b[pos:], []byte("\nbegin "))
			if n < 0 {
				return -1
			}
			pos += n + 1
		}
		if mode, name := uuHead(b[pos:lineEnd(b, pos)]); mode != "" && name != "" {
			return pos
		}
		pos += len("begin ")
	}
}

// uuHead takes the line that begins a file apart; "" for a line that is none.
func uuHead(line []byte) (mode, name string) {
	f := strings.SplitN(strings.TrimRight(string(cutBytes(line, 500)), "\r\n"), " ", 3)
	if len(f) < 3 || len(f[1]) < 3 || len(f[1]) > 4 || strings.Trim(f[1], "01234567") != "" {
		return "", ""
	}
	return f[1], strings.TrimSpace(f[2])
}

// maxUUFiles bounds the files of one text.
const maxUUFiles = 100

// unpackUU adds the files that stand uuencoded in a text as attachments; the text stays as it is. Only what is nothing
// but uuencoded lines up to an "end" is a file.
func (rd *reading) unpackUU(c *pipeline.Content, p *part, text string) {
	if !strings.Contains(text, "begin ") {
		return
	}
	b := []byte(text)
	for range maxUUFiles {
		i := uuBegin(b)
		if i < 0 {
			return
		}
		end := bytes.Index(b[i:], []byte("\nend"))
		if end < 0 {
			return
		}
		end += i + 1
		d := newUUDecoder(b[i:end])
		octets := readAll(d, end-i)
		_, name := uuHead(b[i:lineEnd(b, i)])
		if b = b[end:]; d.junk || len(octets) == 0 {
			continue
		}
		rd.addUnpacked(c, p.id, packed{name: name, typ: typeByName(name), octets: octets})
	}
}

// typeByName returns the type that goes with the extension of a file name.
func typeByName(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "application/octet-stream"
	}
	switch strings.ToLower(name[i:]) {
	case ".txt":
		return "text/plain"
	case ".html", ".htm":
		return "text/html"
	case ".pdf":
		return "application/pdf"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".png":
		return "image/png"
	case ".gif":
		return "image/gif"
	case ".zip":
		return "application/zip"
	case ".doc":
		return "application/msword"
	case ".xls":
		return "application/vnd.ms-excel"
	}
	return "application/octet-stream"
}
