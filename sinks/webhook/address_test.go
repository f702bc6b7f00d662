package webhook

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

func TestPathQueryAndHeadersAreFilledInForEachDelivery(t *testing.T) {
	t.Parallel()
	var got *http.Request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r }))
	defer s.Close()
	w := newWebhook(t, Options{
		URL:     s.URL + "/in%20box/{domain}/{local}?who={recipient}&key=fixed",
		Headers: []Header{{"X-Tenant", "tenant {captures.tenant}"}, {"X-Fixed", "a{{b}}"}},
	})
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N00TPL00")
	d.Recipients = []pipeline.Recipient{{
		Address: "../x&y=z@example.com", Local: "../x&y=z", Domain: "example.com", Captures: map[string]string{"tenant": "a\r\nX-Evil: 1"},
	}}
	if _, err := w.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(got.RequestURI, "?")
	if prefix := "/in%20box/example.com/_._x_y=z-"; !strings.HasPrefix(path, prefix) || strings.Count(path, "/") != 3 || len(path) != len(prefix)+12 {
		t.Errorf("path %q", path)
	}
	if query != "who=..%2Fx%26y%3Dz%40example.com&key=fixed" || got.URL.Query().Get("who") != "../x&y=z@example.com" {
		t.Errorf("query %q", query)
	}
	if v := got.Header.Get("X-Tenant"); v != "tenant a%0D%0AX-Evil: 1" || got.Header.Get("X-Evil") != "" {
		t.Errorf("header %q", v)
	}
	if v := got.Header.Get("X-Fixed"); v != "a{b}" {
		t.Errorf("fixed header %q", v)
	}
	if n := len(pipeline.TemplatesOf(w)); n != 3 {
		t.Errorf("%d templates, want path, query and one header", n)
	}
}

func TestTheHostOfAnEndpointIsNoTemplate(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://{domain}/":              "url: there is a field in braces before the path: only path and query can be templates, the host is fixed",
		"https://{local}@example.com/":   "url: there is a field in braces before the path: only path and query can be templates, the host is fixed",
		"{domain}":                       "url: there is a field in braces before the path: only path and query can be templates, the host is fixed",
		"https://example.com/{dmain}":    "url: column 21: there is no field {dmain}; did you mean {domain}?",
		"https://example.com/a?b={dat}":  "url: column 25: there is no field {dat}; did you mean {date}?",
		"https://example.com/{date}#x":   "url has a fragment (#...), which is never sent: remove it",
		"https://example.com/../{local}": "url: column 20: the path goes by way of ..",
	} {
		if _, err := New(Options{URL: url, Secrets: []string{testSecret}}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
	_, err := New(Options{URL: "https://example.com/", Secrets: []string{testSecret}, Headers: []Header{{"Authorization", "Bearer {hunter2}"}}})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestBracesThatAreMeantAsSuchStaySecretToo(t *testing.T) {
	t.Parallel()
	w, err := New(Options{
		URL: "https://user:pa%7Bss@example.com/hooks/{{0123456789abcdef}}", Secrets: []string{testSecret},
		Headers: []Header{{"X-Key", "hun{{ter}}2"}, {"Authorization-Of-Ours", "Bearer {{abc}}"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"hun{ter}2", "Bearer {abc}", "{0123456789abcdef}"} {
		if got := w.redactor.Replace("x " + text + " y"); strings.Contains(got, text) {
			t.Errorf("%q became %q", text, got)
		}
	}
	if _, err := New(Options{URL: "https://us{{er:pass@example.com/", Secrets: []string{testSecret}}); err == nil || !strings.Contains(err.Error(), "percent-encode") {
		t.Errorf("%v", err)
	}
}

func TestFixedTextsOfTemplatesStaySecret(t *testing.T) {
	t.Parallel()
	w, err := New(Options{
		URL: "https://example.com/hooks/0123456789abcdef{local}?token=abcdefgh&for={tag}", Secrets: []string{testSecret},
		Headers: []Header{{"Authorization", "Bearer hunter2-{domain}"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"0123456789abcdef", "abcdefgh", "hunter2-", "Bearer hunter2-"} {
		if got := w.redactor.Replace("x " + text + " y"); strings.Contains(got, text) {
			t.Errorf("%q became %q", text, got)
		}
	}
}
