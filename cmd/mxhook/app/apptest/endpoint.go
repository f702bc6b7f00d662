// Package apptest is a whole mxhook inside a test: free ports, DNS zones in the test, a webhook endpoint with knobs, and
// faults to switch.
package apptest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Secret is the secret of every endpoint of this package.
const Secret = "whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs"

// Behaviour says how an endpoint answers one webhook. The zero value answers 200 at once.
type Behaviour struct {
	// Status is the HTTP status; 0 is 200.
	Status int
	Header http.Header
	// Body is the body of the answer.
	Body string
	// Delay is how long the answer takes; the caller going away ends it.
	Delay time.Duration
	// Hang answers nothing until the caller goes away or the endpoint is closed.
	Hang bool
	// Reset cuts the connection without an answer.
	Reset bool
}

// Webhook is one request as the endpoint saw it.
type Webhook struct {
	At     time.Time
	ID     string
	Path   string
	Header http.Header
	Body   []byte
	// Status is what it was answered with; 0 when the connection was cut.
	Status int
}

// Payload decodes the body into v.
func (w Webhook) Payload(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(w.Body, v); err != nil {
		t.Fatalf("webhook %s: body is no JSON: %v", w.ID, err)
	}
}

// Endpoint is the customer's side: it verifies every signature with the public Standard Webhooks library, and answers as
// its behaviour says. Safe for concurrent use.
type Endpoint struct {
	t        testing.TB
	server   *httptest.Server
	verifier *standardwebhooks.Webhook
	closed   chan struct{}

	mu        sync.Mutex
	behaviour func(Webhook) Behaviour
	webhooks  []Webhook
	accepted  map[string]int
	changed   chan struct{} // closed and replaced at every webhook
	keep      bool
}

// NewEndpoint starts an endpoint that answers 200; it ends with the test.
func NewEndpoint(t testing.TB) *Endpoint {
	t.Helper()
	v, err := standardwebhooks.NewWebhook(Secret)
	if err != nil {
		t.Fatalf("make the verifier: %v", err)
	}
	e := &Endpoint{
		t: t, verifier: v, closed: make(chan struct{}), accepted: make(map[string]int), changed: make(chan struct{}), keep: true,
		behaviour: func(Webhook) Behaviour { return Behaviour{} },
	}
	e.server = httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(func() {
		close(e.closed)
		e.server.CloseClientConnections()
		e.server.Close()
	})
	return e
}

// URL is where the endpoint listens.
func (e *Endpoint) URL() string { return e.server.URL }

// Behave answers every webhook from now on in the same way.
func (e *Endpoint) Behave(b Behaviour) { e.BehaveFunc(func(Webhook) Behaviour { return b }) }

// BehaveFunc decides for each webhook.
func (e *Endpoint) BehaveFunc(f func(Webhook) Behaviour) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.behaviour = f
}

// Forget stops keeping bodies, for loads whose webhooks are only counted.
func (e *Endpoint) Forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keep = false
}

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender was killed in mid request: that was no webhook
	}
	if err := e.verifier.Verify(body, r.Header); err != nil {
		e.t.Errorf("webhook %s: the public library refuses the signature: %v", r.Header.Get("webhook-id"), err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	hook := Webhook{At: time.Now(), ID: r.Header.Get("webhook-id"), Path: r.URL.Path, Header: r.Header, Body: body}
	e.mu.Lock()
	b := e.behaviour(hook)
	e.mu.Unlock()

	hook.Status = b.Status
	if hook.Status == 0 {
		hook.Status = http.StatusOK
	}
	switch {
	case b.Reset:
		hook.Status = 0
	case b.Hang:
		hook.Status = 0
		select {
		case <-r.Context().Done():
		case <-e.closed:
		}
	case b.Delay > 0:
		select {
		case <-time.After(b.Delay):
		case <-r.Context().Done():
			hook.Status = 0
		case <-e.closed:
			hook.Status = 0
		}
	}
	e.note(hook)
	if hook.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	for name, values := range b.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(hook.Status)
	_, _ = io.WriteString(w, b.Body) // who does not want it has gone
}

// note records a webhook before it is answered, so that no accepted one can be missed.
func (e *Endpoint) note(hook Webhook) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if hook.Status >= 200 && hook.Status < 300 {
		e.accepted[hook.ID]++
	}
	if !e.keep {
		hook.Body, hook.Header = nil, nil
	}
	e.webhooks = append(e.webhooks, hook)
	close(e.changed)
	e.changed = make(chan struct{})
}

// Webhooks returns everything that came in so far, in order.
func (e *Endpoint) Webhooks() []Webhook {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.webhooks)
}

// Accepted returns how often each delivery id was answered with 2xx.
func (e *Endpoint) Accepted() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make(map[string]int, len(e.accepted))
	for id, n := range e.accepted {
		out[id] = n
	}
	return out
}

// Wait waits until done says true of the webhooks so far, and fails the test when that takes longer than most.
func (e *Endpoint) Wait(t testing.TB, most time.Duration, what string, done func([]Webhook) bool) []Webhook {
	t.Helper()
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	for {
		e.mu.Lock()
		hooks, changed := slices.Clone(e.webhooks), e.changed
		e.mu.Unlock()
		if done(hooks) {
			return hooks
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("waited %v for %s; %d webhooks so far", most, what, len(hooks))
		}
	}
}

// WaitCount waits for at least n webhooks.
func (e *Endpoint) WaitCount(t testing.TB, n int, most time.Duration) []Webhook {
	t.Helper()
	return e.Wait(t, most, "webhooks", func(ws []Webhook) bool { return len(ws) >= n })
}
