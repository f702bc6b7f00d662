package apptest

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/foxcpp/go-mockdns"
)

// Pebble is a certificate authority that speaks ACME: Debian's pebble, on loopback.
type Pebble struct {
	// Directory is the URL of its directory, and Root a file with what its HTTPS is trusted by.
	Directory, Root string
	// HTTPPort and TLSPort are where it asks for the answers to its challenges.
	HTTPPort, TLSPort int
}

// StartPebble starts an authority that finds every one of the names on loopback and gives certificates for that long. It
// ends with the test.
func StartPebble(t testing.TB, life time.Duration, names ...string) Pebble {
	t.Helper()
	dir := t.TempDir()
	ca := NewAuthority(t)
	certFile, keyFile := ca.WritePair(dir, "pebble", time.Hour, "127.0.0.1")
	p := Pebble{Root: filepath.Join(dir, "root.pem"), HTTPPort: FreePort(t), TLSPort: FreePort(t)}
	ca.WriteRoot(p.Root)
	listen, management := fmt.Sprintf("127.0.0.1:%d", FreePort(t)), fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	p.Directory = "https://" + listen + "/dir"
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management, "certificate": certFile, "privateKey": keyFile,
		"httpPort": p.HTTPPort, "tlsPort": p.TLSPort, "certificateValidityPeriod": int(life.Seconds()),
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	write(t, file, config)

	zones := map[string]mockdns.Zone{}
	for _, name := range names {
		zones[name+"."] = mockdns.Zone{A: []string{"127.0.0.1"}}
	}
	dns, err := mockdns.NewServerWithLogger(zones, discard{}, false)
	if err != nil {
		t.Fatalf("start the DNS: %v", err)
	}
	t.Cleanup(func() { _ = dns.Close() })
	cmd := exec.Command("pebble", "-config", file, "-dnsserver", dns.LocalAddr().String())
	// No pauses, and none of the nonces that it otherwise refuses at random.
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	if err := cmd.Start(); err != nil {
		t.Fatalf("start pebble: %v (`make deps` installs what the tests need)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	client := &http.Client{
		Timeout:   time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}},
	}
	poll(t, 20*time.Second, "pebble", func() (error, bool) {
		resp, err := client.Get(p.Directory)
		if err == nil {
			err = resp.Body.Close()
		}
		return err, err == nil
	})
	return p
}

// FreePort returns a port of 127.0.0.1 that nobody listened on just now, for programs that cannot choose one.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
