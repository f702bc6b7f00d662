package ingest

import (
	"context"
	"time"
)

// data receives a message up to the dot (RFC 5321 4.1.1.4).
func (s *session) data(ctx context.Context, arg string) {
	defer func() { _ = s.wire.flush() }() // RFC 2920 3.2 (3)
	if arg != "" {
		s.reply(replyNoArgument)
		return
	}
	if s.tx != nil && s.tx.bdat {
		s.reply(replyMixedData)
		return
	}
	refusal := s.dataRefusal()
	if refusal == nil && s.tx.body == "BINARYMIME" {
		refusal = replyBinaryData // RFC 3030 3
	}
	if refusal != nil {
		s.reply(refusal)
		return
	}
	if s.begin(ctx); s.tx.failed != nil {
		s.finishWith(s.tx.failed, s.tx.cause)
		return
	}
	s.reply(replyData)
	if err := s.wire.flush(); err != nil {
		s.lost(err)
		return
	}
	s.due = true
	if s.receiveDots() {
		s.finish(ctx)
	}
}

// dataRefusal returns why no data can be taken now, or nil.
func (s *session) dataRefusal() *Reply {
	switch {
	case s.client.Helo == "":
		return s.heloFirst()
	case s.tx == nil:
		return replyMailFirst
	case len(s.tx.recipients) > 0:
		return nil
	case s.lst.lmtp:
		return replyNoRecipientsLMTP // RFC 2033 4.2
	case s.tx.deferred > 0:
		return replyRecipientsDeferred
	}
	return replyNoRecipients
}

// receiveDots reads a dot-stuffed message into the transaction. It returns false when the session is over.
func (s *session) receiveDots() bool {
	tx := s.tx
	var scanner dataScanner
	take := tx.take
	for {
		n, done := scanner.scan(s.wire.buffered(), take)
		s.wire.consume(n)
		if tx.drained > s.srv.opts.Limits.Drain {
			s.giveUp(tx.failed, s.finalReplies())
			return false
		}
		if done {
			return true
		}
		if err := s.wire.fill(s.dataDeadline(tx.until, tx.received+tx.drained), false); err != nil {
			s.lost(err)
			return false
		}
	}
}

// bdat receives one chunk of a message (RFC 3030 2). The octets of a chunk that is refused are read all the same: the
// client may send them before it hears of the refusal, and they must never be taken for commands.
func (s *session) bdat(ctx context.Context, arg string) {
	size, last, ok := parseBdat(arg)
	if !ok {
		s.giveUp(replyBdatSyntax, 1) // nobody knows how many octets follow
		return
	}
	if size == 0 {
		if s.idle++; s.idle > s.srv.opts.Limits.IdleCommands {
			s.reply(replyTooManyCommands)
			return
		}
	}
	if refusal := s.dataRefusal(); refusal != nil {
		s.skipChunk(size, refusal)
		return
	}
	tx := s.tx
	if !tx.bdat {
		tx.bdat = true
		s.begin(ctx)
	}
	if tx.failed == nil && size > tx.limit-tx.received {
		tx.fail(replyTooLarge, nil)
	}
	if tx.failed != nil && size > s.srv.opts.Limits.Drain-tx.drained {
		n := 1
		if last {
			n = s.finalReplies()
		}
		s.giveUp(tx.failed, n)
		return
	}
	if !s.receiveOctets(size, tx.until, tx.take) {
		return
	}
	switch {
	case last:
		s.finish(ctx)
	case tx.failed != nil:
		s.reply(tx.failed) // and the same for every chunk that follows, up to LAST or RSET
	default:
		s.reply(replyChunk(size))
	}
}

// skipChunk reads a chunk that nobody wants, and refuses it.
func (s *session) skipChunk(size int64, refusal *Reply) {
	if size > s.srv.opts.Limits.Drain {
		s.giveUp(refusal, 1)
		return
	}
	if s.receiveOctets(size, time.Now().Add(s.srv.opts.Timeouts.Transfer), func([]byte) {}) {
		s.reply(refusal)
	}
}

// receiveOctets passes exactly n octets to take. It returns false when the session is over: a chunk that was cut off
// is never anything but lost.
func (s *session) receiveOctets(n int64, until time.Time, take func([]byte)) bool {
	taken := int64(0)
	if s.tx != nil {
		taken = s.tx.received + s.tx.drained // of the chunks before
	}
	for n > 0 {
		b := s.wire.buffered()
		if len(b) == 0 {
			if err := s.wire.fill(s.dataDeadline(until, taken), false); err != nil {
				s.lost(err)
				return false
			}
			continue
		}
		if int64(len(b)) > n {
			b = b[:n]
		}
		take(b)
		s.wire.consume(len(b))
		n -= int64(len(b))
		taken += int64(len(b))
	}
	return true
}

// dataDeadline is when the next octets of a message must have arrived, after so many that have.
func (s *session) dataDeadline(until time.Time, octets int64) time.Time {
	deadline := time.Now().Add(s.srv.opts.Timeouts.Data)
	if until.Before(deadline) {
		deadline = until
	}
	s.slow = false
	if rate := s.srv.opts.Limits.MinRate; rate > 0 {
		began := until.Add(-s.srv.opts.Timeouts.Transfer)
		late := began.Add(s.srv.opts.Timeouts.RateGrace + time.Duration(float64(octets)/float64(rate)*float64(time.Second)))
		if s.slow = late.Before(deadline); s.slow {
			return late
		}
	}
	return deadline
}

// giveUp answers, n times, and ends the session, because what the client is sending cannot be read to its end.
func (s *session) giveUp(r *Reply, n int) {
	if s.tx != nil {
		s.end(r, "the rest of it is not read", s.tx.cause)
	}
	s.replies(r, n)
	s.closing, s.linger = true, true
}
