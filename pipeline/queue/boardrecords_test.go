package queue

import (
	"testing"
	"time"

	"mxhook/pipeline"
)

// What the bucket holds is read and written by processes of two versions at a time. These are the values that the first
// version with a bucket wrote; like testdata/earlier they are never rewritten.
const (
	earlierBreaker = `{"since":"2026-11-22T01:00:00Z","probe":"2126-11-22T01:00:05Z","probes":3,"reason":"503 Service Unavailable"}`
	earlierPause   = `{"since":"2026-11-22T01:00:00Z","reason":"maintenance"}`
)

func TestStateOfAnEarlierVersionIsReadAndWrittenAlike(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		q := mustOpen(t, open)
		kv := q.link.Load().state
		for key, value := range map[string]string{
			"breaker.help=2Edesk": earlierBreaker,
			"pause.archive":       earlierPause,
			// Kinds of keys, and fields, of a later version.
			"later.archive": "{}", "pause.box": `{"since":"2026-11-22T01:00:00Z","reason":"x","by":"somebody"}`,
		} {
			if _, err := kv.Put(t.Context(), key, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		b := q.Board()
		eventually(t, "the board has the pause with a field of a later version", func() bool { return b.State("box").Pause.Reason == "x" })
		since := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
		want := pipeline.Breaker{Since: since, Probe: since.AddDate(100, 0, 0).Add(5 * time.Second), Probes: 3, Reason: "503 Service Unavailable"}
		eventually(t, "the board has the breaker", func() bool { return b.State("help.desk").Breaker == want })
		eventually(t, "the board has the pause", func() bool { return b.State("archive").Pause == pipeline.Pause{Since: since, Reason: "maintenance"} })

		// And what this version writes is what that one reads.
		if ok, err := b.SetBreaker(t.Context(), "other", pipeline.Breaker{}, want); err != nil || !ok {
			t.Fatalf("open a breaker: %v, %v", ok, err)
		}
		e, err := kv.Get(t.Context(), "breaker.other")
		if err != nil || string(e.Value()) != earlierBreaker {
			t.Errorf("a breaker is written as %s, %v", e.Value(), err)
		}
	})
}
