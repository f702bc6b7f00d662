package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"mxhook/pipeline"
)

// transaction is one mail transaction, from MAIL to the end of data (RFC 5321 3.3).
type transaction struct {
	id          string
	started     time.Time
	reversePath Address
	recipients  []pipeline.Recipient
	asking      *Transaction // nil before the first recipient
	asked       int          // RCPT commands
	accepted    []string     // addresses of the RCPT commands that got a 250, in their order
	deferred    int          // RCPT commands that got a 4xx from Recipients

	size       int64 // as declared, 0 without
	body       string
	utf8       bool
	ret, envID string // RFC 3461
	requireTLS bool   // RFC 8689

	lines    lineEnds
	limit    int64 // of the message
	bdat     bool  // BDAT was used
	until    time.Time
	writer   Writer // nil before Begin, and when the message was given up
	cancel   context.CancelFunc
	received int64 // octets given to writer
	drained  int64 // octets of a message that will be refused
	failed   *Reply
	cause    error // behind failed; for the log
}

// add keeps a recipient, once.
func (t *transaction) add(rcpt pipeline.Recipient) {
	t.accepted = append(t.accepted, rcpt.Address)
	for i := range t.recipients {
		if t.recipients[i].Address == rcpt.Address {
			return
		}
	}
	t.recipients = append(t.recipients, rcpt)
}

// take gives octets of the message to the spool, or drops them when the message will be refused anyway.
func (t *transaction) take(p []byte) {
	switch {
	case t.failed != nil:
		t.drained += int64(len(p))
		return
	case t.received+int64(len(p)) > t.limit:
		t.fail(replyTooLarge, nil)
		t.drained = t.received + int64(len(p)) - t.limit
		return
	}
	if r := t.lines.check(p); r != nil {
		t.fail(r, nil)
		t.drained = int64(len(p))
		return
	}
	if _, err := t.writer.Write(p); err != nil {
		t.fail(spoolReply(err), fmt.Errorf("write to the spool: %w", err))
		return
	}
	t.received += int64(len(p))
}

// fail decides that the message will be refused, and gives up what the spool has of it.
func (t *transaction) fail(r *Reply, cause error) {
	t.failed, t.cause = r, cause
	t.abort()
}

// abort gives up what the spool has of the message.
func (t *transaction) abort() {
	if w := t.writer; w != nil {
		t.writer = nil
		w.Abort()
	}
}

// begin opens the message in the spool. After an error the transaction has failed.
func (s *session) begin(ctx context.Context) {
	tx, timeouts := s.tx, s.srv.opts.Timeouts
	tx.limit = s.srv.opts.Limits.MessageSize
	if p := &s.srv.admission.Policy; tx.body != "BINARYMIME" {
		tx.lines = lineEnds{refuseLF: p.BareLF != LinesKeep, refuseCR: p.BareCR == LinesReject}
	}
	tx.until = time.Now().Add(timeouts.Transfer)
	// Commit comes on top of the transfer and has a limit of its own.
	ctx, tx.cancel = context.WithTimeout(ctx, timeouts.Transfer+2*timeouts.Spool)
	patience := time.AfterFunc(timeouts.Spool, tx.cancel)
	w, err := s.srv.opts.Spool.Begin(s.asking(ctx), s.envelope())
	if !patience.Stop() && err == nil {
		w.Abort()
		err = context.DeadlineExceeded
	}
	if err != nil {
		tx.fail(spoolReply(err), fmt.Errorf("begin a message: %w", err))
		return
	}
	tx.writer = w
}

// envelope is everything that is known before the data.
func (s *session) envelope() pipeline.Envelope {
	tx := s.tx
	env := pipeline.Envelope{
		ID:          tx.id,
		ReversePath: tx.reversePath.String(),
		Recipients:  tx.recipients,
		Client:      s.client,
		Listener:    s.lst.name,
		Hostname:    s.srv.opts.Hostname,
		ReceivedAt:  s.srv.opts.Now().UTC(),
		BodyType:    tx.body,
		SMTPUTF8:    tx.utf8,
		Ret:         tx.ret,
		EnvID:       tx.envID,
		RequireTLS:  tx.requireTLS,
	}
	env.Received = traceField(&env, s.protocol())
	return env
}

