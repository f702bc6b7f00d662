package configs

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"

	"mxhook/pipeline"
	"mxhook/sinks"
)

// namedGroup is a named group of a pattern, as Go and as others write it.
var namedGroup = regexp.MustCompile(`\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>`)

// templateCaptures warns of {captures.NAME} that no pattern of this file captures: it would be empty always.
func (c *checker) templateCaptures() {
	var names []string
	for _, d := range c.cfg.Domains {
		if d.RecipientsFile != "" || d.Callout.URL != "" {
			return // those may capture too
		}
		for _, r := range d.Recipients {
			names = append(names, groupsOf(r)...)
		}
	}
	for _, r := range c.cfg.Rules {
		names = append(names, groupsOf(r.When)...)
	}
	if len(c.cfg.Signed) > 0 {
		names = append(names, "token")
	}
	for i := range c.cfg.Sinks {
		key := fmt.Sprintf("sinks[%d]", i)
		if c.broken(key, true) {
			continue
		}
		outlets, err := sinks.Build([]sinks.Config{c.cfg.Sinks[i].config()}, sinks.Deps{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			continue
		}
		for _, o := range pipeline.TemplatesOf(outlets[0].Sink) {
			for _, name := range o.Template.Captures() {
				if slices.Contains(names, name) {
					continue
				}
				advice := pipeline.DidYouMean(name, names)
				if advice == "" {
					advice = "; recipients: [\"/^(?<" + name + ">...)$/\"] or a condition with matches does"
				}
				c.warn(key, "{captures.%s} is empty always: no pattern has a group of that name%s", name, advice)
			}
		}
		sinks.Close(outlets)
	}
}

func groupsOf(pattern string) []string {
	var names []string
	for _, m := range namedGroup.FindAllStringSubmatch(pattern, -1) {
		names = append(names, m[1])
	}
	return names
}
