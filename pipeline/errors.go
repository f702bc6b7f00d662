package pipeline

import (
	"errors"
	"fmt"
	"time"
)

// Two marks decide what becomes of a failed attempt: Permanent (no retry can cure it) and RetryAfter (the other side
// named a delay). Everything else is transient.

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent marks err as one that no retry can cure; the delivery goes to the dead letters. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent reports whether err carries the mark Permanent.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

type retryAfterError struct {
	err   error
	delay time.Duration
}

func (e *retryAfterError) Error() string {
	return fmt.Sprintf("%v (retry after %v)", e.err, e.delay)
}
func (e *retryAfterError) Unwrap() error { return e.err }

// RetryAfter marks err as transient with a delay that the other side asked for. RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err, d}
}

// AskedDelay returns the delay of a RetryAfter mark, and whether there is one.
func AskedDelay(err error) (time.Duration, bool) {
	var r *retryAfterError
	if errors.As(err, &r) {
		return r.delay, true
	}
	return 0, false
}

type undeliveredError struct {
	err   error
	rcpts []Recipient
}

func (e *undeliveredError) Error() string { return e.err.Error() }
func (e *undeliveredError) Unwrap() error { return e.err }

// Undelivered marks err as one that only these recipients of the delivery share; the others have the message. The next
// attempt, or the dead letter, is for these alone. Undelivered(nil, rcpts) is nil.
func Undelivered(err error, rcpts []Recipient) error {
	if err == nil {
		return nil
	}
	return &undeliveredError{err, rcpts}
}

// UndeliveredTo returns the recipients of an Undelivered mark, and whether there is one.
func UndeliveredTo(err error) ([]Recipient, bool) {
	var u *undeliveredError
	if errors.As(err, &u) {
		return u.rcpts, true
	}
	return nil, false
}

type laterError struct {
	err error
	at  time.Time
}

func (e *laterError) Error() string { return e.err.Error() }
func (e *laterError) Unwrap() error { return e.err }

// Later is how the deliverer tells the queue when a failed delivery is due again.
func Later(err error, at time.Time) error { return &laterError{err, at} }

// DueAt returns the time of a Later mark, and whether there is one.
func DueAt(err error) (time.Time, bool) {
	var l *laterError
	if errors.As(err, &l) {
		return l.at, true
	}
	return time.Time{}, false
}

type disableError struct{ err error }

func (e *disableError) Error() string { return e.err.Error() }
func (e *disableError) Unwrap() error { return e.err }

// Disable marks err as transient, and as one for which the sink is to be paused until a person resumes it. Disable(nil) is
// nil.
func Disable(err error) error {
	if err == nil {
		return nil
	}
	return &disableError{err}
}

// Disables reports whether err carries the mark Disable.
func Disables(err error) bool {
	var d *disableError
	return errors.As(err, &d)
}
