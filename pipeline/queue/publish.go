package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

const (
	// publishTries and Config.tryFor bound one publish to 30 s, after a wait of 10 s for a queue that is down.
	publishTries = 3
	retryPause   = 250 * time.Millisecond
	// remoteShare is the part of Config.tryFor that a try with an external server takes, of which there are as many as fit
	// into those 30 s: a cluster that has lost the leader of a stream never answers what was sent to it, or says at once
	// that nobody is there, and has another one after some seconds.
	remoteShare = 4
	// brokenAfter is the number of publishes in a row that the embedded server may leave unanswered.
	brokenAfter = 3

	errStoreResources  = 10047
	errTooManyRequests = 10167
	errUnderWay        = 10158
	errInsufficient    = 10023
	errStreamStore     = 10077
	errMessageSize     = 10054
	errNotClustered    = 10074
	errNoPeers         = 10005
)

// publish stores a message and returns where. Without an answer it is repeated under the same id, which the stream
// drops when it has it already; id "" leaves that to the caller. An error may still mean that it was stored; it is a
// fault of the queue unless it says that this message can never be stored.
func (q *Queue) publish(ctx context.Context, subject, id string, header nats.Header, body []byte) (*jetstream.PubAck, error) {
	msg := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: body}
	for k, v := range header {
		msg.Header[k] = v
	}
	if id != "" {
		msg.Header.Set(jetstream.MsgIDHeader, id)
	}
	var err error
	unsure := false
	start, tryFor := time.Now(), q.cfg.tryFor
	down := start.Add(q.cfg.tryFor)
	more := func(try int) bool { return try < publishTries }
	if q.cfg.URL != "" {
		tryFor /= remoteShare
		more = func(int) bool { return time.Since(start) < publishTries*q.cfg.tryFor }
	}
	for try := 0; more(try); {
		var ack *jetstream.PubAck
		if ack, err = q.publishOnce(ctx, msg, tryFor); err == nil {
			q.unanswered.Store(0)
			q.sinceLook.Add(int64(len(body)))
			return ack, nil
		}
		unsure = unsure || !errors.Is(err, errDown) && !errors.Is(err, errClosed) && !refusal(err)
		if errors.Is(err, errDown) && time.Now().After(down) || !worthRepeating(err) || sleep(ctx, retryPause) != nil {
			break
		}
		if !errors.Is(err, errDown) { // then nothing was sent
			try++
		}
	}
	q.noteUnanswered(ctx, err)
	if tooLarge(err) {
		return nil, err
	}
	return nil, &faultError{storageError(err), unsure}
}

func (q *Queue) publishOnce(ctx context.Context, msg *nats.Msg, tryFor time.Duration) (*jetstream.PubAck, error) {
	l, err := q.current()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	stop := context.AfterFunc(l.era.Load().over, cancel)
	defer stop()
	return l.inJS.PublishMsg(ctx, msg)
}

// worthRepeating: all but a clear refusal. Too many requests (a stream's ingest buffer is full) passes, and so does an
// earlier try that the replicas are still storing.
func worthRepeating(err error) bool {
	if errors.Is(err, errClosed) || errors.Is(err, nats.ErrMaxPayload) {
		return false
	}
	var api *jetstream.APIError
	return !errors.As(err, &api) || api.ErrorCode == errTooManyRequests || api.Code == 429 || api.ErrorCode == errUnderWay
}

// storageError marks the refusals that mean "no room": the account's quota, or a stream's.
func storageError(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch {
		case api.ErrorCode == errInsufficient, api.ErrorCode == errStoreResources,
			api.ErrorCode == errStreamStore, api.Code == 503:
			return fmt.Errorf("%w: %w", pipeline.ErrStorage, err)
		}
	}
	return err
}

// refused reports whether the error of a publish is the server's word that it did not store the message. An answer to
// a repeat is not: the first try, which got none, may be stored.
func refused(err error) bool {
	var f *faultError
	return refusal(err) && !(errors.As(err, &f) && f.unsure)
}

func refusal(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api)
}

// tooLarge reports whether this message can never be stored.
func tooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == errMessageSize
}

// noteUnanswered counts publishes that got no answer at all. The embedded server says nothing when its disk is full,
// and stays so when there is room again; it has to be built anew.
func (q *Queue) noteUnanswered(ctx context.Context, err error) {
	if q.cfg.URL != "" || ctx.Err() != nil || refusal(err) || errors.Is(err, errDown) || errors.Is(err, errClosed) {
		return
	}
	if n := q.unanswered.Add(1); n >= brokenAfter {
		q.reportBroken(fmt.Sprintf("%d publishes in a row without an answer", n))
	}
}

// sleep waits for d or the end of ctx, and returns the latter's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
