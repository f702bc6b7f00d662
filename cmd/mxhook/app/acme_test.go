package app_test

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/cmd/mxhook/app"
	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/configs"
)

// Certificates are got from an authority and renewed by it while sessions go on, with either challenge. The certificates
// live for ten seconds, and a renewal is due when a third of that is left.
func TestACMEGetsAndRenewsCertificates(t *testing.T) {
	for _, challenge := range []string{configs.ChallengeHTTP, configs.ChallengeTLS} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			pebble := apptest.StartPebble(t, 10*time.Second, "mx.example.com", "mx2.example.com")
			port := pebble.HTTPPort
			if challenge == configs.ChallengeTLS {
				port = pebble.TLSPort
			}
			c := configs.Default()
			c.SMTP.Hostname = "mx.example.com"
			c.DataDir = t.TempDir()
			c.SMTP.TLS.ACME = configs.ACME{
				Email: "postmaster@example.com", Directory: pebble.Directory, CAFile: pebble.Root, Domains: []string{"MX.example.com", "mx2.example.com"},
				Challenge: challenge, Address: fmt.Sprintf("127.0.0.1:%d", port),
			}
			log := &logBuffer{}
			k := keeper{log: log, registry: prometheus.NewRegistry()}
			var err error
			k.Certificates, err = app.NewManaged(&c, slog.New(slog.NewTextHandler(log, nil)), k.registry, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				k.Stop()
				if t.Failed() {
					t.Log(log.take())
				}
			})
			if self := k.serial(t, "mx.example.com"); self.issuer != "mx.example.com" {
				t.Errorf("before there is a certificate a client gets one by %q", self.issuer)
			}
			if err := k.Start(); err != nil {
				t.Fatal(err)
			}
			var first, other shownLeaf
			apptest.WaitUntil(t, "the first certificates", func() bool {
				first, other = k.serial(t, "mx.example.com"), k.serial(t, "mx2.example.com")
				return strings.HasPrefix(first.issuer, "Pebble") && strings.HasPrefix(other.issuer, "Pebble") &&
					first.name == "mx.example.com" && other.name == "mx2.example.com"
			})
			if fallback := k.serial(t, ""); !strings.HasPrefix(fallback.issuer, "Pebble") {
				t.Errorf("a client that names no server gets a certificate by %q", fallback.issuer)
			}
			apptest.WaitUntil(t, "the renewed certificates", func() bool {
				again, otherAgain := k.serial(t, "mx.example.com"), k.serial(t, "mx2.example.com")
				if !strings.HasPrefix(again.issuer, "Pebble") || again.name != first.name || otherAgain.name != other.name {
					t.Fatalf("while certificates are renewed clients get %+v and %+v", again, otherAgain)
				}
				return again.serial != first.serial && otherAgain.serial != other.serial
			})
			if files, err := filepath.Glob(filepath.Join(c.DataDir, "acme", "certificates", "*", "mx.example.com", "*.key")); err != nil || len(files) != 1 {
				t.Errorf("the key is kept in %v (%v)", files, err)
			}
		})
	}
}

// shownLeaf is what a client sees of a certificate.
type shownLeaf struct{ name, issuer, serial string }

func (k keeper) serial(t *testing.T, serverName string) shownLeaf {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Server(far, k.Config(&configs.TLS{MinVersion: "1.2"})).Handshake()
		_ = far.Close()
	}()
	client := tls.Client(near, &tls.Config{ServerName: serverName, InsecureSkipVerify: true})
	err := client.Handshake()
	_ = near.Close()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	leaf := client.ConnectionState().PeerCertificates[0]
	return shownLeaf{strings.Join(leaf.DNSNames, " "), leaf.Issuer.CommonName, leaf.SerialNumber.String()}
}

func TestACMESaysWhatIsWrongWithItsFiles(t *testing.T) {
	t.Parallel()
	c := configs.Default()
	c.SMTP.TLS.ACME.Domains, c.SMTP.TLS.ACME.CAFile = []string{"mx.example.com"}, filepath.Join(t.TempDir(), "none.pem")
	if _, err := app.NewManaged(&c, slog.New(slog.DiscardHandler), nil, time.Minute); err == nil || !strings.Contains(err.Error(), "smtp.tls.acme.ca_file") {
		t.Errorf("the error is %v", err)
	}
	writeFile(t, c.SMTP.TLS.ACME.CAFile, "no certificate")
	if _, err := app.NewManaged(&c, slog.New(slog.DiscardHandler), nil, time.Minute); err == nil || !strings.Contains(err.Error(), "has no certificate") {
		t.Errorf("the error is %v", err)
	}
}
