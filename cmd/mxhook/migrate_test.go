package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// migrationBase is what the block of a page needs around it.
const migrationBase = `
data_dir: {{.Dir}}/data
smtp:
  hostname: mx.example.com
  listeners: [{name: mx, address: "127.0.0.1:0", protocol: smtp, tls: none}]
dns: {servers: ["{{.DNS}}"]}
queue: {reserve: 10MB}
ops: {address: "127.0.0.1:0"}
`

// yamlBlock is the first block of configuration of a page.
var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestTheBlocksOfTheMigrationPagesDeliver takes the configuration out of each page, and sends a mail through it to an endpoint
// that stands where the page says.
func TestTheBlocksOfTheMigrationPagesDeliver(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/migrate-from-*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for page, want := range map[string]struct {
		path, contentType string
		basic             bool
		read              func(t *testing.T, r *http.Request) (recipient, text string)
	}{
		"mailgun":     {"/webhooks/mailgun", "application/x-www-form-urlencoded", false, formValues("recipient", "body-plain")},
		"sendgrid":    {"/webhooks/sendgrid", "multipart/form-data", true, formValues("envelope", "text")},
		"postmark":    {"/webhooks/postmark", "application/json", true, jsonValues("OriginalRecipient", "TextBody")},
		"cloudmailin": {"/incoming", "application/json", true, jsonValues("envelope", "plain")},
		"ses":         {"/webhooks/ses", "text/plain", false, jsonValues("Message", "Message")},
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			type arrival struct{ path, contentType, recipient, text, user string }
			got := make(chan arrival, 1)
			endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				a := arrival{path: r.URL.Path, contentType: r.Header.Get("Content-Type")}
				a.user, _, _ = r.BasicAuth()
				a.recipient, a.text = want.read(t, r)
				got <- a
			}))
			t.Cleanup(endpoint.Close)
			text, err := os.ReadFile("../../docs/migrate-from-" + page + ".md")
			if err != nil {
				t.Fatal(err)
			}
			block := yamlBlock.FindSubmatch(text)
			if block == nil {
				t.Fatal("the page has no block of configuration")
			}
			config := strings.Replace(string(block[1]), "url: https://app.example.com", "allow_private: true\n      url: "+endpoint.URL, 1)
			config = regexp.MustCompile(`\$\{[A-Z_]+\}`).ReplaceAllString(config, apptest.Secret)
			i := apptest.Start(t, apptest.Options{Config: migrationBase + config})
			send(t, i, apptest.Mail{From: "a@example.org", To: []string{"in@example.com"}, Data: []byte("From: a@example.org\r\nTo: in@example.com\r\nSubject: moved\r\n\r\nIt moved.\r\n")})
			select {
			case a := <-got:
				if a.path != want.path || !strings.HasPrefix(a.contentType, want.contentType) || (a.user != "") != want.basic ||
					!strings.Contains(a.recipient, "in@example.com") || page != "ses" && !strings.Contains(a.text, "It moved.") {
					t.Errorf("%+v", a)
				}
			case <-time.After(time.Minute):
				t.Fatal("nothing arrived")
			}
		})
	}
}

// formValues reads two fields of a form.
func formValues(recipient, text string) func(*testing.T, *http.Request) (string, string) {
	return func(t *testing.T, r *http.Request) (string, string) {
		if err := r.ParseMultipartForm(1 << 20); err != nil && r.PostForm == nil {
			t.Error(err)
		}
		return r.PostFormValue(recipient), r.PostFormValue(text)
	}
}

// jsonValues reads two members of a JSON object, as the texts that they are or as JSON.
func jsonValues(recipient, text string) func(*testing.T, *http.Request) (string, string) {
	return func(t *testing.T, r *http.Request) (string, string) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Error(err)
		}
		return string(members[recipient]), string(members[text])
	}
}
