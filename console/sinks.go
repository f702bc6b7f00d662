package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"mxhook/pipeline"
)

// Sinks is what the console shows of sinks and does to them. Methods return pipeline.ErrNotFound for an unknown name.
type Sinks interface {
	Sinks(ctx context.Context) ([]Sink, error)
	PauseSink(ctx context.Context, name, reason string) error
	ResumeSink(ctx context.Context, name string) error
}

// Sink is a sink as the API shows it.
type Sink struct {
	Name string `json:"name"`
	// Configured is false for one that deliveries wait for and that is not in the configuration.
	Configured bool `json:"configured"`
	// State is the one word for all of it: ok, paused, breaker_open or not_configured.
	State string `json:"state"`
	// Pause and Breaker are null when there is none, and while it is closed.
	Pause   *pipeline.Pause   `json:"pause"`
	Breaker *pipeline.Breaker `json:"breaker"`
	// Due and Scheduled count the deliveries that wait.
	Due       int64 `json:"due"`
	Scheduled int64 `json:"scheduled"`
	// Concurrency and Rate are the limits over all processes; Rate "" is none.
	Concurrency int    `json:"concurrency"`
	Rate        string `json:"rate"`
}

// maxReason bounds the reason of a pause, in bytes.
const maxReason = 500

func (a *API) sinks(w http.ResponseWriter, r *http.Request) {
	sinks, err := a.opts.States.Sinks(r.Context())
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	reply(w, http.StatusOK, map[string]any{"sinks": notNil(sinks)})
}

func (a *API) pauseSink(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Reason string `json:"reason"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&body)
	if err != nil && !errors.Is(err, io.EOF) || len(body.Reason) > maxReason {
		fail(w, http.StatusBadRequest, "the body must be JSON like {\"reason\": \"maintenance\"}, the reason at most "+strconv.Itoa(maxReason)+" bytes")
		return
	}
	name := r.PathValue("name")
	if err := a.opts.States.PauseSink(r.Context(), name, body.Reason); err != nil {
		a.failSink(w, r, err)
		return
	}
	a.opts.Log.Warn("sink paused: its deliveries wait", "sink", name, "reason", body.Reason)
	a.showSink(w, r, name)
}

func (a *API) resumeSink(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := a.opts.States.ResumeSink(r.Context(), name); err != nil {
		a.failSink(w, r, err)
		return
	}
	a.opts.Log.Info("sink resumed: its deliveries go on", "sink", name)
	a.showSink(w, r, name)
}

func (a *API) showSink(w http.ResponseWriter, r *http.Request, name string) {
	sinks, err := a.opts.States.Sinks(r.Context())
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	for _, s := range sinks {
		if s.Name == name {
			reply(w, http.StatusOK, s)
			return
		}
	}
	reply(w, http.StatusOK, Sink{Name: name, State: "not_configured"})
}

func (a *API) failSink(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, pipeline.ErrNotFound) {
		fail(w, http.StatusNotFound, "no sink of that name: `mxhook sinks list` shows what there is")
		return
	}
	a.failErr(w, r, err)
}

// SinkState is the one word for the state of a sink.
func SinkState(configured bool, s pipeline.SinkState) string {
	switch {
	case !s.Pause.Since.IsZero():
		return "paused"
	case !configured:
		return "not_configured"
	case s.Breaker.Open():
		return "breaker_open"
	}
	return "ok"
}

// NewSink is a sink in that state.
func NewSink(name string, configured bool, s pipeline.SinkState) Sink {
	v := Sink{Name: name, Configured: configured, State: SinkState(configured, s)}
	if !s.Pause.Since.IsZero() {
		v.Pause = &s.Pause
	}
	if s.Breaker.Open() {
		v.Breaker = &s.Breaker
	}
	return v
}

// Since is when the sink was paused or its breaker opened; zero when neither is.
func (s Sink) Since() time.Time {
	switch {
	case s.Pause != nil:
		return s.Pause.Since
	case s.Breaker != nil:
		return s.Breaker.Since
	}
	return time.Time{}
}
