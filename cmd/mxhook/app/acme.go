package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"mxhook/configs"
)

// acme keeps the certificates that an authority gives us without a hand (RFC 8555): it gets those that are missing and
// renews them when a third of their life is left, trying again for as long as it takes. Safe for concurrent use.
type acme struct {
	cache   *certmagic.Cache
	config  *certmagic.Config
	domains []string
	cancel  context.CancelFunc
}

// renewalInterval is how often the age of the certificates is looked at.
const renewalInterval = 10 * time.Minute

// newACME returns nil when no domains are named. Nothing is asked of the authority before start.
func newACME(c *configs.Config, log *slog.Logger, interval time.Duration) (*acme, error) {
	settings := &c.SMTP.TLS.ACME
	if len(settings.Domains) == 0 {
		return nil, nil
	}
	roots, err := rootsOf(settings.CAFile)
	if err != nil {
		return nil, fmt.Errorf("smtp.tls.acme.ca_file: %w", err)
	}
	host, port, err := net.SplitHostPort(settings.ListenAddress())
	if err != nil {
		return nil, fmt.Errorf("smtp.tls.acme.address: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("smtp.tls.acme.address: %w", err)
	}
	storage := settings.Storage
	if storage == "" {
		storage = filepath.Join(c.DataDir, "acme")
	}

	a := &acme{domains: lowered(settings.Domains)}
	logger := newZapLogger(log.With("part", "acme"))
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
		RenewCheckInterval: interval, Logger: logger,
	})
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: storage}, Logger: logger,
		// Senders of mail do not ask for staples, and authorities have stopped to answer (Let's Encrypt in 2025).
		OCSP: certmagic.OCSPConfig{DisableStapling: true},
	})
	a.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(a.config, certmagic.ACMEIssuer{
		CA: settings.Directory, Email: settings.Email, Agreed: true, TrustedRoots: roots, Logger: logger, ListenHost: host,
		DisableHTTPChallenge: settings.Challenge != configs.ChallengeHTTP, AltHTTPPort: number,
		DisableTLSALPNChallenge: settings.Challenge != configs.ChallengeTLS, AltTLSALPNPort: number,
	})}
	return a, nil
}

// start reads the certificates that are stored, and gets and renews the others in the background.
func (a *acme) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	if err := a.config.ManageAsync(ctx, a.domains); err != nil {
		return fmt.Errorf("smtp.tls.acme: %w", err)
	}
	return nil
}

// stop ends what start began.
func (a *acme) stop() {
	if a.cancel != nil {
		a.cancel()
	}
	a.cache.Stop()
}

// certificate implements managedCertificates.
func (a *acme) certificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if !slices.Contains(a.domains, name) {
		return nil
	}
	certs := a.cache.AllMatchingCertificates(name)
	for i := range certs {
		if !certs[i].Expired() && hello.SupportsCertificate(&certs[i].Certificate) == nil {
			return &certs[i].Certificate
		}
	}
	if len(certs) > 0 {
		return &certs[0].Certificate
	}
	return nil
}

// fallback implements managedCertificates.
func (a *acme) fallback() *tls.Certificate {
	for _, name := range a.domains {
		if certs := a.cache.AllMatchingCertificates(name); len(certs) > 0 {
			return &certs[0].Certificate
		}
	}
	return nil
}

// leaves implements managedCertificates.
func (a *acme) leaves() []*x509.Certificate {
	var leaves []*x509.Certificate
	for _, name := range a.domains {
		for _, cert := range a.cache.AllMatchingCertificates(name) {
			if cert.Leaf != nil {
				leaves = append(leaves, cert.Leaf)
			}
		}
	}
	return leaves
}

// rootsOf reads root certificates; nil, which means those of the system, when no file is named.
func rootsOf(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return pool, nil
}

func lowered(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}
