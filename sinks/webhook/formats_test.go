package webhook

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

// compose returns the request that a format makes of a delivery: its header and its body.
func compose(t testing.TB, o Options, d *pipeline.Delivery) (http.Header, []byte) {
	t.Helper()
	o.URL = "https://app.example.com/hooks/mandrill"
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	req, err := w.request(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil || req.ContentLength != int64(len(body)) {
		t.Fatalf("body of %d octets, said to be %d: %v", len(body), req.ContentLength, err)
	}
	return req.Header, body
}

// readForm reads a form as net/http does.
func readForm(t testing.TB, h http.Header, body []byte) (url.Values, map[string][]*multipart.FileHeader) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	if err := req.ParseMultipartForm(64 << 20); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		t.Fatal(err)
	}
	if req.MultipartForm == nil {
		return req.PostForm, nil
	}
	return req.PostForm, req.MultipartForm.File
}

// keys of the formats that need one, and of those that can have one.
func formatOptions(t testing.TB, format string) Options {
	t.Helper()
	o := Options{Sink: "test", Format: format, Version: "1"}
	switch format {
	case FormatMXHook, FormatRaw, FormatCloudEvents:
		o.Secrets = []string{testSecret}
	case FormatMailgun, FormatMailgunMIME, FormatMandrill, FormatMailerSend:
		o.Compat.Key = "a key of the service"
	case FormatSendGrid, FormatSendGridRaw:
		_, _, key := certificate(t, "key", nil)
		o.Compat.Key = key
	}
	return o
}

func TestVectorsOfTheServices(t *testing.T) {
	t.Parallel()
	if got := hmacHex("key-test", "1700000000"+strings.Repeat("0123456789", 5)); got != "33a0d9119d0065668499b11c5baaf91efd649266e0a9436f29e52b1d5bd5ee1e" {
		t.Errorf("Mailgun: %s", got)
	}
	if got := hmacHex("ms-secret", `{"type":"inbound.message"}`); got != "82aed519623ba6b53716a9cf4be36675b854daa64a221d423170b4d4df4acc58" {
		t.Errorf("MailerSend: %s", got)
	}
	got, err := mandrillSignature("mandrill-key", "https://app.example.com/hooks/mandrill", strings.NewReader("[]"))
	if err != nil || got != "uhJOKJ5QZpb0I+zcogMAFlp2jF4=" {
		t.Errorf("Mandrill: %s, %v", got, err)
	}
	text := snsSigned(snsNotification{
		Type: "Notification", MessageID: "m1", Subject: snsSubject, Timestamp: "2026-11-21T00:00:00.000Z",
		TopicArn: "arn:aws:sns:us-east-1:000000000000:mx",
	}, strings.NewReader(`{"notificationType":"Received"}`))
	octets, err := io.ReadAll(text)
	if sum := fmt.Sprintf("%x", sha256.Sum256(octets)); err != nil || len(octets) != 199 || sum != "5cad5908cae8a6ddb7d4a4c5f491b34235a1ebf7650bbc9875f09a11c84d7eff" {
		t.Errorf("SNS: %d octets, %s, %v", len(octets), sum, err)
	}
}

func TestSESNotificationsAreSignedAsSNSDoes(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0SNS000")
	h, body := compose(t, Options{Format: FormatSES, Compat: Compat{
		Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), CertificateURL: "https://example.com/cert.pem",
		TopicARN: "arn:aws:sns:eu-west-1:123456789012:in",
	}}, d)
	var n map[string]string
	if err := json.Unmarshal(body, &n); err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, field := range []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"} {
		text += field + "\n" + n[field] + "\n"
	}
	sum := sha256.Sum256([]byte(text))
	signature, err := base64.StdEncoding.DecodeString(n["Signature"])
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		t.Errorf("signature: %v", err)
	}
	var m struct {
		Content []byte
		Mail    struct{ Source string }
		Receipt struct{ Recipients []string }
	}
	if err := json.Unmarshal([]byte(n["Message"]), &m); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(m.Content, d.Message.Raw) || m.Mail.Source != d.Message.Envelope.ReversePath || len(m.Receipt.Recipients) != len(d.Recipients) ||
		h.Get("X-Amz-Sns-Topic-Arn") != n["TopicArn"] || n["SignatureVersion"] != "2" {
		t.Errorf("%+v, %v", m, n)
	}
}

