package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// stages are where the time of a mail goes. The innermost function of a stack that begins with (or, behind a star, has)
// one of the texts decides.
var stages = []struct {
	name  string
	marks []string
}{
	{"reading SMTP", []string{"mxhook/ingest."}},
	{"durable write: publish, store, sync", []string{
		"mxhook/pipeline/queue.(*Writer)", "mxhook/pipeline/queue.encode", "*server.(*fileStore).Store", "*server.(*fileStore).store", "*server.(*stream).processJetStreamMsg",
		"*server.(*stream).processInboundJetStreamMsg", "*server.(*stream).internalLoop", "*jetstream.(*jetStream).Publish", "*jetstream.(*jetStream).publish",
	}},
	{"handing out and settling", []string{
		"mxhook/pipeline/queue.", "*server.(*consumer)", "*jetstream.(*pullConsumer)", "*jetstream.(*jetStreamMsg)", "*jetstream.(*pullSubscription)",
	}},
	{"scan and parse", []string{"mxhook/pipeline/parse."}},
	{"authentication", []string{"mxhook/pipeline/msgauth."}},
	{"rules", []string{"mxhook/rules.", "mxhook/pipeline.route", "mxhook/pipeline.(*Plan)"}},
	{"payload and signature", []string{
		"mxhook/sinks/webhook.(*Webhook).request", "mxhook/sinks/webhook.newBody", "mxhook/sinks/webhook.(*body)", "mxhook/sinks/webhook.mxhookFormat", "mxhook/sinks/webhook.encodeJSON",
		"mxhook/sinks/webhook.(*signer)", "mxhook/sinks/webhook.append", "mxhook/sinks/webhook.(*payload", "mxhook/sinks/webhook.build",
	}},
	{"POST", []string{"mxhook/sinks/webhook.", "net/http."}},
	{"log", []string{"log/slog."}},
	{"attempts, settling, metrics", []string{"mxhook/pipeline.", "mxhook/cmd/", "mxhook/alerts.", "github.com/prometheus/"}},
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart", "runtime.gcMarkDone"}},
}

// What no stage has: of the queue's server and client, and of everything.
const (
	queueOther = "other of the queue's server and client"
	elsewhere  = "scheduler, timers and the rest"
)

// stageOf finds the stage of a stack. What collects garbage for somebody is collecting garbage.
func stageOf(stack []string) string {
	for _, f := range stack {
		if strings.HasPrefix(f, "runtime.gcAssistAlloc") {
			return "garbage collection"
		}
	}
	for _, f := range stack {
		for _, s := range stages {
			for _, mark := range s.marks {
				if text, inside := strings.CutPrefix(mark, "*"); inside && strings.Contains(f, text) || strings.HasPrefix(f, mark) {
					return s.name
				}
			}
		}
	}
	if slices.ContainsFunc(stack, func(f string) bool { return strings.HasPrefix(f, "github.com/nats-io/") }) {
		return queueOther
	}
	return elsewhere
}

// table is the budget as Markdown.
func table(p *profile.Profile, value int, cpu float64) string {
	sums := map[string]int64{}
	var all int64
	for _, s := range p.Sample {
		sums[stageOf(stack(s))] += s.Value[value]
		all += s.Value[value]
	}
	var names []string
	for _, s := range stages {
		names = append(names, s.name)
	}
	names = append(names, queueOther, elsewhere)
	var w strings.Builder
	w.WriteString("| stage | share |")
	if cpu > 0 {
		w.WriteString(" µs a mail |")
	}
	w.WriteString("\n|---|--:|")
	if cpu > 0 {
		w.WriteString("--:|")
	}
	w.WriteString("\n")
	for _, n := range names {
		share := float64(sums[n]) / float64(max(1, all))
		fmt.Fprintf(&w, "| %s | %.1f %% |", n, 100*share)
		if cpu > 0 {
			fmt.Fprintf(&w, " %.0f |", cpu*share)
		}
		w.WriteString("\n")
	}
	if cpu > 0 {
		fmt.Fprintf(&w, "| all | 100 %% | %.0f |\n", cpu)
	}
	return w.String()
}
