package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
	"mxhook/pipeline/parse"
	"mxhook/sinks/webhook"
)

// The judges are receivers that others wrote: django-anymail, Rack's parser, Express with multer, and the Go and JavaScript
// libraries of the services and of Standard Webhooks. They get what the sink sends over HTTP, and what they make of it must
// be what the mail is.

const (
	serviceKey = "a key that both sides have"
	oldSecret  = "whsec_b2xkIHNlY3JldCBvZiB0aGUgam9icyB0ZXN0cw=="
	newSecret  = "whsec_bmV3IHNlY3JldCBvZiB0aGUgam9icyB0ZXN0cw=="
)

// judged is one request as the judges' programs get it.
type judged struct {
	ID     int               `json:"id"`
	Format string            `json:"format"`
	Header map[string]string `json:"header"`
	Body   []byte            `json:"body"`
	Key    string            `json:"key"`
	URL    string            `json:"url"`
	// Mail is the mail itself, for judges that have to read it: what they read in the request must be the same.
	Mail []byte `json:"mail,omitempty"`

	mail *pipeline.Delivery
	name string
}

// verdict is what a judge says to one request.
type verdict struct {
	ID     int            `json:"id"`
	Status int            `json:"status"`
	Why    string         `json:"why"`
	Fields *mailFields    `json:"fields"`
	Params map[string]any `json:"params"`
	Files  [][2]string    `json:"files"`
	Raw    string         `json:"raw"`
	// Reference is what the judge reads in judged.Mail; nil when it cannot.
	Reference *mailFields `json:"reference"`
}

// mailFields is what judges that know a mail say of it.
type mailFields struct {
	Sender    string      `json:"sender"`
	Recipient string      `json:"recipient"`
	Subject   string      `json:"subject"`
	Text      string      `json:"text"`
	HTML      string      `json:"html"`
	Files     [][2]string `json:"files"`
}

