// Package sinktest is the contract that every kind of sink keeps, as tests that a kind runs against itself.
package sinktest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"mxhook/pipeline"
)

// Fault is how the endpoint behind a sink behaves.
type Fault int

// Faults that a kind can be asked to stage.
const (
	// Healthy takes every delivery.
	Healthy Fault = iota
	// Failing fails every attempt in a way that may pass.
	Failing
	// Gone fails every attempt in a way that says "never again".
	Gone
	// Busy fails every attempt and asks for AskedDelay.
	Busy
	// Hanging takes the delivery and never answers.
	Hanging
)

// AskedDelay is what a Busy endpoint asks for.
const AskedDelay = 77 * time.Second

// Instance is one sink in front of one endpoint.
type Instance struct {
	Sink pipeline.Sink
	// Copies returns how many copies of a delivery a receiver holds that keeps to the contract (one that drops what it
	// already has under the same delivery id).
	Copies func(deliveryID string) int
	// Attempts returns how many attempts at a delivery reached the endpoint; nil where that cannot be seen.
	Attempts func(deliveryID string) int
	// Secrets must appear in no error and no Response.
	Secrets []string
	// Close releases all that the instance holds; nothing of it runs after it.
	Close func()
}

// Harness makes instances of one kind of sink. It returns nil for a Fault that the kind does not know.
type Harness func(t *testing.T, f Fault) *Instance

// patience bounds how long a sink may take to notice that its context is done.
const patience = 5 * time.Second

// check is one clause of the contract: it returns what is wrong, nil when the sink keeps it.
type check struct {
	name  string
	fault Fault
	run   func(in *Instance) error
}

// Run checks that the kind keeps the contract of pipeline.Sink. It must not run in parallel with other tests, because
// it looks for goroutines left behind.
func Run(t *testing.T, h Harness) {
	t.Helper()
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			in := h(t, c.fault)
			if in == nil {
				t.Logf("the kind has no such fault")
				return
			}
			err := c.run(in)
			in.Close()
			if err != nil {
				t.Error(err)
			}
			if err := goleak.Find(before); err != nil {
				t.Errorf("left behind: %v", err)
			}
		})
	}
}

func checks() []check {
	return []check{
		{"takes every sample once", Healthy, takesSamples},
		{"a repeat under the same delivery id does not harm", Healthy, repeatIsHarmless},
		{"may be called concurrently", Healthy, concurrentUse},
		{"does nothing when the context is done before", Healthy, cancelledBefore},
		{"a failure is transient, one attempt and leaves nothing", Failing, failureIsTransient},
		{"a refusal for good is permanent", Gone, goneIsPermanent},
		{"a delay asked for is handed on", Busy, busyAsksDelay},
		{"notices cancellation", Hanging, noticesCancel},
		{"notices the deadline", Hanging, noticesDeadline},
	}
}

func takesSamples(in *Instance) error {
	for _, s := range Samples() {
		resp, err := in.Sink.Deliver(context.Background(), s.Delivery)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		if err := checkTexts(in, resp, err); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		if resp.Status == "" {
			return fmt.Errorf("%s: the Response has no Status", s.Name)
		}
		if n := in.Copies(s.Delivery.ID); n != 1 {
			return fmt.Errorf("%s: %d copies, want 1", s.Name, n)
		}
	}
	return nil
}

func repeatIsHarmless(in *Instance) error {
	d := Delivery("01KAK5ZV3QW8E6T4Y2N0REPEAT")
	for attempt := 1; attempt <= 3; attempt++ {
		again := *d
		again.Attempt = attempt
		if _, err := in.Sink.Deliver(context.Background(), &again); err != nil {
			return fmt.Errorf("attempt %d: %w", attempt, err)
		}
	}
	if n := in.Copies(d.ID); n != 1 {
		return fmt.Errorf("%d copies after three successful attempts, want 1", n)
	}
	return nil
}

