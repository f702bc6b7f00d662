package webhook

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

func TestAnswersAreJudged(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 19, 0, 0, 0, time.UTC)
	const transient, permanent, success = "transient", "permanent", ""
	for _, tt := range []struct {
		name       string
		status     int
		retryAfter string
		class      string
		asked      time.Duration
		text       string
	}{
		{"ok", 200, "", success, 0, ""},
		{"created", 201, "", success, 0, ""},
		{"accepted", 202, "10", success, 0, ""},
		{"no content", 204, "", success, 0, ""},
		{"odd success", 299, "", success, 0, ""},
		{"not modified", 304, "", transient, 0, "endpoint answered 304 Not Modified: redirects"},
		{"bad request", 400, "", transient, 0, "endpoint answered 400 Bad Request"},
		{"unauthorized", 401, "", transient, 0, "endpoint answered 401 Unauthorized"},
		{"not found", 404, "", transient, 0, ""},
		{"gone", 410, "", permanent, 0, "endpoint answered 410 Gone"},
		{"gone wins over retry", 410, "10", permanent, 0, ""},
		{"configured", 422, "", permanent, 0, ""},
		{"configured redirect", 308, "", permanent, 0, ""},
		{"too many", 429, "120", transient, 2 * time.Minute, "429 Too Many Requests (retry after 2m0s)"},
		{"date", 503, "Sat, 21 Nov 2026 19:10:00 GMT", transient, 10 * time.Minute, ""},
		{"old date form", 503, "Saturday, 21-Nov-26 19:10:00 GMT", transient, 10 * time.Minute, ""},
		{"date in the past", 503, "Sat, 21 Nov 2026 18:00:00 GMT", transient, 0, ""},
		{"far date", 503, "Sat, 21 Nov 2099 18:00:00 GMT", transient, maxRetryAfter, ""},
		{"zero", 503, "0", transient, 0, ""},
		{"negative", 503, "-5", transient, 0, ""},
		{"fraction", 503, "1.5", transient, 0, ""},
		{"huge", 503, "9999999999999999", transient, maxRetryAfter, ""},
		{"overflow", 503, "99999999999999999999999", transient, 0, ""},
		{"words", 503, "soon", transient, 0, ""},
		{"unknown status", 599, "", transient, 0, "endpoint answered 599"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if tt.retryAfter != "" {
					w.Header().Set("Retry-After", tt.retryAfter)
				}
				w.WriteHeader(tt.status)
			})
			w := newWebhook(t, Options{URL: server.URL, PermanentStatuses: []int{422, 308}, Now: func() time.Time { return now }})
			resp, err := w.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N00VTC0M"))
			class := success
			if err != nil {
				class = transient
				if pipeline.IsPermanent(err) {
					class = permanent
				}
				if !strings.Contains(err.Error(), tt.text) {
					t.Errorf("error %q, want %q", err, tt.text)
				}
			}
			asked, _ := pipeline.AskedDelay(err)
			if class != tt.class || asked != tt.asked || resp.Status != statusText(tt.status) {
				t.Errorf("%q asks %v, response %+v (%v); want %q, %v", class, asked, resp, err, tt.class, tt.asked)
			}
		})
	}
}

func TestSwitchedProtocolIsAFailureAndNotWaitedFor(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello")
		<-done
		conn.Close()
	})
	t.Cleanup(func() { close(done) })
	w := newWebhook(t, Options{URL: server.URL})
	resp, err := w.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0SW1TCH"))
	if err == nil || pipeline.IsPermanent(err) || resp.Status != "101 Switching Protocols" {
		t.Errorf("response %+v, error %v", resp, err)
	}
}

func TestRedirectIsNamedAndNotFollowed(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"https://www.example.com/in?token=s3cret": "a redirect to https://www.example.com: redirects",
		"https://bob:s3cret@www.example.com/":     "a redirect to https://www.example.com: redirects",
		"//other.example/s3cret":                  "a redirect to http://other.example: redirects",
		"/hook/":                                  "with a slash added to the path: redirects",
		"/s3cret":                                 "a redirect to http://127.0.0.1",
		"http://[::1":                             "a redirect to an unreadable address",
		"mailto:s3cret@example.com":               "a redirect to an unreadable address",
		"http://" + strings.Repeat("s3cret.", 50) + "com": "a redirect to an unreadable address",
		"": "308 Permanent Redirect: redirects are not followed",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			requests := 0
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				io.Copy(io.Discard, r.Body)
				w.Header()["Location"] = []string{location}
				w.WriteHeader(http.StatusPermanentRedirect)
			})
			w := newWebhook(t, Options{URL: server.URL + "/hook"})
			_, err := w.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0RED1R0"))
			if err == nil || pipeline.IsPermanent(err) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("Location %q: error %v, want %q", location, err, want)
			}
			if requests != 1 {
				t.Errorf("%d requests, want 1", requests)
			}
		})
	}
}

func TestRedactorCutsSecretsInEveryForm(t *testing.T) {
	t.Parallel()
	o := Options{
		URL: "https://alice:p%2Fss%20w%C3%B6rd@example.com/hooks/T024BE7LD1234567/x?token=a%2Bb%26c%3D&v=2", Secrets: []string{testSecret},
		Headers: []Header{{"Authorization2", "Bearer abc/def\"ghi"}},
	}
	target, user, err := o.endpoint(&address{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRedactor(o, target, user, nil, nil)
	for _, secret := range []string{
		testSecret, strings.TrimPrefix(testSecret, "whsec_"), "p/ss wörd", "p%2Fss%20w%C3%B6rd", "p%2Fss+w%C3%B6rd", `p\/ss wörd`,
		"token=a%2Bb%26c%3D&v=2", "a+b&c=", "a%2Bb%26c%3D", `abc/def"ghi`, `abc/def\"ghi`, "T024BE7LD1234567",
	} {
		if got := r.Replace("before " + secret + " after"); got != "before [redacted] after" {
			t.Errorf("%q became %q", secret, got)
		}
	}
	if got := r.Replace("v=2 hooks x example.com"); got != "v=2 hooks x example.com" {
		t.Errorf("words became %q", got)
	}
}

func FuzzAnswerTexts(f *testing.F) {
	f.Add("120", "https://example.com/", "thanks")
	f.Add("Sat, 21 Nov 2026 19:10:00 GMT", "//x", "\xff\x1b[0m\u202e")
	f.Add("-1", "http://[::1", strings.Repeat("ä", 600))
	o := Options{URL: "https://example.com/hook"}
	target, _, err := o.endpoint(&address{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, retry, location, answer string) {
		if d := retryAfter(retry, time.Unix(1795288624, 0)); d < 0 || d > maxRetryAfter {
			t.Errorf("Retry-After %q is %v", retry, d)
		}
		if s := redirectText(target, location); len(s) > 2000 || !utf8.ValidString(s) {
			t.Errorf("Location %q gives %q", location, s)
		}
		if s := detail(answer); len(s) > maxDetail || !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\x1b\u202e") {
			t.Errorf("answer %q gives %q", answer, s)
		}
	})
}
