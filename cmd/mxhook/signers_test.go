package main

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/foxcpp/go-mockdns"

	"mxhook/cmd/mxhook/app/apptest"
)

// signingKey is a key in a file, and the record that publishes it.
type signingKey struct{ file, record string }

func rsaKey(t *testing.T, dir string) signingKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "rsa.pem")
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	return signingKey{file, "v=DKIM1; k=rsa; p=" + publicKey(t, key.Public())}
}

func publicKey(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// ed25519Key is in the form of dkimpy: the seed in base64.
func ed25519Key(t *testing.T, dir string) signingKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "ed25519.key")
	writeFile(t, file, base64.StdEncoding.EncodeToString(private.Seed()))
	return signingKey{file, "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}
}

const signersConfig = apptest.BasicConfig + "\nauth: {trusted_sealers: [list.example]}\n"

// signers is an mxhook with a DNS that publishes the keys of the test's signers. The clients of 127.0.0.1 may send for
// spf.example only.
type signers struct {
	*apptest.Instance
	rsa, ed signingKey
}

func startSigners(t *testing.T) *signers {
	t.Helper()
	dir := t.TempDir()
	s := &signers{rsa: rsaKey(t, dir), ed: ed25519Key(t, dir)}
	reject := mockdns.Zone{TXT: []string{"v=DMARC1; p=reject"}}
	s.Instance = apptest.Start(t, apptest.Options{Config: signersConfig, Zones: map[string]mockdns.Zone{
		"example.org.":                 {TXT: []string{"v=spf1 ip4:192.0.2.1 -all"}},
		"_dmarc.example.org.":          reject,
		"rsa._domainkey.example.org.":  {TXT: []string{s.rsa.record}},
		"ed._domainkey.example.org.":   {TXT: []string{s.ed.record}},
		"spf.example.":                 {TXT: []string{"v=spf1 ip4:127.0.0.1 -all"}},
		"_dmarc.spf.example.":          reject,
		"arc._domainkey.list.example.": {TXT: []string{s.rsa.record}},
		"arc._domainkey.evil.example.": {TXT: []string{s.rsa.record}},
	}})
	return s
}

// verdict is the part of the payload that these tests look at.
type verdict struct {
	Data struct {
		Auth struct {
			Sender struct {
				Verified bool
				Domain   *string
				By       *string
			}
			SPF   struct{ Result string }
			DKIM  []struct{ Result, Algorithm, Reason string }
			DMARC struct{ Result string }
			ARC   struct {
				Result  string
				Sealers []string
				Trusted bool
			}
		}
	}
}

// says is the verdict in one line: by whom, SPF, the signatures, DMARC and the chain.
func (v *verdict) says() string {
	a := v.Data.Auth
	by := "nobody"
	if a.Sender.Verified && a.Sender.By != nil && a.Sender.Domain != nil {
		by = *a.Sender.By + " " + *a.Sender.Domain
	}
	dkim := ""
	for _, d := range a.DKIM {
		dkim += " " + d.Algorithm + "=" + d.Result
	}
	return fmt.Sprintf("%s: spf=%s dkim:%s dmarc=%s arc=%s %s %v", by, a.SPF.Result, dkim, a.DMARC.Result, a.ARC.Result, strings.Join(a.ARC.Sealers, ","), a.ARC.Trusted)
}

// send delivers a mail over SMTP and returns what the webhook says about it.
func (s *signers) send(t *testing.T, from string, mail []byte) string {
	t.Helper()
	before := len(s.Endpoint.Webhooks())
	if _, err := apptest.SendOne(s.SMTP(), apptest.Mail{From: from, To: []string{"a@example.com"}, Data: mail}); err != nil {
		t.Fatal(err)
	}
	return s.wait(t, before+1)
}

// wait returns what the nth webhook says.
func (s *signers) wait(t *testing.T, n int) string {
	t.Helper()
	var v verdict
	s.Endpoint.WaitCount(t, n, 30*time.Second)[n-1].Payload(t, &v)
	return v.says()
}

const unsignedMail = "From: Alice <alice@example.org>\r\nTo: list@list.example\r\nSubject: hello\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n" +
	"Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello  all,\r\n\r\n.leading dot and trailing blank \r\n\r\n\r\n"

// filter runs a program over a mail, as a filter from standard input to standard output.
func filter(t *testing.T, mail []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(string(mail))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || len(out) < len(mail) {
		t.Fatalf("%s: %v (`make deps` installs what the tests need)\n%s", strings.Join(cmd.Args, " "), err, errs.String())
	}
	return out
}

