package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

// succeeded notes that a message went to a sink.
func succeeded(t *testing.T, q *Queue, m *pipeline.Message, sink string) *pipeline.Delivery {
	t.Helper()
	d := sampleDelivery(m, sink)
	q.Delivered(&pipeline.KeptDelivery{Delivery: d, State: pipeline.StateDelivered, At: time.Now().UTC(), Status: "200 OK", Took: time.Second})
	return d
}

// replayAll asks for page after page.
func replayAll(t *testing.T, q *Queue, r pipeline.Replay) pipeline.ReplayPage {
	t.Helper()
	var sum pipeline.ReplayPage
	for {
		page, err := q.Replay(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		sum.ID, sum.Matched, sum.Replayed, sum.Skipped = page.ID, sum.Matched+page.Matched, sum.Replayed+page.Replayed, sum.Skipped+page.Skipped
		sum.Made, sum.Failed = append(sum.Made, page.Made...), append(sum.Failed, page.Failed...)
		if page.Cursor == "" {
			return sum
		}
		r.ID, r.Cursor = page.ID, page.Cursor
	}
}

// expectNext waits for one delivery to the sink and returns it.
func expectNext(t *testing.T, q *Queue, sink string) (got *pipeline.Delivery) {
	t.Helper()
	done := make(chan struct{})
	deliver(t, q, sink, done, func(_ context.Context, d *pipeline.Delivery) error {
		if got != nil {
			return pipeline.Later(errors.New("not this one"), time.Now())
		}
		got = d
		close(done)
		return nil
	})
	return got
}

func TestWhatSucceededIsListedAndReplayed(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		body := randomOctets(t, 1300*kib)
		var done []*pipeline.Delivery
		for _, sink := range []string{"box", "archive"} {
			done = append(done, succeeded(t, q, taken(t, q, body), sink))
		}
		list, err := q.Deliveries(t.Context(), pipeline.DeliveryFilter{Sink: "box"}, 10)
		if err != nil || len(list) != 1 {
			t.Fatalf("list: %d, %v", len(list), err)
		}
		k := list[0]
		if k.State != pipeline.StateDelivered || k.Status != "200 OK" || k.Took != time.Second || k.Delivery.Message.Envelope.ReversePath != "alice@example.org" {
			t.Errorf("listed: %+v", k)
		}
		one, err := q.Delivery(t.Context(), done[0].ID)
		if err != nil || cmp.Diff(k, one, addrs) != "" {
			t.Errorf("shown: %+v, %v", one, err)
		}

		all := pipeline.Replay{Sinks: []string{"box", "archive", "other"}}
		dry := all
		dry.DryRun = true
		if n := replayAll(t, q, dry); n.Matched != 2 || n.Replayed != 0 || len(n.Failed) != 0 {
			t.Errorf("preview: %+v", n)
		}
		sum := replayAll(t, q, all)
		if sum.Matched != 2 || sum.Replayed != 2 || len(sum.Failed) != 0 {
			t.Fatalf("replay: %+v", sum)
		}
		for _, want := range done {
			got := expectNext(t, q, want.Sink)
			checkBody(t, got.Message, body)
			if got.ReplayOf != want.ID || got.ID == want.ID || got.Attempt != 1 || got.Message.Auth == nil ||
				!slices.Equal(got.Rules, want.Rules) || !slices.ContainsFunc(sum.Made, func(m pipeline.Replayed) bool { return m.New == got.ID && m.ID == want.ID }) {
				t.Errorf("replay of %s: %+v", want.ID, got)
			}
			if mailTime(got.ID).After(mailTime(want.ID).Add(time.Second)) {
				t.Errorf("the janitor takes the message of %s for younger than it is", got.ID)
			}
		}
		expectIdle(t, q)

		// The same page again makes the same deliveries.
		all.ID = sum.ID
		if again := replayAll(t, q, all); cmp.Diff(sum.Made, again.Made) != "" {
			t.Errorf("again: %s", cmp.Diff(sum.Made, again.Made))
		}
		// To another sink, by id; and to one that is not there.
		if s := replayAll(t, q, pipeline.Replay{IDs: []string{done[0].ID, "unknown"}, To: "other", Sinks: all.Sinks}); s.Replayed != 1 || len(s.Failed) != 1 {
			t.Errorf("by id: %+v", s)
		}
		if got := expectNext(t, q, "other"); got.ReplayOf != done[0].ID || !strings.HasPrefix(got.ID, done[0].Message.Envelope.ID+".other.r") {
			t.Errorf("to another sink: %+v", got)
		}
		if s := replayAll(t, q, pipeline.Replay{To: "gone", Sinks: all.Sinks}); s.Replayed != 0 || len(s.Failed) == 0 {
			t.Errorf("to a sink that is not there: %+v", s)
		}
	})
}