func TestFormatsOfServicesKeepTheContract(t *testing.T) {
	for _, format := range []string{FormatMailgun, FormatCloudMailin, FormatMandrill} { // a form, JSON, JSON in a form
		t.Run(format, func(t *testing.T) {
			sinktest.Run(t, func(t *testing.T, fault sinktest.Fault) *sinktest.Instance { return formatInstance(t, format, fault) })
		})
	}
}

// formatInstance is a sink of the format and an endpoint that counts.
func formatInstance(t *testing.T, format string, fault sinktest.Fault) *sinktest.Instance {
	var mu sync.Mutex
	attempts, copies := map[string]int{}, map[string]int{}
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != r.ContentLength {
			return
		}
		id := r.Header.Get(HeaderID)
		mu.Lock()
		attempts[id]++
		if fault == sinktest.Healthy {
			copies[id] = 1
		}
		mu.Unlock()
		switch fault {
		case sinktest.Failing:
			w.WriteHeader(http.StatusInternalServerError)
		case sinktest.Gone:
			w.WriteHeader(http.StatusTeapot)
		case sinktest.Busy:
			w.Header().Set("Retry-After", fmt.Sprint(int(sinktest.AskedDelay.Seconds())))
			w.WriteHeader(http.StatusServiceUnavailable)
		case sinktest.Hanging:
			<-done
		}
	}))
	o := formatOptions(t, format)
	o.URL, o.AllowPrivate = server.URL, true
	o.Compat.Requests = RequestsPerDelivery
	o.OnStatus = []OnStatus{{"418", DeadLetter}}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	count := func(m map[string]int) func(string) int {
		return func(id string) int {
			mu.Lock()
			defer mu.Unlock()
			return m[id]
		}
	}
	return &sinktest.Instance{
		Sink: w, Copies: count(copies), Attempts: count(attempts), Secrets: []string{"a key of the service"},
		Close: func() {
			close(done)
			w.Close()
			server.Close()
		},
	}
}

// TestAMailToManyMakesARequestForEach covers deliveries that were not made for one recipient: those of a replay.
func TestAMailToManyMakesARequestForEach(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]int32{FormatMailgun: 2, FormatPostmark: 2, FormatCloudMailin: 1, FormatSES: 1} {
		var n atomic.Int32
		server := serve(t, func(http.ResponseWriter, *http.Request) { n.Add(1) })
		o := formatOptions(t, format)
		o.URL, o.AllowPrivate = server.URL, true
		w, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0MANY00")
		d.Recipients = d.Message.Envelope.Recipients
		_, err = w.Deliver(t.Context(), d)
		w.Close()
		if err != nil || n.Load() != want || w.PerRecipient() != (want == 2) {
			t.Errorf("%s: %d requests, %v; want %d", format, n.Load(), err, want)
		}
	}
}

func TestStatusesMeanWhatTheServiceSays(t *testing.T) {
	t.Parallel()
	all := []int{200, 202, 204, 299, 302, 400, 401, 403, 404, 406, 409, 410, 422, 429, 500, 503}
	for format, want := range map[string]map[int]Action{
		FormatMailgun:     {406: DeadLetter},
		FormatMailgunMIME: {406: DeadLetter},
		FormatSendGrid:    {},
		FormatPostmark:    {403: DeadLetter},
		FormatPostmarkRaw: {403: DeadLetter},
		FormatCloudMailin: {
			400: DeadLetter, 401: DeadLetter, 403: DeadLetter, 404: DeadLetter, 406: DeadLetter, 409: DeadLetter, 410: DeadLetter,
			422: DeadLetter, 429: DeadLetter,
		},
		FormatMandrill:   {202: Retry, 204: Retry, 299: Retry},
		FormatMailerSend: {},
		FormatSES:        {},
		FormatMXHook:     {410: DeadLetter},
	} {
		o := formatOptions(t, format)
		o.URL = "https://example.com/"
		w, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, status := range all {
			expected, ok := want[status]
			if !ok {
				expected = Retry
				if status < 300 {
					expected = Success
				}
			}
			if got := w.actions.of(status); got != expected {
				t.Errorf("%s, %d: %s, want %s", format, status, got, expected)
			}
		}
	}
}

