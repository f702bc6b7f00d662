package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
)

// templated is a sink with a template that notes what it expands to.
type templated struct {
	sinkFunc
	template *Template
}

func (s templated) Templates() []TemplateOption {
	return []TemplateOption{{"dir", s.template}, {"none", nil}}
}

func newTemplated(t *testing.T, text string, got *[]string) templated {
	t.Helper()
	tpl, err := ParseTemplate(text, InKey)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	return templated{func(_ context.Context, d *Delivery) (Response, error) {
		mu.Lock()
		defer mu.Unlock()
		*got = append(*got, describe(tpl, d))
		return Response{}, nil
	}, tpl}
}

func describe(tpl *Template, d *Delivery) string {
	var who []string
	for _, r := range d.Recipients {
		who = append(who, r.Address)
	}
	return tpl.Expand(d) + ": " + strings.Join(who, " ")
}

func threeRecipients() []Recipient {
	return []Recipient{
		{Address: "a@one.example", Local: "a", Domain: "one.example"},
		{Address: "b@two.example", Local: "b", Domain: "two.example"},
		{Address: "c@one.example", Local: "c", Domain: "one.example"},
	}
}

func TestRecipientsWithDifferentExpansionsGoOutSeparately(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"{domain}/":        {"one.example/: a@one.example c@one.example", "two.example/: b@two.example"},
		"{local}@{domain}": {"a@one.example: a@one.example", "b@two.example: b@two.example", "c@one.example: c@one.example"},
		"{date}/":          {"0001-01-01/: a@one.example b@two.example c@one.example"},
		"fixed":            {"fixed: a@one.example b@two.example c@one.example"},
	} {
		var got []string
		sink := newTemplated(t, text, &got)
		p, _ := newTestProcessor(routes{"s"}, &outboxRecorder{}, outletsOf(4, map[string]Sink{"s": sink}))
		m := &Message{Envelope: Envelope{ID: "M", Recipients: threeRecipients()}}
		if err := p.Process(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestIdsOfSeparateDeliveriesAreStable(t *testing.T) {
	t.Parallel()
	var got []string
	ids := func(text string, rcpts []Recipient) []string {
		plan := NewPlan(PlanOptions{Outlets: outletsOf(1, map[string]Sink{"s": newTemplated(t, text, &got)})})
		m := &Message{Envelope: Envelope{ID: "M", Recipients: rcpts}}
		routing, _ := routes{"s"}.Route(m)
		var out []string
		for _, d := range plan.Deliveries(m, routing, m.Envelope.ReceivedAt) {
			out = append(out, d.ID)
		}
		return out
	}
	if got := ids("{date}", threeRecipients()); !slices.Equal(got, []string{"M.s"}) {
		t.Errorf("a template that is the same for all changes the id: %q", got)
	}
	want := ids("{domain}/{delivery}", threeRecipients())
	if len(want) != 2 || want[0] == want[1] || !strings.HasPrefix(want[0], "M.s.") || len(want[0]) != len("M.s.")+markLength {
		t.Fatalf("ids %q", want)
	}
	if again := ids("{domain}/{delivery}", threeRecipients()); !slices.Equal(again, want) {
		t.Errorf("the second time they are %q, not %q", again, want)
	}
	if alone := ids("{domain}/{delivery}", threeRecipients()[1:2]); !slices.Equal(alone, want[1:]) {
		t.Errorf("alone it is %q, not %q", alone, want[1:])
	}
}

func TestTheFirstRuleDecidesWhereARecipientBelongs(t *testing.T) {
	t.Parallel()
	var got []string
	tpl := newTemplated(t, "{rule}", &got)
	plan := NewPlan(PlanOptions{Outlets: outletsOf(1, map[string]Sink{"s": tpl})})
	rs := threeRecipients()
	m := &Message{Envelope: Envelope{ID: "M", Recipients: rs}}
	for _, d := range plan.Deliveries(m, Routing{Targets: []Target{
		{Recipient: rs[0], Sink: "s", Rule: "one"},
		{Recipient: rs[0], Sink: "s", Rule: "two"},
		{Recipient: rs[1], Sink: "s", Rule: "two"},
	}}, m.Envelope.ReceivedAt) {
		got = append(got, describe(tpl.template, d)+fmt.Sprint(d.Rules))
	}
	if want := []string{"one: a@one.example[one two]", "two: b@two.example[two]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestAWaitingDeliveryIsTakenApartBeforeItMixesRecipients: it was written down before its sink had the template, or is
// replayed to another sink.
func TestAWaitingDeliveryIsTakenApartBeforeItMixesRecipients(t *testing.T) {
	t.Parallel()
	var got []string
	plan := NewPlan(PlanOptions{Outlets: outletsOf(1, map[string]Sink{"s": newTemplated(t, "{domain}", &got)})})
	attempts := NewAttempts(AttemptsOptions{Plan: func() *Plan { return plan }, Log: slog.New(slog.DiscardHandler)})
	box := &outboxRecorder{}
	v := NewDeliverer(Stages{}, attempts, box)
	d := &Delivery{ID: "M.old.rX", Sink: "s", Recipients: threeRecipients(), Message: testMessage(), Attempt: 3, ReplayOf: "M.old"}
	if err := courierDelivers(t, v.Courier("s", nil), d); err != nil {
		t.Fatal(err)
	}
	if len(got) != 0 || len(box.waiting) != 2 {
		t.Fatalf("delivered %q, waiting %d, want none and 2", got, len(box.waiting))
	}
	for _, w := range box.waiting {
		if w.Delivery.ReplayOf != "M.old" || !strings.HasPrefix(w.Delivery.ID, "M.old.rX.") || !w.NotBefore.IsZero() {
			t.Errorf("%+v", w.Delivery)
		}
		if err := courierDelivers(t, v.Courier("s", nil), w.Delivery); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"one.example: a@one.example c@one.example", "two.example: b@two.example"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	box.err = context.DeadlineExceeded
	if err := courierDelivers(t, v.Courier("s", nil), d); err == nil {
		t.Error("parts that could not be written down count as delivered")
	}
}

type separate struct{ sinkFunc }

func (separate) PerRecipient() bool { return true }

func TestASinkMayWantEachRecipientByItself(t *testing.T) {
	t.Parallel()
	plan := NewPlan(PlanOptions{Outlets: outletsOf(1, map[string]Sink{"s": separate{delivers()}})})
	m := &Message{Envelope: Envelope{ID: "M", Recipients: threeRecipients()}}
	routing, _ := routes{"s"}.Route(m)
	ids := map[string]bool{}
	for _, d := range plan.Deliveries(m, routing, m.Envelope.ReceivedAt) {
		ids[d.ID] = len(d.Recipients) == 1
	}
	if len(ids) != 3 {
		t.Errorf("deliveries %v, want one for each of three recipients", ids)
	}
}
