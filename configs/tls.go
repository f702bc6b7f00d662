package configs

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"

	"mxhook/ingest"
)

// Challenges of ACME: how an authority convinces itself that a name is ours.
const (
	ChallengeHTTP = "http-01"
	ChallengeTLS  = "tls-alpn-01"
)

// ListenAddress is where the challenge is answered.
func (a *ACME) ListenAddress() string {
	switch {
	case a.Address != "":
		return a.Address
	case a.Challenge == ChallengeTLS:
		return ":443"
	}
	return ":80"
}

// Pairs are the configured certificates: the default pair first, then the others in order. What is half configured is
// one too; Load has complained about it.
func (t *TLS) Pairs() []Certificate {
	var pairs []Certificate
	if t.CertFile != "" || t.KeyFile != "" {
		pairs = append(pairs, Certificate{CertFile: t.CertFile, KeyFile: t.KeyFile})
	}
	return append(pairs, t.Certificates...)
}

// Version is MinVersion as crypto/tls has it; TLS 1.2 for what Load would have refused.
func (t *TLS) Version() uint16 {
	switch t.MinVersion {
	case "1.0":
		return tls.VersionTLS10
	case "1.1":
		return tls.VersionTLS11
	case "1.3":
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// CipherSuites are Ciphers as crypto/tls has them; nil when none are named.
func (t *TLS) CipherSuites() []uint16 {
	var ids []uint16
	for _, name := range t.Ciphers {
		if id, _, ok := cipherSuite(name); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// cipherSuite finds a suite of TLS 1.2 and below by its name.
func cipherSuite(name string) (id uint16, insecure, ok bool) {
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if s.Name == name && (len(s.SupportedVersions) > 1 || s.SupportedVersions[0] != tls.VersionTLS13) {
			return s.ID, s.Insecure, true
		}
	}
	return 0, false, false
}

func (c *checker) tls() {
	t := &c.cfg.SMTP.TLS
	if (t.CertFile == "") != (t.KeyFile == "") {
		c.add("smtp.tls", "a certificate and its key belong together; set both cert_file and key_file")
	}
	for i, p := range t.Certificates {
		key := fmt.Sprintf("smtp.tls.certificates[%d]", i)
		if (p.CertFile == "" || p.KeyFile == "") && !c.broken(key, true) {
			c.add(key, "a certificate and its key belong together; set both cert_file and key_file")
		}
	}
	switch t.MinVersion {
	case "1.2", "1.3":
	case "1.0", "1.1":
		c.warn("smtp.tls.min_version", "TLS %s is deprecated (RFC 8996); write 1.2 unless senders need it", t.MinVersion)
	default:
		c.add("smtp.tls.min_version", "%q is no version; write 1.2 or 1.3, or 1.0 or 1.1 for very old senders", t.MinVersion)
	}
	for i, name := range t.Ciphers {
		key := fmt.Sprintf("smtp.tls.ciphers[%d]", i)
		switch _, insecure, ok := cipherSuite(name); {
		case !ok && strings.HasPrefix(name, "TLS_AES_") || name == "TLS_CHACHA20_POLY1305_SHA256":
			c.add(key, "%s is a cipher of TLS 1.3, where all are safe and none can be chosen; name those of TLS 1.2 only", name)
		case !ok:
			c.add(key, "%q is no cipher that we know; write a name like TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", name)
		case insecure:
			c.warn(key, "%s is not safe; remove it unless senders need it", name)
		}
	}
	c.acme()
	c.mtasts()
}

func (c *checker) acme() {
	a := &c.cfg.SMTP.TLS.ACME
	u, err := url.Parse(a.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		c.add("smtp.tls.acme.directory_url", "%q is not the URL of an ACME directory; write https://acme-v02.api.letsencrypt.org/directory", a.Directory)
	}
	switch {
	case a.Email != "":
		c.mailbox("smtp.tls.acme.email", a.Email)
	case len(a.Domains) > 0:
		c.add("smtp.tls.acme.email", "the address is missing; name one that the authority can write to")
	}
	for i, name := range a.Domains {
		key := fmt.Sprintf("smtp.tls.acme.domains[%d]", i)
		switch _, err := ingest.NewDomains([]ingest.Domain{{Name: name}}); {
		case strings.Contains(name, "*"):
			c.add(key, "%q: a certificate with a wildcard needs a challenge that is not spoken here; name each host", name)
		case err != nil:
			c.add(key, "%q is not a host name; write the name of the MX, like mx.example.com", name)
		}
	}
	c.oneOf("smtp.tls.acme.challenge", a.Challenge, ChallengeHTTP, ChallengeTLS)
	if a.Address != "" {
		c.address("smtp.tls.acme.address", a.Address)
	}
}
