package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"mime/quotedprintable"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/foxcpp/go-mockdns"
	"github.com/prometheus/client_golang/prometheus"

	"mxhook/configs"
	"mxhook/pipeline"
)

// BenchmarkMail takes a mail of 10 KB, multipart/alternative, with one RSA signature, from its octets in memory to the
// answer of a webhook on loopback, with all DNS answers in the cache: the whole of what a worker does, then each step alone.
// cpu-ns/op is the processor time of the process, the endpoint's small part in it.
func BenchmarkMail(b *testing.B) {
	w := newBenchWorker(b)
	ctx := context.Background()
	for _, step := range []struct {
		name  string
		ready pipeline.Stages
		run   func(m *pipeline.Message) error
	}{
		{"whole", nil, func(m *pipeline.Message) error { return w.processor.Process(ctx, m) }},
		{"auth", nil, func(m *pipeline.Message) error { return w.auth.Run(ctx, m) }},
		{"parse", nil, func(m *pipeline.Message) error { return w.parse.Run(ctx, m) }},
		{"route", pipeline.Stages{w.auth, w.parse}, func(m *pipeline.Message) error {
			routing, _ := (told{w.generation, w.log}).Route(m)
			if ds := w.generation.plan.Deliveries(m, routing, time.Now()); len(ds) != 1 {
				return fmt.Errorf("%d deliveries", len(ds))
			}
			return nil
		}},
		{"deliver", pipeline.Stages{w.auth, w.parse}, func(m *pipeline.Message) error {
			d := &pipeline.Delivery{ID: m.Envelope.ID + ".hook", Sink: "hook", Message: m, Attempt: 1, Recipients: m.Envelope.Recipients}
			_, err := w.generation.outlets[0].Sink.Deliver(ctx, d)
			return err
		}},
	} {
		b.Run(step.name, func(b *testing.B) {
			b.SetParallelism(8) // times GOMAXPROCS: 16 sessions on two cores
			b.ReportAllocs()
			ready := w.message()
			if err := step.ready.Run(ctx, ready); err != nil {
				b.Fatal(err)
			}
			before := cpuTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					m := w.message()
					m.Auth, m.Content = ready.Auth, ready.Content
					if err := step.run(m); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchWorker is what a worker is made of, without the queue.
type benchWorker struct {
	generation  *generation
	auth, parse pipeline.Stage
	processor   *pipeline.Processor
	log         *slog.Logger
	raw         []byte
	count       atomic.Int64
}

func newBenchWorker(b *testing.B) *benchWorker {
	b.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	dns := benchDNS(b, key)
	file := filepath.Join(b.TempDir(), "mxhook.yaml")
	text := fmt.Sprintf("domains: [{domain: example.com}]\nrules: [{name: all, to: [hook]}]\ndns: {servers: [%q]}\n"+
		"sinks:\n  - {name: hook, webhook: {url: \"http://%s/\", secret: whsec_bXhob29rIHRlc3RzLCBub3QgYSBzZWNyZXQgYXQgYWxs, allow_private: true}}\n",
		dns, benchEndpoint(b))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cfg, _, err := configs.Load(file, nil)
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	registry := prometheus.NewRegistry()
	o := Options{Config: cfg, Log: log, Now: time.Now, Version: "test"}
	if o.Resolver, err = newResolver(cfg, log, registry); err != nil {
		b.Fatal(err)
	}
	w := &benchWorker{auth: newAuth(o, registry), log: log, raw: benchMail(b, key)}
	if w.generation, err = newGeneration(cfg, nil, o, registry); err != nil {
		b.Fatal(err)
	}
	if err := w.generation.buildSinks(o, registry, nil); err != nil {
		b.Fatal(err)
	}
	var current atomic.Pointer[generation]
	current.Store(w.generation)
	work, err := newWork(o, w.auth, &current, registry)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(work.close)
	w.parse = work.parse
	attempts := pipeline.NewAttempts(pipeline.AttemptsOptions{
		Plan: func() *pipeline.Plan { return w.generation.plan }, Memory: int64(cfg.Limits.Memory), Log: log, Registerer: registry,
	})
	w.processor = pipeline.NewProcessor(pipeline.ProcessorOptions{Stages: work.stages, Attempts: attempts, Log: log, Registerer: registry})
	if err := work.stages.Run(b.Context(), w.message()); err != nil {
		b.Fatal(err)
	}
	m := w.message()
	if err := w.auth.Run(b.Context(), m); err != nil || !m.Auth.Sender.Verified || m.Auth.SPF.Result != "pass" || m.Auth.DKIM[0].Result != "pass" {
		b.Fatalf("the mail of the benchmark is not authentic: %v %+v", err, m.Auth)
	}
	return w
}

// message is one more mail of the benchmark.
func (w *benchWorker) message() *pipeline.Message {
	rcpt := pipeline.Recipient{Address: "in@example.com", Local: "in", Domain: "example.com"}
	return &pipeline.Message{Raw: w.raw, Envelope: pipeline.Envelope{
		ID: fmt.Sprintf("01K0MXH%019d", w.count.Add(1)), ReversePath: "sender@example.org",
		Recipients: []pipeline.Recipient{rcpt}, Size: int64(len(w.raw)), ReceivedAt: time.Now(), Hostname: "mx.example.com", Listener: "mx",
		Client: pipeline.Client{IP: netip.MustParseAddr("192.0.2.1"), Port: 40000, Helo: "mail.example.org"},
	}}
}

func benchDNS(b *testing.B, key *rsa.PrivateKey) string {
	b.Helper()
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		b.Fatal(err)
	}
	txt := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	server, err := mockdns.NewServerWithLogger(map[string]mockdns.Zone{
		"example.org.":               {TXT: []string{"v=spf1 ip4:192.0.2.0/24 -all"}},
		"s1._domainkey.example.org.": {TXT: []string{txt}},
		"_dmarc.example.org.":        {TXT: []string{"v=DMARC1; p=reject"}},
		"mail.example.org.":          {A: []string{"192.0.2.1"}},
		"1.2.0.192.in-addr.arpa.":    {PTR: []string{"mail.example.org."}},
	}, benchQuiet{}, false)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close() })
	return server.LocalAddr().String()
}

type benchQuiet struct{}

func (benchQuiet) Printf(string, ...any) {}

// benchMail is a signed mail of 10 KB: a text of 2 KB and HTML as a newsletter's, both quoted-printable.
func benchMail(b *testing.B, key crypto.Signer) []byte {
	b.Helper()
	dice := mathrand.New(mathrand.NewPCG(1, 2))
	words := strings.Fields("the order has been shipped and will arrive on Monday, please reply with any question: Grüße aus Zürich to all of our customers")
	text := func(before, after string, size int) string {
		var plain, out strings.Builder
		for plain.Len() < size {
			plain.WriteString(before)
			for range 20 {
				plain.WriteString(words[dice.IntN(len(words))] + " ")
			}
			plain.WriteString(after + "\r\n")
		}
		q := quotedprintable.NewWriter(&out)
		_, _ = q.Write([]byte(plain.String())) // a Builder takes all
		_ = q.Close()
		return out.String()
	}
	var mail bytes.Buffer
	mail.WriteString("Received: from app.example.org (app.example.org [198.51.100.7])\r\n\tby mail.example.org with ESMTPS id 8GH2K;\r\n\tSun, 22 Nov 2026 10:00:00 +0000\r\n" +
		"From: =?utf-8?Q?J=C3=BCrgen?= Sender <sender@example.org>\r\nTo: Inbox <in@example.com>\r\nSubject: Your order has been shipped\r\n" +
		"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1234.5678@example.org>\r\nReply-To: orders@example.org\r\nX-Mailer: Example 1.0\r\n" +
		"List-Unsubscribe: <https://example.org/u/1>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"=_alternative\"\r\n\r\n" +
		"--=_alternative\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + text("", "", 2000) +
		"\r\n--=_alternative\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<html><body>" +
		text(`<p style="margin:0;color:#333">`, "</p>", 6300) + "</body></html>\r\n--=_alternative--\r\n")
	var out bytes.Buffer
	err := dkim.Sign(&out, &mail, &dkim.SignOptions{
		Domain: "example.org", Selector: "s1", Signer: key, HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID", "Reply-To", "MIME-Version"},
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// benchEndpoint answers requests with as little work as it can.
func benchEndpoint(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	b.Cleanup(func() {
		_ = l.Close()
		wg.Wait() // the sink has closed its connections
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				in := bufio.NewReaderSize(conn, 64<<10)
				head := textproto.NewReader(in)
				for {
					if _, err := head.ReadLine(); err != nil {
						return
					}
					h, err := head.ReadMIMEHeader()
					if err != nil {
						return
					}
					n, _ := strconv.Atoi(h.Get("Content-Length"))
					if _, err := in.Discard(n); err != nil {
						return
					}
					if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}