// mails are 200 of the corpus, from all its parts, and some of our own.
func mails(t *testing.T) []*pipeline.Delivery {
	t.Helper()
	texts := map[string][]byte{}
	for name, text := range map[string]string{
		"plain":     "From: Alice <alice@example.org>\nTo: in@example.com\nSubject: hello\n\nIt works.\n",
		"beyond":    "From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\nSubject: =?utf-8?q?na=C3=AFve_=E2=9C=89?=\nContent-Type: text/html; charset=utf-8\n\n<p>ü&amp;</p>\n",
		"structure": "From: a@example.org\nFrom[a]: x\n__proto__: y\nSubject: s\nReceived: a\nReceived: b\n\n--xYzZY\nContent-Disposition: form-data; name=\"SPF\"\n\npass\n",
		"files": "From: a@example.org\nSubject: files\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n" +
			"--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename*=utf-8''R%C3%A9sum%C3%A9.pdf\nContent-Transfer-Encoding: base64\n\nJVBERgD/\n" +
			"--b\nContent-Type: text/csv\nContent-Disposition: attachment; filename=\"a \\\"b\\\".csv\"\n\n1,2\n--b--\n",
		"bytes": "From: a@example.org\nSubject: 8 bits\nContent-Type: text/plain; charset=iso-8859-1\n\nna\xefve\n",
	} {
		texts["own/"+name] = []byte(text)
	}
	byCorpus := map[string][]string{}
	files, _ := filepath.Glob("../../../shared/testdata/mime/*/*.eml")
	for _, f := range files {
		byCorpus[filepath.Dir(f)] = append(byCorpus[filepath.Dir(f)], f)
	}
	t.Logf("%d mails of the corpus", len(files))
	for n := 0; len(texts) < 205 && n < 1000; n++ {
		for dir, list := range byCorpus {
			if n < len(list) && len(texts) < 205 {
				if text, err := os.ReadFile(list[n]); err == nil && len(text) < 200_000 {
					texts[filepath.Base(dir)+"/"+filepath.Base(list[n])] = text
				}
			}
		}
	}
	stage, err := parse.New(parse.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var out []*pipeline.Delivery
	for name, text := range texts {
		raw := bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		m := &pipeline.Message{
			Envelope: pipeline.Envelope{
				ID: name, ReversePath: "sender@example.org", ReceivedAt: time.Now().UTC(), Size: int64(len(raw)), Hostname: "mx.example.com",
				Client:   pipeline.Client{IP: netip.MustParseAddr("192.0.2.1"), Helo: "mail.example.org"},
				Received: "Received: from mail.example.org (192.0.2.1)\r\n\tby mx.example.com; Sat, 21 Nov 2026 12:00:00 +0000\r\n",
			},
			Raw: raw, SHA256: sha256.Sum256(raw),
			Auth: &pipeline.AuthResults{SPF: pipeline.SPFResult{Result: "pass", Domain: "example.org", Identity: "mailfrom"}},
		}
		if err := stage.Run(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		rcpt := pipeline.Recipient{Address: "in+42@example.com", Local: "in", Tag: "42", Domain: "example.com"}
		out = append(out, &pipeline.Delivery{
			ID: fmt.Sprintf("%x.test", sha256.Sum256([]byte(name))), Sink: "test", Recipients: []pipeline.Recipient{rcpt}, Message: m, Attempt: 1,
		})
	}
	slices.SortFunc(out, func(a, b *pipeline.Delivery) int {
		return strings.Compare(a.Message.Envelope.ID, b.Message.Envelope.ID)
	})
	return out
}

// requests are those of a sink for the mails, as they come over HTTP.
func requests(t *testing.T, o webhook.Options, key string, ds []*pipeline.Delivery) []judged {
	t.Helper()
	var got []judged
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		j := judged{Format: o.Format, Header: map[string]string{}, Body: body, Key: key, URL: "http://" + r.Host + r.URL.Path}
		for name := range r.Header {
			j.Header[name] = r.Header.Get(name)
		}
		got = append(got, j)
	}))
	defer server.Close()
	o.Sink, o.URL, o.AllowPrivate = "test", server.URL+"/hook", true
	w, err := webhook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, d := range ds {
		if _, err := w.Deliver(context.Background(), d); err != nil {
			t.Fatalf("%s: %v", d.Message.Envelope.ID, err)
		}
		got[len(got)-1].mail, got[len(got)-1].name = d, o.Format+" "+d.Message.Envelope.ID
	}
	if len(got) != len(ds) {
		t.Fatalf("%d requests for %d mails", len(got), len(ds))
	}
	return got
}

// ask gives requests to a judge and returns its verdicts in their order.
func ask(t *testing.T, rs []judged, dir, name string, args ...string) []verdict {
	t.Helper()
	var in bytes.Buffer
	for i := range rs {
		rs[i].ID = i
		if err := json.NewEncoder(&in).Encode(rs[i]); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, &in, &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, stderr.Bytes())
	}
	out := make([]verdict, 0, len(rs))
	lines := bufio.NewScanner(bytes.NewReader(stdout))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var v verdict
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("%s says %.200q: %v", name, lines.Bytes(), err)
		}
		out = append(out, v)
	}
	if len(out) != len(rs) {
		t.Fatalf("%s: %d verdicts on %d requests\n%s", name, len(out), len(rs), stderr.Bytes())
	}
	return out
}

// filesOf are names and hashes of the attachments.
func filesOf(d *pipeline.Delivery) [][2]string {
	fs := [][2]string{}
	for _, a := range d.Message.Content.Attachments {
		fs = append(fs, [2]string{a.Filename, hex.EncodeToString(a.SHA256[:])})
	}
	return fs
}

