package parse

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAddressListIsReadTolerantly(t *testing.T) {
	t.Parallel()
	// name and address
	type list = [][2]string
	for _, c := range []struct {
		in   string
		want list
	}{
		{"", nil},
		{" , ;,", nil},
		{"a@example.org", list{{"", "a@example.org"}}},
		{"A <a@example.org>", list{{"A", "a@example.org"}}},
		{"A<a@example.org>,B<b@example.org>", list{{"A", "a@example.org"}, {"B", "b@example.org"}}},
		{`"A, B" <a@example.org>; c@example.org`, list{{"A, B", "a@example.org"}, {"", "c@example.org"}}},
		{`"A \"x\" \\" <a@example.org>`, list{{`A "x" \`, "a@example.org"}}},
		{"A (comment (nested)) <a@example.org>", list{{"A", "a@example.org"}}},
		{"a@example.org (A. Name)", list{{"A. Name", "a@example.org"}}},
		{"a(c)@(d)example.org", list{{"c d", "a@example.org"}}},
		{"A <a@example.org", list{{"A", "a@example.org"}}},
		{"a@example.org>", list{{"", "a@example.org"}}},
		{"A a@example.org", list{{"A", "a@example.org"}}},
		{"<>", nil},
		{"nobody", list{{"", "nobody"}}},
		{"Two Words", list{{"Two Words", ""}}},
		{"bad entry, good@example.org", list{{"bad entry", ""}, {"", "good@example.org"}}},
		{"undisclosed-recipients:;", nil},
		{"Undisclosed recipients: ;", nil},
		{"undisclosed-recipients", nil},
		{"team: a@example.org, B <b@example.org>; c@example.org", list{{"", "a@example.org"}, {"B", "b@example.org"}, {"", "c@example.org"}}},
		{"<@x.example,@y.example:a@example.org>", list{{"", "a@example.org"}}},
		{"<mailto:a@example.org>", list{{"", "a@example.org"}}},
		{"'a@example.org'", list{{"", "a@example.org"}}},
		{`"a@example.org" <a@example.org>`, list{{"a@example.org", "a@example.org"}}},
		{`"john doe"@example.org`, list{{"", `"john doe"@example.org`}}},
		{"a..b.@docomo.example", list{{"", "a..b.@docomo.example"}}},
		{"a @ example . org", list{{"", "a@example.org"}}},
		{"=?utf-8?q?J=C3=BC,_x?= <j@example.org>", list{{"Jü, x", "j@example.org"}}},
		{`"=?utf-8?q?J=C3=BC?=" <j@example.org>`, list{{"Jü", "j@example.org"}}},
		{"=?utf-8?q?J_<j@example.org>?=", list{{"J", "j@example.org"}}},
		{"=?utf-8?q?a?=\r\n =?utf-8?q?b?= <j@example.org>", list{{"ab", "j@example.org"}}},
		{"J\xfc <j@example.org>", list{{"Jü", "j@example.org"}}},
		{"Jü <jü@exämple.org>", list{{"Jü", "jü@exämple.org"}}},
		{"B <b@x.example> C <c@x.example>", list{{"B", "b@x.example"}, {"C", "c@x.example"}}},
		{"b@x.example c@x.example", list{{"", "b@x.example"}, {"", "c@x.example"}}},
		{"Fwd <fwd> B <b@x.example>", list{{"Fwd fwd B", "b@x.example"}}},
		{"B <b@x.example> <b>", list{{"B b", "b@x.example"}}},
		{"=?utf-8?q?a?= <a@x.example>, =?utf-8?q?b <b@x.example>, =?utf-8?q?c?= <c@x.example>", list{{"a", "a@x.example"}, {"=?utf-8?q?b", "b@x.example"}, {"c", "c@x.example"}}},
		{`"open <a@example.org>, b@example.org`, list{{"open", "a@example.org"}, {"", "b@example.org"}}},
		{"(open <a@example.org>, b@example.org", list{{"(open", "a@example.org"}, {"", "b@example.org"}}},
	} {
		n := &notes{max: 10}
		var got list
		for _, a := range (words{notes: n, where: "To"}).addresses([]byte(c.in)) {
			got = append(got, [2]string{a.Name, a.Address})
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, d)
		}
	}
}

func TestDatesOfAllKinds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"Sat, 21 Nov 2026 10:00:00 +0100", "2026-11-21T10:00:00+01:00"},
		{"21 Nov 2026 10:00 -0530", "2026-11-21T10:00:00-05:30"},
		{"Sat, 21 Nov 2026 10:00:00 GMT", "2026-11-21T10:00:00Z"},
		{"Sat, 21 Nov 2026 10:00:00 EST (Eastern)", "2026-11-21T10:00:00-05:00"},
		{"Sat, 21 Nov 2026 10:00:00 GMT+0200", "2026-11-21T10:00:00+02:00"},
		{"Sat, 21 Nov 2026 10:00:00 +02:00", "2026-11-21T10:00:00+02:00"},
		{"Sat, 21 Nov 26 10:00:00 +0000", "2026-11-21T10:00:00Z"},
		{"Sat, 21 Nov 98 10:00:00", "1998-11-21T10:00:00Z"},
		{"Sat, 21 Nov 126 10:00:00 +0000", "2026-11-21T10:00:00Z"},
		{"Sat Nov 21 10:00:00 2026", "2026-11-21T10:00:00Z"},
		{"Sat Nov 21 10:00:00 PST 2026", "2026-11-21T10:00:00-08:00"},
		{"Saturday, November 21, 2026 9:05 PM", "2026-11-21T21:05:00Z"},
		{"21-Nov-2026 10:00:00", "2026-11-21T10:00:00Z"},
		{"2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"},
		{"2026-11-21 10:00:00 +0100", "2026-11-21T10:00:00+01:00"},
		{"Sat,21 Nov 2026 10:00:00 +0100", "2026-11-21T10:00:00+01:00"},
		{"Sat, 21 Nov 2026 10:00:00 0000", "2026-11-21T10:00:00Z"},
		{"yesterday", ""},
		{"", ""},
		{"-", ""},
		{"32 Nov 2026", ""},
		{"21 Nov 99999 10:00", ""},
	} {
		d, ok := parseDate(c.in)
		got := ""
		if ok {
			got = d.Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestMessageIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"<a@b>", []string{"<a@b>"}},
		{"<a@b> <c@d>", []string{"<a@b>", "<c@d>"}},
		{"<a@b><c@d", []string{"<a@b>", "<c@d>"}},
		{"<a <b@c>", []string{"<a>", "<b@c>"}},
		{"Message from x of Friday <a@b>", []string{"<a@b>"}},
		{"a@b, c@d", []string{"<a@b>", "<c@d>"}},
		{"<a@ b>", []string{"<a@b>"}},
		{"<>", nil},
		{"words only", nil},
	} {
		if d := cmp.Diff(c.want, messageIDs(c.in)); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, d)
		}
	}
}

