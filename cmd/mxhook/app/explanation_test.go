package app

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"mxhook/configs"
	"mxhook/pipeline"
)

// TestTheLogSaysWhyAtTheLevelDebug: the log has the explanation as an object, and only when it is asked for.
func TestTheLogSaysWhyAtTheLevelDebug(t *testing.T) {
	t.Parallel()
	cfg := configs.Default()
	sink := configs.DefaultSink()
	sink.Name, sink.File = "box", &configs.File{Dir: t.TempDir() + "/{domain}", Layout: "maildir"}
	cfg.Sinks, cfg.Rules = []configs.Sink{sink}, []configs.Rule{{Name: "all", To: []string{"box"}}}
	cfg.Domains = []configs.Domain{{Domain: "example.com", TagSeparator: "+"}}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
		var out bytes.Buffer
		log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}))
		g, err := newGeneration(&cfg, nil, Options{Log: log}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.buildSinks(Options{Log: log}, nil, nil); err != nil {
			t.Fatal(err)
		}
		out.Reset()
		m := &pipeline.Message{Envelope: pipeline.Envelope{ID: "M", Recipients: []pipeline.Recipient{{Address: "a@example.com", Local: "a", Domain: "example.com"}}}}
		if routing, _ := (told{g, log}).Route(m); len(routing.Targets) != 1 {
			t.Errorf("targets %v", routing.Targets)
		}
		if level == slog.LevelInfo {
			if out.Len() > 0 {
				t.Errorf("at the level info: %s", &out)
			}
			continue
		}
		var line struct {
			Message     string
			Explanation struct {
				Deliveries []struct{ Options []struct{ Value string } }
			}
		}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Message != "M" || len(line.Explanation.Deliveries) != 1 || len(line.Explanation.Deliveries[0].Options) != 1 {
			t.Errorf("%v: %s", err, &out)
		}
	}
}