// hostile is a mail that tries to write what the service writes.
func hostile() *pipeline.Delivery {
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0HOST00")
	raw := "Return-Path: <forged@evil.example>\r\nX-Mailgun-Spf: Pass\r\nX-Envelope-From: <forged@evil.example>\r\nX-Original-To: forged\r\n" +
		"Received-SPF: pass\r\nX-Spam-Status: No\r\nrecipient: forged@evil.example\r\nFrom[a]: b\r\n__proto__: x\r\nconstructor: x\r\n" +
		"attachments: 3\r\nevent: bounced\r\nbody-plain: forged\r\nFrom: Eve <eve@evil.example>\r\nSubject: hello\r\n\r\n" +
		"--xYzZY\r\nContent-Disposition: form-data; name=\"SPF\"\r\n\r\npass\r\n--xYzZY--\r\n"
	d.Message.Raw, d.Message.SHA256 = []byte(raw), sha256.Sum256([]byte(raw))
	d.Message.Auth = &pipeline.AuthResults{SPF: pipeline.SPFResult{Result: "fail", Domain: "evil.example", Identity: "mailfrom"}}
	c := &pipeline.Content{Kind: pipeline.KindMail, Subject: "hello", Text: "--xYzZY\r\nContent-Disposition: form-data; name=\"SPF\"\r\n\r\npass\r\n", TextFrom: pipeline.TextOwn}
	for f := range pipeline.Fields([]byte(raw)) {
		c.Headers = append(c.Headers, pipeline.HeaderField{Name: string(f.Name), Value: unfold(f.Body)})
	}
	c.From = []pipeline.Address{{Name: "Eve", Address: "eve@evil.example"}}
	c.Attachments = []pipeline.Attachment{
		sinktest.Attachment("2", "Rechnung äöü \"1\".pdf", "application/pdf", []byte("%PDF")),
		sinktest.Attachment("3", "same.txt", "text/plain", []byte("one")),
		sinktest.Attachment("4", "same.txt", "not a type\r\nX: 1", []byte("two")),
	}
	d.Message.Content = c
	return d
}

func TestNothingOfTheSenderPassesForTheServicesOwn(t *testing.T) {
	t.Parallel()
	for _, format := range Formats()[3:] { // those of the services
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			h, body := compose(t, formatOptions(t, format), hostile())
			text := string(body)
			if decoded, err := url.QueryUnescape(text); err == nil && strings.HasPrefix(h.Get("Content-Type"), "application/x-www-form-urlencoded") {
				text = decoded
			}
			if format == FormatSES {
				var n struct{ Message string }
				if err := json.Unmarshal(body, &n); err != nil {
					t.Fatal(err)
				}
				text = n.Message
			}
			for _, forged := range []string{
				"\nX-Mailgun-Spf: Pass", `\nX-Mailgun-Spf: Pass`, `"X-Mailgun-Spf","Pass"`, "\nReturn-Path: <forged", `\nReturn-Path: <forged`, "\nX-Spam-Status:",
			} {
				if strings.Contains(text, forged) {
					t.Errorf("%q is in it", forged)
				}
			}
			if media, params, _ := mime.ParseMediaType(h.Get("Content-Type")); strings.HasPrefix(media, "multipart/") {
				if len(params["boundary"]) < 32 || strings.Contains(string(hostile().Message.Raw), params["boundary"]) {
					t.Errorf("boundary %q", params["boundary"])
				}
				_, again := compose(t, formatOptions(t, format), hostile())
				if bytes.Contains(again, []byte(params["boundary"])) {
					t.Error("the boundary is the same twice")
				}
			}
			if format == FormatMandrill || strings.HasPrefix(h.Get("Content-Type"), "application/json") || format == FormatSES {
				return
			}
			values, _ := readForm(t, h, body)
			for name := range values {
				if strings.HasPrefix(name, "headers[") || strings.HasPrefix(name, "envelope[") {
					name = strings.Trim(strings.TrimSuffix(strings.TrimSuffix(name[strings.IndexByte(name, '[')+1:], "]"), "][0"), "]")
				}
				if strings.ContainsAny(name, " \"\r\n") || strings.HasPrefix(name, "_") || strings.EqualFold(name, "constructor") || strings.Contains(name, "From[") {
					t.Errorf("field %q", name)
				}
			}
			if format == FormatSendGrid && (len(values["SPF"]) != 1 || values.Get("SPF") != "fail" || len(values["attachments"]) != 1) {
				t.Errorf("SPF %q, attachments %q", values["SPF"], values["attachments"])
			}
			if format == FormatMailgun && (len(values["recipient"]) != 1 || values.Get("Recipient") != "forged@evil.example" ||
				values.Get("X-Mailgun-Spf") != "Fail" || values.Has("event") || values.Has("attachments") || len(values["body-plain"]) != 1) {
				t.Errorf("%q", values)
			}
		})
	}
}

