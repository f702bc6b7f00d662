package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// linkConfig gives links to what is larger than 10 kB. Where the ops listener is comes out when it is bound: the test goes there.
var linkConfig = strings.Replace(apptest.BasicConfig, "secret: \"{{.Secret}}\"", "secret: \"{{.Secret}}\", raw: true, inline_limit: 10kB", 1) +
	"links: {base_url: \"http://localhost:1/in\", path: /files/, valid: 1h}\n"

// linkPayload is what a receiver of links reads.
type linkPayload struct {
	Data struct {
		Message struct {
			Attachments []struct {
				ID, Filename, SHA256  string
				Content, URL, Omitted *string
			}
		}
		Raw struct{ Content, URL, Omitted *string }
	}
}

func TestAttachmentsAboveTheLimitAreFetchedByLink(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: linkConfig})
	mail := attachmentMail(100_000)
	id := send(t, i, apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: mail})
	var p linkPayload
	i.Endpoint.WaitCount(t, 1, time.Minute)[0].Payload(t, &p)
	if len(p.Data.Message.Attachments) != 1 || p.Data.Raw.URL == nil || p.Data.Raw.Content != nil {
		t.Fatalf("%+v", p)
	}
	a := p.Data.Message.Attachments[0]
	if a.URL == nil || a.Content != nil || a.Omitted != nil || !strings.HasPrefix(*a.URL, "http://localhost:1/in/files/"+id+"/2?") {
		t.Fatalf("%+v", a)
	}
	fetch := func(link string) (int, string) {
		resp, err := http.Get(i.Ops() + strings.TrimPrefix(link, "http://localhost:1/in"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for range 2 {
		status, body := fetch(*a.URL)
		if sum := sha256.Sum256([]byte(body)); status != 200 || hex.EncodeToString(sum[:]) != a.SHA256 {
			t.Errorf("attachment: %d, %d octets", status, len(body))
		}
		if status, body = fetch(*p.Data.Raw.URL); status != 200 || body != string(mail) {
			t.Errorf("raw: %d, %d octets, want %d", status, len(body), len(mail))
		}
		if status, _ = fetch(strings.Replace(*a.URL, "/2?", "/1?", 1)); status != http.StatusForbidden {
			t.Errorf("another part: %d", status)
		}
		// The key stays, and so do the links that are out.
		i.Restart()
	}
	info, err := os.Stat(filepath.Join(i.Config.DataDir, "links.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
}
