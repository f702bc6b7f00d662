package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// frontRecorder is a front end at which a sender waits, or not, and what it was told in the order of things.
type frontRecorder struct {
	patience time.Duration
	heard    bool
	story    *[]string
}

func (f *frontRecorder) Waiting(context.Context, *Wait) (time.Duration, bool) {
	return f.patience, f.patience > 0
}

func (f *frontRecorder) Tell(_ context.Context, _ *Wait, vs []Verdict) bool {
	s := "told"
	for _, v := range vs {
		code := 250
		if v.Reply != nil {
			code = v.Reply.Code
		}
		s += fmt.Sprintf(" %v:%d", v.For, code)
	}
	*f.story = append(*f.story, s)
	return f.heard
}

func (f *frontRecorder) Remember(_ context.Context, _ *Wait, id string) {
	*f.story = append(*f.story, "remembered "+id)
}

// story is an outbox that tells its part.
type storyBox struct {
	outboxRecorder
	story *[]string
}

func (b *storyBox) Enqueue(ctx context.Context, ds []Deferred) error {
	for _, d := range ds {
		s := "wrote " + d.Delivery.ID
		for _, r := range d.Delivery.Recipients {
			s += " " + r.Address
		}
		*b.story = append(*b.story, s)
	}
	return b.outboxRecorder.Enqueue(ctx, ds)
}

func (b *storyBox) Bury(ctx context.Context, d *Delivery, reason string) error {
	*b.story = append(*b.story, "buried "+d.ID)
	return b.outboxRecorder.Bury(ctx, d, reason)
}

// waitRoutes sends all to the archive, and recipients of the message's Wait to a sink of their own, if it has one, else
// to hook; the sender waits for that.
type waitRoutes struct{ own map[string]string }

func (w waitRoutes) Route(m *Message) (Routing, []Problem) {
	var out Routing
	for _, r := range m.Envelope.Recipients {
		out.Targets = append(out.Targets, Target{Recipient: r, Sink: "archive", Rule: "all"})
		if slices.Contains(m.Wait.Recipients, r.Address) {
			sink := "hook"
			if own := w.own[r.Address]; own != "" {
				sink = own
			}
			out.Targets = append(out.Targets, Target{Recipient: r, Sink: sink, Rule: "gate", Waits: true})
		}
	}
	return out, nil
}

func refusesWith(code int) sinkFunc {
	return func(context.Context, *Delivery) (Response, error) {
		return Response{Status: "4xx", Reply: &SenderReply{Code: code, Status: "x", Text: "x"}}, errors.New("endpoint answered")
	}
}

