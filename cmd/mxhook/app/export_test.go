package app

import (
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/configs"
)

// Certificates is certificates for the tests, which are outside of the package because apptest imports it.
type Certificates struct{ *certificates }

func NewCertificates(files []configs.Certificate, log *slog.Logger, r prometheus.Registerer, now func() time.Time) (Certificates, error) {
	c, err := newCertificates(files, log, r, now)
	return Certificates{c}, err
}

func (c Certificates) Config(t *configs.TLS) *tls.Config { return c.config(t) }
func (c Certificates) Refresh()                          { c.refresh() }
func (c Certificates) Start() error                      { return c.start() }
func (c Certificates) Stop()                             { c.stop() }

// NewManaged is newCertificates with ACME as c says, looking for renewals at that interval.
func NewManaged(c *configs.Config, log *slog.Logger, r prometheus.Registerer, interval time.Duration) (Certificates, error) {
	managed, err := newACME(c, log, interval)
	if err != nil {
		return Certificates{}, err
	}
	certs, err := newCertificates(c.SMTP.TLS.Pairs(), log, r, time.Now)
	if err != nil {
		return Certificates{}, err
	}
	return Certificates{certs}, certs.manage(managed, c.SMTP.Hostname)
}
