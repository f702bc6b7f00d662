package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/foxcpp/go-mockdns"

	"mxhook/cmd/mxhook/app/apptest"
)

// refusingConfig has a domain that refuses by DMARC and one that does not, a listener for each protocol, and one behind a
// relay that is trusted.
const refusingConfig = `
data_dir: {{.Dir}}/data
smtp:
  hostname: mx.example.com
  listeners:
    - {name: mx, address: "127.0.0.1:0", xclient_networks: [127.0.0.1]}
    - {name: inside, address: "127.0.0.1:0", protocol: lmtp}
domains:
  - {domain: strict.example, dmarc: reject}
  - {domain: "*.strict.example", dmarc: reject}
  - {domain: open.example}
auth:
  trusted_sealers: [list.example]
  trusted_upstreams: [{networks: [203.0.113.0/24]}]
sinks:
  - name: hook
    webhook: {url: "{{.Endpoint}}/hook", secret: "{{.Secret}}", allow_private: true}
rules: [{name: all, to: [hook]}]
dns: {servers: ["{{.DNS}}"]}
queue: {reserve: 10MB, dedupe_window: 1h}
ops: {address: "127.0.0.1:0"}
`

func startRefusing(t *testing.T, key signingKey) *apptest.Instance {
	t.Helper()
	unreachable := mockdns.Zone{Err: &net.DNSError{Err: "server failure", IsTemporary: true}}
	policy := func(p string) mockdns.Zone { return mockdns.Zone{TXT: []string{"v=DMARC1; p=" + p}} }
	here := mockdns.Zone{TXT: []string{"v=spf1 ip4:127.0.0.1 -all"}}
	elsewhere := mockdns.Zone{TXT: []string{"v=spf1 ip4:192.0.2.1 -all"}}
	return apptest.Start(t, apptest.Options{Config: refusingConfig, Zones: map[string]mockdns.Zone{
		"proven.example.":              here,
		"_dmarc.proven.example.":       policy("reject"),
		"forged.example.":              elsewhere,
		"_dmarc.forged.example.":       policy("reject"),
		"testing.example.":             elsewhere,
		"_dmarc.testing.example.":      policy("reject; t=y"),
		"lenient.example.":             elsewhere,
		"_dmarc.lenient.example.":      policy("quarantine"),
		"silent.example.":              elsewhere,
		"broken.example.":              unreachable,
		"_dmarc.broken.example.":       policy("reject"),
		"unknown.example.":             elsewhere,
		"_dmarc.unknown.example.":      unreachable,
		"brokennone.example.":          unreachable,
		"_dmarc.brokennone.example.":   policy("none"),
		"arc._domainkey.list.example.": {TXT: []string{key.record}},
	}})
}

func mailOf(author string, size int) string {
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72+1)
	return "From: <a@" + author + ">\r\nSubject: from " + author + "\r\nMessage-ID: <1@" + author + ">\r\n\r\n" + body
}

// begin opens a session and a transaction.
func begin(t *testing.T, addr net.Addr, hello, from string) *lineClient {
	t.Helper()
	c := dialLines(t, addr)
	c.say("", "220")
	c.say(hello+" client.example.org", "250")
	c.say("MAIL FROM:<a@"+from+">", "250")
	return c
}

// data sends the mail and returns what is answered to its end.
func (c *lineClient) data(mail, want string) {
	c.t.Helper()
	c.say("DATA", "354")
	if _, err := io.WriteString(c.conn.Writer.W, mail+".\r\n"); err != nil {
		c.t.Fatal(err)
	}
	if err := c.conn.Writer.W.Flush(); err != nil {
		c.t.Fatal(err)
	}
	c.say("", want)
}

