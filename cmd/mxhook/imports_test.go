package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers is the house: which of our packages each of our packages may import. A package that is not here, or an
// import that is not listed, fails the test; so does a listed arrow that nothing uses, so that the table stays true.
var layers = map[string][]string{
	"pipeline": {},

	"ingest":           {"pipeline"},
	"pipeline/queue":   {"pipeline"},
	"pipeline/parse":   {"pipeline"},
	"pipeline/msgauth": {"pipeline"},
	"rules":            {"pipeline"},
	"sinks/webhook":    {"pipeline", "sinks/webhook/shape"},
	"sinks/file":       {"pipeline"},
	"sinks/s3":         {"pipeline"},
	"sinks/postgres":   {"pipeline"},
	"sinks/relay":      {"pipeline"},
	"sinks/exec":       {"pipeline"},
	// What the kinds that publish to streams have in common.
	"sinks/stream":   {"pipeline"},
	"sinks/nats":     {"pipeline", "sinks/stream"},
	"sinks/kafka":    {"pipeline", "sinks/stream"},
	"sinks/sinktest": {"pipeline"},
	// Programs that make another body of a webhook.
	"sinks/webhook/shape": {},
	// The real servers that sinks are tested against.
	"sinks/sinktest/counterpart": {},
	"sinks/sinktest/kafka":       {},
	"console":                    {"pipeline"},
	"alerts":                     {"pipeline"},

	"sinks": {
		"pipeline", "sinks/webhook", "sinks/file", "sinks/s3", "sinks/postgres", "sinks/exec", "sinks/relay", "sinks/stream", "sinks/nats", "sinks/kafka",
	},

	"configs": {
		"ingest", "pipeline", "rules", "sinks", "sinks/webhook", "sinks/file", "sinks/s3", "sinks/postgres", "sinks/exec", "sinks/relay",
		"sinks/stream", "sinks/nats", "sinks/kafka",
	},

	"cmd/mxhook/app": {
		"pipeline", "ingest", "pipeline/queue", "pipeline/parse", "pipeline/msgauth", "rules", "sinks", "console", "configs", "alerts",
	},
	"cmd/judge":              {"pipeline", "pipeline/msgauth", "pipeline/parse"},
	"cmd/mxhook/app/apptest": {"cmd/mxhook/app", "configs", "console"},
	"cmd/mxhook/doctor":      {"configs"},
	"cmd/mxhook": {
		"cmd/mxhook/app", "cmd/mxhook/doctor", "configs", "console", "pipeline", "pipeline/msgauth", "pipeline/parse", "rules", "sinks/webhook",
	},
}

// outside names modules that only some packages may import: the queue, the config reader and the MIME reader each live
// in one room. A sink of its own kind speaks NATS too, to servers that are not the queue.
var outside = []struct {
	prefix string
	only   []string
}{
	{"github.com/nats-io/", []string{"pipeline/queue", "sinks/nats"}},
	{"github.com/twmb/franz-go", []string{"sinks/kafka", "sinks/sinktest/kafka"}},
	{"github.com/spf13/viper", []string{"configs"}},
	{"github.com/jhillyerd/enmime", []string{"pipeline/parse"}},
	{"github.com/emersion/go-smtp", []string{"sinks/relay", "cmd/mxhook", "cmd/mxhook/app/apptest"}},
	{"github.com/emersion/go-msgauth", []string{"cmd/judge", "cmd/mxhook"}},
	{"github.com/expr-lang/expr", []string{"rules"}},
	{"github.com/itchyny/gojq", []string{"sinks/webhook/shape"}},
}

// listed is the part of `go list -json` that we read. Imports leaves out what only tests import.
type listed struct {
	ImportPath string
	Imports    []string
}

func TestImportsFollowTheLayers(t *testing.T) {
	used := make(map[string]bool)
	for _, p := range ourPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, "mxhook/")
		allowed, ok := layers[name]
		if !ok {
			t.Errorf("package %s is not in the layer table: give it a room and its arrows", name)
			continue
		}
		for _, imp := range p.Imports {
			ours, isOurs := strings.CutPrefix(imp, "mxhook/")
			if isOurs {
				used[name+" -> "+ours] = true
				if !slices.Contains(allowed, ours) {
					t.Errorf("%s imports %s: that arrow is not in the layer table", name, ours)
				}
				continue
			}
			for _, o := range outside {
				if strings.HasPrefix(imp, o.prefix) && !slices.Contains(o.only, name) {
					t.Errorf("%s imports %s, which belongs to %s alone", name, imp, strings.Join(o.only, ", "))
				}
			}
		}
	}
	for name, allowed := range layers {
		for _, imp := range allowed {
			if !used[name+" -> "+imp] {
				t.Errorf("the layer table allows %s to import %s, and it does not: take the arrow out", name, imp)
			}
		}
	}
}

func ourPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "mxhook/...").Output()
	if err != nil {
		t.Fatalf("list the packages: %v", err)
	}
	var ps []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return ps
		case err != nil:
			t.Fatalf("read the package list: %v", err)
		}
		ps = append(ps, p)
	}
}
