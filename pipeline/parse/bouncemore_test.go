package parse

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

// bounced reads a text as one that a mail system sent under the null reverse-path.
func bounced(t *testing.T, from, subject, text string) *pipeline.Content {
	t.Helper()
	m := &pipeline.Message{Raw: []byte("From: " + from + "\r\nTo: me@example.org\r\nSubject: " + subject + "\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text)}
	if err := newStage(t, Limits{}).Run(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	checkInvariants(t, m)
	return m.Content
}

func TestProseBouncesNameTheirRecipients(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from, subject, text string
		want                []string // address, original address, status
	}{
		"transcript of replies": {
			"MAILER-DAEMON@example.com", "Returned mail: User unknown",
			"While talking to mx.example.net:\n>>> MAIL From:<me@example.org>\n<<< 501 <me@example.org>... no access\n554 <a@example.net>... Remote protocol error\n" +
				"550 5.1.1 <b@example.net>... User unknown\n<<< 550 5.1.1 <b@example.net>... User unknown\n",
			[]string{"a@example.net", "", "5.0.0", "b@example.net", "", "5.1.1"},
		},
		"expansion": {
			"Mail Delivery System <Mailer-Daemon@example.com>", "Mail delivery failed",
			"The following address(es) failed:\n\n  a@example.net\n    (generated from list@example.org)\n    550 5.7.1 no\n",
			[]string{"a@example.net", "list@example.org", "5.7.1"},
		},
		"text right behind the address": {
			"mailer-daemon@example.com", "Delivery Status Notification (Failure)", "me@example.org您好，\n\na@example.com您找的群組不存在 550 5.1.1\n",
			[]string{"a@example.com", "", "5.1.1"},
		},
		"no system and no subject, but the null reverse-path and a phrase": {
			"no-reply@example.jp", "Mail", "Your mail could not be delivered to: <a@example.jp>\nAs their mailbox is full.\n",
			[]string{"a@example.jp", "", ""},
		},
		"German": {
			"Postmaster@example.de", "Unzustellbar: Hallo", "Ihre Nachricht konnte nicht zugestellt werden.\n\na@example.de\n550 5.1.10 unbekannt\n",
			[]string{"a@example.de", "", "5.1.10"},
		},
		"Japanese": {
			"post_master@example.jp", "=?utf-8?B?44Ko44Op44O8?=", "メールを送信できませんでした\n<a@example.jp>\n550 unknown\n",
			[]string{"a@example.jp", "", "5.0.0"},
		},
	} {
		b := bounced(t, c.from, c.subject, c.text)
		if b.Kind != pipeline.KindBounce || b.Bounce == nil {
			t.Errorf("%s: kind %s", name, b.Kind)
			continue
		}
		var got []string
		for _, r := range b.Bounce.Recipients {
			got = append(got, r.Address, r.OriginalAddress, r.Status)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestFailedRecipientsFieldHasAllOfThem(t *testing.T) {
	t.Parallel()
	c := bounced(t, "mailer-daemon@example.com\r\nX-Failed-Recipients: final@example.net", "Mail delivery failed",
		"The following address(es) failed:\n\n  alias@example.com\n    550 5.7.0 Header error\n")
	want := []pipeline.BounceRecipient{{Address: "final@example.net", OriginalAddress: "alias@example.com", Action: "failed", Status: "5.7.0", Diagnostic: "550 5.7.0 Header error"}}
	if diff := cmp.Diff(want, c.Bounce.Recipients); diff != "" {
		t.Error(diff)
	}
}

func TestProseBouncesShowTheOriginal(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"behind a line that says so":   "<a@example.net>: 550 no\n\n--- Below this line is a copy of the message.\n\nReceived: by x\nX-Long: abc\ndefghi\nFrom: me@example.org\nSubject: Printer\nMessage-ID: <1@example.org>\n\nbody",
		"a header without such a line": "550 <a@example.net>... User unknown\n\nFrom: me@example.org\nTo: a@example.net\nSubject: Printer\nMessage-ID: <1@example.org>\n\nbody",
		"described":                    "Your message\n\n  To:      a@example.net\n  Subject: Printer\n  Sent:    Thu, 29 Apr 2010 00:00:00 -0000\n\ndid not reach the following recipient(s):\n\na@example.net on Thu\n   unknown\n",
	} {
		b := bounced(t, "MAILER-DAEMON@example.com", "Undeliverable", text).Bounce
		if b == nil || b.Original == nil || b.Original.Subject != "Printer" {
			t.Errorf("%s: %+v", name, b)
		} else if name != "described" && b.Original.MessageID != "<1@example.org>" {
			t.Errorf("%s: %+v", name, b.Original)
		}
	}
	raw := "From: MAILER-DAEMON@example.com\r\nSubject: Returned mail\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n<a@example.net>: 550 no\r\n" +
		"--b\r\nFrom: me@example.org\r\nTo: a@example.net\r\nSubject: Printer\r\n\r\nbody\r\n--b--\r\n"
	if b := run(t, newStage(t, Limits{}), []byte(raw)).Content.Bounce; b == nil || b.Original == nil || b.Original.Subject != "Printer" {
		t.Errorf("in place of a part: %+v", b)
	}
}

func TestSubjectsOfAutomaticRepliesInManyLanguages(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"Automatic reply: Printer", "Out of Office: Printer", "Automatische Antwort: Drucker", "Réponse automatique : x", "Respuesta automática: x",
		"Risposta automatica: x", "Resposta automática: x", "Automatisch antwoord: x", "Automatiskt svar: x", "Automaattinen vastaus: x",
		"Автоматический ответ: x", "自動返信: x", "自动答复: x", "자동 회신: x", "Otomatik yanıt: x",
	} {
		if c := bounced(t, "a@example.net", s, "I am away.\n"); c.Kind != pipeline.KindAutoReply || c.AutoReply.Reason != "subject" {
			t.Errorf("%q: kind %s, %+v", s, c.Kind, c.AutoReply)
		}
		// Who may be answered is a person that writes about it.
		if m := run(t, newStage(t, Limits{}), []byte("From: a@example.net\r\nSubject: "+s+"\r\n\r\nx")); m.Content.Kind != pipeline.KindMail {
			t.Errorf("%q with a reverse-path: kind %s", s, m.Content.Kind)
		}
	}
	if c := bounced(t, "a@example.net", "Re: Automatic reply: Printer", "x"); c.Kind != pipeline.KindMail {
		t.Errorf("an answer to one: kind %s", c.Kind)
	}
}

func TestSESNotificationsAreRead(t *testing.T) {
	t.Parallel()
	const from = "AWS Notifications <no-reply@sns.amazonaws.com>"
	mail := `"mail":{"source":"me@example.org","commonHeaders":{"from":["me@example.org"],"to":["a@example.net"],"subject":"Printer","messageId":"<1@example.org>"}}}`
	tail := "\n\n--\nIf you wish to stop receiving notifications ..."
	c := bounced(t, from, "AWS Notification Message", `{"notificationType":"Bounce","bounce":{"bounceType":"Permanent","bouncedRecipients":[{"emailAddress":"a@example.net",`+
		`"action":"failed","status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 unk`+"!\n "+`nown"}],"reportingMTA":"dsn; mx.example"},`+mail+tail)
	if c.Kind != pipeline.KindBounce {
		t.Fatalf("kind %s", c.Kind)
	}
	want := []pipeline.BounceRecipient{{Address: "a@example.net", Action: "failed", Status: "5.1.1", Diagnostic: "550 5.1.1 unknown"}}
	if diff := cmp.Diff(want, c.Bounce.Recipients); diff != "" || c.Bounce.ReportingMTA != "mx.example" || c.Bounce.Original.MessageID != "<1@example.org>" {
		t.Errorf("%s%+v", diff, c.Bounce)
	}
	c = bounced(t, from, "x", `{"notificationType":"Complaint","complaint":{"complainedRecipients":[{"emailAddress":"a@example.net"}],"userAgent":"x/1"},`+mail+tail)
	if c.Kind != pipeline.KindComplaint || c.Complaint.FeedbackType != "abuse" || c.Complaint.Recipients[0] != "a@example.net" || c.Complaint.Original.Subject != "Printer" {
		t.Errorf("complaint: %s %+v", c.Kind, c.Complaint)
	}
	wrapped := `{"Type":"Notification","Message":"{\"notificationType\":\"Delivery\",\"delivery\":{\"recipients\":[\"a@example.net\"],\"smtpResponse\":\"250 2.6.0 ok\"},\"mail\":{}}"}`
	if c = bounced(t, from, "x", wrapped); c.Kind != pipeline.KindBounce || c.Bounce.Recipients[0].Action != "delivered" || c.Bounce.Recipients[0].Status != "2.6.0" {
		t.Errorf("delivery: %s %+v", c.Kind, c.Bounce)
	}
	for _, text := range []string{"{", `{"a":1}`, `{"notificationType":"Other"}`, "Hello", `{"Message":"no JSON"}`} {
		if c = bounced(t, from, "x", text); c.Kind != pipeline.KindMail {
			t.Errorf("%q: kind %s", text, c.Kind)
		}
	}
}

func TestFailureReportsInProseAreComplaints(t *testing.T) {
	t.Parallel()
	c := bounced(t, "no-reply@example.net", "DMARC Forensic Report for example.org from IP 192.0.2.1",
		"  Sender Domain: example.org\n  Sender IP Address: 192.0.2.1\n  Received date: Mon, 07 Apr 2025 23:16:09 +0200\n\n"+
			"------ This is a copy of the headers that were received\n\nFrom: me@example.org\nTo: a@example.net\nSubject: Printer\n")
	r := c.Complaint
	if c.Kind != pipeline.KindComplaint || r.FeedbackType != "auth-failure" || r.AuthFailure != "dmarc" || r.SourceIP != "192.0.2.1" ||
		r.ReportedDomains[0] != "example.org" || r.ArrivalDate.IsZero() || r.Original == nil || r.Original.Subject != "Printer" {
		t.Errorf("%s %+v", c.Kind, r)
	}
}

func TestReportsAreRecognisedUnderOtherSubjectsAndTypes(t *testing.T) {
	t.Parallel()
	s := newStage(t, Limits{})
	report := func(subject, typ, name, content string) *pipeline.Content {
		return run(t, s, append([]byte("Subject: "+subject+"\r\n"), reportMail(typ, name, content)...)).Content
	}
	if c := report("Dmarc Aggregate Report for example.org", "application/gzip", "report.xml.gz", gzipped(t, gzipped(t, dmarcXML))); c.Kind != pipeline.KindDMARCReport || c.DMARCReport == nil {
		t.Errorf("packed twice, no usual name: %s %+v", c.Kind, c.DMARCReport)
	}
	tls := `{"organization-name":"X","report-id":"7","policies":[{"policy":{"policy-type":"sts","policy-domain":"example.org"}}]}`
	if c := report("x", "application/gzip", "a.example!example.org!1470013207!1470186007!001.json.gz", gzipped(t, tls)); c.Kind != pipeline.KindTLSReport || c.TLSReport == nil {
		t.Errorf("TLS report as a plain archive: %s %+v", c.Kind, c.TLSReport)
	}
}