func TestFilesArriveWithTheirNames(t *testing.T) {
	t.Parallel()
	want := map[string]string{"Rechnung äöü \"1\".pdf": "%PDF", "same.txt": "onetwo"}
	for _, format := range []string{FormatMailgun, FormatSendGrid, FormatCloudMailinMultipart} {
		h, body := compose(t, formatOptions(t, format), hostile())
		_, files := readForm(t, h, body)
		got := map[string]string{}
		for _, name := range []string{"attachment-1", "attachment-2", "attachment-3", "attachment1", "attachment2", "attachment3", "attachments[]"} {
			for _, f := range files[name] {
				r, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				octets, _ := io.ReadAll(r)
				got[f.Filename] += string(octets)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
	_, body := compose(t, formatOptions(t, FormatMandrill), hostile())
	values, err := url.ParseQuery(string(body))
	if err != nil {
		t.Fatal(err)
	}
	var events []struct {
		Msg struct {
			RawMsg      string `json:"raw_msg"`
			Attachments map[string]struct {
				Content []byte
				Base64  bool
			}
		}
	}
	if err := json.Unmarshal([]byte(values.Get("mandrill_events")), &events); err != nil || len(events) != 1 {
		t.Fatal(err)
	}
	as := events[0].Msg.Attachments
	if len(as) != 3 || string(as["same.txt"].Content) != "one" || string(as["same (2).txt"].Content) != "two" || !as["same.txt"].Base64 {
		t.Errorf("%+v", as)
	}
	if raw := events[0].Msg.RawMsg; strings.Contains(raw, "\r") || !strings.Contains(raw, "X-Foreign-Return-Path: <forged@evil.example>\n") {
		t.Errorf("raw_msg %q", raw)
	}
}

func TestLargeFormatsAreStreamed(t *testing.T) {
	t.Parallel()
	for _, format := range Formats() {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			o := formatOptions(t, format)
			o.Compat.Requests = ""
			d := sinktest.Sized(500, 3<<20)
			d.Recipients = d.Recipients[:1]
			d.Message.Raw = bytes.Repeat([]byte("Subject: x\r\n\r\n"), 1<<18)
			h, body := compose(t, o, d)
			if len(body) < 3<<20 {
				t.Errorf("%d octets", len(body))
			}
			if format == FormatSendGrid {
				block, _ := pem.Decode([]byte(o.Compat.Key))
				key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
				if err != nil {
					t.Fatal(err)
				}
				sum := sha256.Sum256(append([]byte(h.Get(sendGridTimestamp)), body...))
				signature, _ := base64.StdEncoding.DecodeString(h.Get(sendGridSignature))
				if !ecdsa.VerifyASN1(&key.(*ecdsa.PrivateKey).PublicKey, sum[:], signature) {
					t.Error("the signature does not fit")
				}
			}
			if format == FormatMailerSend && h.Get("Signature") != hmacHex(o.Compat.Key, string(body)) {
				t.Error("the signature does not fit")
			}
		})
	}
}

func TestKeysOfTheWrongKindAreRefused(t *testing.T) {
	t.Parallel()
	_, _, ec := certificate(t, "key", nil)
	for name, o := range map[string]Options{
		"mailgun without":            {Format: FormatMailgun},
		"mandrill without":           {Format: FormatMandrill},
		"sendgrid with any":          {Format: FormatSendGrid, Compat: Compat{Key: "hunter2"}},
		"ses with EC":                {Format: FormatSES, Compat: Compat{Key: ec, CertificateURL: "https://example.com/c.pem"}},
		"ses with any":               {Format: FormatSES, Compat: Compat{Key: "hunter2"}},
		"unknown format":             {Format: "sparkpost"},
		"form":                       {Format: FormatMailgun, Compat: Compat{Key: "k", Form: "json"}},
		"a key that signs nothing":   {Format: FormatPostmark, Compat: Compat{Key: "hunter2"}},
		"7 bits without a raw mail":  {Format: FormatMailgun, Compat: Compat{Key: "k", RawEncoding: RawSevenBit}},
		"a topic of another service": {Format: FormatMandrill, Compat: Compat{Key: "k", TopicARN: "arn:x"}},
		"compat for ours":            {Compat: Compat{Form: FormMultipart}, Secrets: []string{testSecret}},
	} {
		o.URL = "https://example.com/"
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestCloudMailinFollowsThreeRedirects(t *testing.T) {
	t.Parallel()
	var seen []string
	var other *url.URL
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		seen = append(seen, fmt.Sprint("other ", r.Method, n == r.ContentLength && n > 0, r.Header.Get("Authorization"), r.Header.Get("X-Key")))
	})
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		seen = append(seen, fmt.Sprint(r.URL.Path, r.Method, n == r.ContentLength && n > 0, r.Header.Get("Authorization") != ""))
		switch r.URL.Path {
		case "/a":
			http.Redirect(w, r, "/b", http.StatusFound)
		case "/b":
			http.Redirect(w, r, other.String(), http.StatusTemporaryRedirect)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusSeeOther)
		}
	})
	other, _ = url.Parse(elsewhere.URL + "/c")
	for path, want := range map[string]int{"/a": 3, "/loop": 4} {
		seen = nil
		w := newWebhook(t, Options{URL: server.URL + path, Format: FormatCloudMailin, Bearer: "abcdef", Headers: []Header{{"X-Key", "v"}}})
		_, err := w.Deliver(t.Context(), sinktest.Sized(1, 0))
		if len(seen) != want || (err == nil) != (path == "/a") {
			t.Errorf("%s: %q, %v", path, seen, err)
		}
		if path == "/a" && seen[2] != "other POSTtrue" {
			t.Errorf("%q", seen)
		}
	}
	seen = nil
	w := newWebhook(t, Options{URL: server.URL + "/a", Format: FormatPostmark})
	if _, err := w.Deliver(t.Context(), sinktest.Sized(1, 0)); err == nil || len(seen) == 0 || seen[0] != "/aPOSTtrue false" || len(seen) != 1 {
		t.Errorf("postmark: %q, %v", seen, err)
	}
}

