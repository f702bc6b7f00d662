package app

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/configs"
	"mxhook/pipeline"
)

// certificateInterval is how often the files of certificates are looked at.
const certificateInterval = time.Minute

// maxCertificateFile bounds a PEM file, in bytes.
const maxCertificateFile = 4 << 20

// certificates are the pairs of certificate and key that sessions are encrypted with. The files are read again when
// their content changes: sessions that begin after that get the new certificate, those under way are not touched. Files
// that make no pair are reported, and what was read before stays in use. Safe for concurrent use.
type certificates struct {
	log *slog.Logger
	now func() time.Time
	// events may be nil.
	events pipeline.Events

	mu    sync.RWMutex
	pairs []*pair
	// byName has the certificates for a name in lower case, which may be a wildcard's: "*.example.com".
	byName map[string][]*tls.Certificate
	// managed are the certificates of ACME, and temporary is what clients get until there is one; both nil without.
	managed   managedCertificates
	temporary *tls.Certificate

	failures prometheus.Counter
	warned   map[[sha256.Size]byte]time.Duration // by leaf: the last threshold that was warned of
	done     chan struct{}
	wg       sync.WaitGroup
	stopping sync.Once
}

// managedCertificates are certificates that are not in configured files.
type managedCertificates interface {
	start() error
	stop()
	// certificate returns the certificate for a client, or nil when there is none for the name it sends.
	certificate(hello *tls.ClientHelloInfo) *tls.Certificate
	// fallback returns a certificate for clients that get no other, or nil when there is none yet.
	fallback() *tls.Certificate
	// leaves returns the certificates that are in use.
	leaves() []*x509.Certificate
}

// pair is one configured pair of files.
type pair struct {
	files configs.Certificate
	seen  [sha256.Size]byte // of the content that was read last, good or bad
	cert  *tls.Certificate
}

// newCertificates reads all pairs; here, and only here, one that cannot be read is an error.
func newCertificates(files []configs.Certificate, log *slog.Logger, registry prometheus.Registerer, now func() time.Time) (*certificates, error) {
	c := &certificates{
		log: log, now: now, warned: make(map[[sha256.Size]byte]time.Duration), done: make(chan struct{}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mxhook_tls_certificate_reload_failures_total", Help: "Changed certificate files that could not be used.",
		}),
	}
	var errs []error
	for _, f := range files {
		p := &pair{files: f}
		cert, seen, err := p.read()
		if err != nil {
			errs = append(errs, fmt.Errorf("load %s and %s: %w", f.CertFile, f.KeyFile, err))
			continue
		}
		p.cert, p.seen = cert, seen
		c.pairs = append(c.pairs, p)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.index()
	if registry != nil {
		registry.MustRegister(c.failures, expiryCollector{c})
	}
	return c, nil
}

// configuredCertificates returns nil when no certificate is configured.
func configuredCertificates(o Options, registry prometheus.Registerer) (*certificates, error) {
	files := o.Config.SMTP.TLS.Pairs()
	managed, err := newACME(o.Config, o.Log, renewalInterval)
	if err != nil || len(files) == 0 && managed == nil {
		return nil, err
	}
	c, err := newCertificates(files, o.Log, registry, o.Now)
	if err == nil {
		c.events = o.events
	}
	if err == nil && managed != nil {
		err = c.manage(managed, o.Config.SMTP.Hostname)
	}
	if err != nil {
		if managed != nil {
			managed.stop()
		}
		return nil, fmt.Errorf("smtp.tls: %w", err)
	}
	return c, nil
}

// config is the TLS configuration of the front end; nil without certificates.
func (c *certificates) config(t *configs.TLS) *tls.Config {
	if c == nil {
		return nil
	}
	return &tls.Config{GetCertificate: c.certificate, MinVersion: t.Version(), CipherSuites: t.CipherSuites()}
}

// manage adds certificates that are not in files. It must be called before start.
func (c *certificates) manage(m managedCertificates, hostname string) (err error) {
	c.managed = m
	c.temporary, err = temporaryCertificate(hostname, c.now())
	return err
}

// start looks at the files from time to time until stop, and starts what is managed.
func (c *certificates) start() error {
	if c.managed != nil {
		if err := c.managed.start(); err != nil {
			return err
		}
	}
	c.warn()
	c.wg.Go(func() {
		tick := time.NewTicker(certificateInterval)
		defer tick.Stop()
		for {
			select {
			case <-c.done:
				return
			case <-tick.C:
				c.refresh()
			}
		}
	})
	return nil
}

