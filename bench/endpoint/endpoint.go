// Package endpoint is a webhook endpoint that measures: it counts what comes in, unique, repeated and missing by
// delivery id, and how long each mail took from its sender to here.
package endpoint

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mxhook/bench/load"
)

// Knobs say how webhooks under one path are answered. The zero value answers 200 at once.
type Knobs struct {
	// Status is the answer; 0 is 200.
	Status int
	Delay  time.Duration
	// Flaky is the share of webhooks that get 503 instead.
	Flaky float64
}

// Endpoint counts webhooks by the last element of their path, which names the sink; each by its delivery id or, without
// one, by the number of the mail. It may be used concurrently.
type Endpoint struct {
	server *http.Server
	addr   string

	mu    sync.Mutex
	knobs map[string]Knobs
	sinks map[string]*sink
	pool  sync.Pool
}

// sink is what came for one sink.
type sink struct {
	latency  load.Histogram
	requests atomic.Int64

	mu       sync.Mutex
	accepted map[[26]byte]uint16 // by message id
	repeated int64
	first    []byte
}

// Listen starts an endpoint on addr ("127.0.0.1:0").
func Listen(addr string) (*Endpoint, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{addr: l.Addr().String(), knobs: map[string]Knobs{}, sinks: map[string]*sink{}}
	e.pool.New = func() any { return new(bytes.Buffer) }
	e.server = &http.Server{Handler: http.HandlerFunc(e.serve), ReadHeaderTimeout: time.Minute}
	go func() { _ = e.server.Serve(l) }() // ends with Close
	return e, nil
}

// Addr is where it listens.
func (e *Endpoint) Addr() string { return e.addr }

// Close ends it, with what it has under way.
func (e *Endpoint) Close() { _ = e.server.Close() }

// Set changes how the webhooks of a sink are answered.
func (e *Endpoint) Set(sink string, k Knobs) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.knobs[sink] = k
}

func (e *Endpoint) at(name string) (*sink, Knobs) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.sinks[name]
	if s == nil {
		s = &sink{accepted: map[[26]byte]uint16{}}
		e.sinks[name] = s
	}
	return s, e.knobs[name]
}

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request) {
	s, k := e.at(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	body := e.pool.Get().(*bytes.Buffer)
	defer e.pool.Put(body)
	body.Reset()
	if _, err := io.Copy(body, r.Body); err != nil {
		return // the sender went away in mid request
	}
	now := time.Now()
	s.requests.Add(1)
	if k.Delay > 0 {
		if sleep(r.Context(), k.Delay) != nil {
			return
		}
	}
	if k.Flaky > 0 && rand.Float64() < k.Flaky {
		k.Status = http.StatusServiceUnavailable
	}
	if k.Status == 0 {
		k.Status = http.StatusOK
	}
	if k.Status/100 == 2 {
		sent, number, ok := sentAt(body.Bytes())
		if ok {
			s.latency.Add(now.Sub(sent))
		}
		id := r.Header.Get("webhook-id")
		if id == "" {
			id = string(number)
		}
		s.note(id, body.Bytes())
	}
	w.WriteHeader(k.Status)
}

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

// note counts a webhook before it is answered, so that no accepted one is missed.
func (s *sink) note(id string, body []byte) {
	var key [26]byte
	copy(key[:], id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.first = bytes.Clone(body)
	}
	if s.accepted[key]++; s.accepted[key] > 1 {
		s.repeated++
	}
}

// sentAt finds the time and the number that the load generator wrote into the mail, without decoding the body, which
// may be the mail itself or JSON of any shape.
func sentAt(body []byte) (at time.Time, number []byte, ok bool) {
	i := bytes.Index(body, []byte(load.SentField))
	if i < 0 {
		if i = bytes.Index(body, []byte(lowSentField)); i < 0 {
			return at, nil, false
		}
	}
	text := body[i+len(load.SentField):]
	ns, text := digits(text)
	number, _ = digits(text)
	n, err := strconv.ParseInt(string(ns), 10, 64)
	return time.Unix(0, n), number, err == nil
}

// lowSentField is load.SentField as programs write it that keep names in lower case.
var lowSentField = strings.ToLower(load.SentField)

// digits returns the next run of digits, and what follows it.
func digits(text []byte) (run, rest []byte) {
	for len(text) > 0 && (text[0] < '0' || text[0] > '9') {
		text = text[1:]
	}
	end := 0
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	return text[:end], text[end:]
}

// Counts are of one sink.
type Counts struct {
	// Requests are all webhooks, Unique those ids that were answered with 2xx, Repeated the further times.
	Requests, Unique, Repeated int64
	// Latency from the making of a mail to its webhook.
	Latency *load.Histogram
}

// Counts returns what came for a sink so far.
func (e *Endpoint) Counts(name string) Counts {
	s, _ := e.at(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return Counts{Requests: s.requests.Load(), Unique: int64(len(s.accepted)), Repeated: s.repeated, Latency: &s.latency}
}

// First is the body of the first webhook for a sink; nil before it.
func (e *Endpoint) First(name string) []byte {
	s, _ := e.at(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// Missing counts the message ids of the ledger that a sink has not been answered 2xx for.
func (e *Endpoint) Missing(name string, l *Ledger) (missing int64) {
	s, _ := e.at(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range l.ids {
		if s.accepted[id] == 0 {
			missing++
		}
	}
	return missing
}

// Ledger keeps the ids that were answered with 250; the zero value is empty. It may be used concurrently.
type Ledger struct {
	mu  sync.Mutex
	ids [][26]byte
}

// Add keeps an id.
func (l *Ledger) Add(id string) {
	var key [26]byte
	copy(key[:], id)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, key)
}

// Count is how many are kept.
func (l *Ledger) Count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.ids))
}