func TestWhatIsDoneForASenderThatWaits(t *testing.T) {
	t.Parallel()
	const a, b = "a@example.com", "b@example.com"
	hangs := sinkFunc(func(ctx context.Context, _ *Delivery) (Response, error) {
		return Response{}, context.DeadlineExceeded
	})
	for name, c := range map[string]struct {
		wait    Wait
		own     map[string]string // sinks
		sinks   map[string]Sink
		gone    bool // nobody waits
		unheard bool
		want    []string
		refused int
	}{
		"taken, defer: told last":    {wait: Wait{Together: true, Defers: true}, sinks: map[string]Sink{"hook": delivers()}, want: []string{"wrote M.archive a@example.com b@example.com", "told []:250"}},
		"taken, accept: told first":  {wait: Wait{Together: true}, sinks: map[string]Sink{"hook": delivers()}, want: []string{"told []:250", "wrote M.archive a@example.com b@example.com"}},
		"taken too late, defer":      {wait: Wait{Together: true, Defers: true}, unheard: true, sinks: map[string]Sink{"hook": delivers()}, want: []string{"wrote M.archive a@example.com b@example.com", "told []:250", "remembered M"}},
		"taken too late, accept":     {wait: Wait{Together: true}, unheard: true, sinks: map[string]Sink{"hook": delivers()}, want: []string{"told []:250", "wrote M.archive a@example.com b@example.com"}},
		"refused":                    {wait: Wait{Together: true, Defers: true}, sinks: map[string]Sink{"hook": refusesWith(550)}, want: []string{"told []:550"}, refused: 1},
		"refused, accept":            {wait: Wait{Together: true}, sinks: map[string]Sink{"hook": refusesWith(550)}, want: []string{"told []:550"}, refused: 1},
		"refused too late, defer":    {wait: Wait{Together: true, Defers: true}, unheard: true, sinks: map[string]Sink{"hook": refusesWith(550)}, want: []string{"told []:550"}, refused: 1},
		"refused too late, accept":   {wait: Wait{Together: true}, unheard: true, sinks: map[string]Sink{"hook": refusesWith(550)}, want: []string{"told []:550", "wrote M.hook a@example.com b@example.com", "wrote M.archive a@example.com b@example.com"}},
		"failing":                    {wait: Wait{Together: true}, sinks: map[string]Sink{"hook": failsWith(errors.New("500"))}, want: []string{"told []:451"}, refused: 1},
		"hanging, defer":             {wait: Wait{Together: true, Defers: true}, sinks: map[string]Sink{"hook": hangs}, want: []string{"told []:451"}, refused: 1},
		"hanging, accept":            {wait: Wait{Together: true}, sinks: map[string]Sink{"hook": hangs}, want: []string{"told []:250", "wrote M.hook a@example.com b@example.com", "wrote M.archive a@example.com b@example.com"}},
		"no such sink, defer":        {wait: Wait{Together: true, Defers: true}, sinks: map[string]Sink{}, want: []string{"told []:451"}, refused: 1},
		"no such sink, accept":       {wait: Wait{Together: true}, sinks: map[string]Sink{}, want: []string{"told []:250", "wrote M.hook a@example.com b@example.com", "wrote M.archive a@example.com b@example.com"}},
		"nobody waits, defer":        {wait: Wait{Together: true, Defers: true}, gone: true, sinks: map[string]Sink{"hook": delivers()}, want: nil},
		"nobody waits, accept":       {wait: Wait{Together: true}, gone: true, sinks: map[string]Sink{"hook": failsWith(errors.New("500")), "archive": delivers()}, want: []string{"wrote M.hook a@example.com b@example.com"}},
		"answers differ, one reply":  {wait: Wait{Together: true, Defers: true}, own: map[string]string{b: "own"}, sinks: map[string]Sink{"hook": delivers(), "own": refusesWith(550)}, want: []string{"wrote M.own b@example.com", "wrote M.archive a@example.com b@example.com", "told []:250"}},
		"two refusals, one reply":    {wait: Wait{Together: true, Defers: true}, own: map[string]string{b: "own"}, sinks: map[string]Sink{"hook": refusesWith(550), "own": refusesWith(451)}, want: []string{"told []:451"}, refused: 2},
		"answers differ, LMTP":       {wait: Wait{Defers: true}, own: map[string]string{b: "own"}, sinks: map[string]Sink{"hook": delivers(), "own": refusesWith(550)}, want: []string{"wrote M.archive a@example.com", "told [0]:250 [1]:550"}, refused: 1},
		"one taken too late, LMTP":   {wait: Wait{Defers: true}, unheard: true, own: map[string]string{b: "own"}, sinks: map[string]Sink{"hook": delivers(), "own": hangs}, want: []string{"wrote M.archive a@example.com", "told [0]:250 [1]:451"}, refused: 1},
		"both taken too late, LMTP":  {wait: Wait{Defers: true}, unheard: true, own: map[string]string{b: "own"}, sinks: map[string]Sink{"hook": delivers(), "own": delivers()}, want: []string{"wrote M.archive a@example.com b@example.com", "told [0 1]:250", "remembered M"}},
		"one of two waits, LMTP":     {wait: Wait{Defers: true, Recipients: []string{b}}, sinks: map[string]Sink{"hook": refusesWith(550)}, want: []string{"wrote M.archive a@example.com", "told [0]:550"}, refused: 1},
		"one of two waited, LMTP":    {wait: Wait{Defers: true, Recipients: []string{b}}, gone: true, sinks: map[string]Sink{}, want: []string{"wrote M.archive a@example.com"}},
		"a dead sink for the others": {wait: Wait{Together: true, Defers: true}, sinks: map[string]Sink{"hook": delivers(), "archive": failsWith(Permanent(errors.New("410")))}, want: []string{"wrote M.archive a@example.com b@example.com", "told []:250"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var story []string
			front := &frontRecorder{patience: time.Minute, heard: !c.unheard, story: &story}
			if c.gone {
				front.patience = 0
			}
			box := &storyBox{story: &story}
			refused := 0
			log := slog.New(slog.DiscardHandler)
			attempts := NewAttempts(AttemptsOptions{
				Outlets: outletsOf(1, c.sinks), Random: func() float64 { return 0.5 }, Log: log,
				Record: func(k *KeptDelivery) {
					if k.State == StateRefused {
						refused++
					}
				},
			})
			p := NewProcessor(ProcessorOptions{Stages: Stages{}, Router: waitRoutes{c.own}, Attempts: attempts, Outbox: box, Front: front, Log: log})
			m := testMessage()
			m.Wait = &c.wait
			if m.Wait.Recipients == nil {
				m.Wait.Recipients = []string{a, b}
			}
			if err := p.Process(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, story); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if refused != c.refused {
				t.Errorf("%d refusals recorded, want %d", refused, c.refused)
			}
		})
	}
}

