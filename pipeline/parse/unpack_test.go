package parse

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"unicode/utf16"

	"mxhook/pipeline"
)

// tnefAttr makes an attribute of a TNEF container.
func tnefAttr(level byte, id uint16, v []byte) []byte {
	b := []byte{level}
	b = binary.LittleEndian.AppendUint16(b, id)
	b = binary.LittleEndian.AppendUint16(b, 6)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
	b = append(b, v...)
	var sum uint16
	for _, c := range v {
		sum += uint16(c)
	}
	return binary.LittleEndian.AppendUint16(b, sum)
}

// mapiProp makes a property of variable length.
func mapiProp(typ, id uint16, v []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, typ)
	b = binary.LittleEndian.AppendUint16(b, id)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
	b = append(b, v...)
	return append(b, make([]byte, (4-len(v)%4)%4)...)
}

func mapiList(props ...[]byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(props))), bytes.Join(props, nil)...)
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s + "\x00")) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func tnefOf(attrs ...[]byte) []byte {
	return append([]byte{0x78, 0x9f, 0x3e, 0x22, 1, 0}, bytes.Join(attrs, nil)...)
}

// packedRTF is the example of [MS-OXRTFCP] 4.1.
const packedRTF = "2d0000002b0000004c5a4675f1c5c7a703000a00726370673132354232" + "0af32068656c090020627705b06c647d0a800fa0"

func sampleTNEF(t testing.TB) []byte {
	t.Helper()
	rtf, err := hex.DecodeString(packedRTF)
	if err != nil {
		t.Fatal(err)
	}
	named := append(binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, 3), 0x8001), make([]byte, 16)...)
	named = append(named, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0)
	return tnefOf(
		tnefAttr(1, attOEMCodepage, []byte{0xe3, 4, 0, 0, 0, 0, 0, 0}), // 1251
		tnefAttr(1, attMAPIProps, mapiList(named, mapiProp(mapiBinary, propRTF, rtf))),
		tnefAttr(2, attRendData, make([]byte, 14)),
		tnefAttr(2, attTitle, []byte("\xcf\xf0\xe8\xe2\xe5\xf2.txt\x00")),
		tnefAttr(2, attData, []byte("one")),
		tnefAttr(2, attRendData, make([]byte, 14)),
		tnefAttr(2, attTitle, []byte("LONGNA~1.PNG\x00")),
		tnefAttr(2, attAttachment, mapiList(
			mapiProp(mapiUnicode, propLongFilename, utf16le("../long näme.png")),
			mapiProp(mapiANSI, propMIMEType, []byte("image/PNG\x00")),
			mapiProp(mapiANSI, propContentID, []byte("<a@b>\x00")),
			mapiProp(mapiObject, propData, append(make([]byte, 16), "two"...)),
		)),
		tnefAttr(2, attRendData, make([]byte, 14)),
	)
}

// unpacked lists what was unpacked, as "id name type content".
func unpacked(t *testing.T, m *pipeline.Message) []string {
	t.Helper()
	var list []string
	for _, a := range m.Content.Attachments {
		if a.Container != "" {
			b, err := io.ReadAll(a.Open())
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, strings.Join([]string{a.ID, a.Filename, a.ContentType, string(b)}, "|"))
		}
	}
	return list
}

func tnefMail(octets []byte) []byte {
	return append([]byte("Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: binary\r\n\r\n"), octets...)
}

func TestTNEFIsUnpacked(t *testing.T) {
	t.Parallel()
	m := run(t, newStage(t, Limits{}), tnefMail(sampleTNEF(t)))
	got := strings.Join(unpacked(t, m), "\n")
	want := "1.1|Привет.txt|application/octet-stream|one\n1.2|long näme.png|image/png|two\n" +
		"1.3|message.rtf|text/rtf|{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
	if got != want || len(m.Problems) > 0 {
		t.Errorf("got %q, want %q; problems %v", got, want, m.Problems)
	}
	if a := m.Content.Attachments[2]; a.SentName != "../long näme.png" || a.ContentID != "a@b" || a.Disposition != "inline" || a.Container != "1" {
		t.Errorf("%+v", a)
	}
}

func TestBrokenTNEFGivesWhatIsThere(t *testing.T) {
	t.Parallel()
	s := newStage(t, Limits{})
	whole := sampleTNEF(t)
	for n := range whole {
		m := run(t, s, tnefMail(whole[:n]))
		if c := m.Content; len(c.Attachments) == 0 || c.Attachments[0].Size != int64(n) {
			t.Fatalf("cut to %d octets: the container itself is not there: %v", n, c.Attachments)
		}
	}
	m := run(t, s, tnefMail(whole[:len(whole)-200]))
	if got := unpacked(t, m); len(got) == 0 || !hasProblem(m, noteContainerDamaged) {
		t.Errorf("got %q, problems %v", got, m.Problems)
	}
}

func TestUuencodedFilesAreUnpacked(t *testing.T) {
	t.Parallel()
	block := "begin 644 hello.txt\r\n-:&5L;&\\@=V]R;&0A\"@``\r\n`\r\nend\r\n"
	s := newStage(t, Limits{})
	m := run(t, s, []byte("Subject: x\r\n\r\nbegin at once\r\n\r\n"+block+"after\r\nbegin 644 broken\r\n~~~\r\nend\r\n"))
	if got := unpacked(t, m); len(got) != 1 || got[0] != "1.1|hello.txt|text/plain|hello world!\n" {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(m.Content.Text, "begin 644 hello.txt") {
		t.Errorf("the text was changed: %q", m.Content.Text)
	}
	m = run(t, s, []byte("Content-Type: image/png\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n"+block))
	b, err := io.ReadAll(m.Content.Attachments[0].Open())
	if err != nil || string(b) != "hello world!\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func FuzzTNEF(f *testing.F) {
	f.Add(sampleTNEF(f))
	addCorpus(f, "tnef", ".tnef", func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := readTNEF(b)
		total := 0
		for _, p := range files {
			total += len(p.octets)
		}
		// RTF grows 8.5-fold at most, a Unicode body by half.
		if total > 10*len(b)+100 {
			t.Errorf("%d octets became %d, error %v", len(b), total, err)
		}
		fuzzMail(t, Limits{}, tnefMail(b))
	})
}

func FuzzUuencode(f *testing.F) {
	f.Add("begin 644 a\n#0V%T\n`\nend\n")
	f.Fuzz(func(t *testing.T, s string) {
		fuzzMail(t, Limits{}, []byte("\r\n"+s))
		fuzzMail(t, Limits{}, []byte("Content-Transfer-Encoding: uuencode\r\n\r\n"+s))
	})
}
