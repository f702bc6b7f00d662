package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mxhook/pipeline"
)

// Spool takes durable responsibility for messages. It is called concurrently.
//
// An error that is pipeline.ErrStorage is 452 4.3.1 to the client, any other is 451 4.3.0; its text is only logged. What
// Commit may say besides stands there.
type Spool interface {
	// Admit is asked at MAIL whether a message of that size (0: the client did not say) can be taken now.
	Admit(ctx context.Context, size int64) error
	// Begin is asked when the client is about to send data. The envelope is complete but for Size, which nobody knows
	// yet and which is 0: the octets that are written are the message. ctx lives until Commit or Abort has returned,
	// and ends early when the server gives up on the session; TransactionOf finds the transaction in it.
	Begin(ctx context.Context, env pipeline.Envelope) (Writer, error)
}

// Writer takes one message while it arrives. It must not keep the slices given to Write. After an error from Write,
// Abort is called. Exactly one of Commit and Abort is called: a Commit that fails has given everything up by itself.
type Writer interface {
	io.Writer
	// Commit returns nil only when the message is durable; the client then gets 250. A *Reply in its error's chain
	// refuses the message, for what it is, with that reply. A *pipeline.Repeated says that the same message is durable
	// already: the client gets 250 with its id. An error that is a *Refused says that the message is durable
	// for some recipients only.
	Commit(ctx context.Context) error
	// Abort gives the message up.
	Abort()
}

// Patient is a Writer whose Commit may take longer than Timeouts.Spool, by as much as Patience says.
type Patient interface {
	Writer
	Patience() time.Duration
}

// Refused is the error of a Commit that made the message durable without some of its recipients, or all of them. Only clients
// that hear a reply for each recipient (LMTP) can be told, so that nobody else may get it.
type Refused struct {
	// Replies are the refusals, by Recipient.Address.
	Replies map[string]*Reply
	// Repeated, when not "", is the id of the message that the others have: it was taken before.
	Repeated string
}

// Error implements error.
func (r *Refused) Error() string { return fmt.Sprintf("refused for %d recipients", len(r.Replies)) }

// commitReply turns an error of Commit into what the client hears. cause is what the log says besides.
func commitReply(err error) (r *Reply, cause error) {
	if errors.As(err, &r) && r != nil && r.isRefusal() {
		return r, nil
	}
	return spoolReply(err), fmt.Errorf("commit a message: %w", err)
}

// spoolReply turns an error of the spool into what the client hears. It is never a 5xx: whatever the spool's trouble
// is, it is not the message's fault.
func spoolReply(err error) *Reply {
	if errors.Is(err, pipeline.ErrStorage) {
		return replyStorage
	}
	return replyQueueDown
}

// recipientReply turns an error of Recipients into what the client hears.
func recipientReply(err error) *Reply {
	var r *Reply
	if errors.As(err, &r) && r != nil && r.isRefusal() {
		return r
	}
	return replyFailure
}
