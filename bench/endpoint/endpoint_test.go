package endpoint

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestTimeAndNumberAreFoundInBodiesOfAnyShape(t *testing.T) {
	for name, body := range map[string]string{
		"the mail":          "X-Load-Sent: 1763784000000000001 42\r\nFrom: a@example.org\r\n\r\nHi 7",
		"fields as objects": `{"headers":[{"name":"X-Load-Sent","value":"1763784000000000001 42"}]}`,
		"fields as a map":   `{"headers":{"x-load-sent":["1763784000000000001 42\n"]}}`,
		"lines":             `{"headers":["X-Load-Sent: 1763784000000000001 42"]}`,
	} {
		at, number, ok := sentAt([]byte(body))
		if !ok || at.UnixNano() != 1763784000000000001 || string(number) != "42" {
			t.Errorf("%s: %d %q %t", name, at.UnixNano(), number, ok)
		}
	}
	for _, body := range []string{"", "{}", "X-Load-Sent", "X-Load-Sent: x"} {
		if _, _, ok := sentAt([]byte(body)); ok {
			t.Errorf("%q has no time", body)
		}
	}
}

func TestWebhooksAreCountedByIDOrNumber(t *testing.T) {
	e, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	post := func(id, body string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.Addr()+"/one", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if id != "" {
			req.Header.Set("webhook-id", id)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	post("A", "")
	post("A", "")
	post("", "X-Load-Sent: 1 5\r\n")
	e.Set("one", Knobs{Status: http.StatusServiceUnavailable, Delay: time.Millisecond})
	post("B", "")
	c := e.Counts("one")
	if c.Requests != 4 || c.Unique != 2 || c.Repeated != 1 {
		t.Errorf("%+v, want 4 requests, 2 unique, 1 repeated", c)
	}
	var l Ledger
	for _, id := range []string{"A", "B", "5"} {
		l.Add(id)
	}
	if n := e.Missing("one", &l); n != 1 {
		t.Errorf("%d missing, want B alone", n)
	}
}
