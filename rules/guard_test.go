package rules

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"mxhook/pipeline"
)

// TestGuardsChangeNothing holds the answers of conditions with a guard against those of the whole condition.
func TestGuardsChangeNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		when    string
		guarded bool
	}{
		{`recipient.domain == "example.com"`, true},
		{`"example.com" == recipient.domain`, true},
		{`recipient.local == "alice" and int(header("X-None")) > 1`, true},
		{`recipient.tag == "" && sender.verified && kind == "mail"`, true},
		{`recipient.address in ["alice@example.com", "bob@example.com"]`, true},
		{`recipient.address in [] or true`, false},
		{`sender.domain in ["example.org", subject]`, false},
		{`kind == "mail" or recipient.domain == "example.com"`, false},
		{`not (recipient.domain == "example.com")`, false},
		{`recipient.domain != "example.com"`, false},
		{`int(header("X-None")) > 1 and recipient.domain == "none.example"`, false},
		{`from == "alice@example.org"`, false},
		{`envelope.listener == "mx" and subject == "Hello"`, true},
		{`(envelope.mail_from == "" or true) and kind == "mail"`, false},
		{`(subject == "Hello" and true) and recipient.local == "bob"`, true},
		{`recipient.captures["token"] == "x"`, false},
	} {
		table, err := Compile([]Rule{{Name: "r", When: c.when, To: []string{"a"}}}, Options{})
		if err != nil {
			t.Fatalf("%s: %v", c.when, err)
		}
		guarded := &table.rules[0].condition
		if (guarded.guard != nil) != c.guarded {
			t.Errorf("%s: guarded is %v", c.when, guarded.guard != nil)
		}
		whole := *guarded
		whole.guard = nil
		rnd := rand.New(rand.NewPCG(1, 1))
		for range 50 {
			m := randomMessage(rnd)
			for _, m := range []*pipeline.Message{m, sample()} {
				r := table.runner(m)
				for i := range m.Envelope.Recipients {
					r.env.Recipient = viewRecipient(&m.Envelope.Recipients[i])
					got, err := r.matches(guarded)
					want, wantErr := r.matches(&whole)
					if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
						t.Fatalf("%s: %v, %v; without the guard %v, %v", c.when, got, err, want, wantErr)
					}
				}
				table.release(r)
			}
		}
	}
}
