// Package nats is the sink that publishes deliveries to subjects of a NATS server, with JetStream or without.
package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
	"mxhook/sinks/stream"
)

// NATS is a pipeline.Sink with one server or cluster. Safe for concurrent use. It keeps connections until Close, one for
// each attempt under way at once.
//
// A delivery is a message with the delivery id as Nats-Msg-Id: within the duplicate window of its stream a repeat changes
// nothing.
type NATS struct {
	subject  *pipeline.Template
	core     bool
	stream   string
	max      int64
	composer *stream.Composer
	client   nats.Options
	dialer   *net.Dialer
	pool     *pool
	redactor *strings.Replacer
}

// New checks the options and returns the sink; it does not connect.
func New(o Options) (*NATS, error) {
	n := &NATS{stream: o.Stream, max: o.MaxPayload}
	var err error
	if n.client, err = o.client(); err != nil {
		return nil, err
	}
	if n.subject, err = o.subject(); err != nil {
		return nil, err
	}
	switch o.Mode {
	case "", JetStream:
	case Core:
		n.core = true
	default:
		return nil, fmt.Errorf("mode: %q is unknown; use jetstream or core", o.Mode)
	}
	if n.core && n.stream != "" {
		return nil, errors.New("stream: it is for mode: jetstream; set that, or remove it")
	}
	if n.stream != "" && !streamName.MatchString(n.stream) {
		return nil, fmt.Errorf("stream: %q is no name of a stream", n.stream)
	}
	if n.max != 0 && (n.max < minPayload || n.max > MaxPayload) {
		return nil, fmt.Errorf("max_payload: %d: set it to %d to %d, or to 0 for what the server allows", n.max, minPayload, MaxPayload)
	}
	if n.max == 0 {
		n.max = MaxPayload
	}
	o.Record.LimitOption = "max_payload"
	if n.composer, err = stream.New(o.Record, strings.ToLower(nats.MsgIdHdr), strings.ToLower(nats.ExpectedStreamHdr)); err != nil {
		return nil, err
	}
	if o.Concurrency == 0 {
		o.Concurrency = defaultConns
	}
	n.pool = &pool{most: o.Concurrency}
	n.dialer = &net.Dialer{Timeout: connectWithin, KeepAlive: 15 * time.Second, Control: o.Control}
	var pairs []string
	for _, secret := range []string{o.Token, o.Password, strings.TrimSpace(o.NKeySeed)} {
		if len(secret) >= 4 {
			pairs = append(pairs, secret, "[redacted]")
		}
	}
	n.redactor = strings.NewReplacer(pairs...)
	return n, nil
}

// Templates implements pipeline.Templated.
func (n *NATS) Templates() []pipeline.TemplateOption {
	return append([]pipeline.TemplateOption{{Option: "subject", Template: n.subject}}, n.composer.Templates()...)
}

// Close closes the idle connections; those of attempts under way end with them.
func (n *NATS) Close() error {
	n.pool.close()
	return nil
}

// Deliver implements pipeline.Sink. When it returns nil a stream has stored the message; in core mode the server has
// taken it, and has not said that it may not be published.
func (n *NATS) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Response{}, fmt.Errorf("publish: %w", err)
	}
	subject := n.subject.Expand(d)
	c := n.pool.get()
	if c == nil {
		var err error
		if c, err = connect(ctx, n.client, n.dialer); err != nil {
			return pipeline.Response{}, n.judge(ctx, "connect to the server", err)
		}
	}
	limit := n.max
	if of := c.MaxPayload(); of > 0 { // a server that does not say has no limit that we know of
		limit = min(limit, of)
	}
	m, err := n.message(d, subject, limit)
	if err != nil {
		n.pool.put(c)
		return pipeline.Response{}, pipeline.Permanent(fmt.Errorf("publish to %s: %w", subject, err))
	}
	stop := context.AfterFunc(ctx, c.net.close)
	resp, err := n.publish(ctx, c, m)
	open := stop()
	if err == nil {
		if open {
			n.pool.put(c)
		} else {
			c.Close()
		}
		return resp, nil
	}
	// Whatever is under way on it, no other attempt may find it there.
	c.Close()
	return pipeline.Response{}, n.judge(ctx, "publish to "+subject, cmp.Or(c.net.violation(), err))
}

