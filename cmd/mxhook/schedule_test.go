package main

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// TestTheScheduleOnTheRealClock plays a whole schedule to its end: every attempt comes no earlier than its time, and when
// max_age has no room for another the delivery is a dead letter. It prints how late each was. MXHOOK_SCHEDULE=60s makes
// max_age that long.
func TestTheScheduleOnTheRealClock(t *testing.T) {
	t.Parallel()
	age := 6 * time.Second
	if s := os.Getenv("MXHOOK_SCHEDULE"); s != "" {
		var err error
		if age, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	steps, every := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, 8*time.Second
	i := apptest.Start(t, apptest.Options{
		Config: strings.Replace(apptest.BasicConfig, "retry: {steps: [1s, 1s, 2s], every: 2s}",
			"retry: {steps: [1s, 2s, 4s], every: 8s, jitter: 0, max_age: "+age.String()+"}", 1),
	})
	i.Endpoint.Behave(apptest.Behaviour{Status: http.StatusServiceUnavailable})
	send(t, i, textMail("never"))
	for deadline := time.Now().Add(2*age + time.Minute); len(i.Dead(t)) == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no dead letter %v after the mail", 2*age+time.Minute)
		}
	}
	letter, hooks := i.Dead(t)[0], i.Endpoint.Webhooks()
	if len(letter.Attempts) != len(hooks) || len(hooks) < 3 {
		t.Errorf("%d attempts in the dead letter, %d webhooks", len(letter.Attempts), len(hooks))
	}
	step := func(n int) time.Duration { // the delay after attempt n, from 1
		if n <= len(steps) {
			return steps[n-1]
		}
		return every
	}
	for n := 1; n < len(hooks); n++ {
		late := hooks[n].At.Sub(hooks[n-1].At) - step(n)
		t.Logf("attempt %d: %v after the one before, %v late", n+1, step(n)+late, late.Round(time.Millisecond))
		if late < -20*time.Millisecond { // the step counts from the answer, and that takes a moment to be seen
			t.Errorf("attempt %d came %v early", n+1, -late)
		}
	}
	last := hooks[len(hooks)-1].At.Sub(hooks[0].At)
	if last > age+step(len(hooks)) || last+step(len(hooks)) < age-time.Second {
		t.Errorf("given up after an attempt at %v, with max_age %v and a step of %v", last, age, step(len(hooks)))
	}
	if !strings.Contains(letter.Reason, "max_age") {
		t.Errorf("the reason is %q", letter.Reason)
	}
}