func TestReplayOfAnOldMessageStoresItAnew(t *testing.T) {
	t.Parallel()
	q, advance, _ := aged(t)
	d := succeeded(t, q, taken(t, q, []byte("hello")), "box")
	q.Delivered(&pipeline.KeptDelivery{Delivery: d, State: pipeline.StateDelivered})
	before := storedMessages(t, q)
	advance(inPlaceAge + time.Hour)
	if s := replayAll(t, q, pipeline.Replay{IDs: []string{d.ID}, Sinks: []string{"box"}}); s.Replayed != 1 {
		t.Fatalf("%+v", s)
	}
	if n := storedMessages(t, q); n != before+1 {
		t.Errorf("%d stored messages after the replay of one of %d", n, before)
	}
	if got := expectNext(t, q, "box"); string(got.Message.Raw) != "hello" || got.Message.Envelope.ID != d.Message.Envelope.ID {
		t.Errorf("%+v", got)
	}
}

func TestReplayPagesAndMovesWhatWaitsForASinkThatIsGone(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		const n, perPage = 50, 40
		q := mustOpen(t, open, func(c *Config) { c.replayPage, c.replayFor = perPage, time.Minute })
		m := taken(t, q, []byte("hello"))
		var ds []pipeline.Deferred
		for i := range n {
			d := sampleDelivery(m, "gone")
			d.ID += fmt.Sprintf(".%d", i)
			ds = append(ds, pipeline.Deferred{Delivery: d})
			if i%2 == 0 {
				ds[i].NotBefore = time.Now().Add(time.Hour)
			}
		}
		enqueue(t, q, ds...)
		r := pipeline.Replay{DeliveryFilter: pipeline.DeliveryFilter{Sink: "gone"}, To: "box", Sinks: []string{"box"}}
		page, err := q.Replay(t.Context(), r)
		if err != nil || page.ID == "" || page.Matched != 0 {
			t.Fatalf("begin: %+v, %v", page, err)
		}
		r.ID, r.Cursor = page.ID, page.Cursor
		page, err = q.Replay(t.Context(), r)
		if err != nil || page.Matched != perPage || page.Cursor == "" {
			t.Fatalf("first page: matched %d, cursor %q, %v", page.Matched, page.Cursor, err)
		}
		r.Cursor = page.Cursor
		rest := replayAll(t, q, r)
		if page.Replayed+rest.Replayed != n {
			t.Errorf("replayed %d and %d of %d, failed %v", page.Replayed, rest.Replayed, n, rest.Failed)
		}
		if got := status(t, q).Deliveries; got["gone"] != (Waiting{}) || got["box"] != (Waiting{Due: n}) {
			t.Errorf("waiting after the move: %+v", got)
		}
	})
}

func TestReplayOfWhatWaitsForItsNextAttemptIsThatAttempt(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	d := sampleDelivery(taken(t, q, []byte("hello")), "box")
	failed(d)
	enqueue(t, q, pipeline.Deferred{Delivery: d, NotBefore: time.Now().Add(time.Hour)})
	r := pipeline.Replay{DeliveryFilter: pipeline.DeliveryFilter{State: pipeline.StateWaiting, Recipient: "@example.com"}, Sinks: []string{"box"}}
	if s := replayAll(t, q, r); s.Replayed != 1 || s.Made[0].New != d.ID {
		t.Fatalf("%+v", s)
	}
	if s := replayAll(t, q, r); s.Replayed != 0 || s.Skipped != 1 {
		t.Errorf("once more: %+v", s)
	}
	if got := expectNext(t, q, "box"); got.ID != d.ID || got.Attempt != 2 {
		t.Errorf("%+v", got)
	}
	expectIdle(t, q)
}

func TestMessageIsReplayedThroughTheRulesUnderANewID(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		body := randomOctets(t, 1300*kib)
		old := taken(t, q, body)
		other := taken(t, q, []byte("another"))
		list, err := q.Messages(t.Context(), pipeline.MessageFilter{Recipient: "SALES@example.com"}, 10)
		if err != nil || len(list) != 2 || list[0].Message.Envelope.ID != other.Envelope.ID {
			t.Fatalf("list: %d, %v", len(list), err)
		}
		shown, err := q.Message(t.Context(), old.Envelope.ID, true)
		if err != nil {
			t.Fatal(err)
		}
		checkBody(t, shown.Message, body)

		s := replayAll(t, q, pipeline.Replay{Messages: true, IDs: []string{old.Envelope.ID}, To: "box", Sinks: []string{"box"}})
		if s.Replayed != 1 {
			t.Fatalf("%+v", s)
		}
		got := next(t, q)
		checkBody(t, got, body)
		if e := got.Envelope; e.ReplayOf != old.Envelope.ID || e.ReplayTo != "box" || e.ID != s.Made[0].New || e.ID == old.Envelope.ID {
			t.Errorf("envelope %+v", e)
		}
		if s := replayAll(t, q, pipeline.Replay{Messages: true, MessageFilter: pipeline.MessageFilter{From: "@example.org"}}); s.Replayed != 3 {
			t.Errorf("by filter: %+v", s)
		}
	})
}

