package app

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/configs"
	"mxhook/ingest"
	"mxhook/pipeline"
)

// BenchmarkRouting accepts one recipient and routes its message, with rules that do not match before the last one and a
// domain of that many exact recipients.
func BenchmarkRouting(b *testing.B) {
	for _, recipients := range []int{10, 100_000} {
		for _, rules := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("rules=%d/recipients=%d", rules, recipients), func(b *testing.B) {
				g := benchGeneration(b, rules, recipients)
				addr, err := ingest.ParseAddress("user7@example.com")
				if err != nil {
					b.Fatal(err)
				}
				log := slog.New(slog.DiscardHandler)
				b.ReportAllocs()
				for b.Loop() {
					m := &pipeline.Message{Content: &pipeline.Content{Subject: "Hello"}, Auth: proven("example.org")}
					rcpt, _, err := g.accepts(b.Context(), &m.Envelope, addr, log)
					if err != nil {
						b.Fatal(err)
					}
					m.Envelope.Recipients = []pipeline.Recipient{rcpt}
					if routing, _ := g.table.Route(m); len(routing.Targets) != 1 {
						b.Fatal(routing)
					}
				}
			})
		}
	}
}

func benchGeneration(b *testing.B, rules, recipients int) *generation {
	b.Helper()
	var text strings.Builder
	text.WriteString("domains:\n  - domain: example.com\n    recipients:\n")
	for i := range recipients {
		fmt.Fprintf(&text, "      - user%d\n", i)
	}
	text.WriteString("sinks: [{name: app, file: {dir: /tmp/in}}]\nrules:\n")
	for i := range rules {
		fmt.Fprintf(&text, "  - {name: r%d, when: 'recipient.domain == \"d%d.example\" and sender.verified', to: [app]}\n", i, i)
	}
	text.WriteString("default: [app]\n")
	file := filepath.Join(b.TempDir(), "mxhook.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	cfg, _, err := configs.Load(file, nil)
	if err != nil {
		b.Fatal(err)
	}
	g, err := newGeneration(cfg, nil, Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Now: time.Now}, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	return g
}
