package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// TestAMailToTwoTenantsMakesTwoDeliveries: each tenant's URL gets its own recipients and nobody else's, the first attempt
// fails, and the repeat goes the same way under the same id.
func TestAMailToTwoTenantsMakesTwoDeliveries(t *testing.T) {
	t.Parallel()
	config := strings.Replace(apptest.BasicConfig, "domains: [{domain: example.com}]", `domains: [{domain: "*.example.com", recipients: ["*"]}]`, 1)
	config = strings.Replace(config, "/hook\"", "/in/{captures.tenant}\"", 1)
	config = strings.Replace(config, "rules: [{name: all, ", `rules: [{name: all, when: 'recipient.domain matches "^(?<tenant>[a-z]+)[.]"', `, 1)
	i := apptest.Start(t, apptest.Options{Config: config})
	var seen sync.Map
	i.Endpoint.BehaveFunc(func(hook apptest.Webhook) apptest.Behaviour {
		if _, again := seen.LoadOrStore(hook.ID, true); !again {
			return apptest.Behaviour{Status: 503}
		}
		return apptest.Behaviour{}
	})
	send(t, i, textMail("to both", "a@acme.example.com", "b@globex.example.com", "c@acme.example.com"))
	hooks := i.Endpoint.WaitCount(t, 4, time.Minute)
	got := map[string]int{}
	for _, hook := range hooks {
		var payload struct {
			Data struct {
				Envelope struct {
					Recipients []struct{ Address string } `json:"recipients"`
				} `json:"envelope"`
			} `json:"data"`
		}
		hook.Payload(t, &payload)
		var who []string
		for _, r := range payload.Data.Envelope.Recipients {
			who = append(who, r.Address)
		}
		slices.Sort(who)
		got[fmt.Sprint(hook.ID, " ", hook.Path, " ", who)]++
	}
	if len(got) != 2 {
		t.Errorf("four attempts at two deliveries: %v", got)
	}
	for line, n := range got {
		ok := strings.HasSuffix(line, " /in/acme [a@acme.example.com c@acme.example.com]") || strings.HasSuffix(line, " /in/globex [b@globex.example.com]")
		if !ok || n != 2 {
			t.Errorf("%d times %s", n, line)
		}
	}
}