// concurrentUse delivers one shared message under several ids, each of them twice at the same time.
func concurrentUse(in *Instance) error {
	shared := attachments()
	var wg sync.WaitGroup
	errs := make([]error, 16)
	ids := make([]string, len(errs))
	for i := range errs {
		d := *shared
		d.ID = fmt.Sprintf("%s%d", shared.ID, i/2)
		ids[i] = d.ID
		wg.Go(func() { _, errs[i] = in.Sink.Deliver(context.Background(), &d) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, id := range ids {
		if n := in.Copies(id); n != 1 {
			return fmt.Errorf("%d copies of %s, want 1", n, id)
		}
	}
	return nil
}

func cancelledBefore(in *Instance) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := Delivery("01KAK5ZV3QW8E6T4Y2N0CANCEL")
	resp, err := in.Sink.Deliver(ctx, d)
	if !errors.Is(err, context.Canceled) {
		return fmt.Errorf("error is %v, want one that wraps context.Canceled", err)
	}
	if pipeline.IsPermanent(err) {
		return errors.New("cancellation is marked permanent")
	}
	if n := in.Copies(d.ID); n != 0 {
		return fmt.Errorf("%d copies, want 0", n)
	}
	return checkTexts(in, resp, err)
}

func failureIsTransient(in *Instance) error {
	failure, err := fails(in)
	switch _, asked := pipeline.AskedDelay(failure); {
	case err != nil:
		return err
	case pipeline.IsPermanent(failure):
		return fmt.Errorf("marked permanent: %w", failure)
	case asked:
		return fmt.Errorf("asks for a delay that nobody named: %w", failure)
	}
	return nil
}

func goneIsPermanent(in *Instance) error {
	failure, err := fails(in)
	if err == nil && !pipeline.IsPermanent(failure) {
		err = fmt.Errorf("not marked permanent: %w", failure)
	}
	return err
}

func busyAsksDelay(in *Instance) error {
	failure, err := fails(in)
	if d, _ := pipeline.AskedDelay(failure); err == nil && (d != AskedDelay || pipeline.IsPermanent(failure)) {
		err = fmt.Errorf("asks for %v (permanent: %v), want %v", d, pipeline.IsPermanent(failure), AskedDelay)
	}
	return err
}

func noticesCancel(in *Instance) error {
	ctx, cancel := context.WithCancel(context.Background())
	timer := time.AfterFunc(100*time.Millisecond, cancel)
	defer timer.Stop()
	defer cancel()
	return interrupted(ctx, in, context.Canceled)
}

func noticesDeadline(in *Instance) error {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	return interrupted(ctx, in, context.DeadlineExceeded)
}

// interrupted delivers to an endpoint that hangs, with a context that ends with want.
func interrupted(ctx context.Context, in *Instance, want error) error {
	started := time.Now()
	resp, err := in.Sink.Deliver(ctx, Delivery("01KAK5ZV3QW8E6T4Y2N0HANGS0"))
	took := time.Since(started)
	switch {
	case !errors.Is(err, want):
		return fmt.Errorf("error is %v, want one that wraps %w", err, want)
	case pipeline.IsPermanent(err):
		return fmt.Errorf("marked permanent: %w", err)
	case took > patience:
		return fmt.Errorf("noticed after %v, want less than %v", took, patience)
	}
	return checkTexts(in, resp, err)
}

// fails makes one attempt that must fail and returns how it failed; err says how it broke the contract in doing so.
func fails(in *Instance) (failure, err error) {
	d := Delivery("01KAK5ZV3QW8E6T4Y2N0FAILS0")
	resp, failure := in.Sink.Deliver(context.Background(), d)
	if failure == nil {
		return nil, errors.New("no error although the endpoint failed")
	}
	if err := checkTexts(in, resp, failure); err != nil {
		return failure, err
	}
	if n := in.Copies(d.ID); n != 0 {
		return failure, fmt.Errorf("%d copies after a failure, want 0", n)
	}
	if in.Attempts != nil {
		if n := in.Attempts(d.ID); n != 1 {
			return failure, fmt.Errorf("%d attempts reached the endpoint, want 1", n)
		}
	}
	return failure, nil
}

// checkTexts checks what people will read: bounded, valid, without secrets.
func checkTexts(in *Instance, resp pipeline.Response, err error) error {
	texts := []string{resp.Status, resp.Detail}
	if err != nil {
		texts = append(texts, err.Error())
	}
	if len(resp.Detail) > 1<<10 {
		return fmt.Errorf("the Detail has %d octets, at most 1024 are allowed", len(resp.Detail))
	}
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return fmt.Errorf("not valid UTF-8: %q", text)
		}
		for _, secret := range in.Secrets {
			if strings.Contains(text, secret) {
				return fmt.Errorf("the secret %q is in %q", secret, text)
			}
		}
	}
	return nil
}
