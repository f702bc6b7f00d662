package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mxhook/pipeline"
)

// playReports judges complaints and aggregate reports, those in mails and those that lie there as files.
func playReports(dir string, b *board) error {
	r, err := newReader()
	if err != nil {
		return err
	}
	return walk(dir, "reports", "", func(path, corpus, name string) error {
		var m *pipeline.Message
		switch filepath.Ext(path) {
		case ".eml":
			m, err = r.file(path, "reporter@example.org")
		case ".xml":
			m, err = attachedReport(r, path, "application/xml", "a!b!1!2.xml")
		case ".json":
			if exists(strings.TrimSuffix(path, ".json")+".eml") || exists(strings.TrimSuffix(path, ".json")+".xml") {
				return nil
			}
			m, err = attachedReport(r, path, "application/tlsrpt+json", "a!b!1!2.json")
		default:
			return nil
		}
		if err != nil {
			return err
		}
		judgeReport(b, corpus, name, m)
		if r := m.Content.DMARCReport; r != nil {
			return judgeDMARCGold(b, corpus, name, strings.TrimSuffix(path, filepath.Ext(path))+".json", r)
		}
		return nil
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// attachedReport reads a file as if it came in a mail.
func attachedReport(r *reader, path, typ, filename string) (*pipeline.Message, error) {
	octets, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	head := "Content-Type: " + typ + "; name=\"" + filename + "\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	return r.read([]byte(head+base64.StdEncoding.EncodeToString(octets)), "reporter@example.org")
}

// judgeReport judges that a report of the kind that its folder names was read.
func judgeReport(b *board, corpus, name string, m *pipeline.Message) {
	c := m.Content
	kind, read := pipeline.KindComplaint, c.Complaint != nil && c.Complaint.FeedbackType != ""
	switch folder := filepath.Base(corpus); {
	case strings.HasPrefix(folder, "tlsrpt"):
		kind, read = pipeline.KindTLSReport, c.TLSReport != nil && len(c.TLSReport.Policies) > 0
	case strings.HasPrefix(folder, "dmarc-failure"):
	case strings.HasPrefix(folder, "dmarc"):
		kind, read = pipeline.KindDMARCReport, c.DMARCReport != nil && len(c.DMARCReport.Records) > 0
	}
	b.judge("reports", corpus, name, "kind", c.Kind == kind, "got %s, want %s", c.Kind, kind)
	b.judge("reports", corpus, name, "read", read, "problems %v", m.Problems)
}

// judgeDMARCGold compares an aggregate report with the one that its project read.
func judgeDMARCGold(b *board, corpus, name, gold string, got *pipeline.DMARCReport) error {
	var want struct {
		Metadata struct {
			Organization string `json:"org_name"`
			ReportID     string `json:"report_id"`
			Range        struct {
				Begin, End int64
			} `json:"date_range"`
		} `json:"report_metadata"`
		Policy struct {
			Domain, P string
		} `json:"policy_published"`
		Records []struct {
			Row struct {
				SourceIP string `json:"source_ip"`
				Count    int
			}
			Identifiers struct {
				HeaderFrom string `json:"header_from"`
			}
		} `json:"record"`
	}
	if ok, err := readJSON(gold, &want); err != nil || !ok {
		return err
	}
	same := func(field string, got, want any) {
		b.judge("reports", corpus, name, field, got == want, "got %v, want %v", got, want)
	}
	same("organization", got.Organization, want.Metadata.Organization)
	same("report_id", got.ReportID, want.Metadata.ReportID)
	same("begin", got.Begin, time.Unix(want.Metadata.Range.Begin, 0).UTC())
	same("end", got.End, time.Unix(want.Metadata.Range.End, 0).UTC())
	same("domain", got.Domain, want.Policy.Domain)
	same("policy", got.Policy, strings.ToLower(want.Policy.P))
	same("records", len(got.Records), len(want.Records))
	for i, w := range want.Records[:min(len(want.Records), len(got.Records))] {
		g := got.Records[i]
		same("record", g.SourceIP+" "+g.HeaderFrom, w.Row.SourceIP+" "+w.Identifiers.HeaderFrom)
		same("record", g.Count, w.Row.Count)
	}
	return nil
}
