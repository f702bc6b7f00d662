package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf16"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

func shapedSink(t testing.TB, o Options) *Webhook {
	t.Helper()
	if o.URL == "" {
		o.URL = "https://app.example.com/"
	}
	o.Sink, o.Version = "test", "1"
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func TestAShapeIsSignedAndSent(t *testing.T) {
	t.Parallel()
	var header http.Header
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	}))
	t.Cleanup(server.Close)
	w := shapedSink(t, Options{
		URL: server.URL, AllowPrivate: true, Secrets: []string{testSecret}, Slots: NewSlots(),
		Shape: `{subject, to: recipients, files: [.data.message.attachments[] | {(.filename): ("data:" + .content_type + ";base64," + .content)}]}`,
	})
	for _, s := range sinktest.Samples() {
		if s.Delivery.Message.Content == nil {
			continue
		}
		if _, err := w.Deliver(t.Context(), s.Delivery); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		if err := verifyRequest(testSecret, header, body); err != nil || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v, %v", s.Name, err, header)
		}
		var got struct {
			Subject, To string
			Files       []map[string]string
		}
		if err := json.Unmarshal(body, &got); err != nil || len(got.Files) != len(s.Delivery.Message.Content.Attachments) {
			t.Fatalf("%s: %v in %.300s", s.Name, err, body)
		}
		for i, a := range s.Delivery.Message.Content.Attachments {
			_, encoded, _ := strings.Cut(got.Files[i][a.Filename], ";base64,")
			octets, _ := io.ReadAll(a.Open())
			if encoded != base64.StdEncoding.EncodeToString(octets) {
				t.Errorf("%s: the octets of %s are not those", s.Name, a.Filename)
			}
		}
	}
}

func TestResultsOfShapes(t *testing.T) {
	t.Parallel()
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0SHP000")
	d.Message.Content.Attachments = []pipeline.Attachment{sinktest.Attachment("2", "a.txt", "text/plain", []byte("octets"))}
	for _, c := range []struct{ program, media, body, fails string }{
		{program: `"a \u0001 text"`, body: `"a \u0001 text"`},
		{program: `"a text" | ascii_upcase`, media: "text/plain; charset=utf-8", body: "A TEXT"},
		{program: `@uri "s=\("a&b")"`, media: "application/x-www-form-urlencoded", body: "s=a%26b"},
		{program: `{a: 1}`, media: "application/vnd.own+json", body: `{"a":1}`},
		{program: `.data.message.attachments[0].content`, media: "text/plain", body: "b2N0ZXRz"},
		{program: `[range(4) as $i | .data.message.attachments[0].content]`, body: `["b2N0ZXRz","b2N0ZXRz","b2N0ZXRz","b2N0ZXRz"]`},
		{program: `[range(5) as $i | .data.message.attachments[0].content]`, fails: "places the same octets more than 4 times"},
		{program: `.data.message.attachments[0].content[:-3]`, fails: "has cut a stand-in"},
		{program: `{a: 1}`, media: "text/plain", fails: "must be a string"},
		{program: `empty`, fails: "has no result"},
		{program: `.data.message.subject.x`, fails: "expected an object"},
		{program: `error("not for us")`, fails: "not for us"},
		{program: `reduce range(60) as $i ("a"; . + .)`, fails: "more than 4 MiB"},
	} {
		w := shapedSink(t, Options{Shape: c.program, ShapeType: c.media})
		req, err := w.request(t.Context(), d)
		if c.fails != "" {
			if _, err := w.Deliver(t.Context(), d); !pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "shape: ") || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v, want a dead letter that says %q", c.program, err, c.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.program, err)
			continue
		}
		body, _ := io.ReadAll(req.Body)
		if string(body) != c.body || req.ContentLength != int64(len(body)) {
			t.Errorf("%s: %q of %d, want %q", c.program, body, req.ContentLength, c.body)
		}
		if c.media != "" && req.Header.Get("Content-Type") != c.media {
			t.Errorf("%s: %s", c.program, req.Header.Get("Content-Type"))
		}
	}
}

func TestAShapeThatIsInterruptedIsTriedAgain(t *testing.T) {
	t.Parallel()
	slots := NewSlots()
	for range cap(slots) {
		slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := shapedSink(t, Options{Shape: ".", Slots: slots})
	if _, err := w.Deliver(ctx, sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0SHP001")); err == nil || pipeline.IsPermanent(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want one that is tried again", err)
	}
}

