// Package console is the HTTP API of a running mxhook: what the commands `mxhook dead ...` and scripts talk to.
package console

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxhook/pipeline"
)

// DeadFilter chooses dead letters; zero fields choose all.
type DeadFilter struct {
	// Sink is a sink's name, or pipeline.UnroutedID for recipients that no rule matched.
	Sink string
	// Message is a message id.
	Message string
	// Since and Until bound when they were given up, [Since, Until).
	Since, Until time.Time
	// Limit is how many to return at the most, newest first.
	Limit int
}

// Store is the part of the queue that the console works on. Methods return pipeline.ErrNotFound for an unknown id.
type Store interface {
	// DeadLetters returns the newest first, their messages without octets.
	DeadLetters(ctx context.Context, f DeadFilter) ([]*pipeline.DeadLetter, error)
	// DeadLetter returns one with the message's octets, which is only for those who want them.
	DeadLetter(ctx context.Context, id string) (*pipeline.DeadLetter, error)
	// ReplayDead makes a new delivery of it, to the sink named or, when that is "", to its own, and removes it. A message
	// that never had a sink, and gets none here, is processed again from the start.
	ReplayDead(ctx context.Context, id, sink string) (newID string, err error)
	DropDead(ctx context.Context, id string) error

	// Messages and Deliveries return the newest first.
	Messages(ctx context.Context, f pipeline.MessageFilter, limit int) ([]*pipeline.KeptMessage, error)
	Message(ctx context.Context, id string, raw bool) (*pipeline.KeptMessage, error)
	Deliveries(ctx context.Context, f pipeline.DeliveryFilter, limit int) ([]*pipeline.KeptDelivery, error)
	Delivery(ctx context.Context, id string) (*pipeline.KeptDelivery, error)
	// The four below change something; pipeline.ErrRefused says that they do not, and why.
	DropMessage(ctx context.Context, id string) error
	BuryMessage(ctx context.Context, id, reason string) error
	DropDelivery(ctx context.Context, id string) error
	BuryDelivery(ctx context.Context, id, reason string) error
	Replay(ctx context.Context, r pipeline.Replay) (pipeline.ReplayPage, error)

	// QueueStatus leaves Backlog.Configured to the console.
	QueueStatus(ctx context.Context) (QueueStatus, error)
}

// Options are the inputs of New.
type Options struct {
	Store Store
	// Sinks are the names of the configured sinks: where a replay can go.
	Sinks []string
	// States shows, pauses and resumes sinks.
	States Sinks
	// Token is what a request must carry as `Authorization: Bearer ...`; "" asks for none.
	Token string
	Log   *slog.Logger
	// Reload makes the instance read its configuration again, and returns the number of the generation in force;
	// Generation returns that number. Both nil: there is nothing to reload.
	Reload     func(ctx context.Context) (int, error)
	Generation func() int
	// Explain says where a kept message, with its octets, would go now and why; nil where that is not known. The result
	// has a JSON form.
	Explain func(ctx context.Context, m *pipeline.Message) (any, error)
	// Stopping, if not nil, is closed when the process is about to end: a profile ends early then.
	Stopping <-chan struct{}
}

// API serves /api/v1/. Safe for concurrent use.
type API struct {
	opts    Options
	handler http.Handler
}

// New returns the API.
func New(o Options) *API {
	a := &API{opts: o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/dead", a.list)
	mux.HandleFunc("GET /api/v1/dead/{id}", a.show)
	mux.HandleFunc("GET /api/v1/dead/{id}/mail", a.mail)
	mux.HandleFunc("POST /api/v1/dead/{id}/replay", a.replay)
	mux.HandleFunc("DELETE /api/v1/dead/{id}", a.drop)
	a.keptRoutes(mux)
	mux.HandleFunc("GET /api/v1/queue", a.queueStatus)
	mux.HandleFunc("GET /api/v1/profile/{name}", a.profile)
	mux.HandleFunc("GET /api/v1/sinks", a.sinks)
	mux.HandleFunc("POST /api/v1/sinks/{name}/pause", a.pauseSink)
	mux.HandleFunc("POST /api/v1/sinks/{name}/resume", a.resumeSink)
	if o.Reload != nil {
		mux.HandleFunc("GET /api/v1/config", a.generation)
		mux.HandleFunc("POST /api/v1/config/reload", a.reload)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "no such resource: "+r.Method+" "+r.URL.Path)
	})
	// A page on some other site must not make the operator's browser replay or drop mail.
	a.handler = http.NewCrossOriginProtection().Handler(a.authorize(mux))
	return a
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