// message is the delivery as it is published.
func (n *NATS) message(d *pipeline.Delivery, subject string, limit int64) (*nats.Msg, error) {
	own := []pipeline.HeaderField{{Name: nats.MsgIdHdr, Value: pipeline.HeaderValue(d.ID)}}
	if n.stream != "" {
		own = append(own, pipeline.HeaderField{Name: nats.ExpectedStreamHdr, Value: n.stream})
	}
	r, err := n.composer.Compose(d, limit, own...)
	if err != nil {
		return nil, err
	}
	m := nats.NewMsg(subject)
	m.Data = r.Body
	for _, f := range r.Header {
		m.Header[f.Name] = append(m.Header[f.Name], f.Value)
	}
	return m, nil
}

// answerWithin is for contexts without an end, which the client takes none of.
const answerWithin = time.Hour

// publish makes the exchange.
func (n *NATS) publish(ctx context.Context, c *conn, m *nats.Msg) (pipeline.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if n.core {
		if err := c.PublishMsg(m); err != nil {
			return pipeline.Response{}, err
		}
		// The server answers in order: what it has against the message has come before the answer to the ping.
		if err := c.FlushWithContext(ctx); err != nil {
			return pipeline.Response{}, err
		}
		return pipeline.Response{Status: "published", Detail: m.Subject}, c.LastError()
	}
	ack, err := c.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if err != nil {
		return pipeline.Response{}, err
	}
	detail := fmt.Sprintf("stream %s, sequence %d, subject %s", ack.Stream, ack.Sequence, m.Subject)
	if ack.Duplicate {
		return pipeline.Response{Status: "stored before", Detail: detail}, nil
	}
	return pipeline.Response{Status: "stored", Detail: detail}, nil
}

// wrongStream is what JetStream says when the stream that takes the subject is not the one that was expected.
const wrongStream jetstream.ErrorCode = 10060

// judge says what an error means. That a message is too large for its stream stays so. All else, wrong credentials and a
// missing stream too, is cured at the server, and the deliveries wait until it is.
func (n *NATS) judge(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		told := n.told(doing, fmt.Errorf("the server said %d (%d): %s", api.Code, api.ErrorCode, api.Description))
		if api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum {
			return pipeline.Permanent(fmt.Errorf("%w; set max_payload to the stream's max_msg_size, and such mails go out with links", told))
		}
		if api.ErrorCode == wrongStream {
			return fmt.Errorf("%w; correct stream or subject: the subject belongs to another stream than %s", told, n.stream)
		}
		return told
	case errors.Is(err, nats.ErrAuthorization):
		return n.told(doing, fmt.Errorf("%w; correct credentials, token, username and password, or nkey_seed", err))
	case errors.Is(err, nats.ErrSecureConnWanted):
		return n.told(doing, fmt.Errorf("%w: the server has no TLS; set it up there, or write nats:// inside a network of your own", err))
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return n.told(doing, errors.New("no stream takes the subject: add it to the subjects of a stream, or set mode: core when nothing has to keep the messages"))
	case errors.Is(err, nats.ErrPermissionViolation):
		return n.told(doing, fmt.Errorf("%w; let this user publish to the subject, and subscribe to the inboxes (inbox_prefix)", err))
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected):
		return n.told(doing, fmt.Errorf("the connection ended before the server had answered: %w", err))
	}
	return n.told(doing, err)
}

// told has a text without secrets, bounded and valid.
func (n *NATS) told(doing string, err error) error {
	text := strings.ToValidUTF8(n.redactor.Replace(err.Error()), "\uFFFD")
	if len(text) > 500 {
		text = strings.ToValidUTF8(text[:500], "") + "…"
	}
	return &toldError{doing + ": " + text, err}
}

type toldError struct {
	text string
	err  error
}

func (e *toldError) Error() string { return e.text }
func (e *toldError) Unwrap() error { return e.err }
