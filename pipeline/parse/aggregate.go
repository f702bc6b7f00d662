package parse

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxhook/pipeline"
)

const (
	// aggregateBytes bounds an aggregate report as it is attached, aggregateUnpacked what it unpacks to.
	aggregateBytes    = 4 << 20
	aggregateUnpacked = 4 << 20
	// aggregateRecords bounds the records that a payload gets; the rest is counted.
	aggregateRecords = 1000
	// aggregateTexts bounds a list in a record, aggregateObjects and aggregateMembers what a TLS report may be made of.
	aggregateTexts   = 100
	aggregateObjects = 20_000
	aggregateStray   = 1000
	aggregateDepth   = 30
	aggregateMembers = 200_000
)

// aggregate returns the first attachment that read takes for the report of the message.
func aggregate[T any](rd *reading, c *pipeline.Content, types []string, read func([]byte) (*T, error)) *T {
	err := errors.New("no attachment has one")
	for _, a := range c.Attachments {
		if !hasType(types, a.ContentType) {
			continue
		}
		if a.Size > aggregateBytes {
			err = fmt.Errorf("attachment %s is over %d octets", a.ID, aggregateBytes)
			continue
		}
		b, readErr := io.ReadAll(a.Open())
		if readErr != nil {
			// The decoders have no errors.
			panic(readErr)
		}
		if b, readErr = unzip(b); readErr != nil {
			err = readErr
			continue
		}
		if again, readErr := unzip(b); readErr == nil {
			// Packed twice.
			b = again
		}
		r, readErr := read(b)
		if readErr != nil {
			err = readErr
			continue
		}
		if len(b) == aggregateUnpacked {
			rd.notes.add(noteReportUnreadable, a.ID, "only the first %d octets of the report were read", aggregateUnpacked)
		}
		return r
	}
	rd.notes.add(noteReportUnreadable, "", "%s: %v", c.Kind, err)
	return nil
}

func hasType(types []string, typ string) bool {
	for _, t := range types {
		if t == typ {
			return true
		}
	}
	return false
}

// unzip unpacks gzip and the first file of a zip archive, by what stands at the beginning; all else is passed on.
func unzip(b []byte) ([]byte, error) {
	var r io.Reader
	switch {
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("unpack report: %w", err)
		}
		r = z
	case bytes.HasPrefix(b, []byte("PK\x03\x04")):
		z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, fmt.Errorf("unpack report: %w", err)
		}
		if len(z.File) == 0 {
			return nil, errors.New("unpack report: the archive is empty")
		}
		at := max(0, slices.IndexFunc(z.File, func(f *zip.File) bool {
			name := strings.ToLower(f.Name)
			return strings.HasSuffix(name, ".xml") && !strings.HasPrefix(name, "__macosx")
		}))
		f, err := z.File[at].Open()
		if err != nil {
			return nil, fmt.Errorf("unpack report: %w", err)
		}
		defer f.Close()
		r = f
	default:
		return b, nil
	}
	out, err := io.ReadAll(io.LimitReader(r, aggregateUnpacked))
	if err != nil && len(out) == 0 {
		return nil, fmt.Errorf("unpack report: %w", err)
	}
	// A file that breaks off is read as far as it goes.
	return out, nil
}

// The elements of an aggregate report that are read (RFC 7489 appendix C, RFC 9990).
type (
	dmarcMetadata struct {
		Organization string `xml:"org_name"`
		Email        string `xml:"email"`
		ReportID     string `xml:"report_id"`
		Begin        string `xml:"date_range>begin"`
		End          string `xml:"date_range>end"`
	}
	dmarcPolicy struct {
		Domain string `xml:"domain"`
		P      string `xml:"p"`
		SP     string `xml:"sp"`
	}
	dmarcRow struct {
		SourceIP    string   `xml:"row>source_ip"`
		Count       string   `xml:"row>count"`
		Disposition string   `xml:"row>policy_evaluated>disposition"`
		DKIM        string   `xml:"row>policy_evaluated>dkim"`
		SPF         string   `xml:"row>policy_evaluated>spf"`
		Reasons     xmlTexts `xml:"row>policy_evaluated>reason>type"`
		HeaderFrom  string   `xml:"identifiers>header_from"`
		EnvFrom     string   `xml:"identifiers>envelope_from"`
		EnvTo       string   `xml:"identifiers>envelope_to"`
		DKIMDomains xmlTexts `xml:"auth_results>dkim>domain"`
		SPFDomains  xmlTexts `xml:"auth_results>spf>domain"`
	}
)

