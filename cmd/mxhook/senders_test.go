package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// This file has other people's mail servers and clients as senders. What arrives is compared with what was sent by its
// SHA-256: servers put trace fields in front, so what is compared is the end of what arrived.

// encrypted is an mxhook that offers STARTTLS, tells octets to its endpoint, and takes mail for two domains.
type encrypted struct {
	*apptest.Instance
	// root is the file with the certificate of the authority.
	root string
}

func startEncrypted(t *testing.T) encrypted {
	t.Helper()
	dir := t.TempDir()
	ca := apptest.NewAuthority(t)
	ca.WritePair(dir, "mx", 90*24*time.Hour, "mx.example.com", "localhost", "127.0.0.1")
	root := filepath.Join(dir, "root.pem")
	ca.WriteRoot(root)
	config := strings.NewReplacer("allow_private: true", "allow_private: true, raw: true",
		"[{domain: example.com}]", "[{domain: example.com}, {domain: bücher.example}]").Replace(starttlsConfig(apptest.BasicConfig))
	return encrypted{apptest.Start(t, apptest.Options{Dir: dir, Config: config}), root}
}

// hardMail is a mail whose octets a careless hop changes: dots at the start of lines, octets above 127, empty lines at
// the end, blanks before line ends, a line as long as RFC 5321 4.5.3.1.6 lets it be.
func hardMail(subject string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Sender <sender@example.org>\r\nTo: support@example.com\r\nSubject: %s\r\n", subject)
	b.WriteString("Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <" + subject + "@example.org>\r\nMIME-Version: 1.0\r\n")
	b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nContent-Disposition: inline\r\n\r\n")
	b.WriteString(".\r\n..\r\n.leading dot\r\ntrailing blanks \t \r\nFrom the start\r\nnaïve ✉ \xff\xfe\r\n\r\n")
	b.WriteString(strings.Repeat("x", 998) + "\r\n")
	for n := range 2000 {
		fmt.Fprintf(&b, ".%d and so on, line after line, until there is more than fits into one buffer\r\n", n)
	}
	b.WriteString("the end\r\n\r\n")
	return b.Bytes()
}

// rawPayload is what these tests read of the webhook.
type rawPayload struct {
	Data struct {
		Envelope struct {
			MailFrom   string `json:"mail_from"`
			SMTPUTF8   bool   `json:"smtputf8"`
			Recipients []struct {
				Address string `json:"address"`
			} `json:"recipients"`
			Client struct {
				IP  *string `json:"ip"`
				TLS *struct {
					Version string `json:"version"`
				} `json:"tls"`
			} `json:"client"`
		} `json:"envelope"`
		Raw struct {
			Size    int64  `json:"size"`
			SHA256  string `json:"sha256"`
			Content []byte `json:"content"`
		} `json:"raw"`
	} `json:"data"`
}

func rawOf(t *testing.T, hook apptest.Webhook) rawPayload {
	t.Helper()
	var p rawPayload
	hook.Payload(t, &p)
	return p
}

// sameOctets compares what arrived with what was sent; a server may have put header fields in front.
func sameOctets(t *testing.T, p rawPayload, sent []byte) {
	t.Helper()
	content := p.Data.Raw.Content
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != p.Data.Raw.SHA256 || int64(len(content)) != p.Data.Raw.Size {
		t.Errorf("the payload's hash is not that of its content")
	}
	if len(content) < len(sent) {
		t.Fatalf("%d octets arrived of %d:\n%.2000q", len(content), len(sent), content)
	}
	added, tail := content[:len(content)-len(sent)], content[len(content)-len(sent):]
	if got, want := sha256.Sum256(tail), sha256.Sum256(sent); got != want {
		n := 0
		for n < len(sent) && tail[n] == sent[n] {
			n++
		}
		t.Errorf("SHA-256 %x arrived, %x was sent; the first difference is at %d: %.80q, want %.80q", got, want, n, tail[n:], sent[n:])
	}
	for line := range strings.Lines(string(added)) {
		name, _, isField := strings.Cut(line, ":")
		if line[0] != ' ' && line[0] != '\t' && (!isField || name != "Received" && name != "Return-Path" && name != "X-Mailer") {
			t.Errorf("the sender added more than trace fields: %q", line)
		}
	}
}

