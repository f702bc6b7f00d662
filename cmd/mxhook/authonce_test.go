package main

import (
	"net/http"
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
	if got := metric(t, i, "mxhook_auth_seconds_count"); got != "mxhook_auth_seconds_count 1" {
		t.Error(got)
	}
}