// stop ends what start began; it may be called again, and without a start.
func (c *certificates) stop() {
	c.stopping.Do(func() {
		close(c.done)
		if c.managed != nil {
			c.managed.stop()
		}
	})
	c.wg.Wait()
}

// refresh reads the files that have changed, and warns of certificates that expire.
func (c *certificates) refresh() {
	c.mu.RLock()
	pairs := c.pairs
	c.mu.RUnlock()
	changed := false
	for _, p := range pairs {
		changed = c.refreshPair(p) || changed
	}
	if changed {
		c.index()
	}
	c.warn()
}

// refreshPair reports whether there is a new certificate.
func (c *certificates) refreshPair(p *pair) bool {
	cert, seen, err := p.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	if seen == p.seen {
		return false
	}
	p.seen = seen
	if err == nil && c.now().After(cert.Leaf.NotAfter) && c.now().Before(p.cert.Leaf.NotAfter) {
		err = fmt.Errorf("it has expired on %s, and the one in use has not", cert.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	if err != nil {
		c.failures.Inc()
		c.log.Error("changed certificate files cannot be used; the certificate before stays in use",
			"cert_file", p.files.CertFile, "key_file", p.files.KeyFile, "error", err)
		return false
	}
	p.cert = cert
	c.log.Info("certificate loaded", "cert_file", p.files.CertFile, "names", leafNames(cert.Leaf), "expires", cert.Leaf.NotAfter.UTC())
	return true
}

// index makes the table of names.
func (c *certificates) index() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byName = make(map[string][]*tls.Certificate)
	for _, p := range c.pairs {
		for _, name := range leafNames(p.cert.Leaf) {
			c.byName[name] = append(c.byName[name], p.cert)
		}
	}
}

// certificate chooses for a client, as tls.Config.GetCertificate does: by the name it sends, the files before what is
// managed; for another name, or none, the first pair, because a sender that does not verify is better served with some
// certificate than with none (RFC 7435).
func (c *certificates) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if cert := fitting(hello, c.byName[name]); cert != nil {
		return cert, nil
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if cert := fitting(hello, c.byName["*."+parent]); cert != nil {
			return cert, nil
		}
	}
	if c.managed != nil {
		if cert := c.managed.certificate(hello); cert != nil {
			return cert, nil
		}
	}
	if len(c.pairs) > 0 {
		return c.pairs[0].cert, nil
	}
	if c.managed != nil {
		if cert := c.managed.fallback(); cert != nil {
			return cert, nil
		}
		return c.temporary, nil
	}
	return nil, errors.New("there is no certificate")
}

// fitting returns the first certificate whose key the client can use, the first of all when it can use none.
func fitting(hello *tls.ClientHelloInfo, certs []*tls.Certificate) *tls.Certificate {
	for _, cert := range certs {
		if hello.SupportsCertificate(cert) == nil {
			return cert
		}
	}
	if len(certs) > 0 {
		return certs[0]
	}
	return nil
}

// leaves are the certificates in use.
func (c *certificates) leaves() []*x509.Certificate {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var leaves []*x509.Certificate
	for _, p := range c.pairs {
		leaves = append(leaves, p.cert.Leaf)
	}
	if c.managed != nil {
		leaves = append(leaves, c.managed.leaves()...)
	}
	return leaves
}

// read reads both files. seen tells their content apart from another one, also when they make no pair.
func (p *pair) read() (cert *tls.Certificate, seen [sha256.Size]byte, err error) {
	chain, chainErr := readPEM(p.files.CertFile)
	key, keyErr := readPEM(p.files.KeyFile)
	if err := errors.Join(chainErr, keyErr); err != nil {
		return nil, sha256.Sum256([]byte(err.Error())), err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", len(chain))
	h.Write(chain)
	h.Write(key)
	h.Sum(seen[:0])
	loaded, err := tls.X509KeyPair(chain, key)
	return &loaded, seen, err
}

func readPEM(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxCertificateFile {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxCertificateFile>>20)
	}
	return os.ReadFile(name)
}

// leafNames are the names that a certificate is for, in lower case; its common name when it has no other.
func leafNames(leaf *x509.Certificate) []string {
	var names []string
	for _, n := range leaf.DNSNames {
		names = append(names, strings.ToLower(n))
	}
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = append(names, strings.ToLower(leaf.Subject.CommonName))
	}
	return names
}

// RefreshCertificates looks at the certificate files now instead of within a minute.
func (a *App) RefreshCertificates() {
	if a.certs != nil {
		a.certs.refresh()
	}
}
