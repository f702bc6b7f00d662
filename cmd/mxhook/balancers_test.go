package main

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// This file has what stands in front of us: a balancer that speaks the PROXY protocol, and a relay that hands over by LMTP.

// rawConfig is the basic configuration with octets in the webhook.
var rawConfig = strings.Replace(apptest.BasicConfig, "allow_private: true", "allow_private: true, raw: true", 1)

// HAProxy stands in front: the client of the envelope is HAProxy's client, not HAProxy.
func TestHAProxyInFrontByProxyProtocol(t *testing.T) {
	t.Parallel()
	for version, option := range map[string]string{"v1": "send-proxy", "v2": "send-proxy-v2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			i := apptest.Start(t, apptest.Options{Config: strings.Replace(rawConfig, "tls: none}", "tls: none, proxy_networks: [127.0.0.1/32]}", 1)})
			front := fmt.Sprintf("127.0.0.1:%d", apptest.FreePort(t))
			startHAProxy(t, front, i.SMTP(), option)
			// From an address of loopback that is neither HAProxy's nor ours.
			sent := hardMail("haproxy-" + version)
			file := filepath.Join(t.TempDir(), "mail")
			writeFile(t, file, string(sent))
			host, port, _ := net.SplitHostPort(front)
			command(t, "swaks", "--local-interface", "127.0.0.9", "--server", host, "--port", port, "--helo", "client.example.org", "--from", "a@example.org",
				"--to", "support@example.com", "--data", "@"+file, "--suppress-data")
			p := rawOf(t, i.Endpoint.WaitCount(t, 1, 20*time.Second)[0])
			sameOctets(t, p, append(sent, "\r\n"...)) // swaks ends the data with a line end of its own
			if ip := p.Data.Envelope.Client.IP; ip == nil || *ip != "127.0.0.9" {
				t.Errorf("the client is %v, want 127.0.0.9", ip)
			}
			if n := len(i.Endpoint.Webhooks()); n != 1 {
				t.Errorf("%d webhooks, want 1", n)
			}
		})
	}
}

// startHAProxy starts a HAProxy that hands connections on and looks every tenth of a second whether we are well.
func startHAProxy(t *testing.T, front, back, option string) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "haproxy.cfg")
	writeFile(t, conf, fmt.Sprintf(`defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
frontend mx
  bind %s
  default_backend mxhook
backend mxhook
  server one %s %s check inter 100ms
`, front, back, option))
	daemon(t, exec.Command("../../.cache/debian/usr/sbin/haproxy", "-db", "-f", conf))
	apptest.WaitUntil(t, "HAProxy", func() bool {
		conn, err := net.Dial("tcp", front)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, err = conn.Read(make([]byte, 1))
		return err == nil
	})
}

// Postfix takes mail for others and hands it over to us by LMTP: one reply for each recipient, all of which arrive.
func TestPostfixHandsOverByLMTP(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: strings.Replace(rawConfig, "protocol: smtp", "protocol: lmtp", 1)})
	host, port, _ := net.SplitHostPort(i.SMTP())
	conf := startPostfix(t, i.SMTP(), fmt.Sprintf("default_transport = lmtp:inet:[%s]:%s", host, port),
		fmt.Sprintf("relay_transport = lmtp:inet:[%s]:%s", host, port), "relayhost =", "lmtp_host_lookup = native", "lmtp_dns_support_level = disabled")
	sent := hardMail("lmtp")
	feed(t, sent, "sendmail", "-C", conf, "-i", "-f", "sender@example.org", "support@example.com", "b@example.com")
	var recipients []string
	i.Endpoint.Wait(t, 20*time.Second, "both recipients", func(hooks []apptest.Webhook) bool {
		recipients = nil
		for _, hook := range hooks {
			p := rawOf(t, hook)
			sameOctets(t, p, sent)
			for _, r := range p.Data.Envelope.Recipients {
				recipients = append(recipients, r.Address)
			}
		}
		return len(recipients) >= 2
	})
	if len(recipients) != 2 || recipients[0] == recipients[1] {
		t.Errorf("recipients are %v", recipients)
	}
}
