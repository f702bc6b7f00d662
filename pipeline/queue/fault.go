package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// faultError marks an error of the queue itself: it is not the fault of the message or the delivery at hand, passes
// with time, and never makes a dead letter.
type faultError struct {
	err error
	// unsure says that what was sent may have been stored all the same.
	unsure bool
}

func (e *faultError) Error() string { return e.err.Error() }
func (e *faultError) Unwrap() error { return e.err }

func fault(err error) error { return &faultError{err: err} }

func isFault(err error) bool {
	var f *faultError
	return errors.As(err, &f)
}

// gone reports whether a stream no longer has the message of that sequence. The server answers a read that failed
// (I/O error, no file descriptors) like one of a message that is no more; what it keeps in memory tells them apart.
func gone(ctx context.Context, s jetstream.Stream, seq uint64) (bool, error) {
	info, err := s.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("look at stream: %w", err)
	}
	if seq < info.State.FirstSeq || seq > info.State.LastSeq || info.State.NumDeleted == 0 {
		return seq < info.State.FirstSeq || seq > info.State.LastSeq, nil
	}
	if info, err = s.Info(ctx, jetstream.WithDeletedDetails(true)); err != nil {
		return false, fmt.Errorf("look at stream: %w", err)
	}
	return seq < info.State.FirstSeq || slices.Contains(info.State.Deleted, seq), nil
}

// allGone reports whether a stream has no message of that sequence or a later one.
func allGone(ctx context.Context, s jetstream.Stream, seq uint64) (bool, error) {
	info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return false, fmt.Errorf("look at stream: %w", err)
	}
	if seq = max(seq, info.State.FirstSeq); info.State.Msgs == 0 || seq > info.State.LastSeq {
		return true, nil
	}
	later := 0
	for _, d := range info.State.Deleted {
		if d >= seq {
			later++
		}
	}
	return uint64(later) == info.State.LastSeq-seq+1, nil
}
