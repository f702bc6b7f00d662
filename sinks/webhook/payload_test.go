package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldenCases are all samples, and the options on those samples where they matter.
func goldenCases() map[string]func(w io.Writer) error {
	cases := map[string]func(w io.Writer) error{}
	for _, s := range sinktest.Samples() {
		cases[s.Name] = func(w io.Writer) error { return EncodePayload(w, s.Delivery, PayloadOptions{Reply: true}) }
	}
	cases["08-raw"] = func(w io.Writer) error {
		return EncodePayload(w, sinktest.Samples()[0].Delivery, PayloadOptions{Raw: true})
	}
	cases["08b-links"] = func(w io.Writer) error {
		return EncodePayload(w, sinktest.Samples()[1].Delivery, PayloadOptions{Raw: true, InlineLimit: 10, Link: sampleLink})
	}
	cases["08c-over-the-limit"] = func(w io.Writer) error {
		return EncodePayload(w, sinktest.Samples()[1].Delivery, PayloadOptions{Raw: true, InlineLimit: 10})
	}
	cases["09-attachments-omitted"] = func(w io.Writer) error {
		return EncodePayload(w, sinktest.Samples()[1].Delivery, PayloadOptions{OmitAttachments: "in the .eml file"})
	}
	addKindCases(cases)
	return cases
}

func sampleLink(m *pipeline.Message, part string) string {
	return "https://mail.example.com/content/" + m.Envelope.ID + "/" + part + "?expires=1795555023&ref=MAIL-0%2F7&signature=c2lnbmF0dXJl"
}

// TestWhatIsAllThereIsGoesOut: a mail that could not be read has nothing else, so a limit without links does not keep it back.
func TestWhatIsAllThereIsGoesOut(t *testing.T) {
	t.Parallel()
	d := sinktest.Samples()[4].Delivery
	if d.Message.Content != nil {
		t.Fatal("the sample was parsed")
	}
	for _, o := range []PayloadOptions{{}, {InlineLimit: 1}, {InlineLimit: 1, Link: func(*pipeline.Message, string) string { return "" }}} {
		if r := newPayload(d, o).Data.Raw; r.Content == nil || r.URL != nil || r.Omitted != nil {
			t.Errorf("%+v: %+v", o, r)
		}
	}
	if r := newPayload(d, PayloadOptions{InlineLimit: 1, Link: sampleLink}).Data.Raw; r.Content != nil || r.URL == nil {
		t.Errorf("with a link: %+v", r)
	}
}

func TestReplyIsThereWhenAskedFor(t *testing.T) {
	t.Parallel()
	m := &pipeline.Message{Content: &pipeline.Content{TakeApart: func() *pipeline.Reply { return &pipeline.Reply{Text: "new"} }}}
	if r := newPayloadMessage(m, PayloadOptions{}).Reply; r != nil {
		t.Errorf("not asked for: %+v", r)
	}
	if r := newPayloadMessage(m, PayloadOptions{Reply: true}).Reply; r == nil || r.Text != "new" {
		t.Errorf("asked for: %+v", r)
	}
}