func sorted(fs [][2]string) [][2]string {
	fs = append([][2]string{}, fs...)
	slices.SortFunc(fs, func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
	return fs
}

func ownText(d *pipeline.Delivery) string {
	if d.Message.Content.TextFrom == pipeline.TextOfHTML {
		return ""
	}
	return d.Message.Content.Text
}

// ecKey is a key as SendGrid's: the private one as PEM, the public one as it is given to receivers.
func ecKey(t *testing.T) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})), base64.StdEncoding.EncodeToString(pub)
}

func TestDjangoAnymailReadsTheMails(t *testing.T) {
	t.Parallel()
	ds := mails(t)
	var rs []judged
	add := func(o webhook.Options, key string) { rs = append(rs, requests(t, o, key, ds)...) }
	for _, format := range []string{webhook.FormatMailgun, webhook.FormatMailgunMIME} {
		add(webhook.Options{Format: format, Compat: webhook.Compat{Key: serviceKey}}, serviceKey)
	}
	for _, format := range []string{webhook.FormatSendGrid, webhook.FormatSendGridRaw, webhook.FormatPostmark} {
		add(webhook.Options{Format: format}, "")
	}
	const signed = "https://app.example.com/hooks/mandrill"
	add(webhook.Options{Format: webhook.FormatMandrill, Compat: webhook.Compat{Key: serviceKey, SignatureURL: signed}}, serviceKey)
	genuine := len(rs)
	for i := range rs {
		raw := rs[i].mail.Message.Raw
		switch rs[i].Format {
		case webhook.FormatMandrill:
			rs[i].URL, rs[i].Mail = signed, bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
		case webhook.FormatSendGridRaw:
			rs[i].Mail = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
		case webhook.FormatMailgunMIME:
			rs[i].Mail = raw
		}
	}
	for _, r := range slices.Clone(rs) { // what must be refused
		if r.mail != ds[0] || r.Format != webhook.FormatMailgun && r.Format != webhook.FormatMandrill {
			continue
		}
		wrong, changed := r, r
		wrong.Key = "another key"
		changed.Body = changeByte(r)
		rs = append(rs, wrong, changed)
	}
	unread := 0
	vs := ask(t, rs, ".", "/usr/bin/python3", filepath.Join("testdata", "judges", "anymail_judge.py"))
	for i, v := range vs {
		r := rs[i]
		if i >= genuine {
			if v.Status != http.StatusBadRequest {
				t.Errorf("%s, forged: %d %s", r.name, v.Status, v.Why)
			}
			continue
		}
		want := anymailFields(r, v)
		if want == nil {
			unread++
			continue
		}
		if v.Fields != nil {
			v.Fields.Files = sorted(v.Fields.Files)
		}
		judgeFields(t, r, v, want)
	}
	t.Logf("%d requests, %d of them to be refused, %d whose mail the judge cannot read", len(rs), len(rs)-genuine, unread)
	if unread > len(rs)/20 {
		t.Error("too many of those")
	}
}