func (a *API) authorize(next http.Handler) http.Handler {
	want := []byte("Bearer " + a.opts.Token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.opts.Token != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "the API needs the token of `ops.token`: set MXHOOK_OPS_TOKEN or --token")
			return
		}
		if a.opts.Token == "" && !local(r.Host) {
			fail(w, http.StatusForbidden, "without `ops.token` the API answers to localhost and to addresses only, not to names: set a token")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// local reports whether a request was sent to an address or to localhost. A name of somebody else's may have been pointed
// at us, so that a page of theirs in the operator's browser passes for ours (DNS rebinding).
func local(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return host == "localhost" || net.ParseIP(strings.Trim(host, "[]")) != nil
}

// DeadLetter is a dead letter as the API shows it.
type DeadLetter struct {
	ID         string                   `json:"id"`
	Message    string                   `json:"message"`
	Sink       string                   `json:"sink"`
	Rules      []string                 `json:"rules"`
	MailFrom   string                   `json:"mail_from"`
	Recipients []string                 `json:"recipients"`
	ReceivedAt time.Time                `json:"received_at"`
	Size       int64                    `json:"size"`
	At         time.Time                `json:"at"`
	Reason     string                   `json:"reason"`
	Attempts   []pipeline.AttemptRecord `json:"attempts"`
	ReplayOf   string                   `json:"replay_of"`
}

func view(l *pipeline.DeadLetter) DeadLetter {
	d := l.Delivery
	return DeadLetter{
		ID: d.ID, Message: d.Message.Envelope.ID, Sink: d.Sink, Rules: notNil(d.Rules),
		MailFrom: d.Message.Envelope.ReversePath, Recipients: addresses(d.Recipients),
		ReceivedAt: d.Message.Envelope.ReceivedAt, Size: d.Message.Envelope.Size,
		At: l.At, Reason: l.Reason, Attempts: notNil(d.History), ReplayOf: d.ReplayOf,
	}
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// List bounds: what a request gets when it names no limit, and the most it can get.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func (a *API) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := DeadFilter{Sink: q.Get("sink"), Message: q.Get("message")}
	var ok bool
	if f.Limit, ok = listQuery(w, q, &f.Since, &f.Until); !ok {
		return
	}
	letters, err := a.opts.Store.DeadLetters(r.Context(), f)
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	views := make([]DeadLetter, len(letters))
	for i := range letters {
		views[i] = view(letters[i])
	}
	reply(w, http.StatusOK, map[string]any{"dead": views})
}

func (a *API) show(w http.ResponseWriter, r *http.Request) {
	l, err := a.find(r.Context(), r.PathValue("id"))
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	reply(w, http.StatusOK, view(l))
}

// find returns a dead letter without the octets of its message. A delivery id begins with the message id.
func (a *API) find(ctx context.Context, id string) (*pipeline.DeadLetter, error) {
	message, _, _ := strings.Cut(id, ".")
	letters, err := a.opts.Store.DeadLetters(ctx, DeadFilter{Message: message, Limit: maxLimit})
	if err != nil {
		return nil, err
	}
	for _, l := range letters {
		if l.Delivery.ID == id {
			return l, nil
		}
	}
	return nil, pipeline.ErrNotFound
}

// mail answers with the message's octets as received, as a download: never something a browser would render.
func (a *API) mail(w http.ResponseWriter, r *http.Request) {
	l, err := a.opts.Store.DeadLetter(r.Context(), r.PathValue("id"))
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	sendMail(w, l.Delivery.Message)
}

func sendMail(w http.ResponseWriter, m *pipeline.Message) {
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Disposition", `attachment; filename="`+m.Envelope.ID+`.eml"`)
	_, _ = w.Write(m.Raw) // the client went away: nothing to tell it
}

func (a *API) replay(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Sink string `json:"sink"`
	}
	if r.ContentLength != 0 {
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&body); err != nil {
			fail(w, http.StatusBadRequest, "the body must be JSON like {\"sink\": \"name\"}: "+err.Error())
			return
		}
	}
	id := r.PathValue("id")
	if body.Sink != "" && !slices.Contains(a.opts.Sinks, body.Sink) {
		fail(w, http.StatusBadRequest, "no sink "+strconv.Quote(body.Sink)+" is configured; there are: "+strings.Join(a.opts.Sinks, ", "))
		return
	}
	if body.Sink == "" {
		l, err := a.find(r.Context(), id)
		if err != nil {
			a.failErr(w, r, err)
			return
		}
		// One that never had a sink goes through the rules again.
		if l.Delivery.Sink != "" && !slices.Contains(a.opts.Sinks, l.Delivery.Sink) {
			fail(w, http.StatusBadRequest, "its sink "+strconv.Quote(l.Delivery.Sink)+" is not configured now: name another (--to); there are: "+strings.Join(a.opts.Sinks, ", "))
			return
		}
	}
	newID, err := a.opts.Store.ReplayDead(r.Context(), id, body.Sink)
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	a.opts.Log.Info("dead letter replayed", "delivery", id, "as", newID, "sink", body.Sink)
	reply(w, http.StatusAccepted, map[string]string{"delivery": newID, "replay_of": id})
}

func (a *API) drop(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if err := a.opts.Store.DropDead(r.Context(), id); err != nil {
		a.failErr(w, r, err)
		return
	}
	a.opts.Log.Warn("dead letter dropped", "delivery", id)
	w.WriteHeader(http.StatusNoContent)
}

func (a *API) failErr(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, pipeline.ErrNotFound) {
		what, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
		fail(w, http.StatusNotFound, notFound(what))
		return
	}
	if errors.Is(err, pipeline.ErrRefused) {
		fail(w, http.StatusConflict, err.Error())
		return
	}
	a.opts.Log.Error("API request failed", "path", r.URL.Path, "error", err)
	fail(w, http.StatusServiceUnavailable, "the queue did not answer: try again; the log has the reason")
}

func notFound(what string) string {
	switch what {
	case "messages":
		return "no message of that id is kept: `mxhook messages list` shows what there is"
	case "deliveries":
		return "no delivery of that id is known: `mxhook deliveries list` shows what there is"
	}
	return "no dead letter of that id: `mxhook dead list` shows what there is"
}

func fail(w http.ResponseWriter, status int, text string) {
	reply(w, status, map[string]string{"error": text})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client went away: nothing to tell it
}