// A domain with dmarc: reject refuses what the author's domain asks to refuse, defers what it cannot know, and takes all
// else; another domain of the same server takes everything.
func TestDomainRefusesByDMARC(t *testing.T) {
	t.Parallel()
	key := rsaKey(t, t.TempDir())
	i := startRefusing(t, key)
	mx := i.App.SMTPAddr("mx")
	large := 3 << 20
	sealed := func(results string) string {
		mail := "Authentication-Results: mx.list.example; " + results + "\r\n" + mailOf("forged.example", 100)
		return string(filter(t, []byte(mail), "arcsign", "arc", "list.example", key.file, "mx.list.example"))
	}
	const queued = "250 2.0.0 Ok: queued as"
	taken := 0
	for _, c := range []struct {
		name, author, to, want string
		mail                   string // "": a short one of the author
	}{
		{"proven", "proven.example", "x@strict.example", queued, ""},
		{"forged", "forged.example", "x@strict.example", "550 5.7.26 DMARC: forged.example asks to refuse mail that it does not prove (spf=fail, dkim=none)", ""},
		{"forged, to a subdomain", "forged.example", "x@a.strict.example", "550 5.7.26", ""},
		{"forged, to the open domain", "forged.example", "x@open.example", queued, ""},
		{"forged, to postmaster", "forged.example", "Postmaster@strict.example", queued, ""},
		{"policy under test", "testing.example", "x@strict.example", queued, ""},
		{"quarantine", "lenient.example", "x@strict.example", queued, ""},
		{"no policy", "silent.example", "x@strict.example", queued, ""},
		{"SPF cannot be had", "broken.example", "x@strict.example", "451 4.7.26", ""},
		{"policy cannot be had", "unknown.example", "x@strict.example", "451 4.7.26", ""},
		{"SPF cannot be had, policy none", "brokennone.example", "x@strict.example", queued, ""},
		{"policy cannot be had, to the open domain", "unknown.example", "x@open.example", queued, ""},
		{"two authors", "proven.example", "x@strict.example", "550 5.7.26 The message has no single author", "From: <a@proven.example>\r\nFrom: <b@forged.example>\r\n\r\nx\r\n"},
		{"forged in parts", "forged.example", "x@strict.example", "550 5.7.26", mailOf("forged.example", large)},
		{"proven in parts", "proven.example", "x@strict.example", queued, mailOf("proven.example", large)},
		{"sealed by a trusted list", "forged.example", "x@strict.example", queued, sealed("dmarc=pass header.from=forged.example")},
		{"sealed as failed", "forged.example", "x@strict.example", "550 5.7.26", sealed("dmarc=fail header.from=forged.example")},
	} {
		if c.mail == "" {
			c.mail = mailOf(c.author, 100)
		}
		t.Log(c.name)
		s := begin(t, mx, "EHLO", c.author)
		s.say("RCPT TO:<"+c.to+">", "250")
		s.data(c.mail, c.want)
		if c.want == queued {
			taken++
		}
	}

	relay := dialLines(t, mx)
	relay.say("", "220")
	relay.say("EHLO relay.example.org", "250")
	relay.say("XCLIENT ADDR=203.0.113.5", "220")
	relay.say("EHLO relay.example.org", "250")
	relay.say("MAIL FROM:<a@forged.example>", "250")
	relay.say("RCPT TO:<x@strict.example>", "250")
	relay.data("Received: from client.example (client.example [198.51.100.1]) by relay.example.org; Sun, 22 Nov 2026 00:00:00 +0000\r\n"+
		mailOf("forged.example", 100), queued)
	taken++

	hooks := i.Endpoint.WaitCount(t, taken, time.Minute)
	sizes := map[int]bool{}
	for _, hook := range hooks {
		sizes[len(hook.Body)/large] = true
	}
	if len(hooks) != taken || !sizes[1] {
		t.Errorf("%d webhooks of %d mails; large ones: %v", len(hooks), taken, sizes)
	}
	// Each mail was authenticated once, those that were refused too: 17 and the one of the relay.
	if got := metric(t, i, "mxhook_auth_seconds_count"); got != "mxhook_auth_seconds_count 18" {
		t.Error(got)
	}
	if got := metric(t, i, `mxhook_smtp_refusals_total{reason="dmarc"}`); got != `mxhook_smtp_refusals_total{reason="dmarc"} 4` {
		t.Error(got)
	}
}