func TestTheIdentityIsThePayload(t *testing.T) {
	t.Parallel()
	for _, s := range sinktest.Samples() {
		_, shaped := compose(t, Options{Shape: ".", Secrets: []string{testSecret}, Raw: true, Reply: true}, s.Delivery)
		_, own := compose(t, Options{Secrets: []string{testSecret}, Raw: true, Reply: true}, s.Delivery)
		var a, b any
		if err := errors.Join(json.Unmarshal(shaped, &a), json.Unmarshal(own, &b)); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		if !bytes.Equal(x, y) {
			t.Errorf("%s: %s\nand not %s", s.Name, x, y)
		}
	}
}

func TestLargeMailsDoNotGoThroughShapes(t *testing.T) {
	t.Parallel()
	d := sinktest.Sized(3<<20, 8<<20)
	w := shapedSink(t, Options{Shape: `{length: (.data.message.text | length), problems: [.data.problems[].code], file: .data.message.attachments[0].content}`})
	req, err := w.request(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Length   int
		Problems []string
		File     []byte
	}
	if err := json.NewDecoder(req.Body).Decode(&got); err != nil || got.Length != maxShapedText || len(got.File) != 8<<20 || got.Problems[len(got.Problems)-1] != "shape-text-cut" {
		t.Errorf("%v: %d of text, %d of the file, %v", err, got.Length, len(got.File), got.Problems)
	}
	d.Message.Content.Headers = nil
	for range 3 << 10 {
		d.Message.Content.Headers = append(d.Message.Content.Headers, pipeline.HeaderField{Name: "X", Value: strings.Repeat("v", 1000)})
	}
	if _, err := w.Deliver(t.Context(), d); !pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "a shape takes 2097152") {
		t.Errorf("%v, want a dead letter", err)
	}
}

func units(s string) int { return len(utf16.Encode([]rune(s))) }

