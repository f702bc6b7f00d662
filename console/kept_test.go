package console

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

// keptStore knows the message M and its delivery, and remembers what it was asked.
type keptStore struct {
	acts           []string
	messageFilter  pipeline.MessageFilter
	deliveryFilter pipeline.DeliveryFilter
	replay         pipeline.Replay
}

func (s *keptStore) Messages(_ context.Context, f pipeline.MessageFilter, limit int) ([]*pipeline.KeptMessage, error) {
	s.messageFilter = f
	return []*pipeline.KeptMessage{keptM()}[:min(limit, 1)], nil
}

func (s *keptStore) Message(_ context.Context, id string, raw bool) (*pipeline.KeptMessage, error) {
	if id != "M" {
		return nil, pipeline.ErrNotFound
	}
	k := keptM()
	if raw {
		k.Message.Raw = []byte("a\x00\r\nb")
	}
	return k, nil
}

func (s *keptStore) Deliveries(_ context.Context, f pipeline.DeliveryFilter, _ int) ([]*pipeline.KeptDelivery, error) {
	s.deliveryFilter = f
	return []*pipeline.KeptDelivery{keptD()}, nil
}

func (s *keptStore) Delivery(_ context.Context, id string) (*pipeline.KeptDelivery, error) {
	if id != "M.hook" {
		return nil, pipeline.ErrNotFound
	}
	return keptD(), nil
}

func (s *keptStore) act(what, id string) error {
	s.acts = append(s.acts, what+" "+id)
	if id == "busy" {
		return fmt.Errorf("%w: a delivery waits with it", pipeline.ErrRefused)
	}
	return nil
}

func (s *keptStore) DropMessage(_ context.Context, id string) error  { return s.act("drop message", id) }
func (s *keptStore) DropDelivery(_ context.Context, id string) error { return s.act("drop", id) }

func (s *keptStore) BuryMessage(_ context.Context, id, _ string) error {
	return s.act("bury message", id)
}
func (s *keptStore) BuryDelivery(_ context.Context, id, _ string) error { return s.act("bury", id) }

func (s *keptStore) Replay(_ context.Context, r pipeline.Replay) (pipeline.ReplayPage, error) {
	s.replay = r
	return pipeline.ReplayPage{ID: "R", Cursor: "0.0.1", Matched: 2, Replayed: 1, Failed: []pipeline.ReplayFailure{{ID: "x", Reason: "gone"}}}, nil
}

func (s *keptStore) QueueStatus(context.Context) (QueueStatus, error) {
	return QueueStatus{Durability: "fsync", Sinks: map[string]Backlog{"hook": {Due: 2}, "gone": {Scheduled: 1}}, Streams: []Stream{{Name: "S"}}}, nil
}

