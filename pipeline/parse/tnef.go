package parse

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// TNEF is the format of winmail.dat: attributes of a message and of its attachments ([MS-OXTNEF] 2.1).
const (
	tnefSignature = 0x223e9f78

	attBody        = 0x800c
	attData        = 0x800f
	attTitle       = 0x8010
	attRendData    = 0x9002 // begins an attachment
	attMAPIProps   = 0x9003
	attAttachment  = 0x9005 // the MAPI properties of an attachment
	attOEMCodepage = 0x9007

	propBody         = 0x1000
	propRTF          = 0x1009
	propHTML         = 0x1013
	propData         = 0x3701
	propFilename     = 0x3704
	propLongFilename = 0x3707
	propMIMEType     = 0x370e
	propContentID    = 0x3712
)

const (
	tnefFiles = 1000     // files of one container
	tnefProps = 100_000  // MAPI properties of one attribute
	rtfBytes  = 32 << 20 // of RTF, unpacked
)

// packed is a file in a container. Its octets may be a slice of the container.
type packed struct {
	name, typ, contentID string
	octets               []byte
	described            bool
}

// readTNEF returns the files of a container, and the message's own text as the last of them: HTML, or else RTF, or else
// plain. A container that breaks off gives what stands before the break, and an error.
func readTNEF(b []byte) ([]packed, error) {
	if len(b) < 6 || binary.LittleEndian.Uint32(b) != tnefSignature {
		return nil, fmt.Errorf("read TNEF: no signature")
	}
	t := tnefReader{codepage: "windows-1252"}
	err := t.attributes(b[6:])
	files := t.files[:0]
	for _, f := range t.files {
		if f.described {
			files = append(files, f)
		}
	}
	switch {
	case t.html != nil:
		files = append(files, packed{name: "message.html", typ: "text/html", octets: t.html})
	case t.rtf != nil:
		rtf, rtfErr := unpackRTF(t.rtf)
		if err == nil {
			err = rtfErr
		}
		if len(rtf) > 0 {
			files = append(files, packed{name: "message.rtf", typ: "text/rtf", octets: rtf})
		}
	case len(t.text) > 0:
		files = append(files, packed{name: "message.txt", typ: "text/plain", octets: t.text})
	}
	return files, err
}

type tnefReader struct {
	codepage        string
	files           []packed
	html, rtf, text []byte
}

// attributes reads the attributes one after the other: level, id, type, length, value, checksum.
func (t *tnefReader) attributes(b []byte) error {
	for len(b) >= 9 {
		id, size := binary.LittleEndian.Uint16(b[1:]), binary.LittleEndian.Uint32(b[5:])
		if b[0] != 1 && b[0] != 2 {
			return fmt.Errorf("read TNEF: octets that are no attribute")
		}
		b = b[9:]
		if uint64(size)+2 > uint64(len(b)) {
			return fmt.Errorf("read TNEF: an attribute of %d octets where %d are left", size, len(b))
		}
		if err := t.attribute(id, b[:size]); err != nil {
			return err
		}
		b = b[size+2:]
	}
	return nil
}

func (t *tnefReader) attribute(id uint16, v []byte) error {
	switch id {
	case attOEMCodepage:
		if len(v) >= 4 {
			if cs, ok := lookupCharset(fmt.Sprintf("cp%d", binary.LittleEndian.Uint32(v))); ok {
				t.codepage = cs.name
			}
		}
		return nil
	case attBody:
		t.text = bytes.TrimRight(v, "\x00")
		return nil
	case attMAPIProps:
		return mapiProps(v, t.messageProp)
	case attRendData:
		if len(t.files) == tnefFiles {
			return fmt.Errorf("read TNEF: more than %d attachments", tnefFiles)
		}
		t.files = append(t.files, packed{typ: "application/octet-stream"})
		return nil
	}
	if len(t.files) == 0 {
		return nil
	}
	f := &t.files[len(t.files)-1]
	switch id {
	case attTitle:
		if f.name == "" {
			f.name = t.ansi(v)
		}
		f.described = true
	case attData:
		f.octets, f.described = v, true
	case attAttachment:
		return mapiProps(v, func(id, typ uint16, v []byte) { t.attachmentProp(f, id, typ, v) })
	}
	return nil
}

