package parse

import (
	"bytes"
	"crypto/sha256"
	"io"
	"strconv"
	"strings"

	"mxhook/pipeline"
)

// tnefBytes bounds the container that is unpacked: it is decoded into memory.
const tnefBytes = 64 << 20

func isTNEF(p *part, name string) bool {
	return p.media.typ == "application/ms-tnef" || p.media.typ == "application/vnd.ms-tnef" || strings.EqualFold(name, "winmail.dat")
}

// unpackTNEF adds the files in a winmail.dat behind the container itself. They stay in memory with the message.
func (rd *reading) unpackTNEF(c *pipeline.Content, p *part) {
	if len(p.body) > tnefBytes {
		rd.notes.add(noteContainerDamaged, p.id, "TNEF over %d octets is not unpacked", tnefBytes)
		return
	}
	octets := p.body
	if p.encoding != "" {
		octets = decodeAll(p.encoding, p.body)
	}
	files, err := readTNEF(octets)
	if err != nil {
		rd.notes.add(noteContainerDamaged, p.id, "%v", err)
	}
	for _, f := range files {
		rd.addUnpacked(c, p.id, f)
	}
}

// addUnpacked makes an attachment of a file that stands in a part. Its id goes on below the part's.
func (rd *reading) addUnpacked(c *pipeline.Content, container string, f packed) {
	size := int64(len(f.octets))
	if rd.decoded+size > rd.limits.DecodedBytes {
		rd.notes.add(noteDecodedLimit, container, "attachments over %d octets: left out %d", rd.limits.DecodedBytes, size)
		return
	}
	if rd.unpacked >= rd.limits.Parts {
		rd.notes.add(notePartsLimit, container, "more than %d unpacked files", rd.limits.Parts)
		return
	}
	rd.decoded += size
	rd.unpacked++
	n := 1
	for _, a := range c.Attachments {
		if a.Container == container {
			n++
		}
	}
	id := container + "." + strconv.Itoa(n)
	name, sent := named(validUTF8(f.name), "part-"+id+extension(f.typ))
	c.Attachments = append(c.Attachments, pipeline.Attachment{
		ID: id, Filename: name, SentName: sent, ContentType: f.typ, Disposition: "attachment", ContentID: validUTF8(f.contentID),
		Size: size, SHA256: sha256.Sum256(f.octets), Container: container,
		Open: func() io.Reader { return bytes.NewReader(f.octets) },
	})
	if f.contentID != "" {
		c.Attachments[len(c.Attachments)-1].Disposition = "inline"
	}
}
