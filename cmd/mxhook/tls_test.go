package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mxhook/cmd/mxhook/app/apptest"
)

// starttlsConfig is a configuration whose listener mx offers STARTTLS with DIR/mx.pem and DIR/mx.key.
func starttlsConfig(config string) string {
	return strings.NewReplacer("tls: none", "tls: starttls",
		"  hostname: mx.example.com\n", "  hostname: mx.example.com\n  tls: {cert_file: '{{.Dir}}/mx.pem', key_file: '{{.Dir}}/mx.key'}\n",
	).Replace(config)
}

// startTLS opens an encrypted session and returns the serial number of the certificate that it was given.
func startTLS(ca *apptest.Authority, addr string) (*smtp.Client, string, error) {
	c, err := smtp.DialStartTLS(addr, &tls.Config{ServerName: "mx.example.com", RootCAs: ca.Pool()})
	if err != nil {
		return nil, "", err
	}
	if err := c.Noop(); err != nil { // the client shakes hands when it first has something to say
		return nil, "", err
	}
	state, _ := c.TLSConnectionState()
	return c, state.PeerCertificates[0].SerialNumber.String(), nil
}

// The certificate is replaced again and again under load: sessions that began before go on to their end, new ones get
// the new certificate, and every mail arrives.
func TestCertificatesAreReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := apptest.NewAuthority(t)
	ca.WritePair(dir, "mx", 90*24*time.Hour, "mx.example.com")
	i := apptest.Start(t, apptest.Options{Dir: dir, Config: starttlsConfig(apptest.BasicConfig)})

	var accepted atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			// Half of the senders keep their session, half open one for each mail.
			long := worker%2 == 0
			var c *smtp.Client
			for n := 0; ; n++ {
				select {
				case <-stop:
					if c != nil {
						_ = c.Quit()
					}
					return
				default:
				}
				var err error
				if c == nil {
					if c, _, err = startTLS(ca, i.SMTP()); err != nil {
						t.Errorf("sender %d, mail %d: %v", worker, n, err)
						return
					}
				}
				if _, err = apptest.Send(c, textMail(fmt.Sprintf("%d of %d", n, worker))); err != nil {
					t.Errorf("sender %d, mail %d: %v", worker, n, err)
					return
				}
				accepted.Add(1)
				if !long {
					_ = c.Quit()
					c = nil
				}
			}
		})
	}
	seen := map[string]bool{}
	for round := range 10 {
		before := accepted.Load()
		old, oldSerial, err := startTLS(ca, i.SMTP())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		ca.WritePair(dir, "mx", 90*24*time.Hour, "mx.example.com")
		i.App.RefreshCertificates()
		renewed, serial, err := startTLS(ca, i.SMTP())
		if err != nil || serial == oldSerial || seen[serial] {
			t.Fatalf("round %d: a new session gets certificate %s after %s: %v", round, serial, oldSerial, err)
		}
		seen[serial] = true
		for _, c := range []*smtp.Client{old, renewed} {
			if _, err := apptest.Send(c, textMail("both sessions work")); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
			accepted.Add(1)
			_ = c.Quit()
		}
		apptest.WaitUntil(t, "mail under load", func() bool { return accepted.Load() > before+10 })
	}
	close(stop)
	wg.Wait()
	i.Endpoint.WaitCount(t, int(accepted.Load()), time.Minute)
	t.Logf("%d mails over 10 changes of the certificate", accepted.Load())
}

// SIGHUP makes a running mxhook look at its certificate files at once.
func TestHangupReloadsCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := apptest.NewAuthority(t)
	ca.WritePair(dir, "mx", 90*24*time.Hour, "mx.example.com")
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Dir: dir, Config: starttlsConfig(apptest.BasicConfig)})
	p.Start()
	c, before, err := startTLS(ca, p.SMTP())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mx.pem"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Signal(syscall.SIGHUP)
	apptest.WaitUntil(t, "a line about the broken file", func() bool { return strings.Contains(p.Log(), "cannot be used") })
	ca.WritePair(dir, "mx", 90*24*time.Hour, "mx.example.com")
	p.Signal(syscall.SIGHUP)
	apptest.WaitUntil(t, "the new certificate", func() bool {
		c, serial, err := startTLS(ca, p.SMTP())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Quit()
		return serial != before
	})
	if _, err := apptest.Send(c, textMail("the session from before")); err != nil {
		t.Error(err)
	}
	_ = c.Quit()
}
