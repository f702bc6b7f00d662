package console

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestProfilesAreInTheFormatOfPprof(t *testing.T) {
	_, c, _ := newTestAPI(t, "")
	get := func(path string) (int, []byte) {
		resp, err := c.HTTP.Get(c.Base + "/api/v1/profile/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, body
	}
	for path, begin := range map[string]string{
		"cpu?seconds=0.05": "\x1f\x8b", "trace?seconds=0.05": "go 1.", "mutex?seconds=0.01": "\x1f\x8b", "block?seconds=0.01": "\x1f\x8b",
		"heap": "\x1f\x8b", "allocs": "\x1f\x8b", "goroutine": "\x1f\x8b",
	} {
		if status, body := get(path); status != http.StatusOK || !bytes.HasPrefix(body, []byte(begin)) {
			t.Errorf("%s: status %d, begins with %.8q, want 200 and %q", path, status, body, begin)
		}
	}
	for path, want := range map[string]int{
		"cpu?seconds=0": 400, "cpu?seconds=-1": 400, "cpu?seconds=NaN": 400, "cpu?seconds=301": 400, "cpu?seconds=x": 400, "disk": 404,
	} {
		if status, body := get(path); status != want {
			t.Errorf("%s: status %d %s, want %d", path, status, body, want)
		}
	}
}

func TestAProfileEndsWhenTheProcessDoes(t *testing.T) {
	stopping := make(chan struct{})
	close(stopping)
	srv := httptest.NewServer(New(Options{Stopping: stopping, Log: slog.New(slog.DiscardHandler)}))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/api/v1/profile/mutex?seconds=300", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestProfilesAreForWhoHasTheToken(t *testing.T) {
	_, c, _ := newTestAPI(t, "secret")
	resp, err := c.HTTP.Get(c.Base + "/api/v1/profile/heap")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the token: status %d, want 401", resp.StatusCode)
	}
}
