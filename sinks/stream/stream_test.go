package stream

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
	"mxhook/sinks/webhook"
)

func payload(d *pipeline.Delivery, linked bool) (int64, func() io.Reader, error) {
	o := webhook.PayloadOptions{}
	if linked {
		o = webhook.PayloadOptions{Raw: true, LinkAll: true, Link: func(_ *pipeline.Message, part string) string { return "https://links.example.com/" + part }}
	}
	return webhook.OpenPayload(d, o)
}

func composer(t *testing.T, o Options) *Composer {
	t.Helper()
	o.LimitOption = "max_size"
	if o.Payload == nil {
		o.Payload = payload
	}
	o.RawHeader = webhook.RawHeader
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func field(r Record, name string) string {
	for _, f := range r.Header {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

type parsed struct {
	Data struct {
		Message *struct {
			Subject, Text *string
			Headers       []struct{ Name string }
			Attachments   []struct{ Content, URL *string }
		}
		Raw      struct{ URL *string }
		Problems []struct{ Code string }
	}
}

// What does not fit loses its octets first, then its texts, then all but the envelope, and always has a link to the whole.
func TestWhatDoesNotFitGoesOutSmallerAndNeverLarger(t *testing.T) {
	t.Parallel()
	d := sinktest.Sized(50_000, 200_000)
	d.Message.Content.Subject = strings.Repeat("long ", 2_000)
	for _, tt := range []struct {
		limit                                    int64
		linked, content, text, message, problems bool
	}{
		{400_000, false, true, true, true, false},
		{100_000, true, false, true, true, false},
		{20_000, true, false, false, true, true},
		{6_000, true, false, false, false, true},
	} {
		r, err := composer(t, Options{Linked: true}).Compose(d, tt.limit)
		if err != nil {
			t.Fatalf("%d: %v", tt.limit, err)
		}
		if n := int64(len(r.Body)) + headerSize(r.Header); n > tt.limit {
			t.Errorf("%d octets, want at most %d", n, tt.limit)
		}
		var p parsed
		if err := json.Unmarshal(r.Body, &p); err != nil {
			t.Fatal(err)
		}
		m := p.Data.Message
		switch {
		case (field(r, HeaderLinked) == "true") != tt.linked, (p.Data.Raw.URL != nil) != tt.linked:
			t.Errorf("%d: linked %q, raw %v", tt.limit, field(r, HeaderLinked), p.Data.Raw.URL)
		case (m != nil) != tt.message, m != nil && (m.Text != nil) != tt.text, m != nil && (m.Attachments[0].Content != nil) != tt.content:
			t.Errorf("%d: message %+v", tt.limit, m)
		case (len(p.Data.Problems) > 0) != tt.problems:
			t.Errorf("%d: problems %v", tt.limit, p.Data.Problems)
		}
	}
	if _, err := composer(t, Options{Linked: true}).Compose(d, 500); err == nil || !strings.Contains(err.Error(), "without any content, and max_size allows 500") {
		t.Errorf("%v", err)
	}
	if _, err := composer(t, Options{}).Compose(d, 100_000); err == nil || !strings.Contains(err.Error(), "set links.base_url") {
		t.Errorf("%v", err)
	}
	if len(d.Message.Problems) > 0 || d.Message.Content.Text == "" {
		t.Error("the delivery was changed")
	}
}

func TestARawRecordIsTheMailWithItsEnvelopeBeside(t *testing.T) {
	t.Parallel()
	for _, s := range sinktest.Samples() {
		r, err := composer(t, Options{Format: Raw}).Compose(s.Delivery, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if string(s.Delivery.Message.Raw) != string(r.Body) || field(r, "content-type") != "message/rfc822" {
			t.Errorf("%s: the body is not the mail", s.Name)
		}
		for _, f := range r.Header {
			if strings.ContainsFunc(f.Value, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%s: %s: %q", s.Name, f.Name, f.Value)
			}
		}
	}
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0RAW000")
	d.Recipients = []pipeline.Recipient{{Address: `"a,b"@example.com`}, {Address: "ü@example.com"}}
	r, err := composer(t, Options{Format: Raw}).Compose(d, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range r.Header {
		if _, twice := got[f.Name]; twice {
			t.Errorf("%s is there twice", f.Name)
		}
		got[f.Name] = f.Value
	}
	for name, want := range map[string]string{
		HeaderDelivery: d.ID, HeaderMessage: d.Message.Envelope.ID, "mxhook-mail-from": d.Message.Envelope.ReversePath,
		"mxhook-recipients": `"a%2Cb"@example.com, %C3%BC@example.com`, "mxhook-verified-sender": "example.org;by=dmarc",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	// One that is too large is JSON with links.
	r, err = composer(t, Options{Format: Raw, Linked: true}).Compose(sinktest.Sized(10_000, 0), 5_000)
	if err != nil || field(r, "content-type") != "application/json" || field(r, HeaderLinked) != "true" || field(r, "mxhook-mail-from") != "" {
		t.Errorf("%v, %v", r.Header, err)
	}
}

func TestContentOfAnotherLengthIsNoRecord(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"short", "much longer than it says"} {
		wrong := func(*pipeline.Delivery, bool) (int64, func() io.Reader, error) {
			return 10, func() io.Reader { return strings.NewReader(text) }, nil
		}
		if _, err := composer(t, Options{Payload: wrong}).Compose(sinktest.Samples()[0].Delivery, 1<<20); err == nil {
			t.Errorf("%q passed", text)
		}
	}
	fails := func(*pipeline.Delivery, bool) (int64, func() io.Reader, error) { return 0, nil, errors.New("no") }
	if _, err := composer(t, Options{Payload: fails}).Compose(sinktest.Samples()[0].Delivery, 1<<20); err == nil {
		t.Error("an error passed")
	}
}

func TestHeadersAreChecked(t *testing.T) {
	t.Parallel()
	for want, headers := range map[string][]Header{
		"headers: number 1: Content-Type is set by mxhook":      {{Name: "Content-Type"}},
		"headers: number 2: own is set by mxhook":               {{Name: "x"}, {Name: "own"}},
		`headers: number 1: "a b" is no name`:                   {{Name: "a b"}},
		`headers: number 1: "" is no name`:                      {{}},
		"headers: value of x: column 1: this is no field":       {{Name: "x", Value: "{dat}"}},
		"headers: the value of x has characters that are not":   {{Name: "x", Value: "a\r\nb"}},
		"headers: there are 65, at most 64":                     make([]Header, 65),
		"headers: number 1: Mxhook-Sink: names that begin with": {{Name: "Mxhook-Sink"}},
	} {
		if _, err := New(Options{Payload: payload, Headers: headers}, "own"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