func TestMailgunTokens(t *testing.T) {
	t.Parallel()
	token := func(setting string) string {
		o := formatOptions(t, FormatMailgun)
		o.Compat.Token = setting
		h, body := compose(t, o, sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0TOKEN0"))
		values, _ := readForm(t, h, body)
		if len(values.Get("token")) != 50 || values.Get("signature") != hmacHex(o.Compat.Key, values.Get("timestamp")+values.Get("token")) {
			t.Errorf("token %q", values.Get("token"))
		}
		return values.Get("token")
	}
	if first, second := token(""), token(""); first == second {
		t.Error("two attempts have the same token")
	}
	if first, second := token(TokenPerMessage), token(TokenPerMessage); first != second {
		t.Error("two attempts at a message have different tokens")
	}
}

func TestSevenBitMailsAreTheSameMails(t *testing.T) {
	t.Parallel()
	in := "From: J\xf6rg <j@example.org>\r\nSubject: gr\xc3\xbc\xc3\x9fe an alle\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b 1\"\r\n" +
		"Content-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n--b 1\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nna\xefve = ok\r\n" +
		"--b 1\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\x01\xff\r\n" +
		"--b 1\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41\xe4\r\n" +
		"--b 1\r\nContent-Type: text/plain\r\n\r\nplain\r\n--b 1--\r\nepilogue \xff\r\n"
	out := sevenBit([]byte(in))
	if !isSevenBit(out) {
		t.Fatalf("%q", out)
	}
	m, err := mail.ReadMessage(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	decode := new(mime.WordDecoder).DecodeHeader
	if s, _ := decode(m.Header.Get("Subject")); s != "grüße an alle" {
		t.Errorf("subject %q", s)
	}
	if s, _ := decode(m.Header.Get("From")); s != "Jörg <j@example.org>" && s != "JÃ¶rg" {
		t.Errorf("from %q", s)
	}
	_, params, _ := mime.ParseMediaType(m.Header.Get("Content-Type"))
	parts := multipart.NewReader(m.Body, params["boundary"])
	for i, want := range []string{"na\xefve = ok", "\x00\x01\xff", "A\xe4", "plain"} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatalf("part %d: %v in %q", i, err, out)
		}
		var r io.Reader = p
		if p.Header.Get("Content-Transfer-Encoding") == "base64" {
			r = base64.NewDecoder(base64.StdEncoding, p)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("part %d: %q, %v", i, got, err)
		}
	}
	if clean := []byte("Subject: x\r\n\r\nbody"); !bytes.Equal(sevenBit(clean), clean) {
		t.Error("a clean mail was changed")
	}
}