// readDMARC reads an aggregate report. Reporters write XML by hand: angle brackets that belong to no tag are taken for
// text, and what is not well-formed even then ends the report where it stands.
func readDMARC(b []byte) (*pipeline.DMARCReport, error) {
	b, err := escapeStray(b)
	if err != nil {
		return nil, err
	}
	return readDMARCXML(b)
}

// escapeStray escapes each "<" that begins no tag, such as that of an address. Text with many of them is no XML.
func escapeStray(b []byte) ([]byte, error) {
	out := make([]byte, 0, len(b)+64)
	for stray := 0; ; {
		i := bytes.IndexByte(b, '<')
		if i < 0 {
			return append(out, b...), nil
		}
		out = append(out, b[:i]...)
		if isTag(b[i:]) {
			out = append(out, '<')
		} else {
			if stray++; stray > aggregateStray {
				return nil, errors.New("read aggregate report: not XML")
			}
			out = append(out, "&lt;"...)
		}
		b = b[i+1:]
	}
}

// shallow passes on the tokens of a document up to a depth that no report has: a decoder keeps all that is open.
type shallow struct {
	d     *xml.Decoder
	depth int
}

// Token implements xml.TokenReader.
func (s *shallow) Token() (xml.Token, error) {
	tok, err := s.d.RawToken()
	switch tok.(type) {
	case xml.StartElement:
		s.depth++
	case xml.EndElement:
		s.depth--
	}
	if s.depth > aggregateDepth {
		return nil, errors.New("elements nest too deep")
	}
	return tok, err
}

// isTag reports whether b begins with a tag, a comment, a declaration or the like.
func isTag(b []byte) bool {
	if len(b) < 2 || b[1] == '!' || b[1] == '?' {
		return true
	}
	i := 1
	if b[1] == '/' {
		i++
	}
	name := i
	for i < len(b) && i < 256 && (isAlnum(b[i]) || isOneOf(b[i], "_:.-")) {
		i++
	}
	// A tag may have attributes, up to 1000 octets of them.
	rest := cutBytes(b[i:], 1000)
	return i > name && len(rest) > 0 && isOneOf(rest[0], "> /\t\r\n") && bytes.IndexByte(rest, '>') >= 0 && !isOneOf(rest[bytes.IndexAny(rest, "<>")], "<")
}

func readDMARCXML(b []byte) (*pipeline.DMARCReport, error) {
	raw := xml.NewDecoder(bytes.NewReader(b))
	raw.Strict = false
	raw.CharsetReader = func(label string, r io.Reader) (io.Reader, error) {
		octets, err := io.ReadAll(r)
		return strings.NewReader(decodeText(label, octets).text), err
	}
	d := xml.NewTokenDecoder(&shallow{d: raw})
	d.Strict = false
	r := &pipeline.DMARCReport{}
	found := false
	for {
		tok, err := d.Token()
		if err != nil {
			if !found {
				return nil, fmt.Errorf("read aggregate report: %w", err)
			}
			return r, nil
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "report_metadata":
			var m dmarcMetadata
			err = d.DecodeElement(&m, &start)
			r.Organization, r.Email, r.ReportID = clean(m.Organization), clean(m.Email), clean(m.ReportID)
			r.Begin, r.End = unixTime(m.Begin), unixTime(m.End)
			found = true
		case "policy_published":
			var p dmarcPolicy
			err = d.DecodeElement(&p, &start)
			r.Domain, r.Policy, r.SubdomainPolicy = clean(p.Domain), strings.ToLower(clean(p.P)), strings.ToLower(clean(p.SP))
			found = true
		case "record":
			if len(r.Records) == aggregateRecords {
				r.Omitted++
				err = d.Skip()
				break
			}
			var row dmarcRow
			err = d.DecodeElement(&row, &start)
			r.Records = append(r.Records, row.record())
			found = true
		}
		if err != nil && !found {
			return nil, fmt.Errorf("read aggregate report: %w", err)
		}
	}
}

// xmlTexts are the texts of elements that stand several times, as many as cleanAll keeps.
type xmlTexts []string

// UnmarshalXML implements xml.Unmarshaler.
func (ts *xmlTexts) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	if len(*ts) >= aggregateTexts {
		return d.Skip()
	}
	var s string
	err := d.DecodeElement(&s, &start)
	*ts = append(*ts, s)
	return err
}

