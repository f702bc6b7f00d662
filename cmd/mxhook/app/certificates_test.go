package app_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mxhook/cmd/mxhook/app"
	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/configs"
)

const day = 24 * time.Hour

// logBuffer is a log that tests look into.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was logged since it was called last.
func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.b.String()
	l.b.Reset()
	return s
}

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// keeper is a set of certificates with what it says and counts.
type keeper struct {
	app.Certificates
	log      *logBuffer
	registry *prometheus.Registry
	clock    *clock
}

func newKeeper(t *testing.T, files ...configs.Certificate) keeper {
	t.Helper()
	k := keeper{log: &logBuffer{}, registry: prometheus.NewRegistry(), clock: &clock{now: time.Now()}}
	var err error
	k.Certificates, err = app.NewCertificates(files, slog.New(slog.NewTextHandler(k.log, nil)), k.registry, k.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// shown returns the names of the certificate that a client gets which sends that server name; "" sends none.
func (k keeper) shown(t *testing.T, serverName string, change ...func(*tls.Config)) (string, error) {
	t.Helper()
	near, far := net.Pipe()
	server := tls.Server(far, k.Config(&configs.TLS{MinVersion: "1.2"}))
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Handshake(); _ = far.Close() }()
	config := &tls.Config{ServerName: serverName, InsecureSkipVerify: true}
	for _, c := range change {
		c(config)
	}
	client := tls.Client(near, config)
	err := client.Handshake()
	_ = near.Close()
	<-done
	if err != nil {
		return "", err
	}
	return strings.Join(client.ConnectionState().PeerCertificates[0].DNSNames, " "), nil
}

func pairOf(certFile, keyFile string) configs.Certificate {
	return configs.Certificate{CertFile: certFile, KeyFile: keyFile}
}

func TestCertificatesAreChosenByServerName(t *testing.T) {
	t.Parallel()
	ca, dir := apptest.NewAuthority(t), t.TempDir()
	k := newKeeper(t,
		pairOf(ca.WritePair(dir, "default", 90*day, "mx.example.com")),
		pairOf(ca.WritePair(dir, "two", 90*day, "mx.example.net", "MX2.example.net")),
		pairOf(ca.WritePair(dir, "wild", 90*day, "*.example.org")))
	for name, want := range map[string]string{
		"": "mx.example.com", "mx.example.com": "mx.example.com", "mx.example.net": "mx.example.net MX2.example.net",
		"Mx2.EXAMPLE.net": "mx.example.net MX2.example.net", "a.example.org": "*.example.org", "a.b.example.org": "mx.example.com",
		"example.org": "mx.example.com", "elsewhere.example": "mx.example.com",
	} {
		if got, err := k.shown(t, name); err != nil || got != want {
			t.Errorf("%q gets %q (%v), want %q", name, got, err, want)
		}
	}
}

func TestCertificatesThatChangeAreReadAgain(t *testing.T) {
	t.Parallel()
	ca, dir := apptest.NewAuthority(t), t.TempDir()
	files := pairOf(ca.WritePair(dir, "mx", 90*day, "old.example.com"))
	k := newKeeper(t, files)
	steps := []struct {
		name   string
		change func()
		want   string // the name in the certificate
		log    string
	}{
		{"nothing", func() {}, "old.example.com", ""},
		{"only the certificate", func() { breakFile(t, files.CertFile, ca, "half.example.com") }, "old.example.com", "private key does not match"},
		{"still only that", func() {}, "old.example.com", ""},
		{"both", func() { ca.WritePair(dir, "mx", 90*day, "new.example.com") }, "new.example.com", "certificate loaded"},
		{"garbage", func() { writeFile(t, files.KeyFile, "no key") }, "new.example.com", "cannot be used"},
		{"gone", func() { removeFile(t, files.CertFile) }, "new.example.com", "no such file"},
		{"expired", func() { ca.WritePair(dir, "mx", -time.Minute, "late.example.com") }, "new.example.com", "expired"},
		{"repaired", func() { ca.WritePair(dir, "mx", 90*day, "last.example.com") }, "last.example.com", "certificate loaded"},
	}
	for _, s := range steps {
		s.change()
		k.Refresh()
		if got, err := k.shown(t, ""); err != nil || got != s.want {
			t.Errorf("%s: a client gets %q (%v), want %q", s.name, got, err, s.want)
		}
		if log := k.log.take(); (s.log == "") != (log == "") || !strings.Contains(log, s.log) {
			t.Errorf("%s: the log says %q, want %q", s.name, log, s.log)
		}
	}
	if err := testutil.GatherAndCompare(k.registry, strings.NewReader(`
# HELP mxhook_tls_certificate_reload_failures_total Changed certificate files that could not be used.
# TYPE mxhook_tls_certificate_reload_failures_total counter
mxhook_tls_certificate_reload_failures_total 4
`), "mxhook_tls_certificate_reload_failures_total"); err != nil {
		t.Error(err)
	}
}

func TestCertificatesThatCannotBeReadStopTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := app.NewCertificates([]configs.Certificate{{CertFile: filepath.Join(dir, "a.pem"), KeyFile: filepath.Join(dir, "a.key")}},
		slog.New(slog.DiscardHandler), nil, time.Now)
	if err == nil || !strings.Contains(err.Error(), "a.pem") || !strings.Contains(err.Error(), "a.key") {
		t.Errorf("the error names the files that are missing: %v", err)
	}
}

