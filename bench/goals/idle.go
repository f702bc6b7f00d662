package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"mxhook/bench/store"
	"mxhook/pipeline"
	"mxhook/pipeline/queue"
)

// idle measures goal 6: what mxhook takes when nothing happens, and how fast it starts.
func (b *bench) idle(ctx context.Context) error {
	s, err := b.start(b.bin, "idle", "")
	if err != nil {
		return err
	}
	time.Sleep(15 * time.Second) // until the start's garbage has gone
	now := rss(s.PID())
	b.goal("6. an idle process with the embedded queue", "≤ 40 MB", now <= 40*megabyte, "%.1f MB", float64(now)/megabyte)
	b.goal("6. from start to ready, empty", "≤ 0.5 s", s.Ready <= 500*time.Millisecond, "%s", s.Ready.Round(time.Millisecond))
	err = b.connections(ctx, s.SMTP, s.PID(), now)
	s.Stop()
	if err != nil || b.kept == 0 {
		return err
	}
	return b.startOverKept(ctx)
}

// connections opens many sessions that have said EHLO, and nothing since.
func (b *bench) connections(ctx context.Context, addr string, pid int, before int64) error {
	const count = 10_000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	if files.Cur = files.Max; files.Cur < count+1000 {
		return fmt.Errorf("%d connections need as many file descriptors: ulimit -n says %d", count, files.Max)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	conns := make([]net.Conn, count)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	var next atomic.Int64
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < count && ctx.Err() == nil; i = next.Add(1) - 1 {
				if conns[i], errs[w] = greeted(addr); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	each := float64(rss(pid)-before) / count / 1024
	b.goal("6. an idle connection, of 10,000", "≤ 20 KiB", each <= 20, "%.1f KiB", each)
	return ctx.Err()
}

func greeted(addr string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(conn, 512)
	_, err = in.ReadString('\n')
	if err == nil {
		_, err = conn.Write([]byte("EHLO idle.example.org\r\n"))
	}
	for err == nil {
		var line string
		if line, err = in.ReadString('\n'); err == nil && strings.HasPrefix(line, "250 ") {
			return conn, nil
		}
	}
	_ = conn.Close()
	return nil, err
}

// startOverKept times a start after a stop in order, and after a kill, with many messages in the store.
func (b *bench) startOverKept(ctx context.Context) error {
	const name = "kept"
	dir := filepath.Join(b.dir, name)
	if err := b.keep(ctx, filepath.Join(dir, "data", "queue")); err != nil {
		return err
	}
	s, err := b.start(b.bin, name, "") // the first one finds a store that it did not stop itself
	if err != nil {
		return err
	}
	s.Stop()
	if s, err = b.start(b.bin, name, ""); err != nil {
		return err
	}
	ready := s.Ready
	memory := rss(s.PID())
	s.Kill()
	if s, err = b.start(b.bin, name, ""); err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	defer s.Kill()
	b.goal(fmt.Sprintf("6. from start to ready, %d messages kept", b.kept), "≤ 5 s", ready <= 5*time.Second, "%s", ready.Round(time.Millisecond))
	b.note("6. After `kill -9` the start over %d kept messages takes %s; it has %d MB resident when it is ready after a stop in order.", b.kept, s.Ready.Round(time.Millisecond), memory/megabyte)
	return nil
}

// keep writes messages that are settled.
func (b *bench) keep(ctx context.Context, dir string) error {
	q, err := queue.Open(ctx, queue.Config{
		Dir: dir, Durability: queue.DurabilityOS, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	body := []byte("From: s@example.org\r\nTo: in@example.com\r\nSubject: it is kept\r\n\r\n" + strings.Repeat("It is kept for a week and a day.\r\n", 25))
	work, done := context.WithCancelCause(ctx)
	finished := errors.New("all are settled")
	var begun, settled atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for work.Err() == nil && begun.Add(1) <= int64(b.kept) {
				if err := store.Take(work, q, "in", body); err != nil {
					done(err)
				}
			}
		})
	}
	wg.Go(func() {
		if err := q.Process(work, 32, func(context.Context, *pipeline.Message) error {
			if settled.Add(1) == int64(b.kept) {
				time.AfterFunc(time.Second, func() { done(finished) })
			}
			return nil
		}); err != nil {
			done(err)
		}
	})
	wg.Wait()
	if err := context.Cause(work); !errors.Is(err, finished) {
		return errors.Join(err, q.Close(ctx))
	}
	return q.Close(ctx)
}
