package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"mxhook/pipeline"
)

func explainTable(t *testing.T) *Table {
	t.Helper()
	table, err := Compile([]Rule{
		{Name: "bounces", When: `kind in ["bounce", "complaint"]`, To: []string{"bounces"}, Stop: true},
		{Name: "numbers", When: `int(recipient.tag) > 3`, To: []string{"archive"}},
		{Name: "tickets", When: `recipient.domain == "example.com" and recipient.local startsWith "ticket-" and (sender.verified or not client.tls) and any(attachments, .size > 1024) and from endsWith "@example.org"`, To: []string{"helpdesk", "archive"}, Stop: true},
		{Name: "net", When: `recipient.domain == "example.net"`, Drop: true},
		{Name: "everything-else", To: []string{"archive"}},
	}, Options{Defaults: []string{"lost"}})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestExplanationAsText(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := explainTable(t).Explain(sample()).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "explain.want", b.String())
}

func TestExplanationAsJSON(t *testing.T) {
	t.Parallel()
	b, err := json.MarshalIndent(explainTable(t).Explain(sample()), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("null,")) && !bytes.Contains(b, []byte(`"condition": null`)) {
		t.Errorf("a list is null:\n%s", b)
	}
	golden(t, "explain.json", string(b)+"\n")
}

func TestExplanationTellsDefaultAndDeadLetter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		defaults []string
		want     string
	}{{[]string{"lost"}, "=> lost (default: no rule matched)"}, {nil, "dead letter"}} {
		table, err := Compile([]Rule{{Name: "r", When: `size == 0`, To: []string{"a"}}}, Options{Defaults: c.defaults})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := table.Explain(sample()).WriteText(&b); err != nil || !strings.Contains(b.String(), c.want) {
			t.Errorf("%v: no %q in\n%s", err, c.want, b.String())
		}
	}
}

// TestExplanationIsSafeForTerminals: what the sender wrote cannot move the cursor, turn the text or fake our lines.
func TestExplanationIsSafeForTerminals(t *testing.T) {
	t.Parallel()
	m := sample()
	m.Content.Subject = "a\x1b[2J\n  => archive\u202e\u009b" + strings.Repeat("x", 1000)
	m.Envelope.Recipients = []pipeline.Recipient{{Address: "\"a\x1b[2J\"@example.com", Local: "a", Domain: "example.com"}}
	table, err := Compile([]Rule{{Name: "r", When: `subject == "x"`, To: []string{"a"}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := table.Explain(m).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\u202e\u009b") || strings.Contains(b.String(), "\n  => archive") || b.Len() > 800 {
		t.Errorf("%q", b.String())
	}
}

func TestExplanationReportsWriteErrors(t *testing.T) {
	t.Parallel()
	if err := explainTable(t).Explain(sample()).WriteText(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