func TestExpiryIsWarnedOfOnceATimeAndShownAsMetric(t *testing.T) {
	t.Parallel()
	ca, dir := apptest.NewAuthority(t), t.TempDir()
	life := 60 * day
	began := time.Now()
	k := newKeeper(t, pairOf(ca.WritePair(dir, "mx", life, "mx.example.com")), pairOf(ca.WritePair(dir, "rsa", 90*day, "mx.example.com", "b.example.com")))
	for _, tc := range []struct {
		left time.Duration
		want string
	}{
		{22 * day, ""},
		{20 * day, "expires soon"},
		{19 * day, ""},
		{8 * day, ""},
		{6 * day, "expires soon"},
		{5 * day, ""},
		{20 * time.Hour, "expires soon"},
		{time.Hour, ""},
		{-time.Hour, "has expired"},
		{-2 * time.Hour, ""},
	} {
		k.clock.Set(began.Add(life - tc.left))
		k.Refresh()
		log := k.log.take()
		if (tc.want == "") != (log == "") || !strings.Contains(log, tc.want) {
			t.Errorf("%v before the end the log says %q, want %q", tc.left, log, tc.want)
		}
		if tc.want != "" && (!strings.Contains(log, "mx.example.com") || strings.Count(log, "\n") != 1) {
			t.Errorf("%v before the end one line names the certificate: %q", tc.left, log)
		}
	}
	families, err := k.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]time.Duration{}
	for _, f := range families {
		if f.GetName() != "mxhook_tls_certificate_expiry_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			got[m.GetLabel()[0].GetValue()] = time.Unix(int64(m.GetGauge().GetValue()), 0).Sub(began).Round(time.Hour)
		}
	}
	if len(got) != 2 || got["mx.example.com"] != life || got["b.example.com"] != 90*day {
		t.Errorf("the metric says %v", got)
	}
}

func TestTLSPolicyIsKept(t *testing.T) {
	t.Parallel()
	ca, dir := apptest.NewAuthority(t), t.TempDir()
	files := pairOf(ca.WritePair(dir, "mx", 90*day, "mx.example.com"))
	for _, tc := range []struct {
		policy configs.TLS
		client *tls.Config
		ok     bool
	}{
		{configs.TLS{MinVersion: "1.2"}, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{configs.TLS{MinVersion: "1.2"}, &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{configs.TLS{MinVersion: "1.3"}, &tls.Config{MaxVersion: tls.VersionTLS12}, false},
		{configs.TLS{MinVersion: "1.3"}, &tls.Config{}, true},
		{configs.TLS{MinVersion: "1.0"}, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, true},
		{
			configs.TLS{MinVersion: "1.2", Ciphers: []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}},
			&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, false,
		},
	} {
		k := newKeeper(t, files)
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = tls.Server(far, k.Config(&tc.policy)).Handshake()
			_ = far.Close()
		}()
		config := tc.client.Clone()
		config.InsecureSkipVerify = true
		err := tls.Client(near, config).Handshake()
		_ = near.Close()
		<-done
		if (err == nil) != tc.ok {
			t.Errorf("%+v: a client with %x to %x: %v", tc.policy, tc.client.MinVersion, tc.client.MaxVersion, err)
		}
	}
}

// The files are changed while clients shake hands: every handshake ends well, with the old or the new certificate, and
// after the refresh with the new one.
func TestCertificatesChangeUnderHandshakes(t *testing.T) {
	t.Parallel()
	ca, dir := apptest.NewAuthority(t), t.TempDir()
	k := newKeeper(t, pairOf(ca.WritePair(dir, "mx", 90*day, "mx0.example.com")))
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	defer k.Stop()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := k.shown(t, "mx.example.com"); err != nil || !strings.HasPrefix(got, "mx") {
					t.Errorf("%q, %v", got, err)
					return
				}
			}
		})
	}
	for n := range 20 {
		want := fmt.Sprintf("mx%d.example.com", n+1)
		ca.WritePair(dir, "mx", 90*day, want)
		k.Refresh()
		if got, err := k.shown(t, ""); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	close(stop)
	wg.Wait()
}

func breakFile(t *testing.T, name string, ca *apptest.Authority, domain string) {
	t.Helper()
	chain, _ := ca.Issue(90*day, domain)
	writeFile(t, name, string(chain))
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func removeFile(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}
