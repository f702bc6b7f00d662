package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxhook/pipeline"
)

// Message is a kept message as the API shows it.
type Message struct {
	ID         string    `json:"id"`
	MailFrom   string    `json:"mail_from"`
	Recipients []string  `json:"recipients"`
	Client     string    `json:"client"`
	Helo       string    `json:"helo"`
	Listener   string    `json:"listener"`
	Size       int64     `json:"size"`
	ReceivedAt time.Time `json:"received_at"`
	ReplayOf   string    `json:"replay_of"`
}

func viewMessage(k *pipeline.KeptMessage) Message {
	e := &k.Message.Envelope
	m := Message{
		ID: e.ID, MailFrom: e.ReversePath, Recipients: addresses(e.Recipients), Helo: e.Client.Helo, Listener: e.Listener, Size: e.Size,
		ReceivedAt: e.ReceivedAt, ReplayOf: e.ReplayOf,
	}
	if e.Client.IP.IsValid() {
		m.Client = e.Client.IP.String()
	}
	return m
}

// Delivery is a delivery in whatever state, as the API shows it.
type Delivery struct {
	ID         string   `json:"id"`
	Message    string   `json:"message"`
	State      string   `json:"state"`
	Sink       string   `json:"sink"`
	Rules      []string `json:"rules"`
	MailFrom   *string  `json:"mail_from"` // null where a list does not know it
	Recipients []string `json:"recipients"`
	// At is when it got into its state; Due when the next attempt is, null for now or never.
	At  time.Time  `json:"at"`
	Due *time.Time `json:"due"`
	// Attempt is the number of the last one when it succeeded or was given up, of the next one when it waits.
	Attempt  int                      `json:"attempt"`
	Status   string                   `json:"status"`
	Reason   string                   `json:"reason"`
	Took     time.Duration            `json:"took"`
	Attempts []pipeline.AttemptRecord `json:"attempts"`
	ReplayOf string                   `json:"replay_of"`
}

func viewDelivery(k *pipeline.KeptDelivery) Delivery {
	d := k.Delivery
	v := Delivery{
		ID: d.ID, Message: d.Message.Envelope.ID, State: k.State, Sink: d.Sink, Rules: notNil(d.Rules), Recipients: addresses(d.Recipients),
		At: k.At, Attempt: d.Attempt, Status: k.Status, Reason: k.Reason, Took: k.Took, Attempts: notNil(d.History), ReplayOf: d.ReplayOf,
	}
	if e := &d.Message.Envelope; !e.ReceivedAt.IsZero() {
		v.MailFrom = &e.ReversePath
	}
	if !k.Due.IsZero() {
		v.Due = &k.Due
	}
	return v
}

func addresses(rs []pipeline.Recipient) []string {
	out := make([]string, len(rs))
	for i := range rs {
		out[i] = rs[i].Address
	}
	return out
}

func (a *API) keptRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/messages", a.listMessages)
	mux.HandleFunc("GET /api/v1/messages/{id}", a.showMessage)
	mux.HandleFunc("GET /api/v1/messages/{id}/mail", a.messageMail)
	if a.opts.Explain != nil {
		mux.HandleFunc("GET /api/v1/messages/{id}/explain", a.explainMessage)
	}
	mux.HandleFunc("POST /api/v1/messages/{id}/bury", a.act(func(r *http.Request, id string) error {
		return a.opts.Store.BuryMessage(r.Context(), id, reasonBuried)
	}))
	mux.HandleFunc("DELETE /api/v1/messages/{id}", a.act(func(r *http.Request, id string) error {
		return a.opts.Store.DropMessage(r.Context(), id)
	}))
	mux.HandleFunc("GET /api/v1/deliveries", a.listDeliveries)
	mux.HandleFunc("GET /api/v1/deliveries/{id}", a.showDelivery)
	mux.HandleFunc("POST /api/v1/deliveries/{id}/bury", a.act(func(r *http.Request, id string) error {
		return a.opts.Store.BuryDelivery(r.Context(), id, reasonBuried)
	}))
	mux.HandleFunc("DELETE /api/v1/deliveries/{id}", a.act(func(r *http.Request, id string) error {
		return a.opts.Store.DropDelivery(r.Context(), id)
	}))
	mux.HandleFunc("POST /api/v1/replays", a.replayPage)
}