// finish answers the end of the data. 250 is said only after Commit, which makes the message durable; it is sent at
// once, because every moment until the client has it is one in which a lost connection makes a second copy.
func (s *session) finish(ctx context.Context) {
	tx := s.tx
	start := time.Now()
	if r := tx.lines.end(); r != nil && tx.failed == nil {
		tx.fail(r, nil)
	}
	var refused *Refused
	var repeated *pipeline.Repeated
	if tx.failed == nil {
		w := tx.writer
		limit := s.srv.opts.Timeouts.Spool
		if p, ok := w.(Patient); ok {
			limit += p.Patience()
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		tx.writer = nil // it is over for the writer, also when Commit panics
		if err := w.Commit(ctx); err != nil && !errors.As(err, &repeated) && !(s.lst.lmtp && errors.As(err, &refused)) {
			tx.fail(commitReply(err))
		}
	}
	s.srv.metrics.finalReply.Observe(time.Since(start).Seconds())
	if tx.failed != nil {
		n := s.finalReplies()
		s.end(tx.failed, "", tx.cause)
		s.replies(tx.failed, n)
	} else if repeated != nil {
		s.taken(repeated.ID)
	} else {
		s.stored(ctx, refused)
	}
	_ = s.wire.flush()
}

// taken answers a message that was taken before, when the client did not hear the 250.
func (s *session) taken(id string) {
	s.idle, s.errors = 0, 0
	queued, n := replyQueued(id), s.finalReplies()
	s.end(queued, "repeat of "+id, nil)
	s.replies(queued, n)
}

// stored tells of a message that is durable, for all recipients but those that were refused.
func (s *session) stored(ctx context.Context, refused *Refused) {
	tx, why := s.tx, ""
	if refused != nil {
		why = refused.Error()
		tx.recipients = slices.DeleteFunc(tx.recipients, func(r pipeline.Recipient) bool { return refused.Replies[r.Address] != nil })
	}
	id := tx.id
	queued, n := replyQueued(id), s.finalReplies()
	outcome := queued
	if refused != nil && len(tx.recipients) == 0 { // nobody has it
		outcome = refused.Replies[tx.accepted[0]]
	} else if refused != nil && refused.Repeated != "" {
		id = refused.Repeated
		queued = replyQueued(id)
		outcome = queued
		why += ", repeat of " + id
	} else {
		if c, ok := s.srv.opts.Recipients.(Counter); ok {
			c.Stored(s.asking(ctx), tx.recipients)
		}
		s.srv.metrics.bytes.Add(float64(tx.received))
	}
	s.idle, s.errors = 0, 0
	s.end(outcome, why, nil)
	if refused == nil {
		s.replies(queued, n)
		return
	}
	// Not by reply: these refusals are about one message, and none of the replies may become a 421.
	s.due = false
	for _, address := range tx.accepted {
		r := cmp.Or(refused.Replies[address], queued)
		if r != queued {
			s.srv.refused(s.log, r, tx.id, nil)
		}
		s.wire.write(r.line())
	}
}

// finalReplies is how many replies follow the end of the data: one, or with LMTP one for each RCPT that got a 250, in
// their order (RFC 2033 4.2).
func (s *session) finalReplies() int {
	if s.lst.lmtp {
		return len(s.tx.accepted)
	}
	return 1
}

// finishWith ends the transaction with its last reply, before there was data.
func (s *session) finishWith(r *Reply, cause error) {
	s.end(r, "", cause)
	s.reply(r)
}

// abandon ends a transaction under way without a reply of its own; it does nothing when there is none.
func (s *session) abandon(why string) {
	if s.tx != nil {
		s.end(s.tx.failed, why, s.tx.cause)
	}
}

// end forgets the transaction, counts it and writes its one line into the log. r is how it was answered; nil when the
// client broke it off.
func (s *session) end(r *Reply, why string, cause error) {
	tx := s.tx
	s.tx = nil
	if tx.cancel != nil {
		defer tx.cancel()
	}
	result, level := resultOf(r)
	s.srv.metrics.transactions.WithLabelValues(result).Inc()
	attrs := []slog.Attr{
		slog.String("message", tx.id),
		slog.String("result", result),
		slog.Int("recipients", len(tx.recipients)),
		slog.Int64("size", tx.received),
		slog.Int64("declared_size", tx.size),
		slog.Duration("took", s.srv.opts.Now().Sub(tx.started)),
		slog.Bool("tls", s.client.TLS != nil),
	}
	if r != nil && r.isRefusal() {
		attrs = append(attrs, slog.String("reply", r.Error()))
	}
	if why != "" {
		attrs = append(attrs, slog.String("reason", why))
	}
	if cause != nil {
		attrs = append(attrs, slog.Any("error", cause))
	}
	s.log.LogAttrs(context.Background(), level, "mail transaction", attrs...)
	tx.abort()
}

// resultOf names the result of a transaction that ended with r. What is our own trouble is a warning.
func resultOf(r *Reply) (string, slog.Level) {
	switch {
	case r == nil:
		return resultAborted, slog.LevelInfo
	case r.Code < 300:
		return resultAccepted, slog.LevelInfo
	case r.Code < 500:
		return resultDeferred, slog.LevelWarn
	}
	return resultRefused, slog.LevelInfo
}