func TestPayloadIsAsPinned(t *testing.T) {
	t.Parallel()
	cases := goldenCases()
	for name, encode := range cases {
		var got bytes.Buffer
		if err := encode(&got); err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(got.Bytes()) {
			t.Errorf("%s: not valid UTF-8", name)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, got.Bytes(), "", "  "); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		pretty.WriteByte('\n')
		path := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(path, pretty.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	golden, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(golden) != len(cases) {
		t.Errorf("%d golden files for %d cases, %v", len(golden), len(cases), err)
	}
}

// contractFields are the fields of version 1, each of which must be in every payload that has its parent. "[]" stands
// for the members of a list.
var contractFields = []string{
	"type", "timestamp", "data",
	"data.version", "data.id", "data.delivery", "data.kind", "data.envelope", "data.auth", "data.message", "data.raw", "data.problems",
	"data.delivery.id", "data.delivery.sink", "data.delivery.rules", "data.delivery.attempt", "data.delivery.replay_of",
	"data.envelope.mail_from", "data.envelope.recipients", "data.envelope.helo", "data.envelope.smtputf8", "data.envelope.size",
	"data.envelope.received_at", "data.envelope.listener", "data.envelope.client",
	"data.envelope.recipients[].address", "data.envelope.recipients[].local", "data.envelope.recipients[].tag",
	"data.envelope.recipients[].domain", "data.envelope.recipients[].captures",
	"data.envelope.client.ip", "data.envelope.client.port", "data.envelope.client.name", "data.envelope.client.tls",
	"data.envelope.client.tls.version", "data.envelope.client.tls.cipher",
	"data.auth.sender", "data.auth.spf", "data.auth.dkim", "data.auth.dmarc", "data.auth.arc", "data.auth.iprev",
	"data.auth.sender.verified", "data.auth.sender.domain", "data.auth.sender.by",
	"data.auth.spf.result", "data.auth.spf.domain", "data.auth.spf.identity", "data.auth.spf.reason",
	"data.auth.dkim[].result", "data.auth.dkim[].domain", "data.auth.dkim[].selector", "data.auth.dkim[].algorithm",
	"data.auth.dkim[].aligned", "data.auth.dkim[].reason",
	"data.auth.dmarc.result", "data.auth.dmarc.domain", "data.auth.dmarc.policy", "data.auth.dmarc.spf_aligned",
	"data.auth.dmarc.dkim_aligned", "data.auth.arc.result", "data.auth.arc.sealers", "data.auth.arc.trusted",
	"data.auth.iprev.result", "data.auth.iprev.name",
	"data.message.message_id", "data.message.date", "data.message.subject", "data.message.from", "data.message.sender",
	"data.message.reply_to", "data.message.to", "data.message.cc", "data.message.bcc", "data.message.in_reply_to",
	"data.message.references", "data.message.headers", "data.message.text", "data.message.html", "data.message.reply",
	"data.message.attachments", "data.message.calendar", "data.message.from[].name", "data.message.from[].address",
	"data.message.sender.name", "data.message.sender.address", "data.message.headers[].name", "data.message.headers[].value",
	"data.message.attachments[].id", "data.message.attachments[].filename", "data.message.attachments[].content_type",
	"data.message.attachments[].disposition", "data.message.attachments[].content_id", "data.message.attachments[].size",
	"data.message.attachments[].sha256", "data.message.attachments[].content", "data.message.attachments[].url",
	"data.message.attachments[].omitted",
	"data.raw.size", "data.raw.sha256", "data.raw.content", "data.raw.url", "data.raw.omitted",
	"data.problems[].code", "data.problems[].where", "data.problems[].detail",
	"data.auto_reply",
	"data.bounce",
	"data.complaint",
	"data.dmarc_report",
	"data.tls_report",
	"data.auto_reply.reason",
	"data.auto_reply.original_message_id",
	"data.bounce.method",
	"data.bounce.reporting_mta",
	"data.bounce.recipients",
	"data.bounce.original",
	"data.bounce.recipients[].address",
	"data.bounce.recipients[].original_address",
	"data.bounce.recipients[].action",
	"data.bounce.recipients[].status",
	"data.bounce.recipients[].diagnostic",
	"data.bounce.recipients[].remote_mta",
	"data.bounce.original.message_id",
	"data.bounce.original.date",
	"data.bounce.original.subject",
	"data.bounce.original.from",
	"data.bounce.original.to",
	"data.bounce.original.headers",
	"data.complaint.feedback_type",
	"data.complaint.user_agent",
	"data.complaint.mail_from",
	"data.complaint.recipients",
	"data.complaint.source_ip",
	"data.complaint.arrival_date",
	"data.complaint.reported_domains",
	"data.complaint.reported_uris",
	"data.complaint.auth_failure",
	"data.complaint.original",
	"data.dmarc_report.organization",
	"data.dmarc_report.email",
	"data.dmarc_report.report_id",
	"data.dmarc_report.begin",
	"data.dmarc_report.end",
	"data.dmarc_report.domain",
	"data.dmarc_report.policy",
	"data.dmarc_report.subdomain_policy",
	"data.dmarc_report.records",
	"data.dmarc_report.records_omitted",
	"data.dmarc_report.records[].source_ip",
	"data.dmarc_report.records[].count",
	"data.dmarc_report.records[].disposition",
	"data.dmarc_report.records[].dkim",
	"data.dmarc_report.records[].spf",
	"data.dmarc_report.records[].header_from",
	"data.dmarc_report.records[].envelope_from",
	"data.dmarc_report.records[].envelope_to",
	"data.dmarc_report.records[].dkim_domains",
	"data.dmarc_report.records[].spf_domains",
	"data.dmarc_report.records[].reasons",
	"data.tls_report.organization",
	"data.tls_report.contact",
	"data.tls_report.report_id",
	"data.tls_report.begin",
	"data.tls_report.end",
	"data.tls_report.policies",
	"data.tls_report.policies[].type",
	"data.tls_report.policies[].domain",
	"data.tls_report.policies[].mx_hosts",
	"data.tls_report.policies[].successes",
	"data.tls_report.policies[].failed",
	"data.tls_report.policies[].failures",
	"data.tls_report.policies[].failures[].result",
	"data.tls_report.policies[].failures[].sending_ip",
	"data.tls_report.policies[].failures[].receiving_mx",
	"data.tls_report.policies[].failures[].receiving_ip",
	"data.tls_report.policies[].failures[].reason",
	"data.tls_report.policies[].failures[].sessions",
	"data.message.text_from",
	"data.message.list",
	"data.message.reply.text",
	"data.message.reply.quoted",
	"data.message.reply.signature",
	"data.message.reply.method",
	"data.message.list.id",
	"data.message.list.name",
	"data.message.list.unsubscribe",
	"data.message.list.one_click",
	"data.message.list.post",
	"data.message.list.archive",
	"data.message.list.help",
	"data.message.attachments[].original_filename",
	"data.message.attachments[].container",
	"data.message.attachments[].message",
	"data.message.attachments[].message.message_id",
	"data.message.attachments[].message.date",
	"data.message.attachments[].message.subject",
	"data.message.attachments[].message.from",
	"data.message.attachments[].message.to",
	"data.message.attachments[].message.cc",
	"data.message.calendar[].part",
	"data.message.calendar[].method",
	"data.message.calendar[].component",
	"data.message.calendar[].uid",
	"data.message.calendar[].sequence",
	"data.message.calendar[].status",
	"data.message.calendar[].summary",
	"data.message.calendar[].description",
	"data.message.calendar[].location",
	"data.message.calendar[].url",
	"data.message.calendar[].start",
	"data.message.calendar[].end",
	"data.message.calendar[].recurrence",
	"data.message.calendar[].recurrence_id",
	"data.message.calendar[].organizer",
	"data.message.calendar[].attendees",
	"data.message.calendar[].start.local",
	"data.message.calendar[].start.zone",
	"data.message.calendar[].start.utc",
	"data.message.calendar[].attendees[].name",
	"data.message.calendar[].attendees[].address",
	"data.message.calendar[].attendees[].role",
	"data.message.calendar[].attendees[].status",
}

// TestEveryFieldOfTheContractIsThere takes the golden samples apart by a list kept by hand.
func TestEveryFieldOfTheContractIsThere(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for name, encode := range goldenCases() {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		for _, field := range contractFields {
			n, err := have(doc, strings.Split(field, "."))
			if err != nil {
				t.Errorf("%s: %s: %v", name, field, err)
			}
			seen[field] = seen[field] || n > 0
		}
		for _, list := range []string{"data.delivery.rules", "data.message.cc", "data.message.calendar", "data.problems", "data.auth.arc.sealers"} {
			if v := at(doc, strings.Split(list, ".")); v != nil {
				if _, ok := v.([]any); !ok {
					t.Errorf("%s: %s is %T, want a list", name, list, v)
				}
			}
		}
	}
	for _, field := range contractFields {
		if !seen[field] {
			t.Errorf("no sample has the field %s", field)
		}
	}
}

// have counts the places that a field is at; an object without it is an error.
func have(v any, path []string) (int, error) {
	if v == nil { // the parent is null
		return 0, nil
	}
	name, list := strings.CutSuffix(path[0], "[]")
	object, ok := v.(map[string]any)
	if !ok {
		return 0, fmt.Errorf("%T where an object should be", v)
	}
	member, ok := object[name]
	if !ok {
		return 0, errors.New("missing")
	}
	if len(path) == 1 {
		return 1, nil
	}
	if !list {
		return have(member, path[1:])
	}
	total := 0
	for _, m := range member.([]any) {
		n, err := have(m, path[1:])
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// at returns the value at a path of objects, nil when there is none.
func at(v any, path []string) any {
	for _, name := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

func TestPayloadIsTheSameAtEveryReading(t *testing.T) {
	t.Parallel()
	for _, s := range sinktest.Samples() {
		b, err := newBody(s.Delivery, PayloadOptions{Raw: true})
		if err != nil {
			t.Fatal(err)
		}
		first, err := io.ReadAll(b.open())
		if err != nil || int64(len(first)) != b.size {
			t.Fatalf("%s: %d octets, size %d, %v", s.Name, len(first), b.size, err)
		}
		second, err := io.ReadAll(iotest.OneByteReader(b.open()))
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s: the second reading differs: %v", s.Name, err)
		}
		if err := iotest.TestReader(b.open(), first); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

// TestNoMailCanForgeAPlaceForContent puts what marks the place of an attachment into every string of a delivery.
func TestNoMailCanForgeAPlaceForContent(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{octetsMark, `\` + octetsMark, octetsMark[1:], `\` + octetsMark[1:], strings.Repeat(octetsMark, 2), `"` + octetsMark + `"`} {
		d := sinktest.Samples()[1].Delivery
		d.Sink, d.Recipients[0].Captures = evil, map[string]string{evil: evil}
		c := d.Message.Content
		c.Subject, c.Text, c.HTML = evil, evil, evil
		c.Headers = []pipeline.HeaderField{{Name: evil, Value: evil}}
		for i := range c.Attachments {
			c.Attachments[i].Filename, c.Attachments[i].ContentType = evil, evil
		}
		var b bytes.Buffer
		if err := EncodePayload(&b, d, PayloadOptions{Raw: true}); err != nil {
			t.Fatalf("%q: %v", evil, err)
		}
		var doc any
		if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
			t.Fatalf("%q: %v", evil, err)
		}
		if got := at(doc, []string{"data", "message", "text"}); got != evil {
			t.Errorf("%q became %q", evil, got)
		}
		for i, a := range at(doc, []string{"data", "message", "attachments"}).([]any) {
			want, _ := io.ReadAll(c.Attachments[i].Open())
			got := a.(map[string]any)
			if got["content"] != base64.StdEncoding.EncodeToString(want) || got["filename"] != evil {
				t.Errorf("%q: attachment %d is %v", evil, i, got)
			}
		}
	}
}

func TestAuthIsNeverNullAndNeverVerifiedByDefault(t *testing.T) {
	t.Parallel()
	p := newPayloadAuth(nil)
	if p.Sender.Verified || p.SPF.Result != "none" || p.DMARC.Result != "none" || p.ARC.Result != "none" || p.IPRev.Result != "none" {
		t.Errorf("without results: %+v", p)
	}
	p = newPayloadAuth(&pipeline.AuthResults{Sender: pipeline.SenderResult{Domain: "example.org", By: "dmarc"}})
	if p.Sender.Domain != nil || p.Sender.By != nil {
		t.Errorf("an unverified sender has a domain: %+v", p.Sender)
	}
}

func TestClientNameIsTheVerifiedOneOnly(t *testing.T) {
	t.Parallel()
	for result, want := range map[string]bool{"pass": true, "fail": false, "temperror": false, "": false} {
		d := sinktest.Samples()[0].Delivery
		d.Message.Auth.IPRev = pipeline.IPRevResult{Result: result, Name: "mail.example.org"}
		if got := newPayloadEnvelope(d).Client.Name; (got != nil) != want {
			t.Errorf("iprev %q: name %v", result, got)
		}
	}
}

func TestDateKeepsItsZoneWithinRFC3339(t *testing.T) {
	t.Parallel()
	zone := func(seconds int) *time.Location { return time.FixedZone("", seconds) }
	for _, tt := range []struct {
		in   time.Time
		want string
	}{
		{time.Time{}, "null"},
		{time.Date(2026, 11, 21, 20, 0, 0, 0, zone(3600)), "2026-11-21T20:00:00+01:00"},
		{time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC), "2026-11-21T20:00:00Z"},
		{time.Date(2026, 11, 21, 20, 0, 0, 0, zone(-99*3600)), "2026-11-25T23:00:00Z"},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "null"},
		{time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), "null"},
	} {
		got := "null"
		if s := date(tt.in); s != nil {
			got = *s
		}
		if got != tt.want {
			t.Errorf("%v became %s, want %s", tt.in, got, tt.want)
		}
	}
}

func FuzzBase64Reader(f *testing.F) {
	for _, n := range []int{0, 1, 2, 3, base64Chunk - 1, base64Chunk, base64Chunk + 1} {
		f.Add(bytes.Repeat([]byte{0xa5}, n), int64(0))
	}
	f.Add([]byte("short"), int64(1))
	f.Add([]byte("long"), int64(-1))
	f.Fuzz(func(t *testing.T, octets []byte, off int64) {
		off %= 3
		size := max(0, int64(len(octets))+off)
		r := &base64Reader{src: iotest.HalfReader(bytes.NewReader(octets)), left: size}
		got, err := io.ReadAll(r)
		if size != int64(len(octets)) {
			if err != errLength {
				t.Errorf("%d octets announced as %d: %v", len(octets), size, err)
			}
			return
		}
		if err != nil || string(got) != base64.StdEncoding.EncodeToString(octets) {
			t.Errorf("%d octets: %v", len(octets), err)
		}
	})
}

func FuzzPayloadIsValidJSON(f *testing.F) {
	f.Add("a", "b", []byte("c"))
	f.Add(octetsMark, "\xff\x00\u2028", []byte(octetsMark))
	f.Fuzz(func(t *testing.T, subject, text string, octets []byte) {
		d := sinktest.Samples()[1].Delivery
		d.Message.Content.Subject, d.Message.Content.Text, d.Rules = subject, text, []string{subject, text}
		d.Message.Content.Attachments = slices.Concat(d.Message.Content.Attachments,
			[]pipeline.Attachment{sinktest.Attachment("9", subject, text, octets)})
		var b bytes.Buffer
		if err := EncodePayload(&b, d, PayloadOptions{Raw: len(octets)%2 == 0}); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b.Bytes()) || !utf8.Valid(b.Bytes()) {
			t.Errorf("not valid: %q", b.Bytes())
		}
	})
}
