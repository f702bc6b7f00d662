package webhook

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

// sizes are mails of about 3 KB (text), 30 KB (text) and 3 MB (attachment).
func sizes() []struct {
	name string
	d    *pipeline.Delivery
} {
	return []struct {
		name string
		d    *pipeline.Delivery
	}{
		{"3KB", sinktest.Sized(3<<10, 0)},
		{"30KB", sinktest.Sized(30<<10, 0)},
		{"3MB", sinktest.Sized(3<<10, 3<<20)},
	}
}

// BenchmarkBuildAndSign makes the signed request and reads its body, without a connection.
func BenchmarkBuildAndSign(b *testing.B) {
	for _, size := range sizes() {
		b.Run(size.name, func(b *testing.B) {
			w := newWebhook(b, Options{URL: "https://example.com/hook"})
			b.ReportAllocs()
			for b.Loop() {
				req, err := w.request(context.Background(), size.d)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(req.ContentLength)
				if _, err := io.Copy(io.Discard, req.Body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDeliver posts to an endpoint on loopback with 16 attempts under way.
func BenchmarkDeliver(b *testing.B) {
	server := serve(b, func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	for _, size := range sizes() {
		b.Run(size.name, func(b *testing.B) {
			w := newWebhook(b, Options{URL: server.URL, Concurrency: 16})
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(8) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					d := *size.d
					d.ID = fmt.Sprintf("%s%d", size.d.ID, n.Add(1))
					if _, err := w.Deliver(context.Background(), &d); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
