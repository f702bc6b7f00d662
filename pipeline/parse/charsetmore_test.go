package parse

import (
	"strings"
	"testing"
)

func TestCharsetsThatNobodyElseReads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ label, octets, want string }{
		{"viscii", "Ti\xaang Vi\xaet \x02\xff", "Tiếng Việt ẲỮ"},
		{"iso-2022-cn", "a\x1b$)A\x0e=;;;\x0fb\n", "a交换b\n"},
		{"ISO-2022-CN", "\x1b$)G\x0e!!\x0f\x1b$*H\x1bN!!c", "\uFFFD\uFFFDc"},
		{"iso-2022-cn", "\x1b$)A\x0e=;\n=;", "交\n=;"},
	} {
		if got := decodeText(c.label, []byte(c.octets)); got.text != c.want {
			t.Errorf("%s %q: %q, want %q", c.label, c.octets, got.text, c.want)
		}
	}
}

func TestCharsetNamesAreReadLoosely(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{
		"UTF-8N": "utf-8", "cp-1252": "windows-1252", "win-1251": "windows-1251", "windows1251": "windows-1251", "Windows_1250": "windows-1250",
		"koi8r": "koi8-r", "iso-88591": "windows-1252", "iso_8859_15": "iso-8859-15", "ISO-8859-1-i": "windows-1252", "gb-2312": "gbk", "gb18030-2000": "gb18030",
		"big-5": "big5", "big5-hkscs:2004": "big5", "euc_jp": "euc-jp", "eucJP-ms": "euc-jp", "_iso-2022-jp$sio": "iso-2022-jp", "tis620": "windows-874",
		"us-ascii//translit": "utf-8", "macroman": "macintosh",
	} {
		if got, ok := lookupCharset(label); !ok || got.name != want {
			t.Errorf("%s is %q, want %q", label, got.name, want)
		}
	}
	for _, label := range []string{"x-unknown", "8bit", "default", "iso-8859-99", "win", "125", "windows-12", strings.Repeat("utf8", 40)} {
		if got, ok := lookupCharset(label); ok {
			t.Errorf("%s is %q", label, got.name)
		}
	}
}

func TestPiecesOfAMessageAreKeptAndNamed(t *testing.T) {
	t.Parallel()
	m := run(t, newStage(t, Limits{}), mail("Content-Type: message/partial; id=\"abc@example.org\"; number=2; total=3", "second piece\r\n"))
	c := m.Content
	if len(c.Attachments) != 1 || c.Attachments[0].ContentType != "message/partial" || c.Attachments[0].Size != 14 {
		t.Errorf("%+v", c.Attachments)
	}
	if !hasProblem(m, noteFragment) || !strings.Contains(m.Problems[0].Detail, `piece 2 of 3, id "abc@example.org"`) {
		t.Errorf("%v", m.Problems)
	}
}
