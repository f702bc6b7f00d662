package console

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

// memoryStore is a Store of one dead letter.
type memoryStore struct {
	letter   *pipeline.DeadLetter
	err      error
	replayed string
	filter   DeadFilter
	keptStore
}

func (s *memoryStore) DeadLetters(_ context.Context, f DeadFilter) ([]*pipeline.DeadLetter, error) {
	s.filter = f
	if s.letter == nil || (f.Message != "" && f.Message != s.letter.Delivery.Message.Envelope.ID) {
		return nil, s.err
	}
	return []*pipeline.DeadLetter{s.letter}, s.err
}

func (s *memoryStore) DeadLetter(_ context.Context, id string) (*pipeline.DeadLetter, error) {
	if s.letter == nil || s.letter.Delivery.ID != id {
		return nil, pipeline.ErrNotFound
	}
	return s.letter, s.err
}

func (s *memoryStore) ReplayDead(_ context.Context, id, sink string) (string, error) {
	s.replayed = id + " to " + sink
	return id + ".r1", s.err
}

func (s *memoryStore) DropDead(_ context.Context, id string) error {
	if s.letter == nil || s.letter.Delivery.ID != id {
		return pipeline.ErrNotFound
	}
	s.letter = nil
	return s.err
}

func newTestAPI(t *testing.T, token string) (*memoryStore, *Client, *httptest.Server) {
	t.Helper()
	s := &memoryStore{letter: &pipeline.DeadLetter{
		At: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Reason: "410 Gone",
		Delivery: &pipeline.Delivery{
			ID: "M.hook", Sink: "hook", Rules: []string{"all"}, Recipients: []pipeline.Recipient{{Address: "a@example.com"}},
			History: []pipeline.AttemptRecord{{Attempt: 1, Status: "410 Gone"}},
			Message: &pipeline.Message{Envelope: pipeline.Envelope{ID: "M", Size: 5}, Raw: []byte("a\x00\r\nb")},
		},
	}}
	srv := httptest.NewServer(New(Options{Store: s, Sinks: []string{"hook", "other"}, Token: token, Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(srv.Close)
	return s, &Client{Base: srv.URL, Token: token, HTTP: srv.Client()}, srv
}

func TestDeadLettersCanBeListedShownReplayedAndDropped(t *testing.T) {
	s, c, _ := newTestAPI(t, "")
	list, err := c.DeadLetters(t.Context(), DeadFilter{Sink: "hook", Message: "M", Limit: 7})
	if err != nil || len(list) != 1 || list[0].ID != "M.hook" || list[0].Reason != "410 Gone" || len(list[0].Attempts) != 1 {
		t.Fatalf("list: %+v, %v", list, err)
	}
	if diff := cmp.Diff(DeadFilter{Sink: "hook", Message: "M", Limit: 7}, s.filter); diff != "" {
		t.Errorf("filter that reached the store:\n%s", diff)
	}
	one, err := c.DeadLetter(t.Context(), "M.hook")
	if err != nil || cmp.Diff(list[0], one) != "" {
		t.Errorf("show: %+v, %v", one, err)
	}
	var mail strings.Builder
	if err := c.Mail(t.Context(), "M.hook", &mail); err != nil || mail.String() != "a\x00\r\nb" {
		t.Errorf("mail: %q, %v", mail.String(), err)
	}
	if id, err := c.Replay(t.Context(), "M.hook", "other"); err != nil || id != "M.hook.r1" || s.replayed != "M.hook to other" {
		t.Errorf("replay: %q, %v, store saw %q", id, err, s.replayed)
	}
	if err := c.Drop(t.Context(), "M.hook"); err != nil || s.letter != nil {
		t.Errorf("drop: %v", err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	s, c, srv := newTestAPI(t, "")
	for name, tc := range map[string]struct {
		do   func() error
		want string
	}{
		"unknown id":   {func() error { _, err := c.DeadLetter(t.Context(), "X"); return err }, "mxhook dead list"},
		"drop unknown": {func() error { return c.Drop(t.Context(), "X") }, "mxhook dead list"},
		"unknown sink": {func() error { _, err := c.Replay(t.Context(), "M.hook", "nope"); return err }, "there are: hook, other"},
		"bad limit": {func() error {
			return c.json(t.Context(), http.MethodGet, "/api/v1/dead?limit=x", nil, nil)
		}, "limit must be a number"},
		"nobody there": {func() error {
			_, err := (&Client{Base: "http://127.0.0.1:1", HTTP: srv.Client()}).DeadLetters(t.Context(), DeadFilter{})
			return err
		}, "is it running"},
	} {
		if err := tc.do(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error is %v, want one with %q", name, err, tc.want)
		}
	}
	s.err = errors.New("inner detail of the queue")
	if _, err := c.DeadLetters(t.Context(), DeadFilter{}); err == nil || strings.Contains(err.Error(), "inner detail") {
		t.Errorf("a failing queue: error is %v, want one without the inner text", err)
	}
}

func TestAReplayToASinkThatIsGoneAsksForAnother(t *testing.T) {
	s, c, _ := newTestAPI(t, "")
	s.letter.Delivery.Sink = "removed"
	if _, err := c.Replay(t.Context(), "M.hook", ""); err == nil || !strings.Contains(err.Error(), "--to") || s.replayed != "" {
		t.Errorf("replay to a sink that is gone: error %v, store saw %q", err, s.replayed)
	}
	s.letter.Delivery.Sink = ""
	if _, err := c.Replay(t.Context(), "M.hook", ""); err != nil || s.replayed != "M.hook to " {
		t.Errorf("replay of what never had a sink: error %v, store saw %q", err, s.replayed)
	}
}

func TestTheTokenIsAskedFor(t *testing.T) {
	_, c, _ := newTestAPI(t, "secret")
	if _, err := c.DeadLetters(t.Context(), DeadFilter{}); err != nil {
		t.Errorf("with the token: %v", err)
	}
	c.Token = "wrong"
	if _, err := c.DeadLetters(t.Context(), DeadFilter{}); err == nil || !strings.Contains(err.Error(), "ops.token") {
		t.Errorf("with a wrong token: %v", err)
	}
}

func TestAForeignNameIsNotAnsweredWithoutAToken(t *testing.T) {
	_, c, srv := newTestAPI(t, "")
	ask := func(host, token string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/api/v1/dead", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := c.HTTP.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for host, want := range map[string]int{
		"localhost:8025": 200, "127.0.0.1": 200, "[::1]:8025": 200, "rebound.example": 403, "rebound.example:8025": 403, "localhost.example": 403,
	} {
		if got := ask(host, ""); got != want {
			t.Errorf("Host %s: status %d, want %d", host, got, want)
		}
	}
	_, c, srv = newTestAPI(t, "secret")
	if got := ask("mxhook.internal", "secret"); got != 200 {
		t.Errorf("with the token: status %d, want 200", got)
	}
}

func TestAForeignPageCannotReplay(t *testing.T) {
	s, _, srv := newTestAPI(t, "")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/api/v1/dead/M.hook/replay", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://evil.example")
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || s.replayed != "" {
		t.Errorf("status %d, store saw %q; want 403 and nothing", resp.StatusCode, s.replayed)
	}
}
