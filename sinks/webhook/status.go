package webhook

import (
	"fmt"
	"net/http"
	"strconv"
)

// Action is what becomes of a delivery by the status of an answer.
type Action string

// Actions.
const (
	Success    Action = "success"
	Retry      Action = "retry"
	DeadLetter Action = "dead_letter"
	// Disable pauses the sink; the delivery is tried again when a person has resumed it.
	Disable Action = "disable"
)

// OnStatus gives a status ("404") or a class of them ("4xx") an action. A status wins over its class.
type OnStatus struct {
	Status string
	Do     Action
}

// statusTable has the action for each status from 200 on.
type statusTable [400]Action

// actionsOf makes the table of a sink: what its format says, changed by the configuration. The statuses of permanent go
// to the dead letters.
func actionsOf(base func(status int) Action, permanent []int, on []OnStatus) (*statusTable, error) {
	var t statusTable
	for i := range t {
		t[i] = base(200 + i)
	}
	for _, status := range permanent {
		if status < 300 || status > 599 {
			return nil, fmt.Errorf("permanent_statuses: %d is not a status of failure (300 to 599)", status)
		}
		t[status-200] = DeadLetter
	}
	seen := map[string]bool{}
	for _, class := range []bool{true, false} {
		for i, o := range on {
			first, last, err := statusRange(o.Status)
			switch {
			case err != nil:
				return nil, fmt.Errorf("on_status %d: %w", i+1, err)
			case o.Do != Success && o.Do != Retry && o.Do != DeadLetter && o.Do != Disable:
				return nil, fmt.Errorf("on_status %d: %q is no action: write %s, %s, %s or %s", i+1, o.Do, Success, Retry, DeadLetter, Disable)
			case class != (last > first):
				continue
			case seen[o.Status]:
				return nil, fmt.Errorf("on_status %d: %s is there twice", i+1, o.Status)
			}
			seen[o.Status] = true
			for status := first; status <= last; status++ {
				t[status-200] = o.Do
			}
		}
	}
	return &t, nil
}

// statusRange reads "404" or "4xx".
func statusRange(s string) (first, last int, err error) {
	if len(s) == 3 && s[0] >= '2' && s[0] <= '5' {
		if s[1:] == "xx" {
			first = int(s[0]-'0') * 100
			return first, first + 99, nil
		}
		if n, err := strconv.Atoi(s); err == nil {
			return n, n, nil
		}
	}
	return 0, 0, fmt.Errorf("%q is neither a status (404) nor a class of them (4xx), from 200 on", s)
}

// of returns the action for an answer; statuses that HTTP does not know are tried again.
func (t *statusTable) of(status int) Action {
	if status < 200 || status > 599 {
		return Retry
	}
	return t[status-200]
}

// standardActions are those of the formats that no other service has set: 410 says that the endpoint is gone for good.
func standardActions(status int) Action {
	switch {
	case status <= 299:
		return Success
	case status == http.StatusGone:
		return DeadLetter
	}
	return Retry
}
