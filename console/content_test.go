package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mxhook/pipeline"
)

// linked is a server of links to one message, which is kept as "MAIL-0/7".
type linked struct {
	*httptest.Server
	links   *Links
	message *pipeline.Message
	now     time.Time
	// kept is what reading the message fails with.
	kept error
}

func serveLinks(t *testing.T) *linked {
	t.Helper()
	octets := []byte("0123456789")
	l := &linked{now: time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)}
	raw := []byte("Subject: x\r\n\r\nraw")
	l.message = &pipeline.Message{
		Envelope: pipeline.Envelope{ID: "01KAK5ZV3QW8E6T4Y2N0ATTACH"}, Raw: raw, SHA256: sha256.Sum256(raw), Ref: "MAIL-0/7",
		Content: &pipeline.Content{Attachments: []pipeline.Attachment{
			{ID: "1.2", Filename: "é.html", ContentType: "text/html", Size: int64(len(octets)), SHA256: sha256.Sum256(octets), Open: func() io.Reader {
				return iotest.OneByteReader(bytes.NewReader(octets))
			}},
			{ID: "2", Filename: "b", ContentType: "no type\x01", Open: func() io.Reader { return strings.NewReader("") }},
		}},
	}
	mux := http.NewServeMux()
	l.Server = httptest.NewServer(mux)
	t.Cleanup(l.Close)
	l.links = NewLinks(LinkOptions{
		BaseURL: l.Server.URL + "/", Path: "/content/", Key: []byte("0123456789abcdef"), Valid: time.Hour, Now: func() time.Time { return l.now },
	})
	mux.Handle("GET /content/{id}/{part}", NewContent(ContentOptions{
		Links: l.links, Log: slog.New(slog.DiscardHandler), Load: func(_ context.Context, ref string) (*pipeline.Message, error) {
			if ref != l.message.Ref {
				return nil, pipeline.ErrNotFound
			}
			return l.message, l.kept
		},
	}))
	return l
}

// get returns status and body.
func (l *linked) get(t *testing.T, link string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := l.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestLinkLeadsToTheOctetsAndNothingABrowserWouldRun(t *testing.T) {
	t.Parallel()
	l := serveLinks(t)
	resp, body := l.get(t, l.links.URL(l.message, "1.2"))
	if resp.StatusCode != 200 || body != "0123456789" || resp.ContentLength != 10 {
		t.Fatalf("%s %q", resp.Status, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html", "Content-Disposition": "attachment; filename*=utf-8''%C3%A9.html", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "private, no-store", "Accept-Ranges": "bytes",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if resp, body = l.get(t, l.links.URL(l.message, RawPart)); body != string(l.message.Raw) || resp.Header.Get("Content-Type") != "message/rfc822" {
		t.Errorf("raw: %s %q", resp.Status, body)
	}
	if resp, body = l.get(t, l.links.URL(l.message, "2")); body != "" || resp.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("without a type: %s %q", resp.Status, resp.Header)
	}
}

func TestLinkAnswersRangesAndConditions(t *testing.T) {
	t.Parallel()
	l := serveLinks(t)
	link := l.links.URL(l.message, "1.2")
	first, _ := l.get(t, link)
	for _, c := range []struct {
		header []string
		status int
		body   string
	}{
		{[]string{"Range", "bytes=3-5"}, 206, "345"},
		{[]string{"Range", "bytes=-2"}, 206, "89"},
		{[]string{"Range", "bytes=8-"}, 206, "89"},
		{[]string{"Range", "bytes=20-"}, 416, ""},
		{[]string{"If-None-Match", first.Header.Get("ETag")}, 304, ""},
		{[]string{"Range", "bytes=0-0", "If-Range", `"other"`}, 200, "0123456789"},
		{[]string{"Range", "bytes=8-8,7-7,6-6,5-5,4-4,3-3,2-2,1-1,0-0"}, 200, "0123456789"}, // too many to go back for
	} {
		resp, body := l.get(t, link, c.header...)
		if resp.StatusCode != c.status || c.body != "" && body != c.body {
			t.Errorf("%q: %s %q, want %d %q", c.header, resp.Status, body, c.status, c.body)
		}
	}
	if _, body := l.get(t, link, "Range", "bytes=5-6,1-2"); !strings.Contains(body, "56") || !strings.Contains(body, "12") {
		t.Errorf("two ranges, the second before the first: %q", body)
	}
}

func TestLinkEnds(t *testing.T) {
	t.Parallel()
	l := serveLinks(t)
	link := l.links.URL(l.message, "1.2")
	check := func(what, link string, status int, text string) {
		t.Helper()
		resp, body := l.get(t, link)
		if resp.StatusCode != status || !strings.Contains(body, text) {
			t.Errorf("%s: %s %q, want %d %q", what, resp.Status, body, status, text)
		}
	}
	l.kept = errors.New("stream does not answer")
	check("queue down", link, 503, "try again")
	l.kept = pipeline.ErrNotFound
	check("retention is over", link, 410, "queue.retention")
	l.kept = nil
	check("no such part", l.links.URL(l.message, "9"), 404, "no such part")
	other := *l.message
	other.Envelope.ID = "01OTHER"
	check("the place has another message", l.links.URL(&other, "1.2"), 410, "queue.retention")
	l.now = l.now.Add(time.Hour)
	check("expired", link, 410, "expired")
	l.now = l.now.Add(-time.Second)
	check("not yet expired", link, 200, "0123456789")
}

func TestLinkCannotBeChanged(t *testing.T) {
	t.Parallel()
	l := serveLinks(t)
	link := l.links.URL(l.message, "1.2")
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, change func(u *url.URL, q url.Values)) {
		t.Helper()
		c, q := *u, u.Query()
		change(&c, q)
		c.RawQuery = q.Encode()
		if resp, _ := l.get(t, c.String()); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", what, resp.Status)
		}
	}
	try("another part", func(u *url.URL, _ url.Values) { u.Path = strings.Replace(u.Path, "/1.2", "/raw", 1) })
	try("another message", func(u *url.URL, _ url.Values) { u.Path = strings.Replace(u.Path, "ATTACH", "ATTACK", 1) })
	try("another place", func(_ *url.URL, q url.Values) { q.Set("ref", "MAIL-0/8") })
	try("later", func(_ *url.URL, q url.Values) { q.Set("expires", "99999999999") })
	try("no time", func(_ *url.URL, q url.Values) { q.Del("expires") })
	try("no signature", func(_ *url.URL, q url.Values) { q.Del("signature") })
	try("no base64", func(_ *url.URL, q url.Values) { q.Set("signature", "%%%") })
	l.links.opts.Key = []byte("fedcba9876543210")
	if resp, _ := l.get(t, link); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another key: %s", resp.Status)
	}
}

func TestMessageThatIsNotKeptHasNoLink(t *testing.T) {
	t.Parallel()
	l := serveLinks(t)
	l.message.Ref = ""
	if got := l.links.URL(l.message, "1.2"); got != "" {
		t.Errorf("link %q", got)
	}
}
