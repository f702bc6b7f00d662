package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/pipeline"
	"mxhook/pipeline/parse"
	"mxhook/sinks/webhook"
)

// A mail of 40 MB goes through a process whose memory stays below six times its size.
func TestALargeMailPassesInBoundedMemory(t *testing.T) {
	const size = 40_000_000
	endpoint := apptest.NewEndpoint(t)
	endpoint.Forget()
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Endpoint: endpoint})
	p.Start()
	idle, err := p.PeakMemory()
	if err != nil {
		t.Fatal(err)
	}
	mail := attachmentMail(size)
	id, err := apptest.SendOne(p.SMTP(), apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: mail})
	if err != nil {
		t.Fatal(err)
	}
	endpoint.WaitCount(t, 1, time.Minute)
	if endpoint.Accepted()[id+".hook"] != 1 {
		t.Errorf("the webhook was not accepted: %v", endpoint.Accepted())
	}
	peak, err := p.PeakMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("mail %d bytes: peak memory %.1f MB, %.2f × the mail (%.1f MB before it came)",
		len(mail), float64(peak)/1e6, float64(peak)/float64(len(mail)), float64(idle)/1e6)
	if limit := int64(6 * size); peak >= limit {
		t.Errorf("peak memory is %d bytes, want below %d", peak, limit)
	}
}

// A delivery of a mail with an attachment of 25 MB takes little more than the mail: parsed, encoded, signed and posted, its
// memory stays below two and a half times the mail's size. Not in parallel: it looks at the heap.
func TestADeliveryIsStreamed(t *testing.T) {
	var posted atomic.Int64
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body) // a short body is noticed below
		posted.Store(n)
	}))
	defer endpoint.Close()
	sink, err := webhook.New(webhook.Options{URL: endpoint.URL, Secrets: []string{"whsec_" + strings.Repeat("A", 32)}, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	stage, err := parse.New(parse.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	heap := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	debug.FreeOSMemory()
	before := heap()
	raw := attachmentMail(25_000_000 / 57 * 78)
	debug.FreeOSMemory() // what making the mail left behind
	m := &pipeline.Message{Raw: raw, SHA256: sha256.Sum256(raw), Envelope: pipeline.Envelope{ID: "1", ReceivedAt: time.Now()}}
	peak, done, stopped := heap(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				peak = max(peak, heap())
			}
		}
	}()
	err = errors.Join(stage.Run(t.Context(), m), deliver(t.Context(), sink, m))
	close(done)
	<-stopped
	if err != nil {
		t.Fatal(err)
	}
	if posted.Load() < 33_000_000 {
		t.Errorf("posted %d bytes", posted.Load())
	}
	t.Logf("mail %d bytes, body %d bytes: peak heap %.1f MB, %.2f × the mail", len(raw), posted.Load(), float64(peak-before)/1e6, float64(peak-before)/float64(len(raw)))
	if limit := uint64(len(raw)) * 5 / 2; peak-before > limit {
		t.Errorf("peak heap is %d bytes, want at most %d", peak-before, limit)
	}
}

func deliver(ctx context.Context, sink pipeline.Sink, m *pipeline.Message) error {
	_, err := sink.Deliver(ctx, &pipeline.Delivery{ID: "1.hook", Sink: "hook", Message: m, Attempt: 1})
	return err
}

// attachmentMail makes a mail with one random attachment in base64, about size octets long.
func attachmentMail(size int) []byte {
	var b bytes.Buffer
	b.WriteString("From: s@example.org\r\nTo: in@example.com\r\nSubject: large\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsee attachment\r\n" +
		"--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"large.bin\"\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n")
	random := rand.NewChaCha8([32]byte{1})
	line := make([]byte, 57)
	for b.Len() < size-100 {
		_, _ = random.Read(line) // never fails
		fmt.Fprintf(&b, "%s\r\n", base64.StdEncoding.EncodeToString(line))
	}
	b.WriteString("--b--\r\n")
	return b.Bytes()
}
