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
func (c Certificates) Start()                            { c.start() }
func (c Certificates) Stop()                             { c.stop() }
