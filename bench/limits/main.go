// Command limits does one part of the main job and nothing else, as fast as this machine lets it: a log that syncs once for
// all writers that wait, a synced publish to the embedded NATS server, or an HTTP POST. It prints what it saw as JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/bench/load"
)

// Result is what is printed.
type Result struct {
	Rate float64 `json:"rate"` // in a second
	// CPU, P50 and P99 are in microseconds; CPU is of this process for each operation.
	CPU, P50, P99 float64
}

// operation is done by one of the workers; it returns when it is complete.
type operation func(ctx context.Context, worker int) error

func main() {
	dir := flag.String("dir", os.TempDir(), "where is written")
	url := flag.String("url", "", "where is posted")
	size := flag.Int("size", 10_000, "octets of an operation")
	workers := flag.Int("workers", 16, "operations at once")
	streams := flag.Int("streams", 4, "streams that publishes are spread over")
	length := flag.Duration("for", 5*time.Second, "how long")
	flag.Parse()
	op, end, err := prepare(flag.Arg(0), *dir, *url, *size, *streams)
	if err == nil {
		defer end()
		var r Result
		if r, err = measure(op, *workers, *length); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(r)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "limits:", err)
		os.Exit(1) //nolint:gocritic // what end would tidy up is in a directory of the caller's
	}
}

func prepare(name, dir, url string, size, streams int) (operation, func(), error) {
	octets := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog.\r\n"), size/46+1)[:size]
	switch name {
	case "log":
		return groupCommit(dir, octets)
	case "puback":
		return pubAck(dir, octets, streams)
	case "post":
		return post(url, octets)
	}
	return nil, nil, fmt.Errorf("%q: there are log, puback and post", name)
}

// measure runs workers side by side, after a second that does not count.
func measure(op operation, workers int, length time.Duration) (Result, error) {
	var latency load.Histogram
	var counting atomic.Bool
	var wg sync.WaitGroup
	errs := make([]error, workers)
	ctx, cancel := context.WithCancel(context.Background())
	for i := range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				if err := op(ctx, i); err != nil {
					if ctx.Err() == nil {
						errs[i] = err
					}
					return
				}
				if counting.Load() {
					latency.Add(time.Since(began))
				}
			}
		})
	}
	time.Sleep(time.Second)
	began, used := time.Now(), cpu()
	counting.Store(true)
	time.Sleep(length)
	counting.Store(false)
	took, spent := time.Since(began), cpu()-used
	n := latency.Count()
	cancel()
	wg.Wait()
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	return Result{
		Rate: float64(n) / took.Seconds(), CPU: us(spent) / float64(max(1, n)), P50: us(latency.Quantile(.5)), P99: us(latency.Quantile(.99)),
	}, errors.Join(errs...)
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// groupCommit appends to one file. Whoever finds nobody syncing does it for all that wait.
func groupCommit(dir string, octets []byte) (operation, func(), error) {
	f, err := os.CreateTemp(dir, "log-")
	if err != nil {
		return nil, nil, err
	}
	type group struct {
		records int
		done    chan struct{}
		err     error
	}
	var mu sync.Mutex
	next := &group{done: make(chan struct{})}
	busy := false
	var buf []byte
	lead := func() { // mu is held when it begins, and not when it ends
		for next.records > 0 {
			g := next
			next = &group{done: make(chan struct{})}
			mu.Unlock()
			buf = buf[:0]
			for range g.records {
				buf = append(buf, octets...)
			}
			if _, g.err = f.Write(buf); g.err == nil {
				g.err = syscall.Fdatasync(int(f.Fd()))
			}
			close(g.done)
			mu.Lock()
		}
		busy = false
		mu.Unlock()
	}
	op := func(context.Context, int) error {
		mu.Lock()
		g := next
		g.records++
		if busy {
			mu.Unlock()
			<-g.done
			return g.err
		}
		busy = true
		go lead()
		<-g.done
		return g.err
	}
	return op, func() { _ = f.Close(); _ = os.Remove(f.Name()) }, nil
}

// pubAck publishes to streams of an embedded server that syncs each message, as mxhook configures it.
func pubAck(dir string, octets []byte, streams int) (operation, func(), error) {
	dir, err := os.MkdirTemp(dir, "puback-")
	if err != nil {
		return nil, nil, err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "limit", JetStream: true, StoreDir: filepath.Join(dir, "nats"), SyncAlways: true, DontListen: true, NoSigs: true,
		MaxPayload: 1 << 20, MaxPending: 256 << 20,
	})
	if err != nil {
		return nil, nil, err
	}
	go s.Start()
	end := func() { s.Shutdown(); s.WaitForShutdown(); _ = os.RemoveAll(dir) }
	if !s.ReadyForConnections(10 * time.Second) {
		return nil, end, errors.New("the NATS server does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return nil, end, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, end, err
	}
	for k := range streams {
		if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{
			Name: fmt.Sprintf("L%d", k), Subjects: []string{fmt.Sprintf("l.%d", k)}, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		}); err != nil {
			return nil, end, err
		}
	}
	var n atomic.Int64
	return func(ctx context.Context, _ int) error {
		_, err := js.Publish(ctx, fmt.Sprintf("l.%d", n.Add(1)%int64(streams)), octets)
		return err
	}, end, nil
}

// post posts JSON, over connections that stay open.
func post(url string, octets []byte) (operation, func(), error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: time.Minute}
	body, err := json.Marshal(map[string]string{"mail": strings.ToValidUTF8(string(octets), "")})
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, _ int) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body) // it is empty
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return resp.Body.Close()
	}, func() {}, nil
}