const reasonBuried = "given up by hand"

// act answers a request that changes one thing.
func (a *API) act(do func(r *http.Request, id string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := do(r, r.PathValue("id")); err != nil {
			a.failErr(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (a *API) listMessages(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := pipeline.MessageFilter{Recipient: q.Get("recipient"), From: q.Get("from")}
	limit, ok := listQuery(w, q, &f.Since, &f.Until)
	if !ok {
		return
	}
	found, err := a.opts.Store.Messages(r.Context(), f, limit)
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	views := make([]Message, len(found))
	for i := range found {
		views[i] = viewMessage(found[i])
	}
	reply(w, http.StatusOK, map[string]any{"messages": views})
}

func (a *API) showMessage(w http.ResponseWriter, r *http.Request) {
	k, err := a.opts.Store.Message(r.Context(), r.PathValue("id"), false)
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	reply(w, http.StatusOK, viewMessage(k))
}

func (a *API) messageMail(w http.ResponseWriter, r *http.Request) {
	k, err := a.opts.Store.Message(r.Context(), r.PathValue("id"), true)
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	sendMail(w, k.Message)
}

// explainMessage says where the message would go now and why; nothing is delivered.
func (a *API) explainMessage(w http.ResponseWriter, r *http.Request) {
	k, err := a.opts.Store.Message(r.Context(), r.PathValue("id"), true)
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	explanation, err := a.opts.Explain(r.Context(), k.Message)
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	reply(w, http.StatusOK, explanation)
}

func (a *API) listDeliveries(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := pipeline.DeliveryFilter{
		State: q.Get("state"), Message: q.Get("message"), Sink: q.Get("sink"), Rule: q.Get("rule"), Recipient: q.Get("recipient"),
	}
	limit, ok := listQuery(w, q, &f.Since, &f.Until)
	if !ok || !goodState(w, f.State) {
		return
	}
	found, err := a.opts.Store.Deliveries(r.Context(), f, limit)
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	views := make([]Delivery, len(found))
	for i := range found {
		views[i] = viewDelivery(found[i])
	}
	reply(w, http.StatusOK, map[string]any{"deliveries": views})
}

func (a *API) showDelivery(w http.ResponseWriter, r *http.Request) {
	k, err := a.opts.Store.Delivery(r.Context(), r.PathValue("id"))
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	reply(w, http.StatusOK, viewDelivery(k))
}

// listQuery reads what all lists take: limit, since and until (RFC 3339). It answers the request when that is wrong.
func listQuery(w http.ResponseWriter, q url.Values, since, until *time.Time) (limit int, ok bool) {
	limit = defaultLimit
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxLimit {
			fail(w, http.StatusBadRequest, "limit must be a number from 1 to "+strconv.Itoa(maxLimit))
			return 0, false
		}
		limit = n
	}
	for name, at := range map[string]*time.Time{"since": since, "until": until} {
		if s := q.Get(name); s != "" {
			var err error
			if *at, err = time.Parse(time.RFC3339, s); err != nil {
				fail(w, http.StatusBadRequest, name+" must be a time like 2026-11-21T19:30:00Z")
				return 0, false
			}
		}
	}
	return limit, true
}

func goodState(w http.ResponseWriter, state string) bool {
	if slices.Contains([]string{"", pipeline.StateDelivered, pipeline.StateWaiting, pipeline.StateDead, pipeline.StateRefused}, state) {
		return true
	}
	fail(w, http.StatusBadRequest, "state must be delivered, waiting, dead or refused")
	return false
}

// ReplayRequest asks for one page of a replay; see pipeline.Replay. The answer is a ReplayAnswer, whose id and cursor go
// into the request for the next page.
type ReplayRequest struct {
	ID string `json:"id,omitempty"`
	// What is "messages" or "deliveries".
	What string   `json:"what"`
	IDs  []string `json:"ids,omitempty"`
	// All says that a filter that selects everything is meant.
	All    bool         `json:"all,omitempty"`
	Filter ReplayFilter `json:"filter"`
	To     string       `json:"to,omitempty"`
	Rate   float64      `json:"rate,omitempty"`
	DryRun bool         `json:"dry_run,omitempty"`
	Cursor string       `json:"cursor,omitempty"`
}

// ReplayFilter selects what is replayed. State, Message, Sink and Rule are for deliveries, From is for messages.
type ReplayFilter struct {
	State     string    `json:"state,omitempty"`
	Message   string    `json:"message,omitempty"`
	Sink      string    `json:"sink,omitempty"`
	Rule      string    `json:"rule,omitempty"`
	Recipient string    `json:"recipient,omitempty"`
	From      string    `json:"from,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Until     time.Time `json:"until,omitzero"`
}

// ReplayAnswer is what became of one page.
type ReplayAnswer struct {
	ID string `json:"id"`
	// Cursor is "" after the last page.
	Cursor   string                   `json:"cursor"`
	Matched  int                      `json:"matched"`
	Replayed int                      `json:"replayed"`
	Skipped  int                      `json:"skipped"`
	Made     []pipeline.Replayed      `json:"made"`
	Failed   []pipeline.ReplayFailure `json:"failed"`
}

func (a *API) replayPage(w http.ResponseWriter, r *http.Request) {
	var in ReplayRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		fail(w, http.StatusBadRequest, "the body must be JSON like {\"what\": \"deliveries\", \"filter\": {\"sink\": \"name\"}}: "+err.Error())
		return
	}
	if !a.goodReplay(w, &in) {
		return
	}
	f := in.Filter
	page, err := a.opts.Store.Replay(r.Context(), pipeline.Replay{
		ID: in.ID, Messages: in.What == "messages", IDs: in.IDs, To: in.To, Sinks: a.opts.Sinks, Rate: in.Rate, DryRun: in.DryRun, Cursor: in.Cursor,
		MessageFilter: pipeline.MessageFilter{Recipient: f.Recipient, From: f.From, Since: f.Since, Until: f.Until},
		DeliveryFilter: pipeline.DeliveryFilter{
			State: f.State, Message: f.Message, Sink: f.Sink, Rule: f.Rule, Recipient: f.Recipient, Since: f.Since, Until: f.Until,
		},
	})
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	reply(w, http.StatusOK, ReplayAnswer{
		ID: page.ID, Cursor: page.Cursor, Matched: page.Matched, Replayed: page.Replayed, Skipped: page.Skipped,
		Made: notNil(page.Made), Failed: notNil(page.Failed),
	})
}

// goodReplay answers a request that cannot be meant.
func (a *API) goodReplay(w http.ResponseWriter, in *ReplayRequest) bool {
	f := in.Filter
	text := ""
	switch {
	case in.What != "messages" && in.What != "deliveries":
		text = "what must be messages or deliveries"
	case in.What == "messages" && (f.State != "" || f.Message != "" || f.Sink != "" || f.Rule != ""):
		text = "state, message, sink and rule select deliveries: write \"what\": \"deliveries\""
	case in.What == "deliveries" && f.From != "":
		text = "from selects messages: write \"what\": \"messages\""
	case len(in.IDs) == 0 && f == (ReplayFilter{}) && !in.All:
		text = "name ids or a filter, or write \"all\": true for everything that is kept"
	case len(in.IDs) > 0 && (f != (ReplayFilter{}) || in.All):
		text = "name ids or a filter, not both"
	case in.Rate < 0:
		text = "rate must not be negative"
	case in.To != "" && !slices.Contains(a.opts.Sinks, in.To):
		text = "no sink " + strconv.Quote(in.To) + " is configured; there are: " + strings.Join(a.opts.Sinks, ", ")
	default:
		return goodState(w, f.State)
	}
	fail(w, http.StatusBadRequest, text)
	return false
}