// anymailFields is what anymail must find; nil where the mail is beyond it.
func anymailFields(r judged, v verdict) *mailFields {
	c := r.mail.Message.Content
	want := &mailFields{Sender: "sender@example.org", Recipient: "in+42@example.com"}
	switch r.Format {
	case webhook.FormatMailgunMIME, webhook.FormatSendGridRaw, webhook.FormatMandrill:
		if r.Format == webhook.FormatMandrill {
			want.Sender = "" // the format does not say
		}
		switch {
		case v.Status != http.StatusOK: // a charset that it does not know
			return nil
		case v.Reference == nil: // not UTF-8: what it makes of the text is its own
			got := v.Fields.orEmpty()
			want.Subject, want.Text, want.HTML, want.Files = got.Subject, got.Text, got.HTML, sorted(got.Files)
			return want
		}
		want.Subject, want.Text, want.HTML, want.Files = v.Reference.Subject, v.Reference.Text, v.Reference.HTML, sorted(v.Reference.Files)
		return want
	case webhook.FormatPostmark: // an address without a domain, or no author at all, is an error there
		for _, a := range slices.Concat(c.From, c.To, c.Cc) {
			if !strings.Contains(a.Address, "@") {
				return nil
			}
		}
		if len(c.From) == 0 {
			return nil
		}
	}
	if anymailReadsOtherwise[r.mail.Message.Envelope.ID] {
		return nil
	}
	want.Subject, want.Text, want.HTML, want.Files = c.Subject, c.Text, c.HTML, [][2]string{}
	if r.Format == webhook.FormatSendGrid {
		want.Text = ownText(r.mail)
	}
	for _, a := range c.Attachments {
		kind, _, _ := strings.Cut(a.ContentType, "/")
		if kind == "message" || kind == "multipart" { // it looks for texts and files in there too
			want.Text, want.HTML, want.Files = v.Fields.orEmpty().Text, v.Fields.orEmpty().HTML, sorted(v.Fields.orEmpty().Files)
			return want
		}
		digest := ""
		if kind != "text" {
			digest = hex.EncodeToString(a.SHA256[:])
		}
		want.Files = append(want.Files, [2]string{a.Filename, digest})
	}
	want.Files = sorted(want.Files)
	return want
}

// anymailReadsOtherwise are mails that it reads in its own way from the header or the files that it is given.
var anymailReadsOtherwise = map[string]bool{
	"phpmime/issue115.eml":                                 true, // two files with one content id: it keeps the second
	"phpmime/issue116.eml":                                 true, // charsets of the subject that it does not know
	"phpmime/issue149.eml":                                 true,
	"rubymail/attachment_emails-attachment_only_email.eml": true, // a file said to be multipart: it lists its container too
}

func (f *mailFields) orEmpty() *mailFields {
	if f == nil {
		return &mailFields{}
	}
	return f
}

// changeByte changes what the signature of a request covers.
func changeByte(r judged) []byte {
	body := bytes.Clone(r.Body)
	at := len(body) / 2
	if i := bytes.Index(body, []byte("token=")); r.Format == webhook.FormatMailgun && i >= 0 {
		at = i + len("token=")
	} else if i := bytes.Index(body, []byte("name=\"token\"\r\n\r\n")); r.Format == webhook.FormatMailgun && i >= 0 {
		at = i + len("name=\"token\"\r\n\r\n")
	}
	body[at] ^= 1
	return body
}

// judgeFields compares; text that a judge reads out of the raw mail by itself is not ours to judge.
func judgeFields(t *testing.T, r judged, v verdict, want *mailFields) {
	t.Helper()
	if v.Status != http.StatusOK || v.Fields == nil {
		t.Errorf("%s: %d %s", r.name, v.Status, v.Why)
		return
	}
	if diff := cmp.Diff(want, v.Fields); diff != "" {
		t.Errorf("%s: %s", r.name, diff)
	}
}