func (r dmarcRow) record() pipeline.DMARCRecord {
	n, err := strconv.Atoi(clean(r.Count))
	if err != nil {
		n = 0
	}
	return pipeline.DMARCRecord{
		SourceIP: clean(r.SourceIP), Count: n,
		Disposition: strings.ToLower(clean(r.Disposition)), DKIM: strings.ToLower(clean(r.DKIM)), SPF: strings.ToLower(clean(r.SPF)),
		HeaderFrom: clean(r.HeaderFrom), EnvelopeFrom: clean(r.EnvFrom), Rcpt: clean(r.EnvTo),
		DKIMDomains: cleanAll(r.DKIMDomains), SPFDomains: cleanAll(r.SPFDomains), Reasons: cleanAll(r.Reasons),
	}
}

// clean keeps a value of a report to one line of valid text.
func clean(s string) string { return cut(oneLine(validUTF8(strings.TrimSpace(s))), 1000) }

// cleanAll cleans a list, up to aggregateTexts members of it, and drops what is empty.
func cleanAll(ss []string) []string {
	var out []string
	for _, s := range ss {
		if s = clean(s); s != "" && len(out) < aggregateTexts {
			out = append(out, s)
		}
	}
	return out
}

func unixTime(s string) time.Time {
	n, err := strconv.ParseInt(clean(s), 10, 64)
	if err != nil || n <= 0 || n > 253402300799 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

// readTLSReport reads a report of RFC 8460 4.4.
func readTLSReport(b []byte) (*pipeline.TLSReport, error) {
	var in struct {
		Organization string `json:"organization-name"`
		Range        struct {
			Start string `json:"start-datetime"`
			End   string `json:"end-datetime"`
		} `json:"date-range"`
		Contact  string `json:"contact-info"`
		ReportID string `json:"report-id"`
		Policies []struct {
			Policy struct {
				Type   string   `json:"policy-type"`
				Domain string   `json:"policy-domain"`
				MXHost oneOrAll `json:"mx-host"`
			} `json:"policy"`
			Summary struct {
				Successes int64 `json:"total-successful-session-count"`
				Failed    int64 `json:"total-failure-session-count"`
			} `json:"summary"`
			Failures []struct {
				Result      string `json:"result-type"`
				SendingIP   string `json:"sending-mta-ip"`
				ReceivingMX string `json:"receiving-mx-hostname"`
				ReceivingIP string `json:"receiving-ip"`
				Sessions    int64  `json:"failed-session-count"`
				Reason      string `json:"failure-reason-code"`
			} `json:"failure-details"`
		} `json:"policies"`
	}
	if bytes.Count(b, []byte("{")) > aggregateObjects || bytes.Count(b, []byte(",")) > aggregateMembers {
		return nil, errors.New("read TLS report: too many members")
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, fmt.Errorf("read TLS report: %w", err)
	}
	r := &pipeline.TLSReport{Organization: clean(in.Organization), Contact: clean(in.Contact), ReportID: clean(in.ReportID)}
	r.Begin, _ = parseDate(in.Range.Start)
	r.End, _ = parseDate(in.Range.End)
	for _, p := range in.Policies[:min(len(in.Policies), aggregateRecords)] {
		out := pipeline.TLSPolicy{
			Type: clean(p.Policy.Type), Domain: clean(p.Policy.Domain), MXHosts: cleanAll(p.Policy.MXHost),
			Successes: p.Summary.Successes, Failed: p.Summary.Failed,
		}
		for _, f := range p.Failures[:min(len(p.Failures), aggregateRecords)] {
			out.Failures = append(out.Failures, pipeline.TLSFailure{
				Result: clean(f.Result), SendingIP: clean(f.SendingIP), ReceivingMX: clean(f.ReceivingMX),
				ReceivingIP: clean(f.ReceivingIP), Reason: clean(f.Reason), Sessions: f.Sessions,
			})
		}
		r.Policies = append(r.Policies, out)
	}
	if r.Policies == nil && r.ReportID == "" {
		return nil, errors.New("read TLS report: neither an id nor policies")
	}
	return r, nil
}

// oneOrAll is a list that some reporters write as a string.
type oneOrAll []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *oneOrAll) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*l = oneOrAll{s}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(l))
}