func TestEncodedWordsAsInTheWild(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"=?utf-8?Q?a_b?=", "a b"},
		{"=?utf-8?Q?a b?=", "a b"},
		{"=?utf-8?Q?a?b?=", "a?b"},
		{"=?utf-8?Q?=3D=3d=?=", "==="},
		{"=?UTF-8*de?b?w7w?=", "ü"},
		{"=?utf-8?B?w7w=?= =?utf-8?B?w7w=?=", "üü"},
		{"=?utf-8?B?w7w=?==?utf-8?B?w7w=?=", "üü"},
		{"=?utf-8?B?ww==?=\t=?utf-8?B?vA==?=", "ü"},
		{"=?utf-8?Q?=C3?= =?UTF-8?Q?=BC?=", "ü"},
		{"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?= =?iso-2022-jp?B?GyRCOGwbKEI=?=", "日本語"},
		{"=?gb2312?B?1tDOxA==?= =?utf-8?Q?x?=", "中文x"},
		{"a =?utf-8?Q?b?= c", "a b c"},
		{"(=?utf-8?Q?b?=)", "(b)"},
		{"=?utf-8?Q??=", ""},
		{"=?x-none?Q?abc?=", "abc"},
		{"=?x-none?Q?=FF?= =?x-none?Q?=FE?=", "=?x-none?Q?=FF?= =?x-none?Q?=FE?="},
		{"=?utf-8?Z?abc?= =?utf-8?Q?d?=", "=?utf-8?Z?abc?= d"},
		{"=?utf-8?Q?abc", "=?utf-8?Q?abc"},
		{"=?broken =?utf-8?Q?b?=", "=?broken b"},
		{"gr\xfc\xdf", "grüß"},
		{"grüß", "grüß"},
		{"=?utf-8?B?!!!?=", ""},
	} {
		n := &notes{max: 10}
		if got := (words{notes: n, where: "Subject"}).decode([]byte(c.in)); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestStructuredFieldsAreReadTolerantly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, typ, params string }{
		{"text/plain", "text/plain", ""},
		{"TEXT/Plain; Charset=UTF-8", "text/plain", "charset=UTF-8"},
		{"text/plain;charset=utf-8;format=flowed;", "text/plain", "charset=utf-8 format=flowed"},
		{"text/plain charset=utf-8", "text/plain", "charset=utf-8"},
		{"text/plain; charset=utf-8 name=x", "text/plain", "charset=utf-8 name=x"},
		{"text/plain (c); (d) charset = \"utf-8\" (e)", "text/plain", "charset=utf-8"},
		{`"text/plain"; a=b`, "text/plain", "a=b"},
		{`a/b; name="x;y=\"z\""`, "a/b", `name=x;y="z"`},
		{`a/b; name="c:\dir\x.txt"`, "a/b", `name=c:\dir\x.txt`},
		{`a/b; name="open; q=r`, "a/b", "name=open q=r"},
		{"a/b; name=x y z; q=r", "a/b", "name=x y z q=r"},
		{"a/b; junk; q=r", "a/b", "q=r"},
		{"a/b;\r\n\tq=\r\n\tr", "a/b", "q=r"},
		{"charset=utf-8", "", "charset=utf-8"},
		{"text/html; charset=\"utf-8\"; charset=x", "text/html", "charset=utf-8 charset=x"},
		{"a/b, q=r", "a/b", "q=r"},
		{"", "", ""},
	} {
		m, _ := parseMedia([]byte(c.in), 64)
		var ps []string
		for _, p := range m.params {
			ps = append(ps, p.name+"="+string(p.value))
		}
		if got := strings.Join(ps, " "); m.typ != c.typ || got != c.params {
			t.Errorf("%q: got %q with %q, want %q with %q", c.in, m.typ, got, c.typ, c.params)
		}
	}
}

