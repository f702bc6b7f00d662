package rules

import (
	"fmt"
	"testing"

	"mxhook/pipeline"
)

// TestWhatIsImpliedHolds: whenever one condition is said to imply another, no message tells otherwise.
func TestWhatIsImpliedHolds(t *testing.T) {
	t.Parallel()
	conditions := []string{
		`recipient.local == "a"`, `recipient.local == "b"`, `recipient.local != "b"`, `recipient.local in ["a", "b"]`, `recipient.local in ["b"]`,
		`recipient.local startsWith "a"`, `recipient.local endsWith "a"`, `recipient.local contains "b"`, `"a" == recipient.local`, `not (recipient.local == "a")`,
		`recipient.local == "a" and size > 5`, `size > 5`, `size > 5 or recipient.local == "a"`, `size > 5 && (recipient.local == "a" || recipient.local == "b")`,
		`to == "a@x.example"`, `to != "b@x.example"`, `to == "a@x.example" and to == "b@x.example"`, `!(size > 5)`, `subject == "s" or (size > 5 and recipient.local == "b")`,
	}
	var messages []*pipeline.Message
	for _, local := range []string{"a", "b", "ab", ""} {
		for _, size := range []int64{1, 9} {
			for _, to := range []string{"a@x.example", "b@x.example"} {
				messages = append(messages, &pipeline.Message{
					Envelope: pipeline.Envelope{Size: size, Recipients: []pipeline.Recipient{{Address: local + "@x.example", Local: local}}},
					Content:  &pipeline.Content{Subject: "s" + local, To: []pipeline.Address{{Address: to}, {Address: "a@x.example"}}},
				})
			}
		}
	}
	found := 0
	for _, a := range conditions {
		for _, b := range conditions {
			table, err := Compile([]Rule{{Name: "a", When: a, To: []string{"a"}}, {Name: "b", When: b, To: []string{"b"}}}, Options{Defaults: []string{"none"}})
			if err != nil {
				t.Fatal(err)
			}
			if !newImplications(table.lexicon).implies(table.rules[0].condition.tree, table.rules[1].condition.tree) {
				continue
			}
			found++
			for _, m := range messages {
				routing, _ := table.Route(m)
				if got := fmt.Sprint(sinksOf(routing)); got == "[a]" {
					t.Errorf("%s is said to imply %s, and local %q, size %d, to %v tells otherwise", a, b, m.Envelope.Recipients[0].Local, m.Envelope.Size, m.Content.To)
				}
			}
		}
	}
	if found < len(conditions)+15 {
		t.Errorf("%d implications found, want each of itself and at least 15 more", found)
	}
}

func sinksOf(r pipeline.Routing) []string {
	var sinks []string
	for _, t := range r.Targets {
		sinks = append(sinks, t.Sink)
	}
	return sinks
}

// TestChecksOfManyRulesAreBounded: thousands of rules that end the run are not compared each with each.
func TestChecksOfManyRulesAreBounded(t *testing.T) {
	t.Parallel()
	var rs []Rule
	for i := range 3000 {
		rs = append(rs, Rule{Name: fmt.Sprint("r", i), When: fmt.Sprintf(`recipient.local == "%d" or size > %d`, i, i), To: []string{"a"}, Stop: true})
	}
	table, err := Compile(rs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	table.Check([]string{"a"}) // each with each would take minutes
}
