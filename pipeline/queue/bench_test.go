package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
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

// processorTime returns what this process has used of the processors. Beside a busy machine's clock it says what a
// message costs.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportMessages(b *testing.B, used time.Duration) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
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
			before := processorTime(b)
			b.ResetTimer()
			for range sessions {
				wg.Go(func() {
					for n.Add(1) <= int64(b.N) {
						spool(b, q, newEnvelope(), body)
					}
				})
			}
			wg.Wait()
			reportMessages(b, processorTime(b)-before)
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
			before := processorTime(b)
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
			reportMessages(b, processorTime(b)-before)
		})
	}
}

// BenchmarkThrough takes messages of 10 KiB from 16 sessions, hands them out beside that, settles them and lists their
// deliveries: all that the queue does for a healthy mail.
func BenchmarkThrough(b *testing.B) {
	q := benchQueue(b)
	body := randomOctets(b, 10*kib)
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	var n, handled atomic.Int64
	var senders sync.WaitGroup
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	for range 16 {
		senders.Go(func() {
			for n.Add(1) <= int64(b.N) {
				spool(b, q, newEnvelope(), body)
			}
		})
	}
	err := q.Process(ctx, 24, func(_ context.Context, m *pipeline.Message) error {
		q.Delivered(benchDelivered(m))
		if handled.Add(1) == int64(b.N) {
			cancel()
		}
		return nil
	})
	senders.Wait()
	b.StopTimer()
	if err != nil || handled.Load() < int64(b.N) {
		b.Fatalf("%d of %d messages, %v", handled.Load(), b.N, err)
	}
	reportMessages(b, processorTime(b)-before)
}

// BenchmarkRecord encodes and decodes the head of a message.
func BenchmarkRecord(b *testing.B) {
	rec := mailRecord{Envelope: recordEnvelope(newEnvelope()), Size: 10 * kib, SHA256: make([]byte, 32)}
	frame, err := encodeFrame(kindMail, rec, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := encodeHead(kindMail, rec); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var got mailRecord
			if _, err := decodeFrame(kindMail, frame, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDeliveredList encodes a list of 256 deliveries that succeeded.
func BenchmarkDeliveredList(b *testing.B) {
	var list logRecord
	for range logBatch {
		list.Deliveries = append(list.Deliveries, recordDelivered(benchDelivered(&pipeline.Message{Envelope: newEnvelope(), Ref: "MXHOOK_MAIL_1/12345"})))
	}
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		frame, err := encodeFrame(kindLog, list, nil)
		if err != nil {
			b.Fatal(err)
		}
		size = len(frame)
	}
	b.ReportMetric(float64(size)/logBatch, "bytes/delivery")
}

func benchDelivered(m *pipeline.Message) *pipeline.KeptDelivery {
	return &pipeline.KeptDelivery{
		State: pipeline.StateDelivered, At: time.Now(), Status: "200 OK", Took: 12345 * time.Microsecond,
		Delivery: &pipeline.Delivery{
			ID: m.Envelope.ID + ".hook", Sink: "hook", Rules: []string{"all"}, Recipients: m.Envelope.Recipients, Message: m, Attempt: 1, First: time.Now(),
		},
	}
}
