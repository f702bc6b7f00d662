package parse

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"strings"
	"testing"

	"mxhook/pipeline"
)

const dmarcXML = `<?xml version="1.0" encoding="windows-1252"?><feedback>
<report_metadata><org_name>B` + "\xfc" + `cher</org_name><email><a@b></email><report_id>7</report_id><date_range><begin>1</begin><end>x</end></date_range></report_metadata>
<policy_published><domain>example.com</domain><p>Reject</p></policy_published>
<record><row><source_ip>192.0.2.1</source_ip><count>3</count><policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf><reason><type>forwarded</type></reason></policy_evaluated></row>
<identifiers><header_from>example.com</header_from></identifiers><auth_results><dkim><domain>d.example</domain></dkim></auth_results></record>
<record><row><count>many</count></row></record></feedback>`

// reportMail makes a mail of a report in an attachment.
func reportMail(typ, name, octets string) []byte {
	return []byte("Content-Type: " + typ + "; name=\"" + name + "\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wrap(base64.StdEncoding.EncodeToString([]byte(octets))))
}

func gzipped(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAggregateReportsAreRead(t *testing.T) {
	t.Parallel()
	s := newStage(t, Limits{})
	whole := gzipped(t, dmarcXML)
	for name, raw := range map[string][]byte{
		"plain":       reportMail("text/xml", "a!b!1!2.xml", dmarcXML),
		"gzip":        reportMail("application/octet-stream", "a!b!1!2.xml.gz", whole),
		"broken gzip": reportMail("application/gzip", "a!b!1!2.xml.gz", whole[:len(whole)-8]),
	} {
		r := run(t, s, raw).Content.DMARCReport
		if r == nil || r.Organization != "Bücher" || r.Email != "<a@b>" || r.Policy != "reject" || r.Begin.Unix() != 1 || !r.End.IsZero() {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		if len(r.Records) == 0 || r.Records[0].Count != 3 || r.Records[0].DKIM != "pass" || r.Records[0].DKIMDomains[0] != "d.example" || r.Records[0].Reasons[0] != "forwarded" {
			t.Errorf("%s: %+v", name, r.Records)
		}
	}
}

func TestAggregateReportsAreBounded(t *testing.T) {
	t.Parallel()
	s := newStage(t, Limits{})
	row := "<record><row><count>1</count></row></record>"
	m := run(t, s, reportMail("application/gzip", "a!b!1!2.xml.gz", gzipped(t, "<feedback>"+strings.Repeat(row, 1500)+"</feedback>")))
	if r := m.Content.DMARCReport; r == nil || len(r.Records) != 1000 || r.Omitted != 500 {
		t.Errorf("%d records, %d omitted", len(r.Records), r.Omitted)
	}
	m = run(t, s, reportMail("application/gzip", "a!b!1!2.xml.gz", gzipped(t, strings.Repeat(" ", 17<<20))))
	if m.Content.Kind != pipeline.KindDMARCReport || m.Content.DMARCReport != nil || !hasProblem(m, noteReportUnreadable) || len(m.Content.Attachments) != 1 {
		t.Errorf("a bomb gave %+v, problems %v", m.Content.DMARCReport, m.Problems)
	}
}

func TestTLSReportIsRead(t *testing.T) {
	t.Parallel()
	json := `{"organization-name":"X","date-range":{"start-datetime":"2016-04-01T00:00:00Z"},"report-id":"7","policies":[{"policy":
		{"policy-type":"sts","policy-domain":"example.com","mx-host":"*.example.com"},"summary":{"total-successful-session-count":5,
		"total-failure-session-count":2},"failure-details":[{"result-type":"certificate-expired","failed-session-count":2}]}]}`
	s := newStage(t, Limits{})
	r := run(t, s, reportMail("application/tlsrpt+gzip", "r.json.gz", gzipped(t, json))).Content.TLSReport
	if r == nil || r.Begin.Year() != 2016 || r.Policies[0].MXHosts[0] != "*.example.com" || r.Policies[0].Failures[0].Sessions != 2 {
		t.Errorf("%+v", r)
	}
	m := run(t, s, reportMail("application/tlsrpt+json", "r.json", "{}"))
	if m.Content.TLSReport != nil || !hasProblem(m, noteReportUnreadable) {
		t.Errorf("an empty object gave %+v", m.Content.TLSReport)
	}
}

func TestComplaintIsRead(t *testing.T) {
	t.Parallel()
	m := run(t, newStage(t, Limits{}), []byte(strings.ReplaceAll(`Subject: FW
Content-Type: multipart/report; report-type=feedback-report; boundary=A

--A
Content-Type: message/feedback-report

Feedback-Type: Abuse
User-Agent: Generator/1.0
Original-Mail-From: <news@example.com>
Original-Rcpt-To: <bob@example.org>
Original-Rcpt-To: <carol@example.org>
Arrival-Date: Sat, 21 Nov 2026 10:00:00 +0000
Source-IP: 192.0.2.1
Reported-Domain: example.com
--A
Content-Type: text/rfc822-headers

Message-ID: <1@example.com>
Subject: News
--A--
`, "\n", "\r\n")))
	c := m.Content.Complaint
	if c == nil || c.FeedbackType != "abuse" || c.MailFrom != "news@example.com" || len(c.Recipients) != 2 || c.SourceIP != "192.0.2.1" ||
		c.ArrivalDate.Hour() != 10 || c.Original == nil || c.Original.MessageID != "<1@example.com>" {
		t.Errorf("%+v", c)
	}
}

func FuzzReports(f *testing.F) {
	f.Add([]byte(dmarcXML))
	f.Add([]byte(gzipped(f, dmarcXML)))
	f.Add([]byte(`{"report-id":"7","policies":[{"policy":{"mx-host":["a"]}}]}`))
	f.Add([]byte("Feedback-Type: abuse\r\nUser-Agent: a/1\r\nVersion: 1\r\nOriginal-Rcpt-To: <a@b.c>\r\nReported-URI: http://a/\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzMail(t, Limits{}, []byte("Content-Type: multipart/report; report-type=feedback-report; boundary=A\r\n\r\n--A\r\nContent-Type: message/feedback-report\r\n\r\n"+string(b)))
		fuzzMail(t, Limits{}, reportMail("application/gzip", "a!b!1!2.xml.gz", string(b)))
		fuzzMail(t, Limits{}, reportMail("application/tlsrpt+gzip", "r.json.gz", string(b)))
	})
}
