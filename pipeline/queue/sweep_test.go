package queue

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLeftoversOfCrashesAreRemoved(t *testing.T) {
	t.Parallel()
	q, advance, _ := aged(t)
	body := randomOctets(t, 700*kib)
	d := sampleDelivery(taken(t, q, body), "box")
	bury(t, q, d)
	publish := func(subject string) {
		if _, err := q.publish(t.Context(), subject, "", nil, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		publish(deadPart("killed.box", i))
	}
	publish(deadAlone("MXHOOK_MAIL_0/1"))
	count := func() (n [2]int) {
		for i, rest := range []string{"mail.>", "alone.*"} {
			subjects, err := deadSubjects(t.Context(), q.link.Load(), rest)
			if err != nil {
				t.Fatal(err)
			}
			n[i] = len(subjects)
		}
		return n
	}
	for _, step := range []struct {
		ahead time.Duration
		want  [2]int // parts, notes
	}{
		{0, [2]int{5, 1}},
		{30 * time.Minute, [2]int{5, 1}},
		{2 * time.Hour, [2]int{2, 1}},
		{aloneAge, [2]int{2, 0}},
	} {
		advance(step.ahead)
		tidy(t, q)
		if diff := cmp.Diff(step.want, count()); diff != "" {
			t.Errorf("%v on (-want +got):\n%s", step.ahead, diff)
		}
	}
	letter, err := q.DeadLetter(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	checkBody(t, letter.Delivery.Message, body)
}

func TestUnreadableDeadLetterIsSaidOnceAndKept(t *testing.T) {
	t.Parallel()
	q, _, log := aged(t)
	if _, err := q.publish(t.Context(), deadRecord("box", "junk"), "", nil, []byte("junk")); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		tidy(t, q)
		countDead(t, q)
	}
	if n := strings.Count(log.String(), "a dead letter cannot be read"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	if subjects, err := deadSubjects(t.Context(), q.link.Load(), "letter.>"); err != nil || len(subjects) != 1 {
		t.Errorf("%d letters, %v", len(subjects), err)
	}
}

func TestLeftoverOfTheDisksMeasurementIsRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sync-probe-123"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, embedded(t, dir))
	if left, err := filepath.Glob(filepath.Join(dir, "sync-probe-*")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}
