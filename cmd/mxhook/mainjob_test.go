package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/console"
)

func textMail(subject string, to ...string) apptest.Mail {
	if len(to) == 0 {
		to = []string{"in@example.com"}
	}
	return apptest.Mail{From: "sender@example.org", To: to, Data: apptest.Text(subject, 500)}
}

func send(t *testing.T, i *apptest.Instance, m apptest.Mail) string {
	t.Helper()
	id, err := apptest.SendOne(i.SMTP(), m)
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	return id
}

func TestAMailBecomesASignedWebhook(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	id := send(t, i, textMail("hello", "in+tag@example.com"))
	hook := i.Endpoint.WaitCount(t, 1, 20*time.Second)[0]
	if want := id + ".hook"; hook.ID != want {
		t.Errorf("webhook-id is %q, want %q", hook.ID, want)
	}
	var p shownPayload
	hook.Payload(t, &p)
	if p.Type != "mail.received" || p.Data.ID != id || p.Data.Message == nil || *p.Data.Message.Subject != "hello" {
		t.Errorf("payload is not that of the mail: %s", hook.Body)
	}
	if got := p.Data.Envelope.Recipients; len(got) != 1 || got[0].Address != "in+tag@example.com" {
		t.Errorf("recipients are %v", got)
	}
}

// Two tenants get the same mail: each webhook shows the recipients of its own tenant, and nobody else's.
func TestATenantNeverSeesAnothersRecipients(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: strings.NewReplacer(
		"domains: [{domain: example.com}]", "domains: [{domain: a.example.com}, {domain: b.example.com}]",
		"rules: [{name: all, to: [hook]}]",
		`rules: [{name: a, when: 'recipient.domain == "a.example.com"', to: [hook]}, {name: b, when: 'recipient.domain == "b.example.com"', to: [other]}]`,
		"sinks:\n", "sinks:\n  - {name: other, webhook: {url: '{{.Endpoint}}/other', secret: '{{.Secret}}', allow_private: true}}\n",
	).Replace(apptest.BasicConfig)})
	send(t, i, textMail("to both", "x@a.example.com", "hidden@b.example.com", "y@a.example.com"))
	got := map[string]string{}
	for _, hook := range i.Endpoint.WaitCount(t, 2, 20*time.Second) {
		var p shownPayload
		hook.Payload(t, &p)
		got[hook.Path] = recipientsOf(received{Payload: p})
		if hook.Path == "/hook" && strings.Contains(string(hook.Body), "hidden@b.example.com") {
			t.Errorf("tenant a sees a recipient of tenant b: %s", hook.Body)
		}
	}
	want := map[string]string{"/hook": "x@a.example.com, y@a.example.com", "/other": "hidden@b.example.com"}
	if !maps.Equal(got, want) {
		t.Errorf("recipients by webhook: %v, want %v", got, want)
	}
}

// The endpoint is down for a while: everything arrives once, by id, when it is back, and not before the schedule says.
func TestAnEndpointThatWasDownGetsEverythingOnce(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	i.Endpoint.Behave(apptest.Behaviour{Status: http.StatusServiceUnavailable})
	const mails = 50
	var mu sync.Mutex
	sent := map[string]bool{}
	load := apptest.Load{
		Addr: i.SMTP(), Connections: 5,
		Make:     func(n int) apptest.Mail { return textMail(fmt.Sprintf("mail %d", n)) },
		Accepted: func(_ int, id string) { mu.Lock(); defer mu.Unlock(); sent[id+".hook"] = true },
	}
	if err := load.Run(t.Context(), mails); err != nil {
		t.Fatal(err)
	}
	i.Endpoint.WaitCount(t, 8, time.Minute) // five open the breaker, then probes come
	if s := sinksOf(t, i)["hook"]; s.State != "breaker_open" {
		t.Errorf("while the endpoint is down: %+v", s)
	}
	i.Endpoint.Behave(apptest.Behaviour{})
	hooks := i.Endpoint.Wait(t, time.Minute, "all deliveries", func([]apptest.Webhook) bool {
		return len(i.Endpoint.Accepted()) == mails
	})
	for id, n := range i.Endpoint.Accepted() {
		if n != 1 || !sent[id] {
			t.Errorf("delivery %s was accepted %d times, sent: %v", id, n, sent[id])
		}
	}
	checkGaps(t, hooks)
}

// sinksOf lists the sinks by name.
func sinksOf(t *testing.T, i *apptest.Instance) map[string]console.Sink {
	t.Helper()
	sinks, err := i.Console().Sinks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]console.Sink{}
	for _, s := range sinks {
		byName[s.Name] = s
	}
	return byName
}

// checkGaps holds the time between two attempts of a delivery against the steps of apptest.BasicConfig: 1 s, 1 s, 2 s,
// then every 2 s, less 20 % of jitter; schedules have a resolution of a second, so that a retry may only be late.
func checkGaps(t *testing.T, hooks []apptest.Webhook) {
	t.Helper()
	byID := map[string][]time.Time{}
	for _, h := range hooks {
		byID[h.ID] = append(byID[h.ID], h.At)
	}
	for id, at := range byID {
		for n := 1; n < len(at); n++ {
			least := 800 * time.Millisecond
			if n >= 3 {
				least = 1600 * time.Millisecond
			}
			if gap := at[n].Sub(at[n-1]); gap < least-50*time.Millisecond {
				t.Errorf("%s: attempt %d came %v after the one before, want at least %v", id, n+1, gap, least)
			}
		}
	}
}

