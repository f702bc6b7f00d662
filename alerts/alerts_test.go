package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"mxhook/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// posted is a Poster that fails as often as it is told and hands over what it gets.
type posted struct {
	fails int
	got   chan Payload
	ids   []string
}

func (p *posted) Post(_ context.Context, id string, body []byte) error {
	p.ids = append(p.ids, id)
	if p.fails > 0 {
		p.fails--
		return errors.New("503")
	}
	var v Payload
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	p.got <- v
	return nil
}

func start(t *testing.T, p *posted, change func(*Options)) *Alerts {
	t.Helper()
	p.got = make(chan Payload, 10)
	o := Options{
		Poster: p, Instance: "mx.example.com", Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Interval: time.Millisecond, Retries: []time.Duration{time.Millisecond, time.Millisecond},
	}
	if change != nil {
		change(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func receive(t *testing.T, p *posted) Payload {
	t.Helper()
	select {
	case v := <-p.got:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("no alert was posted")
		return Payload{}
	}
}

func TestAStormIsOneAlert(t *testing.T) {
	t.Parallel()
	p := &posted{fails: 1}
	a := start(t, p, nil)
	for i := range 1000 {
		a.Emit(pipeline.Event{Kind: pipeline.EventDeadLetter, Sink: "box", Message: fmt.Sprint(i), Reason: "410 Gone"})
	}
	a.Emit(pipeline.Event{Kind: pipeline.EventStorageLow, Reason: "1 GB is left"})
	v := receive(t, p)
	if v.Type != "mxhook.alert" || v.Data.Instance != "mx.example.com" || len(v.Data.Events) != 2 {
		t.Fatalf("%+v", v)
	}
	if e := v.Data.Events[0]; e.Kind != "dead_letter" || *e.Sink != "box" || e.Count != 1000 || *e.Message != "999" || e.Last.Before(e.First) {
		t.Errorf("%+v", e)
	}
	if e := v.Data.Events[1]; e.Sink != nil || e.Message != nil || e.Count != 1 {
		t.Errorf("%+v", e)
	}
	if len(p.ids) != 2 || p.ids[0] != p.ids[1] {
		t.Errorf("posted under the ids %v", p.ids)
	}
	if n := testutil.ToFloat64(a.events.WithLabelValues("dead_letter")); n != 1000 {
		t.Errorf("%v events are counted", n)
	}
}

func TestAlertIsGivenUpAndTheNextOneGoesOut(t *testing.T) {
	t.Parallel()
	p := &posted{fails: 3}
	a := start(t, p, func(o *Options) { o.Kinds = []string{"storage_low"} })
	a.Emit(pipeline.Event{Kind: pipeline.EventStorageLow, Reason: "first"})
	for deadline := time.Now().Add(20 * time.Second); testutil.ToFloat64(a.posts.WithLabelValues("given_up")) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("it is not given up")
		}
		time.Sleep(time.Millisecond)
	}
	a.Emit(pipeline.Event{Kind: pipeline.EventDeadLetter, Reason: "not asked for"})
	a.Emit(pipeline.Event{Kind: pipeline.EventStorageLow, Reason: "second"})
	if v := receive(t, p); len(v.Data.Events) != 1 || v.Data.Events[0].Reason != "second" {
		t.Errorf("%+v", v)
	}
}

func TestWhatWaitsIsBounded(t *testing.T) {
	t.Parallel()
	p := &posted{}
	a := start(t, p, nil)
	for i := range maxGroups + 7 {
		a.Emit(pipeline.Event{Kind: pipeline.EventBreakerOpen, Sink: fmt.Sprint("sink", i)})
	}
	if v := receive(t, p); len(v.Data.Events) != maxGroups || v.Data.NotListed != 7 {
		t.Errorf("%d events, %d not listed", len(v.Data.Events), v.Data.NotListed)
	}
}

func TestEmitDoesNotWaitForAPost(t *testing.T) {
	t.Parallel()
	blocked := make(chan struct{})
	a, err := New(Options{Poster: blocking(blocked), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a.Emit(pipeline.Event{Kind: pipeline.EventBreakerOpen})
	<-blocked
	for range 10_000 {
		a.Emit(pipeline.Event{Kind: pipeline.EventBreakerOpen, Sink: "box"})
	}
	a.Close()
}

type blocking chan struct{}

func (b blocking) Post(ctx context.Context, _ string, _ []byte) error {
	close(b)
	<-ctx.Done()
	return ctx.Err()
}