// What cannot be written down is not told as taken: the message is processed again while its sender waits.
func TestNothingIsToldWhenTheQueueFails(t *testing.T) {
	t.Parallel()
	var story []string
	box := &storyBox{story: &story}
	box.err = errors.New("disk full")
	log := slog.New(slog.DiscardHandler)
	p := NewProcessor(ProcessorOptions{
		Stages: Stages{}, Router: waitRoutes{}, Outbox: box, Log: log, Front: &frontRecorder{patience: time.Minute, heard: true, story: &story},
		Attempts: NewAttempts(AttemptsOptions{Outlets: outletsOf(1, map[string]Sink{"hook": delivers()}), Log: log}),
	})
	m := testMessage()
	m.Wait = &Wait{Together: true, Defers: true, Recipients: []string{"a@example.com", "b@example.com"}}
	if err := p.Process(t.Context(), m); err == nil {
		t.Error("the message would be settled")
	}
	if slices.ContainsFunc(story, func(s string) bool { return s[:4] == "told" }) {
		t.Errorf("story: %v", story)
	}
}

// A recipient that its sender waits for and another that it does not wait for have deliveries of their own at one sink.
func TestWaitingRecipientsHaveTheirOwnDelivery(t *testing.T) {
	t.Parallel()
	m := testMessage()
	ra, rb := m.Envelope.Recipients[0], m.Envelope.Recipients[1]
	plan := NewPlan(PlanOptions{Outlets: outletsOf(1, map[string]Sink{"hook": delivers()})})
	ids := func(targets ...Target) (out []string) {
		for _, d := range plan.Deliveries(m, Routing{Targets: targets}, time.Now()) {
			s := fmt.Sprint(d.ID, " ", d.Waits)
			for _, r := range d.Recipients {
				s += " " + r.Address
			}
			out = append(out, s)
		}
		return out
	}
	for _, c := range []struct {
		targets []Target
		want    []string
	}{
		{[]Target{{Recipient: ra, Sink: "hook", Waits: true}, {Recipient: rb, Sink: "hook", Waits: true}}, []string{"M.hook true a@example.com b@example.com"}},
		{[]Target{{Recipient: ra, Sink: "hook"}, {Recipient: ra, Sink: "hook", Waits: true}}, []string{"M.hook true a@example.com"}},
		{
			[]Target{{Recipient: ra, Sink: "hook"}, {Recipient: rb, Sink: "hook", Waits: true}},
			[]string{"M.hook false a@example.com", suffixed("M.hook", "\x00waits") + " true b@example.com"},
		},
	} {
		if diff := cmp.Diff(c.want, ids(c.targets...)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
