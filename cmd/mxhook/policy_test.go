package main

import (
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

const policyConfig = `
data_dir: {{.Dir}}/data
smtp:
  hostname: mx.example.com
  listeners:
    - {name: mx, address: "127.0.0.1:0", proxy_networks: [127.0.0.1]}
    - {name: inside, address: "127.0.0.1:0", protocol: lmtp, xclient_networks: [127.0.0.0/8]}
  policy:
    allow_networks: [203.0.113.0/24, 127.0.0.1]
    deny_networks: [198.51.100.7]
    greylist: {delay: 1h}
domains:
  - domain: example.com
    recipients_file: {{.Dir}}/recipients
    blocked: [old]
    quota: 1
sinks:
  - name: hook
    webhook: {url: "{{.Endpoint}}/hook", secret: "{{.Secret}}", allow_private: true}
rules: [{name: all, to: [hook]}]
dns: {servers: ["{{.DNS}}"]}
queue: {reserve: 10MB}
ops: {address: "127.0.0.1:0"}
`

// lineClient sends lines and expects replies.
type lineClient struct {
	t    *testing.T
	conn *textproto.Conn
}

func dialLines(t *testing.T, addr net.Addr) *lineClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c := &lineClient{t, textproto.NewConn(conn)}
	t.Cleanup(func() { c.conn.Close() })
	return c
}

// say sends a line ("" sends none) and returns the reply, all its lines in one.
func (c *lineClient) say(line, want string) {
	c.t.Helper()
	if line != "" {
		if err := c.conn.PrintfLine("%s", line); err != nil {
			c.t.Fatal(err)
		}
	}
	code, text, err := c.conn.ReadResponse(0)
	if got := textproto.TrimString(strings.Join([]string{codeText(code), text}, " ")); !strings.HasPrefix(got, want) {
		c.t.Fatalf("%q: got %q, %v; want %q", line, got, err, want)
	}
}

func codeText(code int) string {
	return string([]byte{byte('0' + code/100%10), byte('0' + code/10%10), byte('0' + code%10)})
}

// What the configuration says about clients and recipients is what the front end does: PROXY, LMTP, networks,
// greylisting in the queue, a file of recipients, blocked ones and quotas.
func TestFrontEndDoesWhatTheConfigurationSays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "recipients"), []byte("alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := apptest.Start(t, apptest.Options{Config: policyConfig, Dir: dir})
	from := func(ip string) *lineClient {
		c := dialLines(t, i.App.SMTPAddr("mx"))
		if err := c.conn.PrintfLine("PROXY TCP4 %s 192.0.2.25 4711 25", ip); err != nil {
			t.Fatal(err)
		}
		return c
	}
	from("198.51.100.7").say("", "554 5.7.1 No mail is taken from your network")

	stranger := from("198.51.100.8")
	stranger.say("", "220 mx.example.com ESMTP")
	stranger.say("EHLO client.example.org", "250 mx.example.com")
	stranger.say("MAIL FROM:<x@example.org>", "250")
	stranger.say("RCPT TO:<alice@example.com>", "450 4.7.1 Greylisted")
	stranger.say("RCPT TO:<nobody@example.com>", "550 5.1.1")

	known := from("203.0.113.9")
	known.say("", "220")
	known.say("EHLO client.example.org", "250")
	known.say("MAIL FROM:<x@example.org>", "250")
	known.say("RCPT TO:<old@example.com>", "550 5.7.1 The recipient takes no mail")
	known.say("RCPT TO:<alice@example.com>", "250")
	known.say("DATA", "354")
	known.say("Subject: by balancer\r\n\r\nx\r\n.", "250 2.0.0 Ok: queued as")
	known.say("MAIL FROM:<x@example.org>", "250")
	known.say("RCPT TO:<alice+2@example.com>", "450 4.2.1")

	inside := dialLines(t, i.App.SMTPAddr("inside"))
	inside.say("", "220 mx.example.com LMTP")
	inside.say("LHLO relay.example.org", "250")
	inside.say("XCLIENT ADDR=203.0.113.10", "220")
	inside.say("LHLO relay.example.org", "250")
	inside.say("MAIL FROM:<x@example.org>", "250")
	inside.say("RCPT TO:<postmaster@example.com>", "250")
	inside.say("RCPT TO:<Postmaster>", "250")
	inside.say("DATA", "354")
	inside.say("Subject: by LMTP\r\n\r\nx\r\n.", "250 2.0.0 Ok: queued as")
	inside.say("", "250 2.0.0 Ok: queued as")

	hooks := i.Endpoint.WaitCount(t, 2, time.Minute)
	ips := map[string]bool{}
	for _, hook := range hooks {
		var p struct {
			Data struct {
				Envelope struct {
					Client struct {
						IP string `json:"ip"`
					} `json:"client"`
				} `json:"envelope"`
			} `json:"data"`
		}
		hook.Payload(t, &p)
		ips[p.Data.Envelope.Client.IP] = true
	}
	if !ips["203.0.113.9"] || !ips["203.0.113.10"] {
		t.Errorf("clients in the webhooks: %v", ips)
	}
}

// The question for a recipient is signed like a webhook, and its answer is the reply.
func TestRecipientsAreAskedForWithASignature(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: strings.Replace(apptest.BasicConfig, "domains: [{domain: example.com}]",
		`domains: [{domain: example.com, callout: {url: "{{.Endpoint}}/recipient", secret: "{{.Secret}}", allow_private: true}}]`, 1)})
	behaveAt(i.Endpoint, "/recipient", func(w apptest.Webhook) apptest.Behaviour {
		for local, status := range map[string]int{"alice": 200, "gone": 404, "full": 403} {
			if strings.Contains(string(w.Body), `"local":"`+local+`"`) {
				return apptest.Behaviour{Status: status}
			}
		}
		return apptest.Behaviour{Status: 500}
	})
	s := begin(t, i.App.SMTPAddr("mx"), "EHLO", "client.example.org")
	s.say("RCPT TO:<gone@example.com>", "550 5.1.1")
	s.say("RCPT TO:<full@example.com>", "550 5.7.1")
	s.say("RCPT TO:<broken@example.com>", "451 4.3.0")
	s.to("alice+tag@example.com").data(waitMail("asked for", 10), "250")
	hooks := hooksAt(i.Endpoint, "/recipient")
	ids := map[string]bool{}
	for _, w := range hooks {
		ids[w.ID] = true
	}
	if len(hooks) != 4 || len(ids) != 4 {
		t.Errorf("%d requests with %d ids", len(hooks), len(ids))
	}
}
