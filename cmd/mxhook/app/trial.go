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
	generation *generation
	stages     pipeline.Stages
	log        *slog.Logger
	now        func() time.Time
}

// NewTrial returns a trial of cfg. resolver may be nil: the one that cfg.DNS describes.
func NewTrial(cfg *configs.Config, resolver msgauth.Resolver, log *slog.Logger) (*Trial, error) {
	t, err := newOfflineTrial(cfg, log)
	if err != nil {
		return nil, err
	}
	if resolver == nil {
		if resolver, err = newResolver(cfg, log, nil); err != nil {
			return nil, err
		}
	}
	t.stages = append(pipeline.Stages{msgauth.New(authOptions(cfg, resolver, log))}, t.stages...)
	return t, nil
}

// newOfflineTrial returns one that authenticates nothing: it takes TrialMail.Verified for true.
func newOfflineTrial(cfg *configs.Config, log *slog.Logger) (*Trial, error) {
	g, err := newGeneration(cfg, nil, Options{Log: log}, nil)
	if err != nil {
		return nil, err
	}
	if err := g.buildSinks(Options{Log: log}, nil, nil); err != nil {
		return nil, err
	}
	read, err := parse.New(parse.Options{Log: log})
	if err != nil {
		return nil, err
	}
	return &Trial{generation: g, stages: pipeline.Stages{read}, log: log, now: time.Now}, nil
}

// TrialMail is a mail and the envelope to try it with.
type TrialMail struct {
	Recipients []string
	// From is the reverse-path; "" and "<>" are the null reverse-path.
	From string
	// IP and Helo are those of the client; without an IP, SPF has nothing to say.
	IP, Helo string
	// At is the time of receipt; zero is now.
	At     time.Time
	Octets []byte
	// Verified is the author's domain that is taken for proven, where DNS is not asked.
	Verified string
}

// ErrRefused says that a recipient would be refused at RCPT; the error's text is the reply.
var ErrRefused = errors.New("refused")

// Explain says where the mail would go, and why.
func (t *Trial) Explain(ctx context.Context, mail TrialMail) (rules.Explanation, error) {
	env, err := t.envelope(mail)
	if err != nil {
		return rules.Explanation{}, err
	}
	for _, r := range mail.Recipients {
		addr, err := ingest.ParseAddress(r)
		if err != nil {
			return rules.Explanation{}, fmt.Errorf("recipient %q: %w", r, err)
		}
		rcpt, d, err := t.generation.accepts(ctx, &env, addr, t.log)
		switch {
		case err != nil && d.Rule != "":
			return rules.Explanation{}, fmt.Errorf("recipient %s would be %w by rule %q: %w", r, ErrRefused, d.Rule, err)
		case err != nil:
			return rules.Explanation{}, fmt.Errorf("recipient %s would be %w: %w", r, ErrRefused, err)
		}
		env.Recipients = append(env.Recipients, rcpt)
	}
	m := t.message(env, mail)
	if err := t.stages.Run(ctx, m); err != nil {
		return rules.Explanation{}, err
	}
	if reply := dmarcReply(m.Auth); reply != nil {
		for _, r := range env.Recipients {
			if t.generation.refuses(r) {
				return rules.Explanation{}, fmt.Errorf("recipient %s would be %w at the end of the data: %w", r.Address, ErrRefused, reply)
			}
		}
	}
	e := t.generation.explain(m)
	t.generation.preview(ctx, m, &e)
	return e, nil
}

// envelope is that of the mail, without recipients.
func (t *Trial) envelope(mail TrialMail) (pipeline.Envelope, error) {
	if mail.At.IsZero() {
		mail.At = t.now()
	}
	env := pipeline.Envelope{
		ReversePath: mail.From, Hostname: t.generation.config.SMTP.Hostname, Listener: "trial", ReceivedAt: mail.At.UTC(),
		Size: int64(len(mail.Octets)), Client: pipeline.Client{Helo: mail.Helo},
	}
	if mail.From == "<>" {
		env.ReversePath = ""
	}
	if mail.IP != "" {
		ip, err := netip.ParseAddr(mail.IP)
		if err != nil {
			return env, fmt.Errorf("the client's address: %w", err)
		}
		env.Client.IP = ip
	}
	return env, nil
}

func (t *Trial) message(env pipeline.Envelope, mail TrialMail) *pipeline.Message {
	return &pipeline.Message{Envelope: env, Raw: mail.Octets, SHA256: sha256.Sum256(mail.Octets), Auth: proven(mail.Verified)}
}
