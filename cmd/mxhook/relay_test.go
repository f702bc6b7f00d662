package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/foxcpp/go-mockdns"

	"mxhook/cmd/mxhook/app/apptest"
)

// nextConfig is the mailbox at the end: it takes mail for the place that is forwarded to and for the original sender, and
// tells octets.
const nextConfig = `
data_dir: {{.Dir}}/data
smtp:
  hostname: next.example.net
  listeners: [{name: mx, address: "127.0.0.1:0"}]
domains:
  - {domain: inside.example, recipients: [box]}
  - {domain: example.org, recipients: [sender]}
sinks:
  - name: hook
    webhook: {url: "{{.Endpoint}}/hook", secret: "{{.Secret}}", allow_private: true, raw: true}
rules: [{name: all, to: [hook]}]
dns: {servers: ["{{.DNS}}"]}
queue: {reserve: 10MB}
ops: {address: "127.0.0.1:0"}
`

// relayConfig forwards by the server at %[1]s; %[2]s is the file of the key that seals.
const relayConfig = `
data_dir: {{.Dir}}/data
smtp:
  hostname: mx.example.com
  listeners: [{name: mx, address: "127.0.0.1:0"}]
domains:
  - {domain: example.com}
  - {domain: srs.example.com, recipients: ["SRS0=*", "SRS1=*"]}
sinks:
  - name: forward
    relay:
      address: %[1]s
      to: [box@inside.example]
      allow_private: true
      srs: {domain: srs.example.com, keys: ["0123456789abcdef0123456789abcdef"]}
      arc: {domain: example.com, selector: arc, key: "file:%[2]s"}
  - name: lost
    relay:
      address: %[1]s
      to: [gone@inside.example]
      allow_private: true
      srs: {domain: srs.example.com, keys: ["0123456789abcdef0123456789abcdef"]}
  - name: gone
    relay: {address: "%[3]s", to: [gone@inside.example], allow_private: true}
rules:
  - {name: lost, when: 'recipient.local == "lost"', to: [lost], stop: true}
  - {name: gone, when: 'recipient.local == "gone"', to: [gone], stop: true}
  - {name: all, to: [forward]}
dns: {servers: ["{{.DNS}}"]}
queue: {reserve: 10MB}
ops: {address: "127.0.0.1:0"}
`

