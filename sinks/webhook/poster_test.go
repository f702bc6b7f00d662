package webhook

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const posterSecret = "whsec_VGhpcyBpcyBhIHNhbXBsZTogbWFrZSB5b3VyIG93biE="

func TestPostIsSignedLikeAWebhook(t *testing.T) {
	t.Parallel()
	status := http.StatusNoContent
	var verdict error
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		v, verr := NewVerifier([]string{posterSecret}, nil)
		if err != nil || verr != nil {
			t.Error(err, verr)
			return
		}
		verdict = v.Verify(r.Header, body)
		if r.Header.Get(HeaderID) != "alert.1" || string(body) != "{}" {
			t.Errorf("id %q, body %q", r.Header.Get(HeaderID), body)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	o := PosterOptions{URL: srv.URL + "/hook?token=hidden", Secrets: []string{posterSecret}, Version: "1"}
	if _, err := NewPoster(o); err == nil {
		t.Error("a loopback address is allowed without allow_private")
	}
	o.AllowPrivate = true
	p, err := NewPoster(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Post(t.Context(), "alert.1", []byte("{}")); err != nil || verdict != nil {
		t.Errorf("post: %v; signature: %v", err, verdict)
	}
	for _, status = range []int{http.StatusFound, http.StatusInternalServerError} {
		if err := p.Post(t.Context(), "alert.1", []byte("{}")); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("status %d: %v", status, err)
		}
	}
	srv.Close()
	if err := p.Post(t.Context(), "alert.1", []byte("{}")); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("closed: %v", err)
	}
}