func (t *tnefReader) messageProp(id, typ uint16, v []byte) {
	switch id {
	case propHTML:
		t.html = v
		if typ == mapiUnicode {
			t.html = []byte(t.text16(v))
		}
	case propRTF:
		t.rtf = v
	case propBody:
		if t.text == nil {
			t.text = []byte(t.str(typ, v))
		}
	}
}

func (t *tnefReader) attachmentProp(f *packed, id, typ uint16, v []byte) {
	switch id {
	case propData:
		if typ == mapiObject && len(v) >= 16 {
			// An object begins with the id of its interface; that of a message is a container again.
			if bytes.HasPrefix(v, []byte{0x07, 0x03, 0x02, 0x00}) {
				f.typ = "application/ms-tnef"
			}
			v = v[16:]
		}
		f.octets, f.described = v, true
	case propLongFilename:
		if s := t.str(typ, v); s != "" {
			f.name = s
		}
	case propFilename:
		if f.name == "" {
			f.name = t.str(typ, v)
		}
	case propMIMEType:
		if s := repairType(strings.ToLower(t.str(typ, v))); s != "" {
			f.typ = s
		}
	case propContentID:
		f.contentID = oneLine(strings.Trim(t.str(typ, v), "<> "))
	}
}

func (t *tnefReader) str(typ uint16, v []byte) string {
	if typ == mapiUnicode {
		return t.text16(v)
	}
	return t.ansi(v)
}

func (t *tnefReader) ansi(v []byte) string {
	return strings.TrimRight(decodeText(t.codepage, bytes.TrimRight(v, "\x00")).text, "\x00")
}

func (t *tnefReader) text16(v []byte) string {
	u := make([]uint16, len(v)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(v[2*i:])
	}
	return strings.TrimRight(string(utf16.Decode(u)), "\x00")
}

// The types of MAPI properties that matter here ([MS-OXCDATA] 2.11.1).
const (
	mapiNull    = 0x0001
	mapiObject  = 0x000d
	mapiANSI    = 0x001e
	mapiUnicode = 0x001f
	mapiBinary  = 0x0102
	mapiMulti   = 0x1000
)

// mapiProps calls f with the first value of each property.
func mapiProps(b []byte, f func(id, typ uint16, v []byte)) error {
	r := mapiReader{b: b}
	n := r.u32()
	if n > tnefProps {
		return fmt.Errorf("read TNEF: %d properties", n)
	}
	for ; n > 0 && !r.short; n-- {
		typ, id := r.u16(), r.u16()
		if id >= 0x8000 {
			r.name()
		}
		count := uint32(1)
		base := typ &^ mapiMulti
		if typ&mapiMulti != 0 || isVariable(base) {
			count = r.u32()
		}
		if base == mapiNull { // it has no octets that would bound the count
			count = min(count, 1)
		}
		for i := uint32(0); i < count && !r.short; i++ {
			v := r.value(base)
			if i == 0 && !r.short {
				f(id, base, v)
			}
		}
	}
	if r.short {
		return fmt.Errorf("read TNEF: properties that break off")
	}
	return nil
}

func isVariable(typ uint16) bool {
	return typ == mapiObject || typ == mapiANSI || typ == mapiUnicode || typ == mapiBinary
}

// mapiReader reads little-endian values; short is set when the octets did not suffice.
type mapiReader struct {
	b     []byte
	short bool
}

// take returns the next n octets and goes on behind them, padded to a multiple of 4.
func (r *mapiReader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.short, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[min(uint64(len(r.b)), (uint64(n)+3)&^3):]
	return v
}

func (r *mapiReader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (r *mapiReader) u16() uint16 {
	if len(r.b) < 2 {
		r.short, r.b = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

// name skips the name of a named property: GUID, kind, and a number or a string.
func (r *mapiReader) name() {
	r.take(16)
	if r.u32() == 0 {
		r.u32()
		return
	}
	r.take(r.u32())
}

func (r *mapiReader) value(typ uint16) []byte {
	switch {
	case isVariable(typ):
		return r.take(r.u32())
	case typ == 0x0005, typ == 0x0006, typ == 0x0007, typ == 0x0014, typ == 0x0040:
		return r.take(8)
	case typ == 0x0048:
		return r.take(16)
	case typ == mapiNull:
		return r.take(0)
	}
	return r.take(4)
}
