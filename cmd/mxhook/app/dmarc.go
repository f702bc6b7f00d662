package app

import (
	"context"
	"errors"
	"fmt"

	"mxhook/configs"
	"mxhook/ingest"
	"mxhook/pipeline"
	"mxhook/pipeline/queue"
)

// Replies of domains that refuse by DMARC.
var (
	replyUnproven = &ingest.Reply{
		Code: 451, Status: "4.7.26", Text: "DNS does not say now who may send for the author's domain; try again later", Reason: "dmarc_unknown",
	}
	replyNoAuthor = &ingest.Reply{
		Code: 550, Status: "5.7.26", Text: "The message has no single author (From) whose domain could be asked", Reason: "dmarc_author",
	}
	// replyOtherPolicy makes the client send the others in a transaction of their own.
	replyOtherPolicy = &ingest.Reply{
		Code: 452, Status: "4.5.3", Text: "This recipient has another policy than the first; send it in another transaction", Reason: "recipients_policy",
	}
)

// dmarcReply says how a domain that refuses by DMARC answers a message with these results; nil takes it. It takes what a
// trusted upstream hands on, which would have to send a bounce to somebody innocent, and what is verified: by DMARC, or
// by the ARC chain of a trusted sealer.
func dmarcReply(auth *pipeline.AuthResults) *ingest.Reply {
	d := &auth.DMARC
	switch {
	case auth.Upstream || auth.Sender.Verified:
		return nil
	case d.Result == pipeline.ResultPermError:
		return replyNoAuthor
	case d.Result == pipeline.ResultTempError && (d.Policy == "" || d.Policy == policyReject):
		return replyUnproven
	case d.Result == pipeline.ResultFail && d.Policy == policyReject:
		dkim := pipeline.ResultNone
		if len(auth.DKIM) > 0 {
			dkim = auth.DKIM[0].Result
		}
		return &ingest.Reply{
			Code: 550, Status: "5.7.26", Reason: "dmarc",
			Text: fmt.Sprintf("DMARC: %s asks to refuse mail that it does not prove (spf=%s, dkim=%s)", d.Domain, auth.SPF.Result, dkim),
		}
	}
	return nil
}

// policyReject is the policy of a DMARC record.
const policyReject = "reject"

// refusingDomains are the domains of a configuration that refuse by DMARC.
func refusingDomains(cfg *configs.Config) map[string]bool {
	refusing := map[string]bool{}
	for _, d := range cfg.Domains {
		if d.DMARC == configs.DMARCReject {
			refusing[d.Domain] = true
		}
	}
	return refusing
}

// refuses reports whether mail for a recipient may be refused by DMARC. Postmaster hears of everything, most of all from
// those whose mail is refused (RFC 5321 4.5.1).
func (g *generation) refuses(r pipeline.Recipient) bool {
	return g.refusing[g.directory.Configured(r.Domain)] && !ingest.IsPostmaster(r.Local)
}

// judgedWriter is the writer of a message that a recipient's domain may refuse by DMARC.
type judgedWriter struct {
	*queue.Writer
	auth    pipeline.Stage
	refuses func(pipeline.Recipient) bool
}

// Commit implements ingest.Writer. The results are stored with the message, so that it is authenticated once.
func (w *judgedWriter) Commit(ctx context.Context) error {
	refused := &ingest.Refused{Replies: map[string]*ingest.Reply{}}
	err := w.Inspect(ctx, func(ctx context.Context, m *pipeline.Message) error {
		if err := w.auth.Run(ctx, m); err != nil {
			return err
		}
		reply := dmarcReply(m.Auth)
		if reply == nil {
			return nil
		}
		var taken []pipeline.Recipient
		for _, r := range m.Envelope.Recipients {
			if w.refuses(r) {
				refused.Replies[r.Address] = reply
			} else {
				taken = append(taken, r)
			}
		}
		if len(taken) == 0 {
			return reply
		}
		m.Envelope.Recipients = taken
		return nil
	})
	if err != nil {
		w.Abort()
		return err
	}
	var repeated *pipeline.Repeated
	if err := w.Writer.Commit(ctx); len(refused.Replies) == 0 || err != nil && !errors.As(err, &repeated) {
		return err
	}
	if repeated != nil {
		refused.Repeated = repeated.ID
	}
	return refused
}
