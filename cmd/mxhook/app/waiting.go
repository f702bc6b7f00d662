package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/configs"
	"mxhook/ingest"
	"mxhook/pipeline"
	"mxhook/pipeline/queue"
	"mxhook/rules"
)

// Replies to senders who wait, when the endpoint has none for them.
var (
	replyUnanswered = &ingest.Reply{
		Code: 451, Status: "4.4.1", Text: "The recipient's system did not answer in time; try again later", Reason: "wait_timeout",
	}
	replyTooManyWait = &ingest.Reply{
		Code: 451, Status: "4.3.2", Text: "Too many messages wait for an answer; try again later", Reason: "wait_limit",
	}
)

// Reasons, in metrics and log, of replies that come from the endpoint.
const (
	reasonWaitRefused  = "wait_refused"
	reasonWaitDeferred = "wait_deferred"
)

// waits bounds and counts the senders that wait for the answer of an endpoint.
type waits struct {
	limit  int64
	now    atomic.Int64
	hurry  chan struct{} // closed when nobody is to wait any longer
	once   sync.Once
	total  *prometheus.CounterVec
	took   prometheus.Histogram
	gauges prometheus.Collector
}

func newWaits(limit int, registry prometheus.Registerer) *waits {
	w := &waits{
		limit: int64(limit), hurry: make(chan struct{}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_smtp_waits_total",
			Help: "Senders kept waiting for an endpoint's answer, by what they heard: accepted, refused, deferred, mixed (LMTP), unanswered_accepted, unanswered_deferred, limit (told to come again at once).",
		}, []string{"result"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mxhook_smtp_wait_seconds", Help: "Time that senders waited for an endpoint's answer, once the message was durable.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300},
		}),
	}
	w.gauges = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mxhook_smtp_waiting", Help: "Senders that wait for an endpoint's answer.",
	}, func() float64 { return float64(w.now.Load()) })
	registry.MustRegister(w.total, w.took, w.gauges)
	return w
}

// end answers all who wait as if their time was over, now and from now on.
func (w *waits) end() { w.once.Do(func() { close(w.hurry) }) }

// enter takes a place among those who wait; the caller gives it back with leave.
func (w *waits) enter() bool {
	if w.now.Add(1) > w.limit {
		w.now.Add(-1)
		w.total.WithLabelValues("limit").Inc()
		return false
	}
	return true
}

func (w *waits) leave() { w.now.Add(-1) }

// held is the rule for whose sink a transaction's sender waits, with the recipients of that.
type held struct {
	rule       string
	wait       *rules.Wait
	recipients []string
	// alone: the sink gets each recipient by itself, so that there is one answer for one of them only.
	alone bool
}

// fits reports whether a recipient with that decision, in a transaction whose recipients before it were as h says, can have
// the same reply as those, or with LMTP an answer of its own.
func (h *held) fits(first, lmtp bool, d rules.Decision, r pipeline.Recipient) bool {
	switch {
	case slices.Contains(h.recipients, r.Address):
		return true
	case lmtp:
		return d.Wait == nil || h.rule == "" || h.rule == d.Rule
	case first:
		return true
	case d.Wait == nil:
		return h.rule == ""
	}
	return h.rule == d.Rule && !h.alone
}

// take notes a recipient that is accepted.
func (h *held) take(g *generation, d rules.Decision, r pipeline.Recipient) {
	if d.Wait == nil || slices.Contains(h.recipients, r.Address) {
		return
	}
	h.rule, h.wait, h.alone = d.Rule, d.Wait, g.apart[d.Sink]
	h.recipients = append(h.recipients, r.Address)
}

// apartSinks are the sinks of rules that wait which get each recipient, or some of them, by itself.
func apartSinks(cfg *configs.Config) map[string]bool {
	apart := map[string]bool{}
	for _, r := range cfg.Rules {
		if r.Wait != nil && len(r.To) == 1 && cfg.KeepsApart(r.To[0]) {
			apart[r.To[0]] = true
		}
	}
	return apart
}

// waitingWriter is the writer of a message whose sender waits for the endpoint's answer.
type waitingWriter struct {
	ingest.Writer
	queue  *queue.Writer // behind Writer
	waits  *waits
	limit  time.Duration
	accept bool
	wait   pipeline.Wait
}