// TestMailsOfIndependentSigners: what dkimpy signed and sealed is judged right, direct, through a forwarder, which breaks
// SPF, and through a list, which breaks DKIM and seals what it saw.
func TestMailsOfIndependentSigners(t *testing.T) {
	t.Parallel()
	s := startSigners(t)
	byRSA := filter(t, []byte(unsignedMail), "dkimsign", "rsa", "example.org", s.rsa.file)
	bySimple := filter(t, []byte(unsignedMail), "dkimsign", "--hcanon", "simple", "--bcanon", "simple", "rsa", "example.org", s.rsa.file)
	byBoth := filter(t, byRSA, "dkimsign", "--bcanon", "relaxed", "--signalg", "ed25519-sha256", "ed", "example.org", s.ed.file)
	changed := []byte(strings.Replace(string(byRSA), "Subject: hello", "Subject: [list] hello", 1))
	sealed := func(domain, results string) []byte {
		mail := append([]byte("Authentication-Results: mx."+domain+"; "+results+"\r\n"), changed...)
		return filter(t, mail, "arcsign", "arc", domain, s.rsa.file, "mx."+domain)
	}
	const passed = "spf=pass smtp.mailfrom=example.org; dkim=pass header.d=example.org; dmarc=pass header.from=example.org"
	list := sealed("list.example", passed)
	for _, c := range []struct {
		name, from string
		mail       []byte
		want       string
	}{
		{"spf alone", "a@spf.example", []byte(strings.ReplaceAll(unsignedMail, "alice@example.org", "alice@spf.example")), "dmarc spf.example: spf=pass dkim: dmarc=pass arc=none  false"},
		{"nothing", "alice@example.org", []byte(unsignedMail), "nobody: spf=fail dkim: dmarc=fail arc=none  false"},
		{"rsa", "alice@example.org", byRSA, "dmarc example.org: spf=fail dkim: rsa-sha256=pass dmarc=pass arc=none  false"},
		{"rsa, simple", "alice@example.org", bySimple, "dmarc example.org: spf=fail dkim: rsa-sha256=pass dmarc=pass arc=none  false"},
		{"rsa and ed25519", "alice@example.org", byBoth, "dmarc example.org: spf=fail dkim: ed25519-sha256=pass rsa-sha256=pass dmarc=pass arc=none  false"},
		{"forwarded", "forwarder@spf.example", byBoth, "dmarc example.org: spf=pass dkim: ed25519-sha256=pass rsa-sha256=pass dmarc=pass arc=none  false"},
		{"changed by a list", "list@spf.example", changed, "nobody: spf=pass dkim: rsa-sha256=fail dmarc=fail arc=none  false"},
		{"and sealed", "list@spf.example", list, "arc example.org: spf=pass dkim: rsa-sha256=fail dmarc=fail arc=pass list.example true"},
		{"sealed with another verdict", "list@spf.example", sealed("list.example", "dmarc=fail header.from=example.org"), "nobody: spf=pass dkim: rsa-sha256=fail dmarc=fail arc=pass list.example true"},
		{"sealed by somebody", "list@spf.example", sealed("evil.example", passed), "nobody: spf=pass dkim: rsa-sha256=fail dmarc=fail arc=pass evil.example false"},
		{"changed after the seal", "list@spf.example", append(list, "pay here\r\n"...), "nobody: spf=pass dkim: rsa-sha256=fail dmarc=fail arc=fail list.example false"},
	} {
		if got := s.send(t, c.from, c.mail); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestMailsSignedByOpenDKIM: a Postfix with OpenDKIM as its milter sends to us.
func TestMailsSignedByOpenDKIM(t *testing.T) {
	t.Parallel()
	s := startSigners(t)
	milter := startOpenDKIM(t, s.rsa)
	conf := startPostfix(t, s.SMTP(), "non_smtpd_milters = unix:"+milter, "milter_default_action = tempfail")
	feed(t, []byte(unsignedMail), "sendmail", "-C", conf, "-f", "alice@example.org", "a@example.com")
	want := "dmarc example.org: spf=fail dkim: rsa-sha256=pass dmarc=pass arc=none  false"
	if got := s.wait(t, 1); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// startOpenDKIM starts an OpenDKIM that signs for example.org and returns the path of its socket.
func startOpenDKIM(t *testing.T, key signingKey) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mxhook-opendkim-") // Postfix's processes run as another user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket, conf := filepath.Join(dir, "milter"), filepath.Join(dir, "conf")
	writeFile(t, conf, fmt.Sprintf("Mode s\nDomain example.org\nSelector rsa\nKeyFile %s\nSocket local:%s\nUMask 000\nInternalHosts 127.0.0.1\n"+
		"Canonicalization relaxed/simple\nRequireSafeKeys no\nSyslog no\n", key.file, socket))
	cmd := programCommand("opendkim", "-f", "-x", conf)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatalf("start OpenDKIM: %v (`make deps` installs what the tests need)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("OpenDKIM said:\n%s", said.String())
		}
	})
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
			return socket
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			t.Fatalf("OpenDKIM does not answer: %v", err)
		}
	}
}