func TestQueueStatusTellsWhichSinksAreConfigured(t *testing.T) {
	_, c, _ := newTestAPI(t, "")
	st, err := c.QueueStatus(t.Context())
	want := map[string]Backlog{"hook": {Due: 2, Configured: true}, "other": {Configured: true}, "gone": {Scheduled: 1}}
	if diff := cmp.Diff(want, st.Sinks); err != nil || diff != "" || st.Durability != "fsync" {
		t.Errorf("%v\n%s", err, diff)
	}
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func keptM() *pipeline.KeptMessage {
	return &pipeline.KeptMessage{StoredAt: noon, Message: &pipeline.Message{Envelope: pipeline.Envelope{
		ID: "M", ReversePath: "alice@example.org", ReceivedAt: noon, Size: 5, Recipients: []pipeline.Recipient{{Address: "a@example.com"}},
	}}}
}

func keptD() *pipeline.KeptDelivery {
	return &pipeline.KeptDelivery{State: pipeline.StateDelivered, At: noon, Status: "200 OK", Took: time.Second, Delivery: &pipeline.Delivery{
		ID: "M.hook", Sink: "hook", Rules: []string{"all"}, Attempt: 1, Message: keptM().Message, Recipients: []pipeline.Recipient{{Address: "a@example.com"}},
	}}
}

func TestKeptMessagesAndDeliveriesCanBeListedAndShown(t *testing.T) {
	s, c, _ := newTestAPI(t, "")
	mf := pipeline.MessageFilter{Recipient: "@example.com", From: "<>", Since: noon, Until: noon.Add(time.Hour)}
	messages, err := c.Messages(t.Context(), mf, 7)
	if err != nil || len(messages) != 1 || messages[0].MailFrom != "alice@example.org" || messages[0].Recipients[0] != "a@example.com" {
		t.Errorf("messages: %+v, %v", messages, err)
	}
	if diff := cmp.Diff(mf, s.messageFilter); diff != "" {
		t.Errorf("filter that reached the store:\n%s", diff)
	}
	m, err := c.Message(t.Context(), "M")
	if err != nil || cmp.Diff(messages[0], m) != "" {
		t.Errorf("message: %+v, %v", m, err)
	}
	var raw bytes.Buffer
	if err := c.MessageMail(t.Context(), "M", &raw); err != nil || raw.String() != "a\x00\r\nb" {
		t.Errorf("mail %q, %v", raw.String(), err)
	}
	df := pipeline.DeliveryFilter{State: "dead", Message: "M", Sink: "hook", Rule: "all", Recipient: "a@example.com", Since: noon}
	deliveries, err := c.Deliveries(t.Context(), df, 0)
	if err != nil || len(deliveries) != 1 || deliveries[0].Status != "200 OK" || *deliveries[0].MailFrom != "alice@example.org" || deliveries[0].Due != nil {
		t.Errorf("deliveries: %+v, %v", deliveries, err)
	}
	if diff := cmp.Diff(df, s.deliveryFilter); diff != "" {
		t.Errorf("filter that reached the store:\n%s", diff)
	}
	d, err := c.Delivery(t.Context(), "M.hook")
	if err != nil || cmp.Diff(deliveries[0], d) != "" {
		t.Errorf("delivery: %+v, %v", d, err)
	}
	if _, err := c.Delivery(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "deliveries list") {
		t.Errorf("unknown delivery: %v", err)
	}
	if _, err := c.Deliveries(t.Context(), pipeline.DeliveryFilter{State: "lost"}, 0); err == nil || !strings.Contains(err.Error(), "state must be") {
		t.Errorf("unknown state: %v", err)
	}
}

func TestKeptMessagesAndDeliveriesCanBeDroppedAndBuried(t *testing.T) {
	s, c, _ := newTestAPI(t, "")
	for _, act := range []func(context.Context, string) error{c.DropMessage, c.BuryMessage, c.DropDelivery, c.BuryDelivery} {
		if err := act(t.Context(), "M.hook"); err != nil {
			t.Error(err)
		}
		if err := act(t.Context(), "busy"); err == nil || !strings.Contains(err.Error(), "waits with it") {
			t.Errorf("refused: %v", err)
		}
	}
	want := []string{"drop message M.hook", "drop message busy", "bury message M.hook", "bury message busy", "drop M.hook", "drop busy", "bury M.hook", "bury busy"}
	if diff := cmp.Diff(want, s.acts); diff != "" {
		t.Errorf("what reached the store:\n%s", diff)
	}
}

func TestReplayIsAskedForPageByPage(t *testing.T) {
	s, c, _ := newTestAPI(t, "")
	page, err := c.ReplayPage(t.Context(), ReplayRequest{
		ID: "R", What: "deliveries", Filter: ReplayFilter{Sink: "hook", State: "delivered", Since: noon}, To: "other", Rate: 10, DryRun: true, Cursor: "0.0.1",
	})
	if err != nil || page.Replayed != 1 || page.Cursor == "" || len(page.Failed) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	want := pipeline.Replay{
		ID: "R", To: "other", Sinks: []string{"hook", "other"}, Rate: 10, DryRun: true, Cursor: "0.0.1",
		MessageFilter: pipeline.MessageFilter{Since: noon}, DeliveryFilter: pipeline.DeliveryFilter{Sink: "hook", State: "delivered", Since: noon},
	}
	if diff := cmp.Diff(want, s.replay); diff != "" {
		t.Errorf("what reached the store:\n%s", diff)
	}
	for name, r := range map[string]ReplayRequest{
		"all": {What: "deliveries"}, "what": {What: "mails", All: true}, "select": {What: "messages", Filter: ReplayFilter{Sink: "hook"}},
		"configured": {What: "messages", All: true, To: "nowhere"}, "not both": {What: "messages", IDs: []string{"M"}, All: true},
	} {
		if _, err := c.ReplayPage(t.Context(), r); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
