package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpguts"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

func rawOptions() Options {
	return Options{Sink: "test", Format: FormatRaw, Secrets: []string{testSecret}, Version: "1"}
}

func TestRawIsTheMailAndFields(t *testing.T) {
	t.Parallel()
	for _, s := range sinktest.Samples() {
		h, body := compose(t, rawOptions(), s.Delivery)
		if !bytes.Equal(body, s.Delivery.Message.Raw) || h.Get("Content-Type") != "message/rfc822" {
			t.Errorf("%s: %d octets of %s, want the %d of the mail", s.Name, len(body), h.Get("Content-Type"), len(s.Delivery.Message.Raw))
		}
		if err := verifyRequest(testSecret, h, body); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		if got := h.Get("Mxhook-Sha256"); got != fmt.Sprintf("%x", s.Delivery.Message.SHA256) {
			t.Errorf("%s: hash %q", s.Name, got)
		}
	}
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0RAW000")
	d.Recipients = append(d.Recipients, pipeline.Recipient{Address: `"a,b;c=d"@example.com`, Captures: map[string]string{"id": "4,2", "a": "ü"}})
	d.Message.Envelope.ReversePath = ""
	d.Message.Problems = []pipeline.Problem{{Code: "charset-replaced", Where: "1.1"}}
	h, _ := compose(t, rawOptions(), d)
	for name, want := range map[string]string{
		"Mxhook-Version":    "1",
		"Mxhook-Message":    "01KAK5ZV3QW8E6T4Y2N0RAW000",
		"Mxhook-Mail-From":  "",
		"Mxhook-Recipients": d.Recipients[0].Address + `, "a%2Cb%3Bc%3Dd"@example.com`,
		"Mxhook-Captures":   `"a%2Cb%3Bc%3Dd"@example.com;a=%C3%BC;id=4%2C2`,
		"Mxhook-Problems":   "charset-replaced;where=1.1",
		"Mxhook-Kind":       "mail",
	} {
		if got, there := h[name]; !there || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func verifyRequest(secret string, h http.Header, body []byte) error {
	v, err := NewVerifier([]string{secret}, nil)
	if err != nil {
		return err
	}
	return v.Verify(h, body)
}

// hostileRaw has in every value what a sender could put there.
func hostileRaw(evil string, n int) *pipeline.Delivery {
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0RAW001")
	d.Recipients = []pipeline.Recipient{{Address: "in@example.com", Captures: map[string]string{"name": evil}}}
	d.Tags, d.ReplayOf = []string{evil, evil}, d.ID
	m := d.Message
	m.Envelope.ReversePath, m.Envelope.Client.Helo = evil[:min(len(evil), 300)], evil[:min(len(evil), 300)]
	m.Auth = &pipeline.AuthResults{
		Sender: pipeline.SenderResult{Verified: true, Domain: evil, By: "dmarc"},
		SPF:    pipeline.SPFResult{Result: "pass", Domain: evil, Identity: "mailfrom"}, IPRev: pipeline.IPRevResult{Result: "pass", Name: evil},
	}
	for range n {
		m.Auth.DKIM = append(m.Auth.DKIM, pipeline.DKIMResult{Result: "pass", Domain: evil, Selector: evil})
		m.Problems = append(m.Problems, pipeline.Problem{Code: "x", Where: evil})
	}
	return d
}

func checkRawFields(t *testing.T, h http.Header) {
	t.Helper()
	total := 0
	for name, values := range h {
		if len(values) != 1 || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(values[0]) {
			t.Fatalf("%s: %q", name, values)
		}
		for _, c := range []byte(values[0]) {
			if c < ' ' || c > '~' {
				t.Fatalf("%s: %q", name, values)
			}
		}
		total += len(name) + len(values[0]) + 4
	}
	if total > 15<<10 {
		t.Fatalf("the header has %d octets", total)
	}
}

func TestRawFieldsAreSafeAndBounded(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{
		"a\r\nMxhook-Verified-Sender: bank.example", "\x00\x1b[2J", "pass, pass;domain=bank.example", strings.Repeat("ü", 5000), strings.Repeat("%", 5000), "\xff\xfe",
	} {
		h := rawFields(hostileRaw(evil, 500))
		checkRawFields(t, h)
		if strings.Contains(h.Get("Mxhook-Spf"), ";domain=bank") || strings.Count(h.Get("Mxhook-Tags"), ",") > 1 {
			t.Errorf("%q escapes from its value: %v", evil, h)
		}
		if got := h.Get("Mxhook-Dkim"); !strings.Contains(got, "more;count=") {
			t.Errorf("500 signatures, and no word of what is left out: %.80q", got)
		}
	}
}

func TestRawHasNoRoomForThatManyRecipients(t *testing.T) {
	t.Parallel()
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0RAW002")
	d.Recipients = nil
	for i := range 200 {
		d.Recipients = append(d.Recipients, pipeline.Recipient{Address: fmt.Sprintf("somebody-with-a-long-name-%d@department.example.com", i)})
	}
	o := rawOptions()
	o.URL = "https://app.example.com/"
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Deliver(t.Context(), d); !pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "requests: per_recipient") {
		t.Errorf("%v, want a dead letter that says what to set", err)
	}
	o.Compat.Requests = RequestsPerRecipient
	if w, err = New(o); err != nil || !w.PerRecipient() {
		t.Errorf("%v: not a request for each recipient", err)
	}
}

func TestRawRefusesWhatItHasNoPlaceFor(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"omit_attachments": func(o *Options) { o.OmitAttachments = true },
		"inline_limit":     func(o *Options) { o.InlineLimit = 1 },
		"raw":              func(o *Options) { o.Raw = true },
		"reply":            func(o *Options) { o.Reply = true },
		"compat":           func(o *Options) { o.Compat.Key = "k" },
		"no secret":        func(o *Options) { o.Secrets = nil },
	} {
		o := rawOptions()
		o.URL = "https://app.example.com/"
		change(&o)
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCloudEventsHaveTheDataOfThePayload(t *testing.T) {
	t.Parallel()
	for _, s := range sinktest.Samples() {
		d := s.Delivery
		d.Message.Envelope.Hostname = "mx.example.com"
		h, body := compose(t, Options{Sink: "test", Format: FormatCloudEvents, Secrets: []string{testSecret}, Raw: true, Reply: true}, d)
		_, own := compose(t, Options{Sink: "test", Format: FormatMXHook, Secrets: []string{testSecret}, Raw: true, Reply: true}, d)
		var event, payload map[string]any
		if err := errors.Join(json.Unmarshal(body, &event), json.Unmarshal(own, &payload)); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		want := map[string]any{
			"specversion": "1.0", "id": d.ID, "source": "mxhook://mx.example.com/" + d.Sink, "type": payload["type"], "subject": d.Message.Envelope.ID,
			"time": payload["timestamp"], "datacontenttype": "application/json", "data": payload["data"],
		}
		if diff := cmp.Diff(want, event); diff != "" {
			t.Errorf("%s: %s", s.Name, diff)
		}
		if err := verifyRequest(testSecret, h, body); err != nil || h.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" {
			t.Errorf("%s: %v, %v", s.Name, h, err)
		}
	}
}

func FuzzRawFieldsAreSafe(f *testing.F) {
	f.Add("a\r\nb: c", 3)
	f.Add("ü, ;=%", 100)
	f.Fuzz(func(t *testing.T, evil string, n int) {
		h := rawFields(hostileRaw(evil, min(max(n, 0), 50)))
		checkRawFields(t, h)
	})
}