func TestEximSendsByStartTLSAndChunking(t *testing.T) {
	t.Parallel()
	i := startEncrypted(t)
	j := newJail(t, "/usr/sbin/exim4")
	j.copy(i.root, "/etc/root.pem")
	j.mkdir("/var/spool/exim4", 901, 0o750)
	j.mkdir("/var/log/exim4", 901, 0o750)
	_, port, _ := net.SplitHostPort(i.SMTP())
	j.write("/etc/exim.conf", fmt.Sprintf(`primary_hostname = relay.example.org
keep_environment =
disable_ipv6
tls_advertise_hosts =
begin routers
all:
  driver = manualroute
  route_list = * mx.example.com byname
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = %s
  hosts_require_tls = *
  tls_verify_certificates = /etc/root.pem
  tls_verify_hosts = *
  hosts_try_dane =
  hosts_try_chunking = *
begin retry
* * F,1h,1s
`, port))
	sent := hardMail("exim")
	cmd := j.command("/usr/sbin/exim4", "-C", "/etc/exim.conf", "-odf", "-i", "-f", "sender@example.org", "support@example.com", "other@example.com")
	cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(sent, []byte("\r\n"), []byte("\n")))
	said := within(t, cmd)
	log := j.read("/var/log/exim4/mainlog")
	// K is Exim's sign for BDAT, X names the cipher, CV=yes a certificate that was verified.
	for _, want := range []string{" K ", " X=TLS", "CV=yes", "queued as"} {
		if !strings.Contains(log, want) {
			t.Fatalf("Exim's log lacks %q:\n%s%s", want, log, said)
		}
	}
	p := rawOf(t, i.Endpoint.WaitCount(t, 1, 20*time.Second)[0])
	sameOctets(t, p, sent)
	if p.Data.Envelope.Client.TLS == nil || len(p.Data.Envelope.Recipients) != 2 || p.Data.Envelope.MailFrom != "sender@example.org" {
		t.Errorf("the envelope is %+v", p.Data.Envelope)
	}
}

func TestMsmtpSendsByStartTLS(t *testing.T) {
	t.Parallel()
	i := startEncrypted(t)
	_, port, _ := net.SplitHostPort(i.SMTP())
	sent := hardMail("msmtp")
	feed(t, sent, "msmtp", "--file=/dev/null", "--host=localhost", "--port="+port, "--tls=on", "--tls-starttls=on", "--tls-trust-file="+i.root,
		"--domain=client.example.org", "--from=sender@example.org", "--", "support@example.com")
	p := rawOf(t, i.Endpoint.WaitCount(t, 1, 20*time.Second)[0])
	sameOctets(t, p, sent)
	if p.Data.Envelope.Client.TLS == nil {
		t.Error("the session was not encrypted")
	}
}

func TestSwaksSendsByStartTLS(t *testing.T) {
	t.Parallel()
	i := startEncrypted(t)
	host, port, _ := net.SplitHostPort(i.SMTP())
	sent := hardMail("swaks")
	file := filepath.Join(t.TempDir(), "mail")
	writeFile(t, file, string(sent))
	out := command(t, "swaks", "--tls", "--tls-ca-path", i.root, "--server", host, "--port", port, "--helo", "client.example.org",
		"--from", "a@example.org", "--to", "support@example.com", "--data", "@"+file, "--suppress-data")
	if !strings.Contains(out, "TLS started with cipher") || !strings.Contains(out, "250 2.0.0 Ok: queued as ") {
		t.Errorf("swaks says:\n%s", out)
	}
	p := rawOf(t, i.Endpoint.WaitCount(t, 1, 20*time.Second)[0])
	sameOctets(t, p, append(sent, "\r\n"...)) // swaks ends the data with a line end of its own
}

