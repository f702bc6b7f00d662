package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"mxhook/configs"
	"mxhook/ingest"
	"mxhook/pipeline"
	"mxhook/pipeline/msgauth"
	"mxhook/pipeline/parse"
	"mxhook/rules"
)

// Trial takes mails from files through recipients, stages and rules of a configuration as a running mxhook would,
// and delivers nothing.
type Trial struct {
	hostname string
	domains  *ingest.Domains
	stages   pipeline.Stages
	table    *rules.Table
}

// NewTrial returns a trial of cfg. resolver may be nil: the one that cfg.DNS describes.
func NewTrial(cfg *configs.Config, resolver msgauth.Resolver, log *slog.Logger) (*Trial, error) {
	domains, err := ingest.NewDomains(cfg.IngestDomains())
	if err != nil {
		return nil, err
	}
	table, err := cfg.Table()
	if err != nil {
		return nil, err
	}
	if resolver == nil {
		if resolver, err = newResolver(cfg, log, nil); err != nil {
			return nil, err
		}
	}
	read, err := parse.New(parse.Options{Log: log})
	if err != nil {
		return nil, err
	}
	auth := msgauth.New(authOptions(cfg, resolver, log))
	return &Trial{hostname: cfg.SMTP.Hostname, domains: domains, stages: pipeline.Stages{auth, read}, table: table}, nil
}

// TrialMail is a mail and the envelope to try it with.
type TrialMail struct {
	Recipients []string
	// From is the reverse-path; "" and "<>" are the null reverse-path.
	From string
	// IP and Helo are those of the client; without an IP, SPF has nothing to say.
	IP, Helo string
	Octets   []byte
}

// ErrRefused says that a recipient would be refused at RCPT; the error's text is the reply.
var ErrRefused = errors.New("refused")

// Explain says where the mail would go, and why.
func (t *Trial) Explain(ctx context.Context, mail TrialMail) (rules.Explanation, error) {
	env := pipeline.Envelope{
		ID: "trial", ReversePath: mail.From, Hostname: t.hostname, Listener: "trial", ReceivedAt: time.Now().UTC(),
		Size: int64(len(mail.Octets)), Client: pipeline.Client{Helo: mail.Helo},
	}
	if mail.From == "<>" {
		env.ReversePath = ""
	}
	if mail.IP != "" {
		ip, err := netip.ParseAddr(mail.IP)
		if err != nil {
			return rules.Explanation{}, fmt.Errorf("the client's address: %w", err)
		}
		env.Client.IP = ip
	}
	for _, r := range mail.Recipients {
		addr, err := ingest.ParseAddress(r)
		if err != nil {
			return rules.Explanation{}, fmt.Errorf("recipient %q: %w", r, err)
		}
		rcpt, err := t.domains.Accepts(ctx, addr)
		if err != nil {
			return rules.Explanation{}, fmt.Errorf("recipient %s would be %w: %w", r, ErrRefused, err)
		}
		env.Recipients = append(env.Recipients, rcpt)
	}
	m := &pipeline.Message{Envelope: env, Raw: mail.Octets, SHA256: sha256.Sum256(mail.Octets)}
	if err := t.stages.Run(ctx, m); err != nil {
		return rules.Explanation{}, err
	}
	return t.table.Explain(m), nil
}
