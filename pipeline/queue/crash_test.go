package queue

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mxhook/pipeline"
)

// crashDirEnv makes the test binary a process that fills the queue in that directory until it is killed.
const crashDirEnv = "MXHOOK_QUEUE_CRASH_DIR"

// crashDurabilityEnv is the durability of that queue; empty is the default.
const crashDurabilityEnv = "MXHOOK_QUEUE_CRASH_DURABILITY"

// crashChild spools from several sessions and prints "<message id> <SHA-256>" of each message after its commit
// returned. Beside that it processes: every third message becomes a delivery, for which a line "D <delivery id>"
// is printed once it is enqueued, and what is settled is printed as "S <message id>" by the deliverer.
func crashChild(dir string) {
	q, err := Open(context.Background(), Config{
		Dir: dir, Shards: 2, Reserve: 1, Durability: os.Getenv(crashDurabilityEnv), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println("E", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...) // one write: it is in the pipe before the kill, or not at all
	}
	ctx := context.Background()
	go q.Process(ctx, 4, func(ctx context.Context, m *pipeline.Message) error { //nolint:errcheck // ends with the kill
		if m.SHA256[0]%3 != 0 {
			say("S %s", m.Envelope.ID)
			return nil
		}
		d := &pipeline.Delivery{ID: pipeline.DeliveryID(m.Envelope.ID, "box"), Sink: "box", Message: m, Attempt: 1, First: time.Now()}
		if err := q.Enqueue(ctx, []pipeline.Deferred{{Delivery: d}}); err != nil {
			return err
		}
		say("D %s", m.Envelope.ID)
		return nil
	})
	go q.Deliver(ctx, "box", 4, always(func(_ context.Context, d *pipeline.Delivery) error { //nolint:errcheck // ends with the kill
		if d.Attempt == 1 {
			d.Attempt++
			return pipeline.Later(errEndpoint, time.Now().Add(time.Second))
		}
		say("S %s", d.Message.Envelope.ID)
		return nil
	}))
	for i := range 8 {
		go func() {
			for n := 0; ; n++ {
				size := rand.IntN(20_000)
				if i == 0 {
					size = 600_000 + rand.IntN(1_500_000)
				}
				body := make([]byte, size)
				for j := range min(size, 64) {
					body[j] = byte(rand.Uint32())
				}
				w, err := q.Begin(ctx, newEnvelope())
				if err == nil {
					_, err = w.Write(body)
				}
				if err == nil {
					err = w.Commit(ctx)
				}
				if err != nil {
					say("E %v", err)
					continue
				}
				say("C %s %x", w.env.ID, sha256.Sum256(body))
			}
		}()
	}
	select {}
}

// TestNothingCommittedIsLostByKill kills a process that takes, processes and delivers messages, at random moments and
// again and again on the same store. In the end every message whose commit returned must have come out, by Process or
// by Deliver, before or after the kills, with the octets that went in.
func TestNothingCommittedIsLostByKill(t *testing.T) {
	dir := t.TempDir()
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	committed, settled := map[string]string{}, map[string]bool{}
	for round := range rounds {
		for _, line := range killedRun(t, dir, time.Duration(150+rand.IntN(1200))*time.Millisecond) {
			f := strings.Fields(line)
			switch {
			case len(f) == 3 && f[0] == "C":
				committed[f[1]] = f[2]
			case len(f) == 2 && f[0] == "S":
				settled[f[1]] = true
			case len(f) > 0 && f[0] == "E":
				t.Errorf("round %d: %s", round, line)
			}
		}
	}
	if len(committed) < 20*rounds {
		t.Fatalf("only %d messages committed: the test proves nothing", len(committed))
	}

	q := mustOpen(t, embedded(t, dir))
	recovered, again, lost := comeOut(t, q, committed, settled)
	tidy(t, q)
	if keys := headless(t, q); len(keys) > 0 {
		t.Errorf("parts without a head: %v", keys)
	}
	for _, id := range lost {
		t.Errorf("message %s was committed and never came out", id)
	}
	t.Logf("%d kills: %d messages committed, %d came out after the last kill, %d of the others once more",
		rounds, len(committed), recovered, again)
}

// comeOut takes everything out of a queue, until all that was committed is settled or nothing more comes, and returns
// how many of its messages were not settled before, how many were, and what never came.
func comeOut(t *testing.T, q *Queue, committed map[string]string, settled map[string]bool) (recovered, again int, lost []string) {
	t.Helper()
	var mu sync.Mutex
	done := make(chan struct{})
	last := time.Now()
	check := func(m *pipeline.Message) {
		mu.Lock()
		defer mu.Unlock()
		last = time.Now()
		if want, ok := committed[m.Envelope.ID]; ok && want != hex.EncodeToString(m.SHA256[:]) {
			t.Errorf("message %s came out different", m.Envelope.ID)
		}
		if settled[m.Envelope.ID] {
			again++
		} else {
			recovered++
		}
		settled[m.Envelope.ID] = true
	}
	missing := func() (ids []string) {
		mu.Lock()
		defer mu.Unlock()
		for id := range committed {
			if !settled[id] {
				ids = append(ids, id)
			}
		}
		return ids
	}
	idle := func() bool {
		s, err := q.Status(context.Background())
		mu.Lock()
		defer mu.Unlock()
		for _, w := range s.Deliveries {
			s.Messages += w.Due + w.Scheduled
		}
		return err == nil && s.Messages == 0 && time.Since(last) > 3*countFor
	}
	go func() {
		defer close(done)
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if len(missing()) == 0 || idle() {
				return
			}
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-done
		cancel()
	}()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := q.Process(ctx, 4, func(_ context.Context, m *pipeline.Message) error { check(m); return nil }); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := q.Deliver(ctx, "box", 4, always(func(_ context.Context, d *pipeline.Delivery) error { check(d.Message); return nil })); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	return recovered, again, missing()
}

// killedRun runs the child for some time after its first commit, kills it, and returns the whole lines it printed.
func killedRun(t *testing.T, dir string, life time.Duration) (lines []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(2*patience, func() { cmd.Process.Kill() }).Stop() //nolint:errcheck // it may be gone
	var kill *time.Timer
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		if kill == nil {
			kill = time.AfterFunc(life, func() { cmd.Process.Signal(syscall.SIGKILL) }) //nolint:errcheck // it may be gone
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	cmd.Wait() //nolint:errcheck // it was killed
	if kill == nil {
		t.Fatal("the child did nothing")
	}
	kill.Stop()
	return lines
}
