package main

import (
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
	for deadline := time.Now().Add(time.Minute); !waiting(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("two deliveries do not wait: %+v", sinksOf(t, i))
		}
	}
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