func TestGoLibrariesOfTheServicesReadTheMails(t *testing.T) {
	t.Parallel()
	ds := mails(t)
	private, public := ecKey(t)
	_, other := ecKey(t)
	var rs []judged
	add := func(o webhook.Options, key string) { rs = append(rs, requests(t, o, key, ds)...) }
	add(webhook.Options{Format: webhook.FormatMailgun, Compat: webhook.Compat{Key: serviceKey}}, serviceKey)
	add(webhook.Options{Format: webhook.FormatSendGrid, Compat: webhook.Compat{Key: private}}, public)
	add(webhook.Options{Format: webhook.FormatPostmark}, "")
	add(webhook.Options{Format: webhook.FormatCloudEvents, Secrets: []string{newSecret}}, newSecret)
	genuine := len(rs)
	for _, r := range slices.Clone(rs) {
		if r.mail != ds[0] || r.Format == webhook.FormatPostmark {
			continue
		}
		wrong, changed := r, r
		wrong.Key = "another key"
		switch r.Format {
		case webhook.FormatSendGrid:
			wrong.Key = other
		case webhook.FormatCloudEvents:
			wrong.Key = oldSecret
		}
		changed.Body = changeByte(r)
		rs = append(rs, wrong, changed)
	}
	program := goJudge(t)
	for i, v := range ask(t, rs, ".", program) {
		r := rs[i]
		if i >= genuine {
			if v.Status != http.StatusBadRequest {
				t.Errorf("%s, forged: %d %s", r.name, v.Status, v.Why)
			}
			continue
		}
		c := r.mail.Message.Content
		want := &mailFields{
			Sender: "sender@example.org", Recipient: "in+42@example.com", Subject: c.Header("Subject"), Text: c.Text, HTML: c.HTML, Files: filesOf(r.mail),
		}
		switch r.Format {
		case webhook.FormatSendGrid:
			want.Text = ownText(r.mail)
			if v.Fields != nil {
				v.Fields.Files, want.Files = sorted(v.Fields.Files), sorted(want.Files)
			}
		case webhook.FormatMailgun:
			want.Files = nil
		case webhook.FormatCloudEvents:
			want.Subject = c.Subject
			fallthrough
		case webhook.FormatPostmark:
			if v.Fields != nil && v.Fields.Files == nil {
				v.Fields.Files = [][2]string{}
			}
		}
		judgeFields(t, r, v, want)
	}
	t.Logf("%d requests, %d of them to be refused", len(rs), len(rs)-genuine)
}

// goJudge builds the judges written in Go.
func goJudge(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "judges")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-mod=readonly", "-o", program, ".")
	cmd.Dir = filepath.Join("testdata", "judges", "go")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the judges: %v\n%s", err, out)
	}
	return program
}

// TestFormParsersReadTheMails covers Rack, and busboy with qs as Express programs use them.
func TestFormParsersReadTheMails(t *testing.T) {
	t.Parallel()
	ds := mails(t)
	var rs []judged
	for _, o := range []webhook.Options{
		{Format: webhook.FormatMailgun, Compat: webhook.Compat{Key: serviceKey}},
		{Format: webhook.FormatMailgunMIME, Compat: webhook.Compat{Key: serviceKey, Form: webhook.FormMultipart}},
		{Format: webhook.FormatSendGrid},
		{Format: webhook.FormatSendGridRaw},
		{Format: webhook.FormatCloudMailinMultipart},
		{Format: webhook.FormatCloudMailinRaw},
	} {
		rs = append(rs, requests(t, o, "", ds)...)
	}
	express := expressJudge(t)
	for judge, vs := range map[string][]verdict{
		"rack":    ask(t, rs, ".", "ruby", filepath.Join("testdata", "judges", "rack_judge.rb")),
		"express": ask(t, rs, express, "node", "express_judge.mjs"),
	} {
		for i, v := range vs {
			r := rs[i]
			if v.Status != http.StatusOK {
				t.Errorf("%s, %s: %d %s", judge, r.name, v.Status, v.Why)
				continue
			}
			want := expectedParams(r)
			for name, value := range want {
				if got := lookUp(v.Params, name); got != value {
					t.Errorf("%s, %s: %s is %.200q, want %.200q", judge, r.name, name, got, value)
				}
			}
			if strings.HasSuffix(r.Format, "-raw") || strings.HasSuffix(r.Format, "-mime") {
				continue
			}
			if diff := cmp.Diff(sorted(filesOf(r.mail)), sorted(v.Files)); diff != "" && !(judge == "rack" && strings.Contains(r.Format, "cloudmailin")) {
				t.Errorf("%s, %s: files %s", judge, r.name, diff)
			}
		}
	}
	t.Logf("%d requests", len(rs))
}

