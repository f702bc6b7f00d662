package doctor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"time"
)

// smtpPort is where senders come to (RFC 5321).
const smtpPort = "25"

// port speaks SMTP with every address of our own name, as a sender would.
func (e *examination) port(ctx context.Context) {
	for _, a := range e.addrs {
		e.speak(ctx, net.JoinHostPort(a.Unmap().String(), smtpPort))
	}
}

func (e *examination) speak(ctx context.Context, address string) {
	ctx, cancel := e.within(ctx)
	defer cancel()
	conn, err := e.Dial(ctx, "tcp", address)
	if err != nil {
		e.wrong("port 25", "start mxhook with a listener on port 25, and open the port in the firewall here and at your provider",
			"nobody answers at %s: %v", address, err)
		return
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline) // a connection that cannot have one fails at the first read
	text := textproto.NewConn(conn)
	_, greeting, err := text.ReadResponse(220)
	if err != nil {
		e.wrong("port 25", "see the log of what listens there", "%s does not greet: %v", address, err)
		return
	}
	extensions, err := ehlo(text, e.host)
	if err != nil {
		e.wrong("port 25", "see the log of what listens there", "%s does not take EHLO: %v", address, err)
		return
	}
	if first, _, _ := strings.Cut(greeting, " "); !strings.EqualFold(first, e.host) {
		e.note("port 25", "the greeting should name smtp.hostname: is it another server?", "%s greets as %q", address, greeting)
	} else {
		e.fine("port 25", "%s greets as %s", address, first)
	}
	if !strings.Contains("\n"+strings.ToUpper(extensions)+"\n", "\nSTARTTLS\n") {
		e.wrong("tls", "set smtp.tls and tls: starttls of the listener; mail arrives in clear text", "%s does not offer STARTTLS", address)
		return
	}
	e.handshake(ctx, text, conn, address)
}

func ehlo(text *textproto.Conn, name string) (string, error) {
	if err := text.PrintfLine("EHLO %s", name); err != nil {
		return "", err
	}
	_, message, err := text.ReadResponse(250)
	return message, err
}

func (e *examination) handshake(ctx context.Context, text *textproto.Conn, conn net.Conn, address string) {
	err := text.PrintfLine("STARTTLS")
	if err == nil {
		_, _, err = text.ReadResponse(220)
	}
	if err != nil {
		e.wrong("tls", "see the log of what listens there", "%s refuses STARTTLS: %v", address, err)
		return
	}
	// Verified below, so that a bad certificate can be described.
	client := tls.Client(conn, &tls.Config{ServerName: e.host, InsecureSkipVerify: true})
	if err := client.HandshakeContext(ctx); err != nil {
		e.wrong("tls", "see the log of what listens there", "%s: the TLS handshake fails: %v", address, err)
		return
	}
	state := client.ConnectionState()
	leaf := state.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: e.host, Roots: e.Roots, Intermediates: between, CurrentTime: e.Now()})
	if err != nil {
		e.wrong("tls", "get a certificate for "+e.host+" with its whole chain, from files or by smtp.tls.acme; senders that verify (MTA-STS) do not deliver",
			"the certificate at %s is not valid: %v", address, err)
		return
	}
	e.fine("tls", "%s: %s, certificate for %s until %s", address, tls.VersionName(state.Version), e.host, leaf.NotAfter.UTC().Format(time.DateOnly))
}

// certificates reads the configured files: their age, and the TLSA records that belong to them (RFC 6698, RFC 7672).
func (e *examination) certificates() {
	for _, p := range e.Config.SMTP.TLS.Pairs() {
		leaf, err := readLeaf(p.CertFile)
		if err != nil {
			e.wrong("tls", "make the files readable for the user that mxhook runs as", "%v", err)
			continue
		}
		left := leaf.NotAfter.Sub(e.Now())
		switch {
		case left <= 0:
			e.wrong("tls", "renew it", "%s has expired on %s", p.CertFile, leaf.NotAfter.UTC().Format(time.DateOnly))
		case left < 21*24*time.Hour:
			e.note("tls", "renew it; mxhook reads the files again by itself", "%s expires on %s", p.CertFile, leaf.NotAfter.UTC().Format(time.DateOnly))
		}
		sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		e.record("_25._tcp.%s. IN TLSA 3 1 1 %s", e.host, hex.EncodeToString(sum[:]))
	}
}

