package parse

import (
	"strings"
	"testing"

	"mxhook/pipeline"
)

func TestStatusIsFoundAmongOtherNumbers(t *testing.T) {
	t.Parallel()
	for s, want := range map[string][2]string{
		"550 5.1.1 <a@b>: no":                   {"5.1.1", "550"},
		"host mx[5.1.1.9] said: 554-5.7.1 spam": {"5.7.1", "554"},
		"Exim 4.92.3, code #4.4.7.":             {"4.92.3", ""},
		"5.1234.1 and 5.1 and 6.1.1":            {"", ""},
		"at 12:450:00 the 550th":                {"", ""},
		"":                                      {"", ""},
	} {
		if got := [2]string{statusIn(s), replyCodeIn(s)}; got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func TestAddressesAreFoundInLines(t *testing.T) {
	t.Parallel()
	for l, want := range map[string]struct {
		address string
		begins  bool
	}{
		"<bob@example.com>:":              {"bob@example.com", true},
		"  - bob+x@mail.example.com.":     {"bob+x@mail.example.com", true},
		"to: bob@example.com (failed)":    {"bob@example.com", false},
		"bob@localhost, carol@example.de": {"carol@example.de", false},
		"@ @@ a@":                         {"", true},
		strings.Repeat("x", 65) + "@a.b":  {"", true},
	} {
		address, offset := addressAt(l)
		if address != want.address || (offset == 0) != want.begins {
			t.Errorf("%q: %q at %d", l, address, offset)
		}
	}
}

// TestProseOfPeopleIsNoBounce holds that nobody's mail becomes a bounce because it speaks of one.
func TestProseOfPeopleIsNoBounce(t *testing.T) {
	t.Parallel()
	s := newStage(t, Limits{})
	m := run(t, s, []byte("From: bob@example.com\r\nSubject: undelivered mail\r\n\r\nYour mail could not be delivered to\r\ncarol@example.com\r\n"))
	if m.Content.Kind != "mail" || m.Content.Bounce != nil {
		t.Errorf("kind %s, bounce %v", m.Content.Kind, m.Content.Bounce)
	}
}

func FuzzDeliveryStatus(f *testing.F) {
	f.Add([]byte("Reporting-MTA: dns; a\n\nFinal-Recipient: rfc822; b@c\nAction: failed\nStatus: 5.0.0\n\nDiagnostic-Code: smtp; 550 x\n y\nz\n"))
	f.Add([]byte("<b@example.org>:\n550 no\n\nto: c@example.org failed\n"))
	addCorpus(f, "dsn", ".eml", func(b []byte) { f.Add(b[pipeline.HeaderEnd(b):]) })
	f.Fuzz(func(t *testing.T, b []byte) {
		head := "From: mailer-daemon@example.org\r\nSubject: undelivered\r\n"
		fuzzMail(t, Limits{}, append([]byte(head+"\r\n"), b...))
		fuzzMail(t, Limits{}, []byte(head+"Content-Type: multipart/report; report-type=delivery-status; boundary=A\r\n\r\n--A\r\nContent-Type: message/delivery-status\r\n\r\n"+string(b)))
	})
}