// expectedParams are the form fields that a judge must find.
func expectedParams(r judged) map[string]string {
	c := r.mail.Message.Content
	switch r.Format {
	case webhook.FormatMailgun:
		return map[string]string{
			"recipient": "in+42@example.com", "sender": "sender@example.org", "subject": c.Header("Subject"), "from": c.Header("From"), "body-plain": c.Text,
			"X-Mailgun-Spf": "Pass", "X-Envelope-From": "<sender@example.org>",
		}
	case webhook.FormatMailgunMIME:
		return map[string]string{"recipient": "in+42@example.com", "sender": "sender@example.org", "subject": c.Header("Subject")}
	case webhook.FormatSendGrid, webhook.FormatSendGridRaw:
		want := map[string]string{"SPF": "pass", "dkim": "none", "sender_ip": "192.0.2.1", "from": c.Header("From"), "to": c.Header("To"), "subject": c.Header("Subject")}
		if r.Format == webhook.FormatSendGrid && ownText(r.mail) != "" {
			want["text"] = ownText(r.mail)
		}
		return want
	}
	want := map[string]string{
		"envelope/to": "in+42@example.com", "envelope/from": "sender@example.org", "envelope/spf/result": "pass", "envelope/helo_domain": "mail.example.org",
	}
	if r.Format == webhook.FormatCloudMailinMultipart && ownText(r.mail) != "" {
		want["plain"] = ownText(r.mail)
	}
	return want
}

// lookUp finds a value by its path in what a parser made of brackets.
func lookUp(params any, path string) string {
	if m, ok := params.(map[string]any); ok {
		if s, ok := m[path].(string); ok {
			return s
		}
		first, rest, ok := strings.Cut(path, "/")
		if ok {
			return lookUp(m[first], rest)
		}
		return fmt.Sprintf("(%v)", m[path])
	}
	return "(not there)"
}

// expressJudge installs the Express program.
func expressJudge(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join("testdata", "judges", "express_judge.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "express_judge.mjs"), script, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--prefix", dir,
		"express@4.21.2", "multer@2.0.2", "standardwebhooks@1.0.0", "svix@1.44.0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm: %v\n%s", err, out)
	}
	return dir
}

// TestRotationIsVerifiedByThePublicLibraries has receivers with the old and with the new secret while requests carry both
// signatures, and refuses what is not genuine.
func TestRotationIsVerifiedByThePublicLibraries(t *testing.T) {
	t.Parallel()
	all := mails(t)
	ds := all
	during := webhook.Options{
		Format: webhook.FormatMXHook, Secrets: []string{newSecret}, OldSecrets: []webhook.OldSecret{{Secret: oldSecret, Until: time.Now().Add(time.Hour)}},
	}
	after := during
	after.OldSecrets = []webhook.OldSecret{{Secret: oldSecret, Until: time.Now().Add(-time.Second)}}
	late := during
	late.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) }
	var rs []judged
	var want []bool
	add := func(o webhook.Options, key string, genuine bool) {
		for _, r := range requests(t, o, key, ds) {
			rs, want = append(rs, r), append(want, genuine)
		}
	}
	add(during, newSecret, true)
	add(during, oldSecret, true)
	ds = all[:5]
	add(after, newSecret, true)
	add(after, oldSecret, false)
	add(late, newSecret, false)
	for _, r := range slices.Clone(rs[:1]) {
		r.Body = bytes.Replace(r.Body, []byte("mail.received"), []byte("mail.recieved"), 1)
		rs, want = append(rs, r), append(want, false)
	}
	express := expressJudge(t)
	for judge, vs := range map[string][]verdict{
		"Go": ask(t, rs, ".", goJudge(t)), "JavaScript": ask(t, rs, express, "node", "express_judge.mjs"),
	} {
		for i, v := range vs {
			if refused := v.Status == http.StatusBadRequest || v.Status == http.StatusUnauthorized; v.Status != http.StatusOK && !refused || refused == want[i] {
				t.Errorf("%s, request %d: %d %s, want genuine %v", judge, i, v.Status, v.Why, want[i])
			}
		}
	}
}