func TestMessageIsDroppedOnlyWhenNothingNeedsIt(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		env := spool(t, q, newEnvelope(), randomOctets(t, 1300*kib))
		if err := q.DropMessage(t.Context(), env.ID); !errors.Is(err, pipeline.ErrRefused) {
			t.Errorf("drop what is not processed: %v", err)
		}
		d := sampleDelivery(next(t, q), "box")
		enqueue(t, q, pipeline.Deferred{Delivery: d})
		if err := q.DropMessage(t.Context(), env.ID); !errors.Is(err, pipeline.ErrRefused) {
			t.Errorf("drop what a delivery waits with: %v", err)
		}
		if err := q.DropDelivery(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
		if err := q.DropMessage(t.Context(), env.ID); err != nil {
			t.Fatal(err)
		}
		if err := q.DropMessage(t.Context(), env.ID); !errors.Is(err, pipeline.ErrNotFound) {
			t.Errorf("drop it twice: %v", err)
		}
		if n := storedMessages(t, q); n != 0 {
			t.Errorf("%d messages are left", n)
		}
		expectIdle(t, q)
	})
}

func TestBadReplaysAreRefused(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()))
	for _, r := range []pipeline.Replay{{ID: "no"}, {ID: newEnvelope().ID, Cursor: "1.2"}, {ID: newEnvelope().ID, Cursor: "0.-1.3"}, {ID: newEnvelope().ID, Cursor: "0.0.1x"}} {
		if _, err := q.Replay(t.Context(), r); !errors.Is(err, pipeline.ErrRefused) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

func TestSuccessesAreWrittenDownByAStop(t *testing.T) {
	t.Parallel()
	open := embedded(t, t.TempDir())
	q := mustOpen(t, open)
	d := succeeded(t, q, taken(t, q, []byte("hello")), "box")
	closeQueue(t, q)
	q = mustOpen(t, open)
	if k, err := q.Delivery(t.Context(), d.ID); err != nil || k.State != pipeline.StateDelivered {
		t.Errorf("%+v, %v", k, err)
	}
}

// A rate holds over the pages, also where one page has no time for the next one, and a page may end within one record of
// successes.
func TestASlowReplayKeepsItsRateOverPages(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, embedded(t, t.TempDir()), func(c *Config) { c.replayFor = 30 * time.Millisecond })
	m := taken(t, q, []byte("x"))
	want := map[string]int{}
	for i := range 6 {
		d := sampleDelivery(m, "box")
		d.ID += fmt.Sprintf(".%d", i)
		q.Delivered(&pipeline.KeptDelivery{Delivery: d, State: pipeline.StateDelivered, At: time.Now().UTC(), Status: "200 OK"})
		want[d.ID] = 1
	}
	r := pipeline.Replay{DeliveryFilter: pipeline.DeliveryFilter{Sink: "box"}, Sinks: []string{"box"}, Rate: 10}
	got, pages, began := map[string]int{}, 0, time.Now()
	for {
		page, err := q.Replay(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if pages++; page.Matched > 1 || len(page.Failed) > 0 {
			t.Errorf("page %d: %+v", pages, page)
		}
		for _, made := range page.Made {
			got[made.ID]++
		}
		if page.Cursor == "" {
			break
		}
		r.ID, r.Cursor = page.ID, page.Cursor
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if took := time.Since(began); took < 490*time.Millisecond || pages < 12 {
		t.Errorf("%d pages in %v", pages, took)
	}
}

func TestReplayCursorsAreReadAsWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []replayCursor{{Seq: 1}, {1, 2, 3, 0, 0}, {1, 2, 3, 4, 0}, {1, 2, 3, 0, 5}, {1, 2, 3, 4, 5}} {
		if got, err := parseReplayCursor(c.String()); err != nil || got != c {
			t.Errorf("%s: %+v, %v", c, got, err)
		}
	}
	for _, s := range []string{"1", "1.2", "1.2.3.4", "1.2.3.0.0", "-1.2.3", "1.2.3.-4.5", "1.2.3.4.-5", "1.2.3.4.5.6", "1.2.3.4.x", " 1.2.3"} {
		if got, err := parseReplayCursor(s); !errors.Is(err, pipeline.ErrRefused) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
}