func TestGoneIsADeadLetterThatReplayDelivers(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	i.Endpoint.Behave(apptest.Behaviour{Status: http.StatusGone})
	id := send(t, i, textMail("gone"))
	dead := i.WaitDead(t, 1, 20*time.Second)
	if dead[0].ID != id+".hook" || !strings.Contains(dead[0].Reason, "410") {
		t.Fatalf("dead letter is %+v, want one of %s with 410 as reason", dead[0], id)
	}
	i.Endpoint.Behave(apptest.Behaviour{})
	newID, err := i.Console().Replay(t.Context(), dead[0].ID, "")
	if err != nil {
		t.Fatal(err)
	}
	hooks := i.Endpoint.WaitCount(t, 2, 20*time.Second)
	var p shownPayload
	hooks[1].Payload(t, &p)
	if hooks[1].ID != newID || newID == dead[0].ID || p.Data.Delivery.ReplayOf == nil || *p.Data.Delivery.ReplayOf != dead[0].ID {
		t.Errorf("the replay went out as %s, replay_of %v; want %s, replay_of %s", hooks[1].ID, p.Data.Delivery.ReplayOf, newID, dead[0].ID)
	}
	if left := i.Dead(t); len(left) != 0 {
		t.Errorf("dead letters after the replay: %+v", left)
	}
}

func TestUnroutedMailIsADeadLetterThatCanBeReplayedToASink(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: strings.Replace(apptest.BasicConfig,
		"{name: all, to: [hook]}", `{name: some, when: 'recipient.local == "some"', to: [hook]}`, 1)})
	id := send(t, i, textMail("nobody's", "other@example.com"))
	dead := i.WaitDead(t, 1, 20*time.Second)
	if dead[0].Message != id || dead[0].Sink != "" || !strings.Contains(dead[0].Reason, "no rule matched") {
		t.Fatalf("dead letter is %+v", dead[0])
	}
	// A replay to no sink goes through the rules again, which still do not match; under a new message id.
	if _, err := i.Console().Replay(t.Context(), dead[0].ID, ""); err != nil {
		t.Fatal(err)
	}
	again := i.WaitDead(t, 1, 20*time.Second)
	if again[0].Message == id {
		t.Errorf("the message was processed again under its old id: %+v", again[0])
	}
	if _, err := i.Console().Replay(t.Context(), again[0].ID, "hook"); err != nil {
		t.Fatal(err)
	}
	i.Endpoint.WaitCount(t, 1, 20*time.Second)
}

func TestWaitingDeliveriesSurviveARestart(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	i.Endpoint.Behave(apptest.Behaviour{Reset: true})
	id := send(t, i, textMail("patience"))
	i.Endpoint.WaitCount(t, 1, 20*time.Second)
	i.Restart()
	i.Endpoint.Behave(apptest.Behaviour{})
	i.Endpoint.Wait(t, 30*time.Second, "the delivery", func([]apptest.Webhook) bool {
		return i.Endpoint.Accepted()[id+".hook"] == 1
	})
}

// A mail under way when the order to stop comes is finished and kept; the sender hears 250 and can rely on it.
func TestAStopFinishesTransactionsUnderWay(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	c, err := smtp.Dial(i.SMTP())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, step := range []func() error{
		func() error { return c.Mail("sender@example.org", nil) },
		func() error { return c.Rcpt("in@example.com", nil) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); i.Stop() }()
	waitRefused(t, i.SMTP())
	if _, err := w.Write(apptest.Text("last", 1000)); err != nil {
		t.Fatal(err)
	}
	resp, err := w.CloseWithResponse()
	if err != nil {
		t.Fatalf("the transaction under way was not finished: %v", err)
	}
	<-stopped
	i.Restart()
	id := strings.TrimPrefix(resp.StatusText, "2.0.0 Ok: queued as ")
	i.Endpoint.Wait(t, 30*time.Second, "the last mail", func([]apptest.Webhook) bool {
		return slices.Contains(slices.Collect(maps.Keys(i.Endpoint.Accepted())), id[strings.LastIndex(id, " ")+1:]+".hook")
	})
}

// waitRefused waits until nobody listens on addr any more.
func waitRefused(t *testing.T, addr string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		conn.Close()
	}
	t.Fatalf("%s still accepts connections", addr)
}

// Sessions that are open and idle, and one that sends a byte at a time, do not hold up others.
func TestIdleAndSlowClientsDoNotStopOthers(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	for range 50 {
		c, err := smtp.Dial(i.SMTP())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Hello("idle.example.org"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	slow := make(chan error, 1)
	go func() { slow <- sendSlowly(ctx, i.SMTP()) }()
	load := apptest.Load{Addr: i.SMTP(), Connections: 4, Make: func(n int) apptest.Mail { return textMail(fmt.Sprint("quick ", n)) }}
	if err := load.Run(t.Context(), 200); err != nil {
		t.Fatal(err)
	}
	i.Endpoint.WaitCount(t, 200, 30*time.Second)
	stop()
	if err := <-slow; !errors.Is(err, context.Canceled) {
		t.Errorf("the slow session ended by itself while the others worked: %v", err)
	}
}

// sendSlowly sends one byte a second of a mail's data until ctx ends.
func sendSlowly(ctx context.Context, addr string) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Mail("slow@example.org", nil); err != nil {
		return err
	}
	if err := c.Rcpt("in@example.com", nil); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return ctx.Err()
		case <-tick.C:
			if _, err := w.Write([]byte("x")); err != nil {
				return err
			}
		}
	}
}

// With the embedded queue in its locked folder, nobody could ever process what an instance that only receives has taken.
func TestOneRoleAloneNeedsAQueueThatTheOtherCanReach(t *testing.T) {
	t.Parallel()
	file := writeTrialConfig(t, "desk")
	code, _, stderr := mxhook(t, "serve", "-c", file, "--roles", "ingest")
	if code != exitProblem || !strings.Contains(stderr, "queue.url") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
