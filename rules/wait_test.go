package rules

import (
	"strings"
	"testing"
	"time"

	"mxhook/pipeline"
)

// Before the data and when the message is there the same recipients are waited for, and explain says so.
func TestWaitIsKnownBeforeTheData(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, []Rule{
		{Name: "all", To: []string{"archive"}, When: `subject contains "x"`},
		{Name: "friends", When: `recipient.local == "friend"`, To: []string{"box"}, Stop: true},
		{Name: "gate", When: `recipient.domain == "example.com"`, To: []string{"hook"}, Copy: []string{"trial"}, Stop: true, Wait: &Wait{Timeout: 20 * time.Second, Accept: true}},
		{Name: "rest", To: []string{"box"}},
	}, Options{})
	m := &pipeline.Message{Envelope: pipeline.Envelope{ID: "M"}, Content: &pipeline.Content{Subject: "x"}}
	for address, want := range map[string]bool{"a@example.com": true, "friend@example.com": false, "a@example.net": false} {
		local, domain, _ := strings.Cut(address, "@")
		rcpt := pipeline.Recipient{Address: address, Local: local, Domain: domain}
		d := table.Early(&m.Envelope, &rcpt)
		if got := d.Wait != nil; got != want || want && (d.Rule != "gate" || d.Sink != "hook" || d.Reply != nil || d.Discard) {
			t.Errorf("%s: decision %+v", address, d)
		}
		m.Envelope.Recipients = []pipeline.Recipient{rcpt}
		routing, _ := table.Route(m)
		for _, target := range routing.Targets {
			if target.Waits != (want && target.Sink == "hook") {
				t.Errorf("%s: target %s waits: %v", address, target.Sink, target.Waits)
			}
		}
		var text strings.Builder
		if err := table.Explain(m).WriteText(&text); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(text.String(), "the sender waits up to 20s for the answer of hook, then: accept"); got != want {
			t.Errorf("%s: explained as\n%s", address, text.String())
		}
	}
}