func TestTypesAreRepaired(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"text/plain": "text/plain", "text": "text/plain", "html": "text/html", "text/": "text/plain", "a/b/c": "a/b", "application-x-gzip": "application/octet-stream",
		"image": "application/octet-stream", "multipart": "multipart/mixed", "message": "message/rfc822", "/": "", "junk": "", "te\xffxt/<html>": "text/html", "a=b/c\x00": "ab/c",
		strings.Repeat("a", 300) + "/b": strings.Repeat("a", 127) + "/b", "": "",
	} {
		if got := repairType(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestFilenamesAreClean(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 200)
	for in, want := range map[string]string{
		"a.pdf": "a.pdf", "../../etc/passwd": "passwd", `..\..\x`: "x", "/etc/passwd": "passwd", `C:\x\y.doc`: "y.doc", "1/2.pdf": "1_2.pdf",
		"a\x00b.txt": "ab.txt", "a\r\nb.txt": "ab.txt", ".": "", "..": "", "...": "", ".htaccess": "htaccess", "a..b": "a.b", " a ": "a", "a.txt. ": "a.txt",
		"\u202egpj.exe": "gpj.exe", "dir/": "dir_", "/": "", long + ".pdf": strings.Repeat("ü", 125) + ".pdf",
		"con": "_con", "NUL.txt": "_NUL.txt", "com1.tar.gz": "_com1.tar.gz", "LPT9 .x": "_LPT9 .x", "console": "console", "com": "com", "comx.txt": "comx.txt",
	} {
		if got := cleanFilename(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
