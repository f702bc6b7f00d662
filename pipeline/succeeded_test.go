package pipeline

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestSucceededRemembersTheNewest(t *testing.T) {
	t.Parallel()
	var s succeeded
	for i := range maxSucceeded + 10 {
		s.add(&Delivery{ID: fmt.Sprint(i)})
		s.add(&Delivery{ID: fmt.Sprint(i)})
	}
	for i, want := range map[int]bool{0: false, 9: false, 10: true, maxSucceeded: true, maxSucceeded + 9: true, maxSucceeded + 10: false} {
		if got := s.has(&Delivery{ID: fmt.Sprint(i)}); got != want {
			t.Errorf("%d: %v", i, got)
		}
	}
	if len(s.known) != maxSucceeded || len(s.order) != maxSucceeded {
		t.Errorf("%d known, %d in order", len(s.known), len(s.order))
	}
}

// A crash may leave a delivery in the queue that has succeeded, or twice one that has not.
func TestACopyOfWhatSucceededIsNotAttempted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{board: newLocalBoard(), fail: errors.New("503")}
		v := f.worker(Outlet{Concurrency: 2, Schedule: DefaultSchedule()}, 0, 1)
		c := v.Courier("one", nil)
		if _, later := DueAt(courierDelivers(t, c, delivery(1))); !later {
			t.Error("a failure is not due again")
		}
		f.fail = nil
		for range 3 {
			if err := courierDelivers(t, c, delivery(1)); err != nil {
				t.Error(err)
			}
		}
		// A message that is processed again does not wait for a turn of what it was delivered to.
		f.board.pause("one", Pause{Since: time.Now(), Reason: "maintenance"})
		if err := v.attempts.tryNow(t.Context(), v.attempts.plan(), delivery(1)); err != nil {
			t.Error(err)
		}
		if err := v.attempts.tryNow(t.Context(), v.attempts.plan(), delivery(2)); !NotNow(err) {
			t.Error(err)
		}
		if len(f.attempts) != 2 {
			t.Errorf("%d attempts, want a failure and a success", len(f.attempts))
		}
	})
}

// A message that is processed again after a reload may have more recipients under an id that has succeeded.
func TestADeliveryForMoreRecipientsIsAttempted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{board: newLocalBoard()}
		v := f.worker(Outlet{Concurrency: 2, Schedule: DefaultSchedule()}, 0, 1)
		for _, to := range []string{"a@example.com", "b@example.com", "a@example.com"} {
			d := delivery(1)
			d.Recipients = []Recipient{{Address: to}}
			if err := v.attempts.tryNow(t.Context(), v.attempts.plan(), d); err != nil {
				t.Error(err)
			}
		}
		if len(f.attempts) != 2 {
			t.Errorf("%d attempts, want one for each recipient", len(f.attempts))
		}
	})
}