func FuzzSevenBit(f *testing.F) {
	f.Add([]byte("Subject: \xff\r\n\r\n\xff"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n\xff\r\n--a--"))
	f.Add([]byte("Content-Type: message/rfc822\r\n\r\nContent-Type: text/html\r\n\r\n\xe4"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if out := sevenBit(in); !isSevenBit(out) {
			t.Errorf("%q", out)
		}
	})
}

func FuzzEscapers(f *testing.F) {
	f.Add([]byte("a\r\n\"\\\x00\xff\xe2\x82"))
	f.Add([]byte("ü€\r\r\n\r"))
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(e escaper) string {
			got, err := io.ReadAll(escaping(iotest.OneByteReader(bytes.NewReader(in)), e))
			whole, err2 := io.ReadAll(escaping(bytes.NewReader(in), e))
			if err != nil || err2 != nil || !bytes.Equal(got, whole) {
				t.Errorf("%q: %q, %v; in pieces %q, %v", in, whole, err2, got, err)
			}
			return string(got)
		}
		if got := read(escapeLF); got != strings.ReplaceAll(string(in), "\r\n", "\n") {
			t.Errorf("%q: LF %q", in, got)
		}
		if got := read(escapeForm); got != url.QueryEscape(string(in)) {
			t.Errorf("%q: form %q", in, got)
		}
		var s string
		if err := json.Unmarshal([]byte(`"`+read(escapeJSON)+`"`), &s); err != nil || len([]rune(s)) != len([]rune(string(in))) {
			t.Errorf("%q: JSON %q, %v", in, s, err)
		}
	})
}

// A few megabytes of header must not cost minutes: the work grows with the mail, not with its square. Not parallel: it
// counts allocations.
func TestHeaderOfManyFieldsIsWrittenInOnePass(t *testing.T) {
	const fields, read = 20_000, 2000
	d := sinktest.Sized(1, 0)
	d.Message.Content.Headers = nil
	for range read {
		d.Message.Content.Headers = append(d.Message.Content.Headers, pipeline.HeaderField{Name: "X", Value: "read"})
	}
	d.Message.Raw = append(bytes.Repeat([]byte("X: \xff\r\n"), fields), "\r\nbody"...)
	in := compat{}.read(d)
	if n := strings.Count(sendGridHeaders(in), "X: read\n"); n != read {
		t.Errorf("%d fields are there as they were decoded, want %d", n, read)
	}
	// A list of the values made for each field takes a dozen.
	if n := testing.AllocsPerRun(1, func() { sendGridHeaders(in) }) / fields; n > 8 {
		t.Errorf("%v allocations for each field", n)
	}
}
