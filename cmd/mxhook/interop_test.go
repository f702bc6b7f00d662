package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// minimalConfig is configs/minimal.yaml with the parts replaced that a test cannot have fixed: ports, directory,
// endpoint, DNS.
func minimalConfig(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../configs/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for old, want := range map[string]string{
		"127.0.0.1:2525": "127.0.0.1:0", "http://127.0.0.1:8080/": "{{.Endpoint}}/", minimalSecret: "{{.Secret}}", "./mxhook-data": "{{.Dir}}/data",
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("configs/minimal.yaml does not have %q any more", old)
		}
		text = strings.ReplaceAll(text, old, want)
	}
	return text + "\ndns: {servers: [\"{{.DNS}}\"]}\nops: {address: \"127.0.0.1:0\"}\nlog: {format: json}\n"
}

// minimalSecret is the secret in configs/minimal.yaml and in the README.
const minimalSecret = "whsec_VGhpcyBpcyBhIHNhbXBsZTogbWFrZSB5b3VyIG93biE="

func startMinimal(t *testing.T) *apptest.Process {
	t.Helper()
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Config: minimalConfig(t)})
	p.Start()
	return p
}

// command runs a program that the tests need; make deps installs it.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	return runPeer(t, programCommand(name, args...))
}

// feed is command with a mail on the standard input, its lines ended as local programs want them.
func feed(t *testing.T, mail []byte, name string, args ...string) string {
	t.Helper()
	cmd := programCommand(name, args...)
	cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(mail, []byte("\r\n"), []byte("\n")))
	return runPeer(t, cmd)
}

// programCommand finds programs of administrators too.
func programCommand(name string, args ...string) *exec.Cmd {
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name
	}
	return exec.Command(path, args...)
}

func runPeer(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v (`make deps` installs what the tests need)\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

func subjectOf(t *testing.T, hook apptest.Webhook) string {
	t.Helper()
	var p shownPayload
	hook.Payload(t, &p)
	if p.Data.Message == nil || p.Data.Message.Subject == nil {
		t.Fatalf("the payload has no subject: %s", hook.Body)
	}
	return *p.Data.Message.Subject
}

func TestSwaksSends(t *testing.T) {
	t.Parallel()
	p := startMinimal(t)
	host, port, _ := net.SplitHostPort(p.SMTP())
	out := command(t, "swaks", "--server", host, "--port", port, "--helo", "client.example.org", "--from", "a@example.org",
		"--to", "support@example.com", "--header", "Subject: from swaks", "--body", "one\n.\ntwo", "--attach-body", "three")
	if !strings.Contains(out, "250 2.0.0 Ok: queued as ") {
		t.Errorf("swaks did not see the final reply:\n%s", out)
	}
	hook := p.Endpoint.WaitCount(t, 1, 20*time.Second)[0]
	if got := subjectOf(t, hook); got != "from swaks" {
		t.Errorf("subject is %q", got)
	}
}

// Postfix, as the sending MTA of somebody else, hands its queue over to us.
func TestPostfixSends(t *testing.T) {
	t.Parallel()
	p := startMinimal(t)
	sendmail := startPostfix(t, p.SMTP())
	const mails = 20
	for n := range mails {
		feed(t, apptest.Text(fmt.Sprintf("postfix %d", n), 100<<n%10), "sendmail", "-C", sendmail, "-f", "sender@example.org", "support@example.com")
	}
	hooks := p.Endpoint.WaitCount(t, mails, time.Minute)
	seen := map[string]bool{}
	for _, hook := range hooks {
		seen[subjectOf(t, hook)] = true
	}
	if len(seen) != mails {
		t.Errorf("%d different mails arrived of %d: %v", len(seen), mails, seen)
	}
}

// startPostfix starts a Postfix of the test's own that listens nowhere and relays everything to addr. It returns its
// configuration directory. Settings are lines of main.cf.
func startPostfix(t *testing.T, addr string, settings ...string) string {
	t.Helper()
	return startPostfixWith(t, postfixServices, addr, settings...)
}

// startPostfixServer is startPostfix for one that takes mail too, at the address that it returns.
func startPostfixServer(t *testing.T, addr string, settings ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := l.Addr().String()
	l.Close()
	services := postfixServices + listen + " inet n - n - - smtpd\n"
	startPostfixWith(t, services, addr, append(settings, "mynetworks = 127.0.0.0/8", "smtpd_recipient_restrictions = permit_mynetworks, reject")...)
	return listen
}

func startPostfixWith(t *testing.T, services, addr string, settings ...string) string {
	t.Helper()
	needRoot(t)
	dir := publicDir(t)
	conf := filepath.Join(dir, "conf")
	for _, d := range []string{dir, conf, filepath.Join(dir, "queue")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	host, port, _ := net.SplitHostPort(addr)
	writeFile(t, filepath.Join(conf, "main.cf"), fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.example.org
mydestination =
inet_interfaces = loopback-only
relayhost = [%[2]s]:%[3]s
smtp_dns_support_level = disabled
smtp_host_lookup = native
minimal_backoff_time = 1s
queue_run_delay = 1s
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
%[4]s
`, dir, host, port, strings.Join(settings, "\n")))
	writeFile(t, filepath.Join(conf, "master.cf"), services)
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "chown", "postfix", filepath.Join(dir, "data"))
	command(t, "postfix", "-c", conf, "start")
	t.Cleanup(func() {
		command(t, "postfix", "-c", conf, "stop")
		if log, _ := os.ReadFile(filepath.Join(dir, "log")); t.Failed() {
			t.Logf("Postfix said:\n%s", log)
		}
	})
	return conf
}

// publicDir makes a folder for processes that run as other users, who must get through every folder above.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mxhook-postfix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// postfixServices are the services of a Postfix that only sends.
const postfixServices = `pickup    unix  n - n 1 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
lmtp      unix  - - n - - lmtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
`

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The public Standard Webhooks library for JavaScript takes our webhooks and refuses changed ones. (The one for Go looks
// at every webhook of every test: see apptest.Endpoint.)
func TestThePublicJavaScriptLibraryVerifies(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	send(t, i, textMail("plain"))
	send(t, i, apptest.Mail{From: "", To: []string{"in@example.com"}, Data: []byte("Subject: =?utf-8?q?na=C3=AFve_=E2=9C=89?=\r\n\r\nnaïve ✉\r\n")})
	var in struct {
		Secret   string           `json:"secret"`
		Requests []map[string]any `json:"requests"`
	}
	in.Secret = apptest.Secret
	for _, hook := range i.Endpoint.WaitCount(t, 2, 20*time.Second) {
		headers := map[string]string{}
		for name := range hook.Header {
			headers[strings.ToLower(name)] = hook.Header.Get(name)
		}
		in.Requests = append(in.Requests, map[string]any{"headers": headers, "body": string(hook.Body)})
	}
	dir := t.TempDir()
	command(t, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", dir, "standardwebhooks@1.0.0")
	script, err := os.ReadFile("testdata/verify.mjs")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "verify.mjs"), string(script))
	stdin, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join(dir, "verify.mjs"))
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, out)
	}
	if want := `{"genuine":2,"refused":2}`; strings.TrimSpace(string(out)) != want {
		t.Errorf("the library says %s, want %s", out, want)
	}
}
