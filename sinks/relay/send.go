package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"

	"mxhook/pipeline"
)

// send takes the mail to one hop and settles its recipients. It returns what the server said when it took it.
func (r *Relay) send(ctx context.Context, h *hop, m *mail) string {
	servers, err := r.servers(ctx, h)
	if err != nil {
		h.fail(err)
		return ""
	}
	var last error
	for i := range servers {
		s := &servers[i]
		said, err := "", error(errStale)
		if c := r.pool.get(s.key()); c != nil {
			said, err = r.transaction(ctx, c, h, m)
		}
		if errors.Is(err, errStale) { // it may have ended while it was kept: then nothing was sent
			var c *session
			if c, err = r.connect(ctx, s); err == nil {
				said, err = r.transaction(ctx, c, h, m)
			}
		}
		if err == nil {
			return said
		}
		if ctx.Err() != nil {
			h.fail(ctx.Err())
			return ""
		}
		last = err // whatever it is, the next server may do better
	}
	h.fail(last)
	return ""
}

// transaction sends the mail over a session, which is kept or closed after it. An error means that no recipient is settled:
// the session was of no use (errStale), or the server does not want the mail now (errNotNow), and another may.
func (r *Relay) transaction(ctx context.Context, c *session, h *hop, m *mail) (said string, unsettled error) {
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	c.replies.left = maxReplies + len(h.rcpts)*repliesRecipient
	said, err := r.speak(c, h, m)
	if !stop() || broken(err) {
		c.conn.Close()
	} else {
		r.pool.put(c.server.key(), c)
	}
	if ctx.Err() == nil && (errors.Is(err, errStale) || errors.Is(err, errNotNow)) {
		return "", err
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	h.fail(err)
	return said, nil
}

// errStale is a session that ended before MAIL was answered, or on which the server wants no more (421); errNotNow is any
// other 4xx to MAIL, which is about the server and not about a recipient (RFC 5321 5.1: try the next one).
var (
	errStale  = errors.New("the session has ended")
	errNotNow = errors.New("the server takes no mail now")
)

// broken reports whether a session is of no further use: not after a reply, unless it is 421.
func broken(err error) bool {
	if err == nil {
		return false
	}
	var reply *smtp.SMTPError
	return !errors.As(err, &reply) || reply.Code == 421
}

// speak is one mail transaction. It settles the recipients that the server spoke of; the error is for the others.
func (r *Relay) speak(c *session, h *hop, m *mail) (said string, err error) {
	options, err := r.mailOptions(c, m)
	if err != nil {
		return "", err
	}
	if err := c.Mail(m.from, options); err != nil {
		if broken(err) {
			return "", fmt.Errorf("%w: %w", errStale, err)
		}
		err = judged("MAIL", err)
		if !pipeline.IsPermanent(err) {
			err = fmt.Errorf("%w: %w", errNotNow, err)
		}
		return "", err
	}
	var taken []*rcpt
	for _, rc := range h.rcpts {
		switch err := c.Rcpt(rc.path, rcptOptions(rc)); {
		case err == nil:
			taken = append(taken, rc)
		case broken(err):
			return "", judged("RCPT", err)
		default:
			rc.err = judged("RCPT <"+rc.path+">", err)
		}
	}
	if len(taken) == 0 {
		return "", c.Reset()
	}
	data, err := c.Data()
	if err != nil {
		if err = settle(taken, judged("DATA", err)); err == nil {
			err = c.Reset()
		}
		return "", err
	}
	if _, err := data.Write(m.octets); err != nil {
		return "", fmt.Errorf("send the message: %w", err)
	}
	if !r.o.LMTP {
		resp, err := data.CloseWithResponse()
		if err != nil {
			return "", settle(taken, judged("end of data", err))
		}
		return "250 " + resp.StatusText, settle(taken, nil)
	}
	responses, err := data.CloseWithLMTPResponse()
	var refused smtp.LMTPDataError
	if err != nil && !errors.As(err, &refused) {
		return "", fmt.Errorf("end of data: %w", err)
	}
	for _, rc := range taken {
		if resp := responses[rc.path]; resp != nil {
			rc.err, said = nil, "250 "+resp.StatusText
		} else if reply := refused[rc.path]; reply != nil {
			rc.err = judged("end of data for <"+rc.path+">", reply)
		}
	}
	return said, nil
}

// settle gives recipients one result. It returns the error when the session cannot go on after it.
func settle(rcpts []*rcpt, err error) error {
	for _, rc := range rcpts {
		rc.err = err
	}
	if broken(err) {
		return err
	}
	return nil
}

// mailOptions are the parameters of MAIL. Its error is permanent: this server cannot carry the mail.
func (r *Relay) mailOptions(c *session, m *mail) (*smtp.MailOptions, error) {
	has := func(extension string) bool { ok, _ := c.Extension(extension); return ok }
	o := &smtp.MailOptions{Size: int64(len(m.octets)), UTF8: m.utf8}
	if e := m.envelope; m.from != "" {
		o.Return = smtp.DSNReturn(e.Ret)
		if isPrintable(e.EnvID) {
			o.EnvelopeID = e.EnvID
		}
	}
	switch {
	case m.eightBit && !has("8BITMIME"):
		return nil, pipeline.Permanent(errors.New("the server takes ASCII only (no 8BITMIME), and the mail has other octets (5.6.3)"))
	case m.utf8 && !has("SMTPUTF8"):
		return nil, pipeline.Permanent(errors.New("the server takes no international addresses (no SMTPUTF8) (5.6.7)"))
	case m.envelope.RequireTLS && !(c.encrypted && r.o.TLS == TLSVerify && has("REQUIRETLS")): // RFC 8689 4.2.1
		return nil, pipeline.Permanent(errors.New("the sender asks for verified TLS on every hop (REQUIRETLS), which the server does not offer here (5.7.30)"))
	}
	o.RequireTLS = m.envelope.RequireTLS
	return o, nil
}

// rcptOptions hand on what the sender wants to hear of (RFC 3461 4): to a server that knows how.
func rcptOptions(rc *rcpt) *smtp.RcptOptions {
	if len(rc.recipients) != 1 {
		return nil
	}
	o := &smtp.RcptOptions{}
	for notify := range strings.SplitSeq(rc.recipients[0].Notify, ",") {
		if notify != "" {
			o.Notify = append(o.Notify, smtp.DSNNotify(notify))
		}
	}
	if kind, address, ok := strings.Cut(rc.recipients[0].OriginalRecipient, ";"); ok && strings.EqualFold(kind, string(smtp.DSNAddressTypeRFC822)) && isPrintable(address) {
		o.OriginalRecipientType, o.OriginalRecipient = smtp.DSNAddressTypeRFC822, address
	}
	return o
}

// judged words an error and tells the transient from the permanent: 5xx is the server's word that no retry helps.
func judged(at string, err error) error {
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) {
		return fmt.Errorf("%s: %w", at, err)
	}
	err = fmt.Errorf("%s: %w", at, &replied{reply})
	if reply.Code/100 == 5 {
		return pipeline.Permanent(err)
	}
	return err
}

// replied is a reply as people read it.
type replied struct{ reply *smtp.SMTPError }

func (r *replied) Error() string {
	code := r.reply.EnhancedCode
	if code == smtp.NoEnhancedCode || code == smtp.EnhancedCodeNotSet {
		return fmt.Sprintf("%d %s", r.reply.Code, r.reply.Message)
	}
	return fmt.Sprintf("%d %d.%d.%d %s", r.reply.Code, code[0], code[1], code[2], r.reply.Message)
}

func (r *replied) Unwrap() error { return r.reply }
