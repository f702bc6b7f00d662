package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mxhook/pipeline"
)

func benchQueue(b *testing.B) *Queue {
	b.Helper()
	q, err := Open(b.Context(), Config{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := q.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return q
}

// BenchmarkCommit takes messages of 10 KiB, each durable before the next of the same session.
func BenchmarkCommit(b *testing.B) {
	for _, sessions := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("sessions-%d", sessions), func(b *testing.B) {
			q := benchQueue(b)
			body := randomOctets(b, 10*kib)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range sessions {
				wg.Go(func() {
					for n.Add(1) <= int64(b.N) {
						spool(b, q, newEnvelope(), body)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkProcess hands out and settles messages of 10 KiB that lie in the queue.
func BenchmarkProcess(b *testing.B) {
	for _, slots := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("slots-%d", slots), func(b *testing.B) {
			q := benchQueue(b)
			body := randomOctets(b, 10*kib)
			sum := sha256.Sum256(body)
			var fill sync.WaitGroup
			var n atomic.Int64
			for range 32 {
				fill.Go(func() {
					for n.Add(1) <= int64(b.N) {
						spool(b, q, newEnvelope(), body)
					}
				})
			}
			fill.Wait()
			ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
			defer cancel()
			var handled atomic.Int64
			b.SetBytes(int64(len(body)))
			b.ResetTimer()
			err := q.Process(ctx, slots, func(_ context.Context, m *pipeline.Message) error {
				if m.SHA256 != sum {
					return pipeline.Permanent(errors.New("another message"))
				}
				if handled.Add(1) == int64(b.N) {
					cancel()
				}
				return nil
			})
			b.StopTimer()
			if err != nil || handled.Load() < int64(b.N) {
				b.Fatalf("%d of %d messages, %v", handled.Load(), b.N, err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
