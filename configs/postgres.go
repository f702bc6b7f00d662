package configs

import (
	"mxhook/sinks/postgres"
	"mxhook/sinks/webhook"
)

// Postgres is a schema of a PostgreSQL database. Migrate makes and updates the tables.
type Postgres struct {
	URL             Secret    `yaml:"url"`
	Password        Secret    `yaml:"password"`
	Schema          string    `yaml:"schema"`
	Migrate         bool      `yaml:"migrate"`
	OmitRaw         bool      `yaml:"omit_raw"`
	OmitAttachments bool      `yaml:"omit_attachments"`
	TLS             ServerTLS `yaml:"tls"`
	AllowPrivate    bool      `yaml:"allow_private"`
	AllowNetworks   []string  `yaml:"allow_networks"`
}

func (Postgres) defaulted() any { return Postgres{Schema: "mxhook", Migrate: true} }

func (p *Postgres) options() *postgres.Options {
	o := &postgres.Options{
		URL: p.URL.Reveal(), Password: p.Password.Reveal(), CA: p.TLS.CA.Reveal(), Schema: p.Schema, Given: !p.Migrate,
		OmitRaw: p.OmitRaw, OmitAttachments: p.OmitAttachments,
	}
	if !p.AllowPrivate {
		o.Control = webhook.DialControl(prefixes(p.AllowNetworks))
	}
	return o
}
