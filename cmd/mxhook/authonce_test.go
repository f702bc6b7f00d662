package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// TestMailIsAuthenticatedOnce: three recipients, two sinks and an attempt that has to be repeated make one verification.
func TestMailIsAuthenticatedOnce(t *testing.T) {
	t.Parallel()
	config := strings.Replace(apptest.BasicConfig, "rules: [{name: all, to: [hook]}]", `  - name: second
    webhook: {url: "{{.Endpoint}}/second", secret: "{{.Secret}}", allow_private: true}
    retry: {steps: [1s, 1s, 2s], every: 2s}
rules: [{name: all, to: [hook, second]}]`, 1)
	i := apptest.Start(t, apptest.Options{Config: config})
	refused := false
	i.Endpoint.BehaveFunc(func(apptest.Webhook) apptest.Behaviour {
		if !refused {
			refused = true
			return apptest.Behaviour{Status: http.StatusServiceUnavailable}
		}
		return apptest.Behaviour{}
	})
	mail := apptest.Mail{From: "a@example.org", To: []string{"a@example.com", "b@example.com", "c@example.com"}, Data: apptest.Text("once", 100)}
	if _, err := apptest.SendOne(i.SMTP(), mail); err != nil {
		t.Fatal(err)
	}
	i.Endpoint.WaitCount(t, 3, 30*time.Second)
	resp, err := http.Get(i.Ops() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := regexp.MustCompile(`(?m)^mxhook_auth_seconds_count .*$`).FindString(string(text)); got != "mxhook_auth_seconds_count 1" {
		t.Errorf("%q", got)
	}
}