// hostileMails are those whose texts strain the limits of the services.
func hostileMails() []*pipeline.Delivery {
	var ds []*pipeline.Delivery
	for _, s := range sinktest.Samples() {
		ds = append(ds, s.Delivery)
	}
	for _, text := range []string{
		strings.Repeat("😀", 10_000), strings.Repeat("<@everyone> & <!channel>\n", 1000), strings.Repeat("\x01", 10_000), strings.Repeat("\n", 10_000), " ", strings.Repeat(`"\`, 5000),
		strings.Repeat("ü\n", 5000),
	} {
		d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0SHP002")
		c := d.Message.Content
		c.Subject, c.Text, c.From = text, text, []pipeline.Address{{Name: text, Address: "a@example.org"}}
		c.Attachments = nil
		for range 200 {
			c.Attachments = append(c.Attachments, sinktest.Attachment("2", text[:min(len(text), 240)], "text/plain", []byte("x")))
		}
		for range 100 {
			d.Recipients = append(d.Recipients, pipeline.Recipient{Address: strings.Repeat("a", 60) + "@example.com"})
		}
		ds = append(ds, d)
	}
	return ds
}

// TestReadyShapesKeepTheLimitsOfTheServices checks what the documentation of the services demands.
func TestReadyShapesKeepTheLimitsOfTheServices(t *testing.T) {
	t.Parallel()
	for i, d := range hostileMails() {
		_, body := compose(t, Options{Shape: "slack", Reply: true}, d)
		checkSlack(t, i, body)
		_, body = compose(t, Options{Shape: "discord", Reply: true}, d)
		checkDiscord(t, i, body)
		_, body = compose(t, Options{Shape: "teams", Reply: true}, d)
		checkTeams(t, i, body)
	}
}

type slackText struct {
	Type, Text string
	Emoji      *bool
}

func checkSlack(t *testing.T, i int, body []byte) {
	t.Helper()
	var m struct {
		Text   string
		Blocks []struct {
			Type     string
			Text     *slackText
			Elements []slackText
		}
	}
	strictly(t, body, &m)
	if n := units(m.Text); n == 0 || n > 4000 || strings.ContainsAny(m.Text, "<>") || len(m.Blocks) == 0 || len(m.Blocks) > 50 {
		t.Errorf("slack, mail %d: text of %d, %d blocks", i, n, len(m.Blocks))
	}
	for _, b := range m.Blocks {
		texts, limit := b.Elements, 3000
		switch b.Type {
		case "header":
			texts, limit = []slackText{*b.Text}, 150
		case "section":
			texts = []slackText{*b.Text}
		case "context":
			if len(texts) > 10 {
				t.Errorf("slack, mail %d: %d elements", i, len(texts))
			}
		default:
			t.Errorf("slack, mail %d: a block %q", i, b.Type)
		}
		for _, text := range texts {
			if n := units(text.Text); strings.TrimSpace(text.Text) == "" || n > limit || text.Type != "plain_text" {
				t.Errorf("slack, mail %d: %s of %d", i, b.Type, n)
			}
		}
	}
}

func checkDiscord(t *testing.T, i int, body []byte) {
	t.Helper()
	var m struct {
		Content         string
		AllowedMentions struct{ Parse []string } `json:"allowed_mentions"`
		Embeds          []struct {
			Title, Description, Timestamp string
			Footer                        struct{ Text string }
		}
	}
	strictly(t, body, &m)
	if len(m.Embeds) != 1 || units(m.Content) > 2000 || m.AllowedMentions.Parse == nil || len(m.AllowedMentions.Parse) > 0 {
		t.Fatalf("discord, mail %d: %s", i, body)
	}
	e := m.Embeds[0]
	title, description, footer := units(e.Title), units(e.Description), units(e.Footer.Text)
	if title > 256 || description > 4096 || footer > 2048 || title+description+footer > 6000 || description == 0 {
		t.Errorf("discord, mail %d: title %d, description %d, footer %d", i, title, description, footer)
	}
}

func checkTeams(t *testing.T, i int, body []byte) {
	t.Helper()
	if len(body) > 28_000 {
		t.Errorf("teams, mail %d: %d octets", i, len(body))
	}
	type run struct {
		Type, Text, Size, Weight string
		IsSubtle                 bool
	}
	var m struct {
		Type        string
		Attachments []struct {
			ContentType string
			ContentURL  *string `json:"contentUrl"`
			Content     struct {
				Schema  string `json:"$schema"`
				Type    string
				Version string
				Body    []struct {
					Type    string
					Inlines []run
				}
			}
		}
	}
	strictly(t, body, &m)
	if m.Type != "message" || len(m.Attachments) != 1 || m.Attachments[0].ContentType != "application/vnd.microsoft.card.adaptive" {
		t.Fatalf("teams, mail %d: %s", i, body)
	}
	card := m.Attachments[0].Content
	if card.Type != "AdaptiveCard" || card.Version != "1.4" || len(card.Body) < 2 {
		t.Errorf("teams, mail %d: %s", i, body)
	}
	for _, b := range card.Body {
		if b.Type != "RichTextBlock" || len(b.Inlines) != 1 || b.Inlines[0].Type != "TextRun" || b.Inlines[0].Text == "" {
			t.Errorf("teams, mail %d: %+v", i, b)
		}
	}
}

// strictly reads JSON that must have no field that v does not know.
func strictly(t *testing.T, body []byte, v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%v in %.300s", err, body)
	}
}

func TestPreviewShowsTheResult(t *testing.T) {
	t.Parallel()
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0SHP003")
	d.Message.Content.Subject = "a \x1b[2Jb"
	d.Message.Content.Attachments = []pipeline.Attachment{sinktest.Attachment("2", "a.txt", "text/plain", []byte("octets"))}
	got, err := shapedSink(t, Options{Shape: `"\(subject) \(.data.message.attachments[0].content)"`, ShapeType: "text/plain"}).Preview(t.Context(), d)
	if want := "a \uFFFD[2Jb (6 octets in base64)"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	_, err = shapedSink(t, Options{Shape: `error(subject)`}).Preview(t.Context(), d)
	if err == nil || !strings.Contains(err.Error(), "a \uFFFD[2Jb") {
		t.Errorf("%q, want it without control characters", err)
	}
	if got, err := shapedSink(t, Options{Secrets: []string{testSecret}}).Preview(t.Context(), d); got != "" || err != nil {
		t.Errorf("without a shape: %q, %v", got, err)
	}
}
