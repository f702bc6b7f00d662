package ingest

import (
	"context"
	"strings"
)

// command answers one command line.
func (s *session) command(ctx context.Context, line string) {
	verb, arg, _ := strings.Cut(line, " ")
	arg = strings.Trim(arg, " \t")
	verb = strings.ToUpper(strings.TrimRight(verb, "\t"))
	switch verb {
	case "RCPT":
		s.rcpt(ctx, arg)
		return
	case "DATA":
		s.data(ctx, arg)
		return
	case "BDAT":
		s.bdat(ctx, arg)
		return
	}
	if s.idle++; s.idle > s.srv.opts.Limits.IdleCommands {
		s.reply(replyTooManyCommands)
		return
	}
	switch verb {
	case "MAIL":
		s.mail(ctx, arg)
		return // not flushed: it may be pipelined (RFC 2920 3.1)
	case "RSET":
		s.rset(arg)
		return
	case "EHLO", "HELO":
		if s.lst.lmtp {
			s.reply(replyUseLHLO) // RFC 2033 4.1
		} else {
			s.helo(arg, verb == "EHLO")
		}
	case "LHLO":
		if s.lst.lmtp {
			s.helo(arg, true)
		} else {
			s.reply(replyUnknownCommand)
		}
	case "XCLIENT":
		s.xclient(arg)
	case "STARTTLS":
		s.starttls(ctx, arg)
	case "NOOP":
		s.reply(replyOK)
	case "QUIT":
		s.abandon("QUIT")
		s.reply(replyBye)
		s.closing = true
	case "HELP":
		s.reply(replyHelp)
	case "VRFY":
		s.reply(replyVrfy)
	case "EXPN", "AUTH", "TURN", "ETRN":
		s.reply(replyNotImplemented)
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT":
		s.reply(replyNotSMTP) // a browser or proxy that was talked into speaking to us
	default:
		s.reply(replyUnknownCommand)
	}
	_ = s.wire.flush() // RFC 2920 3.2 (3); an error shows at the next read
}

// starttls is RFC 3207. What was sent behind the command in clear text may have been put there by somebody else, so
// the session ends.
func (s *session) starttls(ctx context.Context, arg string) {
	switch {
	case arg != "":
		s.reply(replyNoArgument)
	case s.client.TLS != nil:
		s.reply(replyTLSActive)
	case !s.lst.startTLS:
		s.reply(replyNoTLS)
	case s.tx != nil:
		s.reply(replyInTransaction)
	case len(s.wire.buffered()) > 0:
		s.reply(replyInjection)
	default:
		s.reply(replyStartTLS)
		if s.wire.flush() != nil {
			s.closing = true
			return
		}
		s.handshake(ctx)
	}
}

func (s *session) rset(arg string) {
	if arg != "" {
		s.reply(replyNoArgument)
		return
	}
	s.abandon("RSET")
	s.reply(replyOK)
}

// mail begins a transaction.
func (s *session) mail(ctx context.Context, arg string) {
	switch {
	case s.wire.isDraining():
		s.reply(replyDraining)
		return
	case s.client.Helo == "":
		s.reply(s.heloFirst())
		return
	case s.tx != nil:
		s.reply(replyNestedMail)
		return
	}
	tx, refusal := s.parseMail(arg)
	if refusal == nil {
		refusal = s.mailPolicy()
	}
	if refusal != nil {
		s.reply(refusal)
		return
	}
	var err error
	if tx.id, err = s.srv.newID(); err != nil {
		s.log.Error("begin a transaction", "error", err)
		s.reply(replyFailure)
		return
	}
	s.tx = tx
	s.transactions++
	if tx.size > s.srv.opts.Limits.MessageSize {
		s.finishWith(replyTooLarge, nil)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.srv.opts.Timeouts.Spool)
	defer cancel()
	if err := s.srv.opts.Spool.Admit(ctx, tx.size); err != nil {
		s.finishWith(spoolReply(err), err)
		return
	}
	s.reply(replyMailOK)
}

// rcpt adds a recipient.
func (s *session) rcpt(ctx context.Context, arg string) {
	if s.tx == nil {
		if s.client.Helo == "" {
			s.reply(s.heloFirst())
		} else {
			s.reply(replyMailFirst)
		}
		return
	}
	if s.tx.asked++; s.tx.asked > askedFactor*s.srv.opts.Limits.Recipients {
		s.reply(replyTooManyCommands)
		return
	}
	r := s.addRecipient(ctx, arg)
	s.srv.metrics.recipient(r)
	if r.Code/100 == 4 && r != replyTooManyRecipients {
		s.tx.deferred++
	}
	if r.Code == 550 && r.Status == "5.1.1" && !s.exempt {
		s.unknown++
		if limit := s.srv.opts.Limits.UnknownRecipients; limit > 0 && s.unknown > limit {
			s.wait(s.srv.admission.UnknownPause)
			r = replyTooManyUnknown
		}
	}
	s.reply(r)
}

// askedFactor bounds the RCPT commands of a transaction, as a multiple of the recipients it may have. Lists send more
// than we take at once, and each of those must get its 452.
const askedFactor = 20

func (s *session) addRecipient(ctx context.Context, arg string) *Reply {
	rest, ok := cutPrefixFold(arg, "TO:")
	if !ok {
		return replyRcptSyntax
	}
	path, err := parsePath(strings.TrimLeft(rest, " \t"), forwardPath)
	switch {
	case err == errNoBrackets:
		return replyRcptSyntax
	case err != nil:
		return replyBadPath("5.1.3", err)
	case s.tx.bdat:
		return replyMixedData
	}
	dsn, refusal := parseRcptParameters(path.rest)
	switch {
	case refusal != nil:
		return refusal
	case path.address.international && !s.tx.utf8:
		return replyNeedUTF8
	case len(s.tx.recipients) >= s.srv.opts.Limits.Recipients:
		return replyTooManyRecipients
	}
	ctx, cancel := context.WithTimeout(ctx, s.srv.opts.Timeouts.Accept)
	defer cancel()
	if refusal := s.rcptPolicy(ctx, path.address); refusal != nil {
		return refusal
	}
	rcpt, err := s.srv.opts.Recipients.Accepts(s.asking(ctx), path.address)
	if err != nil {
		r := recipientReply(err)
		if r == replyFailure {
			s.log.Warn("recipient deferred", "message", s.tx.id, "error", err)
		}
		return r
	}
	if s.greylisted(ctx, path.address) {
		return replyGreylisted
	}
	rcpt.Notify, rcpt.OriginalRecipient = dsn.notify, dsn.original
	s.tx.add(rcpt)
	return replyRcptOK
}