// TestRelayThroughPostfix: mail goes over a Postfix to the mailbox with its octets untouched, sealed, under a reverse-path of
// ours; a bounce that the Postfix makes finds its way back to the sender.
func TestRelayThroughPostfix(t *testing.T) {
	t.Parallel()
	key := rsaKey(t, t.TempDir())
	zones := map[string]mockdns.Zone{"arc._domainkey.example.com.": {TXT: []string{key.record}}}
	next := apptest.Start(t, apptest.Options{Config: nextConfig, Zones: zones})
	// The Postfix hands what it gets to the mailbox, but bounces to us, whose port is known only later.
	routes := filepath.Join(publicDir(t), "transport")
	writeFile(t, routes, "")
	postfix := startPostfixServer(t, next.SMTP(), "transport_maps = texthash:"+routes)
	ours := apptest.Start(t, apptest.Options{Config: fmt.Sprintf(relayConfig, postfix, key.file, next.SMTP()), Zones: zones})
	host, port, _ := strings.Cut(ours.SMTP(), ":")
	writeFile(t, routes, fmt.Sprintf("srs.example.com smtp:[%s]:%s\n", host, port))

	sent := hardMail("relayed")
	if _, err := apptest.SendOne(ours.SMTP(), apptest.Mail{From: "sender@example.org", To: []string{"support@example.com"}, Data: sent}); err != nil {
		t.Fatal(err)
	}
	hook := next.Endpoint.WaitCount(t, 1, time.Minute)[0]
	p := rawOf(t, hook)
	arrived := p.Data.Raw.Content
	if len(arrived) < len(sent) || sha256.Sum256(arrived[len(arrived)-len(sent):]) != sha256.Sum256(sent) {
		t.Errorf("the octets changed on the way:\n%.3000s", arrived)
	}
	if from := p.Data.Envelope.MailFrom; !regexp.MustCompile(`^SRS0=[a-z2-7]{8}=[a-z2-7]{2}=example\.org=sender@srs\.example\.com$`).MatchString(from) {
		t.Errorf("the reverse-path is %q", from)
	}
	for _, field := range []string{"ARC-Seal: ", "Delivered-To: support@example.com", "Authentication-Results: mx.example.com;"} {
		if !bytes.Contains(arrived, []byte(field)) {
			t.Errorf("no %q in\n%.2000s", field, arrived)
		}
	}
	var v verdict
	hook.Payload(t, &v)
	if a := v.Data.Auth.ARC; a.Result != "pass" || strings.Join(a.Sealers, ",") != "example.com" {
		t.Errorf("our own look at the chain: %+v", a)
	}
	if got := dkimpyARC(t, arrived, key.record); got != "pass" {
		t.Errorf("dkimpy says %q of the chain", got)
	}
	changed := bytes.Replace(arrived, []byte("Subject: relayed"), []byte("Subject: changed"), 1)
	if got := dkimpyARC(t, changed, key.record); got != "fail" {
		t.Errorf("dkimpy says %q of the chain of a mail that was changed", got)
	}

	if _, err := apptest.SendOne(ours.SMTP(), apptest.Mail{From: "sender@example.org", To: []string{"lost@example.com"}, Data: apptest.Text("lost", 100)}); err != nil {
		t.Fatal(err)
	}
	back := rawOf(t, next.Endpoint.WaitCount(t, 2, time.Minute)[1])
	if e := back.Data.Envelope; e.MailFrom != "" || len(e.Recipients) != 1 || e.Recipients[0].Address != "sender@example.org" {
		t.Errorf("the bounce came from <%s> to %v", e.MailFrom, e.Recipients)
	}
	if !bytes.Contains(back.Data.Raw.Content, []byte("No such recipient here")) {
		t.Errorf("the bounce:\n%s", back.Data.Raw.Content)
	}
}

// dkimpyARC asks dkimpy about the chain of a mail; record is that of the only key there is.
func dkimpyARC(t *testing.T, mail []byte, record string) string {
	t.Helper()
	const script = `import sys, dkim
cv, results, reason = dkim.arc_verify(sys.stdin.buffer.read(), dnsfunc=lambda name, timeout=5: sys.argv[1].encode())
print(cv.decode(), end="")`
	cmd := exec.Command("/usr/bin/python3", "-c", script, record)
	cmd.Stdin = bytes.NewReader(mail)
	return runPeer(t, cmd)
}

// TestRelayRefusals: what the next server refuses for good is a dead letter with its reply, and addresses that nobody made
// are refused at RCPT.
func TestRelayRefusals(t *testing.T) {
	t.Parallel()
	key := rsaKey(t, t.TempDir())
	next := apptest.Start(t, apptest.Options{Config: nextConfig})
	ours := apptest.Start(t, apptest.Options{Config: fmt.Sprintf(relayConfig, next.SMTP(), key.file, next.SMTP())})
	if _, err := apptest.SendOne(ours.SMTP(), apptest.Mail{From: "sender@example.org", To: []string{"gone@example.com"}, Data: apptest.Text("gone", 100)}); err != nil {
		t.Fatal(err)
	}
	if dead := ours.WaitDead(t, 1, time.Minute)[0]; !strings.Contains(dead.Reason, "550 5.1.1 No such recipient here") {
		t.Errorf("dead letter: %+v", dead)
	}
	s := begin(t, ours.App.SMTPAddr("mx"), "EHLO", "example.org")
	s.say("RCPT TO:<SRS0=aaaaaaaa=bb=example.org=sender@srs.example.com>", "550 5.1.1 No such recipient here")
	s.say("RCPT TO:<someone@srs.example.com>", "550 5.1.1")
	s.say("RSET", "250")
	s.say("MAIL FROM:<>", "250")
	s.say("RCPT TO:<SRS0=aaaaaaaa=bb=example.org=sender@srs.example.com>", "550 5.1.1")
	s.say("RCPT TO:<support@example.com>", "250")
}
