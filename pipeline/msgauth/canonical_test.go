package msgauth

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mxhook/pipeline"
)

// TestCanonicalFormsOfTheStandard holds the examples of RFC 6376 3.4.5.
func TestCanonicalFormsOfTheStandard(t *testing.T) {
	t.Parallel()
	const raw = "A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n"
	m := newSignedMail([]byte(raw))
	var relaxed, simple []byte
	for _, f := range m.fields {
		relaxed = appendRelaxedField(relaxed, f)
		simple = appendSimpleField(simple, f)
	}
	for _, c := range []struct{ name, got, want string }{
		{"relaxed header", string(relaxed), "a:X\r\nb:Y Z\r\n"},
		{"simple header", string(simple), "A: X\r\nB : Y\t\r\n\tZ  \r\n"},
		{"relaxed body", bodyForm(t, string(m.body), true), " C\r\nD E\r\n"},
		{"simple body", bodyForm(t, string(m.body), false), " C \r\nD \t E\r\n"},
		{"empty relaxed body", bodyForm(t, "\r\n\r\n", true), ""},
		{"empty simple body", bodyForm(t, "", false), "\r\n"},
		{"body without a line end", bodyForm(t, "x", false), "x\r\n"},
		{"body of blanks", bodyForm(t, " \t\r\n \r\n", true), ""},
		{"bare line feeds", bodyForm(t, "a \nb\n\n", true), "a\r\nb\r\n"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
}

func bodyForm(t testing.TB, body string, relaxed bool) string {
	t.Helper()
	var b bytes.Buffer
	if err := writeBody(&b, []byte(body), relaxed); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestSignaturesAgreeWithAnotherImplementation signs mails of random shape with every canonicalization elsewhere: what
// was signed there passes here, and what was changed after that passes here only if it passes there.
func TestSignaturesAgreeWithAnotherImplementation(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	passed, refused := 0, 0
	for i := range 400 {
		raw := randomMail(rnd)
		var b bytes.Buffer
		forms := []dkim.Canonicalization{dkim.CanonicalizationSimple, dkim.CanonicalizationRelaxed}
		err := dkim.Sign(&b, strings.NewReader(raw), &dkim.SignOptions{
			Domain: "example.org", Selector: "s1", Signer: testKeys().ed, HeaderKeys: []string{"From", "Subject", "X-A", "X-A", "Missing"},
			HeaderCanonicalization: forms[i%2], BodyCanonicalization: forms[i/2%2],
		})
		if err != nil {
			t.Fatal(err)
		}
		for n, mail := range []string{b.String(), mutate(rnd, b.String()), mutate(rnd, b.String())} {
			theirs := theirVerdict(t, mail)
			rs, _ := newStage(keyZone()).checkDKIM(t.Context(), []byte(mail), time.Now())
			ours := len(rs) == 1 && rs[0].result == pipeline.ResultPass
			if ours != theirs || n == 0 && !ours {
				t.Fatalf("mail %d, change %d: we say %v (%+v), they say %v:\n%q", i, n, ours, rs, theirs, mail)
			}
			if ours {
				passed++
			} else {
				refused++
			}
		}
	}
	if passed < 400 || refused < 100 {
		t.Errorf("%d passed, %d refused: the mails are not what they should be", passed, refused)
	}
}

func theirVerdict(t testing.TB, mail string) bool {
	t.Helper()
	z := keyZone()
	vs, err := dkim.VerifyWithOptions(strings.NewReader(mail), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return z.LookupTXT(context.Background(), name) },
	})
	return err == nil && len(vs) == 1 && vs[0].Err == nil
}

// randomMail makes a mail of lines full of blanks and of empty lines.
func randomMail(rnd *rand.Rand) string {
	text := func(alphabet string, n int) string {
		var b strings.Builder
		for range rnd.IntN(n) {
			b.WriteByte(alphabet[rnd.IntN(len(alphabet))])
		}
		return b.String()
	}
	var b strings.Builder
	b.WriteString("From: alice@example.org\r\nX-A:" + text(" \tab", 9) + "x\r\nSubject:" + text("a b", 9) + "\r\n\t" + text("c ", 5) + "y \r\nX-A: 2\r\n\r\n")
	for range rnd.IntN(8) {
		b.WriteString(text(" \tab.", 12) + strings.Repeat("\r\n", rnd.IntN(4)))
	}
	return b.String()
}

// mutate puts one octet in, takes one out or doubles it, anywhere behind the field of the signature.
func mutate(rnd *rand.Rand, mail string) string {
	start := strings.Index(mail, "From: ")
	i := start + rnd.IntN(len(mail)-start)
	if strings.ContainsRune("\r\n:", rune(mail[i])) {
		return mail
	}
	switch rnd.IntN(3) {
	case 0:
		return mail[:i] + " " + mail[i:]
	case 1:
		return mail[:i] + mail[i+1:]
	}
	return mail[:i] + mail[i:i+1] + mail[i:]
}

// FuzzDKIMSignature holds our verdict against another implementation's on whatever becomes of a signed mail.
func FuzzDKIMSignature(f *testing.F) {
	signed := sign(f, plainMail, dkim.SignOptions{})
	for _, raw := range []string{signed, signed + "\r\n", strings.Replace(signed, "relaxed/relaxed", "simple/simple", 1), strings.Replace(signed, "h=", "h=x:", 1), plainMail} {
		f.Add(raw)
	}
	s := newStage(keyZone())
	f.Fuzz(func(t *testing.T, mail string) {
		rs, _ := s.checkDKIM(t.Context(), []byte(mail), time.Now())
		for _, r := range rs {
			if r.result != pipeline.ResultPass {
				continue
			}
			if strings.Contains(strings.ReplaceAll(mail, "\r\n", ""), "\r") {
				return // a bare CR is a line end to them
			}
			if !theirVerdict(t, mail) {
				t.Fatalf("passes here only: %q", mail)
			}
		}
	})
}

// FuzzBody holds the canonical form of a body against one that is made line by line as the standard says it.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "a", "a\r\n\r\n", "a \r\n\r\nb\t\tc\r\n", "\n\na\n", "a  b\r\n\r\n \r\n\r\nc\r\n \r\n", "\r\n\r\na\r\r\n\r", strings.Repeat("x y\r\n", 3000) + " z", strings.Repeat("x  y\r\n", 3000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, relaxed := range []bool{false, true} {
			if got, want := bodyForm(t, string(body), relaxed), slowForm(string(body), relaxed); got != want {
				t.Errorf("relaxed %v of %q: %q, want %q", relaxed, body, got, want)
			}
		}
	})
}

func slowForm(body string, relaxed bool) string {
	lines := strings.Split(body, "\n")
	if lines[len(lines)-1] == "" { // behind the last line end there is no line
		lines = lines[:len(lines)-1]
	}
	for i, l := range lines {
		if i < len(lines)-1 || strings.HasSuffix(body, "\n") {
			l = strings.TrimSuffix(l, "\r")
		}
		if relaxed {
			for old := ""; old != l; {
				old, l = l, strings.NewReplacer("\t", " ", "  ", " ").Replace(l)
			}
			l = strings.TrimSuffix(l, " ")
		}
		lines[i] = l
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 && relaxed {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}