// waiting wraps the writer of a message of the transaction when its sender waits.
func (s *spool) waiting(w ingest.Writer, q *queue.Writer, t *transaction, env *pipeline.Envelope, lmtp bool) ingest.Writer {
	var who []string
	for _, r := range env.Recipients {
		if slices.Contains(t.held.recipients, r.Address) {
			who = append(who, r.Address)
		}
	}
	if len(who) == 0 {
		return w
	}
	rule := t.held.wait
	return &waitingWriter{
		Writer: w, queue: q, waits: s.waits, limit: rule.Timeout, accept: rule.Accept,
		wait: pipeline.Wait{Recipients: who, Together: !lmtp, Defers: !rule.Accept},
	}
}

// Patience implements ingest.Patient.
func (w *waitingWriter) Patience() time.Duration { return w.limit }

// Commit implements ingest.Writer: when the message is durable it waits for what the endpoint says.
func (w *waitingWriter) Commit(ctx context.Context) error {
	if !w.waits.enter() {
		w.Abort()
		return replyTooManyWait
	}
	defer w.waits.leave()
	question, err := w.queue.Ask(w.wait, w.limit)
	if err != nil {
		w.Abort()
		return err
	}
	defer question.Close()
	err = w.Writer.Commit(ctx)
	var refused *ingest.Refused
	if err != nil && !(errors.As(err, &refused) && refused.Repeated == "") {
		return err // taken before, or not at all
	}
	verdicts := w.answer(ctx, question)
	reply := w.replies(verdicts)
	if w.wait.Together {
		if r := reply[w.wait.Recipients[0]]; r != nil {
			return r
		}
		question.Taken()
		return nil
	}
	if refused == nil {
		refused = &ingest.Refused{Replies: map[string]*ingest.Reply{}}
	}
	for address, r := range reply {
		if r != nil && refused.Replies[address] == nil {
			refused.Replies[address] = r
		}
	}
	if len(refused.Replies) == 0 {
		question.Taken()
		return nil
	}
	return refused
}

// answer waits for the verdicts, no longer than until all waits are ended.
func (w *waitingWriter) answer(ctx context.Context, question *queue.Question) []pipeline.Verdict {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-w.waits.hurry:
			cancel()
		case <-stop:
		}
	}()
	start := time.Now()
	verdicts := question.Answer(ctx)
	w.waits.took.Observe(time.Since(start).Seconds())
	return verdicts
}

// replies are the replies to the recipients that were waited for; nil accepts.
func (w *waitingWriter) replies(verdicts []pipeline.Verdict) map[string]*ingest.Reply {
	out := map[string]*ingest.Reply{}
	result := func(r *ingest.Reply) string {
		switch {
		case r == nil:
			return "accepted"
		case r.Code >= 500:
			return "refused"
		}
		return "deferred"
	}
	if len(verdicts) == 0 {
		reply, label := (*ingest.Reply)(nil), "unanswered_accepted"
		if !w.accept {
			reply, label = replyUnanswered, "unanswered_deferred"
		}
		for _, address := range w.wait.Recipients {
			out[address] = reply
		}
		w.waits.total.WithLabelValues(label).Inc()
		return out
	}
	label := ""
	for _, v := range verdicts {
		reply := senderReply(v.Reply)
		if l := result(reply); label != "" && label != l {
			label = "mixed"
		} else {
			label = l
		}
		if len(v.For) == 0 {
			for _, address := range w.wait.Recipients {
				out[address] = reply
			}
		}
		for _, i := range v.For {
			if i >= 0 && i < len(w.wait.Recipients) {
				out[w.wait.Recipients[i]] = reply
			}
		}
	}
	w.waits.total.WithLabelValues(label).Inc()
	return out
}

// senderReply is the reply that a verdict means. One that is none would end the session or confuse the sender.
func senderReply(r *pipeline.SenderReply) *ingest.Reply {
	if r == nil {
		return nil
	}
	if r.Code < 400 || r.Code > 599 || r.Code == 421 || !strings.HasPrefix(r.Status, fmt.Sprint(r.Code/100, ".")) || strings.Trim(r.Status, "0123456789.") != "" {
		return replyUnanswered
	}
	reply := &ingest.Reply{Code: r.Code, Status: r.Status, Text: r.Text, Reason: reasonWaitDeferred}
	if r.Code >= 500 {
		reply.Reason = reasonWaitRefused
	}
	return reply
}
