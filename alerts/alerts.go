// Package alerts tells people about the operation of mxhook: every event is counted and logged, and events of the same
// kind and sink become one signed webhook.
package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

const (
	// gather is how long the first event waits for others that come with it.
	gather = time.Second
	// maxGroups bounds what waits to be sent: kinds times sinks.
	maxGroups = 256
	// maxReason bounds a reason, in octets.
	maxReason = 1000
)

// Poster sends one signed body, under an id; a repeat under the same id is the same alert.
type Poster interface {
	Post(ctx context.Context, id string, body []byte) error
}

// Options are the inputs of New.
type Options struct {
	// Poster may be nil: events are counted and logged.
	Poster Poster
	// Kinds are those that are posted; none means all.
	Kinds []string
	// Interval is the least time between two posts.
	Interval time.Duration
	// Instance is our name.
	Instance   string
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
	// Retries are the waits before a failed post is tried again; then it is given up.
	Retries []time.Duration
}

// Alerts implements pipeline.Events. Safe for concurrent use.
type Alerts struct {
	o      Options
	events *prometheus.CounterVec
	posts  *prometheus.CounterVec

	mu      sync.Mutex
	waiting map[group]*Event
	lost    int
	wake    chan struct{}
	ctx     context.Context
	end     context.CancelFunc
	wg      sync.WaitGroup
}

type group struct{ kind, sink string }

// Event is one or several events of the same kind and sink, as they are posted.
type Event struct {
	Kind string `json:"kind"`
	// Sink and Message are null when it is about none; Message and Reason are those of the last one.
	Sink    *string   `json:"sink"`
	Message *string   `json:"message"`
	Reason  string    `json:"reason"`
	Count   int       `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// Payload is the body of a post.
type Payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      struct {
		Version  int     `json:"version"`
		Instance string  `json:"instance"`
		Events   []Event `json:"events"`
		// NotListed counts events of further kinds and sinks, for which there was no room.
		NotListed int `json:"not_listed"`
	} `json:"data"`
}

// New returns alerts that run until Close.
func New(o Options) (*Alerts, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Retries == nil {
		o.Retries = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute}
	}
	a := &Alerts{
		o: o, waiting: map[group]*Event{}, wake: make(chan struct{}, 1),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_events_total", Help: "Operational events, by kind.",
		}, []string{"kind"}),
		posts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_alert_posts_total", Help: "Webhooks about operational events, by result: sent, failed (it is tried again), given_up.",
		}, []string{"result"}),
	}
	if o.Registerer != nil {
		if err := errors.Join(o.Registerer.Register(a.events), o.Registerer.Register(a.posts)); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	a.ctx, a.end = context.WithCancel(context.Background())
	if o.Poster != nil {
		a.wg.Go(a.run)
	}
	return a, nil
}

// Close ends a post under way and drops what waits, which is in the log.
func (a *Alerts) Close() {
	a.end()
	a.wg.Wait()
}

// Emit implements pipeline.Events.
func (a *Alerts) Emit(e pipeline.Event) {
	kind := string(e.Kind)
	if e.At.IsZero() {
		e.At = a.o.Now()
	}
	e.Reason = cut(e.Reason)
	a.events.WithLabelValues(kind).Inc()
	attrs := []any{"kind", kind, "reason", e.Reason}
	if e.Sink != "" {
		attrs = append(attrs, "sink", e.Sink)
	}
	if e.Message != "" {
		attrs = append(attrs, "message", e.Message)
	}
	a.o.Log.Warn("event", attrs...)
	if a.o.Poster == nil || len(a.o.Kinds) > 0 && !slices.Contains(a.o.Kinds, kind) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := group{kind, e.Sink}
	v := a.waiting[key]
	if v == nil {
		if len(a.waiting) >= maxGroups {
			a.lost++
			return
		}
		v = &Event{Kind: kind, Sink: orNull(e.Sink), First: e.At.UTC()}
		a.waiting[key] = v
	}
	v.Message, v.Reason, v.Last = orNull(e.Message), e.Reason, e.At.UTC()
	v.Count++
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func cut(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// run posts what waits, at most once in every Interval.
func (a *Alerts) run() {
	for {
		select {
		case <-a.wake:
		case <-a.ctx.Done():
			return
		}
		if !a.sleep(gather) {
			return
		}
		a.post()
		if !a.sleep(a.o.Interval) {
			return
		}
	}
}

func (a *Alerts) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.ctx.Done():
		return false
	}
}

// post sends what waits, in the order in which it began, and tries again a few times.
func (a *Alerts) post() {
	a.mu.Lock()
	var p Payload
	p.Data.NotListed = a.lost
	for _, v := range a.waiting {
		p.Data.Events = append(p.Data.Events, *v)
	}
	clear(a.waiting)
	a.lost = 0
	a.mu.Unlock()
	if len(p.Data.Events) == 0 {
		return
	}
	slices.SortFunc(p.Data.Events, func(x, y Event) int { return x.First.Compare(y.First) })
	p.Type, p.Timestamp = "mxhook.alert", a.o.Now().UTC()
	p.Data.Version, p.Data.Instance = 1, a.o.Instance
	body, err := json.Marshal(p)
	if err != nil {
		a.o.Log.Error("write an alert", "error", err)
		return
	}
	id := "alert." + ulid.Make().String()
	for try := 0; ; try++ {
		if err = a.o.Poster.Post(a.ctx, id, body); err == nil {
			a.posts.WithLabelValues("sent").Inc()
			return
		}
		if a.ctx.Err() != nil {
			return
		}
		if try == len(a.o.Retries) {
			break
		}
		a.posts.WithLabelValues("failed").Inc()
		if !a.sleep(a.o.Retries[try]) {
			return
		}
	}
	a.posts.WithLabelValues("given_up").Inc()
	a.o.Log.Error("an alert could not be sent; its events are in the log", "alert", id, "events", len(p.Data.Events), "error", err)
}
