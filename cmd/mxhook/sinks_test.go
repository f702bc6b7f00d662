package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// TestAPausedSinkWaitsOverARestartAndGoesOn uses the commands: what waits is not lost, and the pause is kept in the queue.
func TestAPausedSinkWaitsOverARestartAndGoesOn(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	command := func(want int, args ...string) string {
		t.Helper()
		var out, errs strings.Builder
		if code := run(t.Context(), append(args, "--api", i.Ops()), &out, &errs); code != want {
			t.Fatalf("%v: exit %d: %s", args, code, errs.String())
		}
		return out.String() + errs.String()
	}
	if said := command(exitFine, "sinks", "pause", "hook", "--reason", "the database moves"); !strings.Contains(said, "hook is paused") {
		t.Errorf("pause said %q", said)
	}
	if said := command(exitProblem, "sinks", "pause", "hokk"); !strings.Contains(said, "no sink of that name") {
		t.Errorf("an unknown sink: %q", said)
	}
	send := func() {
		t.Helper()
		load := apptest.Load{Addr: i.SMTP(), Connections: 1, Make: func(int) apptest.Mail { return textMail("hello") }}
		if err := load.Run(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	send()
	i.Restart()
	send()
	waiting := func() bool { s := sinksOf(t, i)["hook"]; return s.State == "paused" && s.Due == 2 }
	waitFor(t, "two deliveries wait", waiting)
	if list := command(exitFine, "sinks", "list"); !strings.Contains(list, "paused") || !strings.Contains(list, "the database moves") {
		t.Errorf("list says\n%s", list)
	}
	if n := len(i.Endpoint.Webhooks()); n != 0 {
		t.Errorf("%d webhooks to a paused sink", n)
	}
	command(exitFine, "sinks", "resume", "hook")
	for _, hook := range i.Endpoint.WaitCount(t, 2, time.Minute) {
		var payload struct {
			Data struct {
				Delivery struct{ Attempt int } `json:"delivery"`
			} `json:"data"`
		}
		hook.Payload(t, &payload)
		if payload.Data.Delivery.Attempt != 1 {
			t.Errorf("attempt %d: something was counted while the sink was paused", payload.Data.Delivery.Attempt)
		}
	}
}

// TestDeliveriesOfARemovedSinkAreShownAndGoOn: they wait while their sink is not in the configuration, in sight, and are
// delivered when it is back.
func TestDeliveriesOfARemovedSinkAreShownAndGoOn(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Dir: t.TempDir(), Endpoint: apptest.NewEndpoint(t)}
	o.Endpoint.Behave(apptest.Behaviour{Status: http.StatusServiceUnavailable})
	with := apptest.Start(t, o)
	send(t, with, textMail("hello"))
	o.Endpoint.WaitCount(t, 1, time.Minute)
	with.Stop()

	renamed := o
	renamed.Config = strings.NewReplacer("name: hook", "name: another", "to: [hook]", "to: [another]").Replace(apptest.BasicConfig)
	without := apptest.Start(t, renamed)
	waitFor(t, "the delivery is shown", func() bool {
		s := sinksOf(t, without)
		return s["hook"].State == "not_configured" && s["hook"].Due+s["hook"].Scheduled == 1 && s["another"].State == "ok"
	})
	waitFor(t, "it is counted", func() bool {
		return strings.Contains(fetch(t, without.Ops()+"/metrics"), `mxhook_deliveries_without_sink{sink="hook"} 1`)
	})
	if _, err := without.Console().PauseSink(t.Context(), "hook", ""); err != nil {
		t.Errorf("a sink that is waited for cannot be paused: %v", err)
	}
	if _, err := without.Console().ResumeSink(t.Context(), "hook"); err != nil {
		t.Error(err)
	}
	seen := len(o.Endpoint.Webhooks())
	without.Stop()

	o.Endpoint.Behave(apptest.Behaviour{})
	apptest.Start(t, o)
	hooks := o.Endpoint.WaitCount(t, seen+1, time.Minute)
	if first, last := hooks[0], hooks[len(hooks)-1]; last.ID != first.ID || last.Status != http.StatusOK {
		t.Errorf("what came is %s, %d; want %s", last.ID, last.Status, first.ID)
	}
}

// TestLargeMailsToAHangingSinkLeaveMemoryToOthers: as many hang as would fill limits.memory.
func TestLargeMailsToAHangingSinkLeaveMemoryToOthers(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: isolationConfig + "limits: {memory: 16MB}\n"})
	i.Endpoint.BehaveFunc(trouble)
	large := func(sink string) apptest.Mail {
		return apptest.Mail{From: "sender@example.org", To: []string{sink + "@example.com"}, Data: apptest.Text("large", 3<<20)}
	}
	for range 8 {
		send(t, i, large("hangs"))
	}
	waitFor(t, "deliveries to the hanging sink wait", func() bool { return sinksOf(t, i)["hangs"].Due > 0 })
	for range 3 {
		send(t, i, large("healthy"))
	}
	i.Endpoint.Wait(t, 20*time.Second, "large mails to the healthy sink", func(hooks []apptest.Webhook) bool {
		n := 0
		for _, h := range hooks {
			if h.Path == "/healthy" {
				n++
			}
		}
		return n == 3
	})
	stopSoon(t, i)
}

// stopSoon stops an instance without the patience for attempts that hang.
func stopSoon(t *testing.T, i *apptest.Instance) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := i.App.Stop(ctx); err != nil {
		t.Log(err)
	}
}
