package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// Mails that are made to choke a reader come out as webhooks like any other, with a problem that says what was left out.
func TestBombsAreDelivered(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	rep := strings.Repeat
	var nested, pieces, params strings.Builder
	for n := range 10_000 {
		fmt.Fprintf(&nested, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", n, n)
	}
	for n := range 20_000 {
		fmt.Fprintf(&pieces, ";\r\n name*%d=v", n)
	}
	for n := range 100_000 {
		fmt.Fprintf(&params, ";\r\n p%d=v", n)
	}
	bombs := map[string]string{
		nested.String(): "too-deep",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + rep("--b\r\n\r\n", 200_000):                                                             "too-many-parts",
		"Content-Type: text/plain" + params.String() + "\r\n\r\nx\r\n":                                                                                "field-too-large",
		"Content-Type: application/x" + pieces.String() + "\r\n\r\nx\r\n":                                                                             "field-too-large",
		"Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + rep(rep("*?#!", 18)+"\r\n", 10<<20/74):                           "encoding-damaged",
		"From: mailer-daemon@example.org\r\nSubject: undelivered\r\n\r\n" + rep("a@example.org: failed\r\n", 50_000) + strings.Repeat("a@\r\n", 9999): "",
	}
	codes := make(map[string]string)
	for mail, code := range bombs {
		id, err := apptest.SendOne(i.SMTP(), apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: []byte(mail)})
		if err != nil {
			t.Fatalf("send %.60q: %v", mail, err)
		}
		codes[id+".hook"] = code
	}
	for _, hook := range i.Endpoint.WaitCount(t, len(bombs), time.Minute) {
		var p struct {
			Data struct {
				Message  *struct{} `json:"message"`
				Problems []struct {
					Code string `json:"code"`
				} `json:"problems"`
			} `json:"data"`
		}
		hook.Payload(t, &p)
		found := codes[hook.ID] == ""
		for _, problem := range p.Data.Problems {
			found = found || problem.Code == codes[hook.ID]
		}
		if !found || p.Data.Message == nil {
			t.Errorf("message %v, no problem %q among %v", p.Data.Message != nil, codes[hook.ID], p.Data.Problems)
		}
	}
}
