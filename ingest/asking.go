package ingest

import (
	"context"

	"mxhook/pipeline"
)

// Transaction is what is known of a mail transaction when a recipient is named. A Recipients that wants to know finds it
// with TransactionOf; it is the same one for all recipients of a transaction, and belongs to one call at a time.
type Transaction struct {
	// Envelope has no recipients and no size yet; its time is that of the first recipient.
	Envelope pipeline.Envelope
	// State is what the Recipients wants to find again at the next recipient of the transaction; nil at first.
	State any
}

type transactionKey struct{}

// TransactionOf returns the transaction that Recipients.Accepts is asked in; nil outside of one.
func TransactionOf(ctx context.Context) *Transaction {
	t, _ := ctx.Value(transactionKey{}).(*Transaction)
	return t
}

// WithTransaction returns a context in which TransactionOf finds t.
func WithTransaction(ctx context.Context, t *Transaction) context.Context {
	return context.WithValue(ctx, transactionKey{}, t)
}

// asking puts the transaction under way into the context.
func (s *session) asking(ctx context.Context) context.Context {
	if s.tx.asking == nil {
		s.tx.asking = &Transaction{Envelope: s.envelope()}
	}
	return WithTransaction(ctx, s.tx.asking)
}