func readLeaf(file string) (*x509.Certificate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, fmt.Errorf("%s has no certificate", file)
}

// maxPolicy bounds a policy, in octets (RFC 8461 3.2 suggests as much).
const maxPolicy = 64 << 10

// policy fetches what senders fetch (RFC 8461 3.3).
func (e *examination) policy(ctx context.Context, domain string) {
	host := "mta-sts." + domain
	address := "https://" + host + "/.well-known/mta-sts.txt"
	do := "serve the policy below there, by HTTPS with a valid certificate for " + host
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return e.dialHost(ctx, network, host, "443")
		},
		TLSClientConfig:   &tls.Config{RootCAs: e.Roots, Time: e.Now},
		DisableKeepAlives: true,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("it redirects, which senders do not follow (RFC 8461 3.3)")
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		e.wrong("mta-sts", do, "%s: %v", address, err)
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		e.wrong("mta-sts", do, "the policy of %s cannot be fetched: %v", domain, err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicy))
	switch {
	case err != nil || resp.StatusCode != http.StatusOK:
		e.wrong("mta-sts", do, "%s answers %s (%v)", address, resp.Status, err)
	case !allows(string(body), e.host):
		e.wrong("mta-sts", do, "the policy of %s does not name %s: senders that insist on it do not deliver here", domain, e.host)
	default:
		e.fine("mta-sts", "the policy of %s names %s", domain, e.host)
	}
}

// allows reports whether a policy has the host among its MX (RFC 8461 3.2, 4.1).
func allows(policy, host string) bool {
	for line := range strings.Lines(policy) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.ToLower(strings.TrimSpace(value))
		_, parent, _ := strings.Cut(host, ".")
		if strings.TrimSpace(key) == "mx" && (value == host || value == "*."+parent) {
			return true
		}
	}
	return false
}

// dialHost connects to the first address of a host that answers.
func (e *examination) dialHost(ctx context.Context, network, host, port string) (net.Conn, error) {
	addrs := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, a)
	} else if addrs, err = e.Resolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, fmt.Errorf("%s has no address: %s", host, cause(err))
	}
	var errs []error
	for _, a := range addrs {
		conn, err := e.Dial(ctx, network, net.JoinHostPort(a.Unmap().String(), port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// endpoints connects to every webhook endpoint, and says nothing to it: a request would be a delivery.
func (e *examination) endpoints(ctx context.Context) {
	for _, s := range e.Config.Sinks {
		if s.Webhook == nil {
			continue
		}
		e.endpoint(ctx, s.Name, s.Webhook.URL)
	}
}

func (e *examination) endpoint(ctx context.Context, sink, address string) {
	u, err := url.Parse(address)
	if err != nil {
		e.wrong("endpoint", "correct the URL", "sink %s: the URL cannot be read", sink) // the error would show it, and it may have a password
		return
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	ctx, cancel := e.within(ctx)
	defer cancel()
	conn, err := e.dialHost(ctx, "tcp", u.Hostname(), port)
	if err != nil {
		e.wrong("endpoint", "start it, or correct the URL; its mail waits meanwhile", "sink %s: nobody answers at %s: %v", sink, u.Host, err)
		return
	}
	defer conn.Close()
	if u.Scheme == "https" {
		client := tls.Client(conn, &tls.Config{ServerName: u.Hostname(), RootCAs: e.Roots, Time: e.Now})
		if err := client.HandshakeContext(ctx); err != nil {
			e.wrong("endpoint", "correct its certificate; mxhook delivers to no endpoint that it cannot verify", "sink %s: %s: %v", sink, u.Host, err)
			return
		}
	}
	e.fine("endpoint", "sink %s: %s answers", sink, u.Host)
}