// Over SMTP there is one reply for all recipients, so those of another policy have to come in another transaction.
func TestRecipientsOfOneTransactionHaveOneDMARCPolicy(t *testing.T) {
	t.Parallel()
	i := startRefusing(t, rsaKey(t, t.TempDir()))
	s := begin(t, i.App.SMTPAddr("mx"), "EHLO", "forged.example")
	s.say("RCPT TO:<a@open.example>", "250")
	s.say("RCPT TO:<b@strict.example>", "452 4.5.3 This recipient has another policy")
	s.say("RCPT TO:<c@open.example>", "250")
	s.data(mailOf("forged.example", 10), "250 2.0.0")
	s.say("MAIL FROM:<a@forged.example>", "250")
	s.say("RCPT TO:<b@strict.example>", "250")
	s.say("RCPT TO:<a@open.example>", "452 4.5.3")
	s.data(mailOf("forged.example", 10), "550 5.7.26")
	if got := webhookRecipients(t, i, 1)[0]; !slices.Equal(got, []string{"a@open.example", "c@open.example"}) {
		t.Errorf("recipients %v", got)
	}
}

// Over LMTP each recipient has a reply of its own: those of a domain that refuses never see the mail.
func TestLMTPRefusesByDMARCForSomeRecipients(t *testing.T) {
	t.Parallel()
	i := startRefusing(t, rsaKey(t, t.TempDir()))
	s := begin(t, i.App.SMTPAddr("inside"), "LHLO", "forged.example")
	for _, to := range []string{"a@strict.example", "b@open.example", "a@strict.example", "c@open.example"} {
		s.say("RCPT TO:<"+to+">", "250")
	}
	mail := mailOf("forged.example", 1<<20)
	s.data(mail, "550 5.7.26 DMARC: forged.example")
	s.say("", "250 2.0.0 Ok: queued as")
	s.say("", "550 5.7.26")
	s.say("", "250 2.0.0 Ok: queued as")
	var first struct{ Data struct{ ID string } }
	i.Endpoint.WaitCount(t, 1, time.Minute)[0].Payload(t, &first)
	s.say("MAIL FROM:<a@forged.example>", "250")
	s.say("RCPT TO:<a@strict.example>", "250")
	for _, to := range []string{"b@open.example", "c@open.example"} {
		s.say("RCPT TO:<"+to+">", "250")
	}
	s.data(mail, "550 5.7.26 DMARC: forged.example")
	for range 2 { // of the repeat, by the id that was taken
		s.say("", "250 2.0.0 Ok: queued as "+first.Data.ID)
	}
	s.say("MAIL FROM:<a@forged.example>", "250")
	s.say("RCPT TO:<a@strict.example>", "250")
	s.say("RCPT TO:<d@strict.example>", "250")
	s.data(mailOf("forged.example", 10), "550 5.7.26")
	s.say("", "550 5.7.26")
	s.say("NOOP", "250")
	if got := webhookRecipients(t, i, 1)[0]; !slices.Equal(got, []string{"b@open.example", "c@open.example"}) {
		t.Errorf("recipients %v", got)
	}
}

// webhookRecipients waits for n webhooks and returns the recipients of each.
func webhookRecipients(t *testing.T, i *apptest.Instance, n int) [][]string {
	t.Helper()
	var all [][]string
	for _, hook := range i.Endpoint.WaitCount(t, n, time.Minute) {
		var p struct {
			Data struct {
				Envelope struct {
					Recipients []struct{ Address string }
				}
			}
		}
		hook.Payload(t, &p)
		var rs []string
		for _, r := range p.Data.Envelope.Recipients {
			rs = append(rs, r.Address)
		}
		all = append(all, rs)
	}
	return all
}

// metric returns the line of the metrics that begins so.
func metric(t *testing.T, i *apptest.Instance, name string) string {
	t.Helper()
	resp, err := http.Get(i.Ops() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` .*$`).FindString(string(text))
	if line == "" {
		return fmt.Sprintf("no %s", name)
	}
	return line
}