func TestPostfixSendsByStartTLSAndInternationalAddresses(t *testing.T) {
	t.Parallel()
	i := startEncrypted(t)
	conf := startPostfix(t, i.SMTP(), "smtp_tls_security_level = secure", "smtp_tls_CAfile = "+i.root,
		"smtp_tls_secure_cert_match = mx.example.com", "smtputf8_enable = yes")
	plain, international := hardMail("postfix"), hardMail("postfix-eai")
	feed(t, plain, "sendmail", "-C", conf, "-i", "-f", "sender@example.org", "support@example.com")
	feed(t, international, "sendmail", "-C", conf, "-i", "-f", "grüße@example.org", "jürgen@bücher.example")
	var both int
	for _, hook := range i.Endpoint.WaitCount(t, 2, 30*time.Second) {
		p := rawOf(t, hook)
		if p.Data.Envelope.Client.TLS == nil {
			t.Error("the session was not encrypted")
		}
		if p.Data.Envelope.SMTPUTF8 {
			both++
			sameOctets(t, p, international)
			if p.Data.Envelope.MailFrom != "grüße@example.org" || !strings.HasPrefix(p.Data.Envelope.Recipients[0].Address, "jürgen@") {
				t.Errorf("the envelope is %+v", p.Data.Envelope)
			}
			continue
		}
		sameOctets(t, p, plain)
	}
	if both != 1 {
		t.Errorf("%d of the two mails came with SMTPUTF8, want 1", both)
	}
}

// Postfix pipelines: MAIL, RCPT and DATA are one write of the client.
func TestPostfixPipelines(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: strings.Replace(apptest.BasicConfig, "allow_private: true", "allow_private: true, raw: true", 1)})
	tap := newTap(t, i.SMTP())
	conf := startPostfix(t, tap.addr())
	sent := hardMail("pipelined")
	feed(t, sent, "sendmail", "-C", conf, "-i", "-f", "sender@example.org", "support@example.com", "b@example.com", "c@example.com")
	sameOctets(t, rawOf(t, i.Endpoint.WaitCount(t, 1, 20*time.Second)[0]), sent)
	for _, burst := range tap.bursts() {
		if strings.HasPrefix(burst, "MAIL FROM:") && strings.Count(burst, "RCPT TO:") == 3 && strings.HasSuffix(burst, "DATA\r\n") {
			return
		}
	}
	t.Errorf("no burst of the client has MAIL, three RCPT and DATA: %.300q", tap.bursts())
}

func TestOpenSMTPDSendsByStartTLS(t *testing.T) {
	t.Parallel()
	i := startEncrypted(t)
	j := newJail(t, "/usr/sbin/smtpd", "/usr/sbin/smtpctl")
	startOpenSMTPD(t, j, i)
	sent := hardMail("opensmtpd")
	cmd := j.command("/usr/sbin/smtpctl")
	cmd.Args = []string{"sendmail", "-i", "-f", "sender@example.org", "support@example.com"}
	cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(sent, []byte("\r\n"), []byte("\n")))
	within(t, cmd)
	p := rawOf(t, i.Endpoint.WaitCount(t, 1, 20*time.Second)[0])
	sameOctets(t, p, sent)
	if p.Data.Envelope.Client.TLS == nil {
		t.Error("the session was not encrypted")
	}
}

// startOpenSMTPD starts an OpenSMTPD that relays what local programs give it.
func startOpenSMTPD(t *testing.T, j jail, i encrypted) {
	t.Helper()
	j.mkdir("/var/lib/opensmtpd/empty", 0, 0o755)
	j.mkdir("/var/spool/smtpd", 0, 0o711)
	// Its sendmail may write to the socket because it is setgid.
	if err := errors.Join(os.Chown(j.dir+"/usr/sbin/smtpctl", 0, 903), os.Chmod(j.dir+"/usr/sbin/smtpctl", 0o755|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	j.copy(i.root, "/etc/ssl/certs/ca-certificates.crt")
	j.write("/etc/resolv.conf", "lookup file\n") // it has a resolver of its own
	j.write("/etc/smtpd.conf", fmt.Sprintf(`listen on socket
action "out" relay host smtp+tls://%s helo relay.example.org
match from local for any action "out"
`, i.SMTP()))
	said := daemon(t, j.command("/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"))
	apptest.WaitUntil(t, "OpenSMTPD's socket", func() bool {
		_, err := os.Stat(j.dir + "/var/run/smtpd.sock")
		return err == nil || strings.Contains(said(), "Exiting")
	})
}
