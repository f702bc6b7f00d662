package webhook

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSecret  = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	otherSecret = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
	testPrivate = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=" // RFC 8032 7.1, test 1
	testPublic  = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)

// newWebhook returns a sink that may reach loopback; it is closed at the end of the test.
func newWebhook(t testing.TB, o Options) *Webhook {
	t.Helper()
	if o.Secrets == nil {
		o.Secrets = []string{testSecret}
	}
	if o.Sink == "" {
		o.Sink = "test"
	}
	o.AllowPrivate = true
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// serve starts an endpoint on loopback that is closed at the end of the test.
func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// receiver is a customer's endpoint that keeps to the contract: it verifies, checks the attachments, and drops repeats.
type receiver struct {
	fault    sinktest.Fault
	verifier *Verifier
	done     chan struct{}

	mu       sync.Mutex
	wrong    []error
	attempts map[string]int
	copies   map[string]int
}

func newReceiver(t testing.TB, fault sinktest.Fault, secrets ...string) *receiver {
	t.Helper()
	v, err := NewVerifier(secrets, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &receiver{fault: fault, verifier: v, done: make(chan struct{}), attempts: map[string]int{}, copies: map[string]int{}}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	err = errors.Join(err, r.verifier.Verify(req.Header, body), checkBody(req, body))
	id := req.Header.Get(HeaderID)
	r.mu.Lock()
	r.attempts[id]++
	if err != nil {
		r.wrong = append(r.wrong, fmt.Errorf("%s: %w", id, err))
	}
	if r.fault == sinktest.Healthy {
		r.copies[id] = 1
	}
	r.mu.Unlock()
	// An endpoint that tells all it knows, as debugging ones do.
	echo := fmt.Sprintf("%s %s %v", req.Host, req.URL, req.Header)
	switch r.fault {
	case sinktest.Healthy:
		fmt.Fprintf(w, "thank you, %s\x1b[1m \xff", echo)
	case sinktest.Failing:
		http.Error(w, echo, http.StatusInternalServerError)
	case sinktest.Gone:
		http.Error(w, echo, http.StatusGone)
	case sinktest.Busy:
		w.Header().Set("Retry-After", fmt.Sprint(int(sinktest.AskedDelay.Seconds())))
		http.Error(w, echo, http.StatusTooManyRequests)
	case sinktest.Hanging:
		<-r.done
	}
}

func (r *receiver) count(m map[string]int) func(string) int {
	return func(id string) int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return m[id]
	}
}

// checkBody checks what every payload promises.
func checkBody(req *http.Request, body []byte) error {
	var p struct {
		Type string
		Data struct {
			Delivery struct{ ID string }
			Message  *struct {
				Attachments []struct {
					SHA256  string
					Size    int
					Content []byte
				}
			}
			Raw struct {
				SHA256  string
				Content []byte
			}
		}
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if got := req.Header.Get(HeaderID); got != p.Data.Delivery.ID || p.Type != "mail.received" || req.ContentLength != int64(len(body)) {
		return fmt.Errorf("id %q, %q; type %q; length %d, %d", got, p.Data.Delivery.ID, p.Type, req.ContentLength, len(body))
	}
	if p.Data.Message != nil {
		for _, a := range p.Data.Message.Attachments {
			if sum := sha256.Sum256(a.Content); hex.EncodeToString(sum[:]) != a.SHA256 || len(a.Content) != a.Size {
				return fmt.Errorf("attachment has %d octets, wants %d with hash %s", len(a.Content), a.Size, a.SHA256)
			}
		}
	}
	if sum := sha256.Sum256(p.Data.Raw.Content); p.Data.Raw.Content != nil && hex.EncodeToString(sum[:]) != p.Data.Raw.SHA256 {
		return errors.New("raw content does not have its hash")
	}
	return nil
}

func TestWebhookKeepsTheContract(t *testing.T) {
	sinktest.Run(t, func(t *testing.T, fault sinktest.Fault) *sinktest.Instance {
		r := newReceiver(t, fault, testSecret)
		server := httptest.NewServer(r)
		url := strings.Replace(server.URL, "http://", "http://alice:open%20sesame@", 1) + "/a-token-in-the-path/in?key=s3cr%2Ft&x=1"
		w, err := New(Options{
			Sink: "test", URL: url, Secrets: []string{testSecret}, AllowPrivate: true,
			Headers: []Header{{"X-Api-Key", "0123456789/abc"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return &sinktest.Instance{
			Sink: w, Copies: r.count(r.copies), Attempts: r.count(r.attempts),
			Secrets: []string{
				testSecret, strings.TrimPrefix(testSecret, "whsec_"), "open%20sesame", "open sesame", "s3cr%2Ft", "s3cr/t",
				"0123456789/abc", base64.StdEncoding.EncodeToString([]byte("alice:open sesame")), "a-token-in-the-path",
			},
			Close: func() {
				close(r.done)
				w.Close()
				server.Close()
				if err := errors.Join(r.wrong...); err != nil {
					t.Error(err)
				}
			},
		}
	})
}

func TestRequestHasTheHeaderFieldsOfTheContract(t *testing.T) {
	t.Parallel()
	now := time.Unix(1795288624, 999)
	var got http.Header
	var line string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, line = r.Header, r.Method+" "+r.URL.String()
		w.WriteHeader(http.StatusNoContent)
	})
	w := newWebhook(t, Options{
		URL: strings.Replace(server.URL, "http://", "http://alice:pass@", 1) + "/mail?x=1", Version: "1.2.3",
		Now: func() time.Time { return now }, Headers: []Header{{"x-tenant", "a"}, {"X-Tenant", "b"}},
	})
	d := sinktest.Samples()[0].Delivery
	resp, err := w.Deliver(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Timings.Connect == 0 || resp.Timings.FirstByte == 0 || resp.Timings.TLS != 0 {
		t.Errorf("timings %+v", resp.Timings)
	}
	resp.Timings = pipeline.Timings{}
	if want := (pipeline.Response{Status: "204 No Content"}); resp != want {
		t.Errorf("response %+v, want %+v", resp, want)
	}
	if line != "POST /mail?x=1" {
		t.Errorf("request line %q", line)
	}
	if sig := got.Get(HeaderSignature); !strings.HasPrefix(sig, "v1,") || strings.Contains(sig, " ") {
		t.Errorf("%s: %q", HeaderSignature, sig)
	}
	got.Del(HeaderSignature)
	got.Del("Content-Length")
	want := http.Header{
		"Webhook-Id": {d.ID}, "Webhook-Timestamp": {"1795288624"}, "Content-Type": {"application/json"},
		"User-Agent": {"mxhook/1.2.3"}, "X-Tenant": {"a", "b"}, "Authorization": {"Basic YWxpY2U6cGFzcw=="},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEachAttemptIsSignedWithItsOwnTime(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	clock.Store(1795288624)
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	v, err := NewVerifier([]string{testSecret}, now)
	if err != nil {
		t.Fatal(err)
	}
	var stamps []string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := v.Verify(r.Header, body); err != nil {
			t.Error(err)
		}
		stamps = append(stamps, r.Header.Get(HeaderTimestamp))
	})
	w := newWebhook(t, Options{URL: server.URL, Now: now})
	for attempt := 1; attempt <= 2; attempt++ {
		d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0AFRESH")
		d.Attempt = attempt
		if _, err := w.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		clock.Add(12 * 3600)
	}
	if diff := cmp.Diff([]string{"1795288624", "1795331824"}, stamps); diff != "" {
		t.Error(diff)
	}
}

// TestLargeBodyIsStreamedWithItsLengthAndSignature covers both sides of the size from which a body is made twice, with
// every kind of secret.
func TestLargeBodyIsStreamedWithItsLengthAndSignature(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][]string{{testSecret}, {testSecret, otherSecret}, {testPrivate}, {otherSecret, testPrivate}} {
		for _, size := range []int{0, 100, bufferBelow / 2, bufferBelow, 2 << 20} {
			t.Run(fmt.Sprintf("%d secrets, %d octets", len(secrets), size), func(t *testing.T) {
				t.Parallel()
				r := newReceiver(t, sinktest.Healthy, secrets[len(secrets)-1])
				server := serve(t, r.ServeHTTP)
				w := newWebhook(t, Options{URL: server.URL, Secrets: secrets, Raw: true})
				if _, err := w.Deliver(t.Context(), sinktest.Sized(500, size)); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(r.wrong...); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestLargeBodyIsNotHeldInMemory(t *testing.T) { // not in parallel: it looks at all allocations
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	w := newWebhook(t, Options{URL: server.URL})
	d := sinktest.Sized(500, 8<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const n = 3
	for range n {
		if _, err := w.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / n; got > 1<<20 {
		t.Errorf("%d octets allocated for a body of 11 MB, want less than 1 MiB", got)
	}
}

func TestConnectionsAreKeptAndBounded(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	metrics, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Write(make([]byte, 10<<10)) // an answer must be read for its connection to be kept
	})
	w := newWebhook(t, Options{URL: server.URL, Concurrency: 4, Metrics: metrics})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 8 {
				if _, err := w.Deliver(t.Context(), sinktest.Delivery(fmt.Sprintf("01KAK5ZV3QW8E6T4Y2N0K%02d%02d", i, j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := testutil.ToFloat64(metrics.connections.WithLabelValues("test")); n < 1 || n > 4 {
		t.Errorf("%v connections for 128 deliveries, want 1 to 4", n)
	}
	if n := testutil.ToFloat64(metrics.answers.WithLabelValues("test", "2xx")); n != 128 {
		t.Errorf("%v answers 2xx counted, want 128", n)
	}
}

// TestStaleConnectionIsNeverASecondRequest has an endpoint that closes each connection behind its answer without saying
// so. Whether the sink notices before it writes is a race; either way no request may arrive twice.
func TestStaleConnectionIsNeverASecondRequest(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 100)
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			id := ""
			if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				io.Copy(io.Discard, req.Body)
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				id = req.Header.Get(HeaderID)
			}
			conn.Close()
			seen <- id
		}
	})
	w := newWebhook(t, Options{URL: "http://" + listener.Addr().String()})
	for i := range 20 {
		d := sinktest.Delivery(fmt.Sprintf("01KAK5ZV3QW8E6T4Y2N0STA%03d", i))
		_, err := w.Deliver(t.Context(), d)
		if err != nil { // written into the closed connection: an ordinary failure, and that connection is gone
			if pipeline.IsPermanent(err) {
				t.Errorf("delivery %d: marked permanent: %v", i, err)
			}
			_, err = w.Deliver(t.Context(), d)
		}
		if err != nil {
			t.Fatalf("delivery %d: %v", i, err)
		}
		if id := <-seen; id != d.ID {
			t.Errorf("delivery %d arrived as %q", i, id)
		}
	}
	listener.Close()
	served.Wait()
	if len(seen) > 0 {
		t.Errorf("%d more requests arrived", len(seen))
	}
}

func TestHTTP2IsUsedWhereOffered(t *testing.T) {
	t.Parallel()
	var proto atomic.Value
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		proto.Store(r.Proto)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	w := newWebhook(t, Options{URL: server.URL, TLS: &tls.Config{RootCAs: roots}})
	if _, err := w.Deliver(t.Context(), sinktest.Sized(100, 2<<20)); err != nil {
		t.Fatal(err)
	}
	if got := proto.Load(); got != "HTTP/2.0" {
		t.Errorf("protocol %v", got)
	}
}

func TestUnknownAuthorityIsTransientAndNamed(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake is what we want
	server.StartTLS()
	t.Cleanup(server.Close)
	w := newWebhook(t, Options{URL: server.URL})
	_, err := w.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0TLS000"))
	if err == nil || pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("error %v", err)
	}
}

func TestAnswerIsReadWithinBounds(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Encoding", "gzip") // a lie or a bomb: it is not looked into
		for range 64 {
			if _, err := w.Write([]byte(strings.Repeat("ä", 32<<10))); err != nil {
				return
			}
		}
	})
	w := newWebhook(t, Options{URL: server.URL})
	resp, err := w.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0ANSWER"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Detail != strings.Repeat("ä", maxDetail/2) {
		t.Errorf("Detail has %d octets: %.20q", len(resp.Detail), resp.Detail)
	}
}

func TestTimeoutNamesItsPhase(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	hanging := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-done
	})
	arrived := make(chan struct{}, 1)
	notReading := serve(t, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-done
	})
	t.Cleanup(func() { close(done) })               // before the servers wait for their requests
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	large := sinktest.Sized(1, 16<<20)
	opened := make(chan struct{}, 1)
	slow := sinktest.Sized(1, bufferBelow)
	slow.Message.Content.Attachments[0].Open = func() io.Reader {
		opened <- struct{}{}
		return neverEnding{}
	}
	slow.Message.Content.Attachments[0].Size = 1 << 40
	for name, tt := range map[string]struct {
		o    Options
		d    *pipeline.Delivery
		when chan struct{} // the deadline comes; nil: the sink's own timeout does
		want string
	}{
		"preparing": {Options{URL: hanging.URL}, slow, opened, "while preparing the request"},
		"TLS":       {Options{URL: "https://" + silent.Addr().String(), ConnectTimeout: time.Second}, sinktest.Sized(1, 0), nil, "while negotiating TLS"},
		"sending":   {Options{URL: notReading.URL}, large, arrived, "while sending the request"},
		"answer":    {Options{URL: hanging.URL, ResponseTimeout: 50 * time.Millisecond}, sinktest.Sized(1, 0), nil, "while waiting for the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			var waiting sync.WaitGroup
			if tt.when != nil {
				waiting.Go(func() {
					<-tt.when
					cancel(context.DeadlineExceeded)
				})
			}
			_, err := newWebhook(t, tt.o).Deliver(ctx, tt.d)
			if err == nil || !strings.Contains(err.Error(), "timed out after") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if pipeline.IsPermanent(err) {
				t.Error("marked permanent")
			}
			waiting.Wait()
			cancel(nil)
		})
	}
}

// neverEnding is an attachment that takes forever to decode.
type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

func TestWaitForAFreeConnectionIsNamed(t *testing.T) {
	t.Parallel()
	done, arrived := make(chan struct{}), make(chan struct{}, 1)
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-done
	})
	w := newWebhook(t, Options{URL: server.URL, Concurrency: 1})
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := w.Deliver(t.Context(), sinktest.Sized(1, 0)); err != nil {
			t.Error(err)
		}
	})
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.Deliver(ctx, sinktest.Sized(1, 0)); err == nil || !strings.Contains(err.Error(), "while waiting for a free connection") {
		t.Errorf("error %v", err)
	}
	close(done)
	first.Wait()
}

func TestRefusedConnectionIsTransient(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	w := newWebhook(t, Options{URL: server.URL + "/secret-path?secret=query"})
	_, err := w.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0REFVSE"))
	if err == nil || pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestDeliveryThatCannotBeBuiltIsPermanent(t *testing.T) {
	t.Parallel()
	w := newWebhook(t, Options{URL: "http://127.0.0.1:9/"})
	for _, size := range []int{100, 2 << 20} {
		for _, off := range []int64{-1, 1} {
			d := sinktest.Sized(1, size)
			d.Message.Content.Attachments[0].Size += off
			if _, err := w.Deliver(t.Context(), d); !pipeline.IsPermanent(err) || !errors.Is(err, errLength) {
				t.Errorf("attachment of %d octets, %+d: error %v", size, off, err)
			}
			if err := EncodePayload(io.Discard, d, PayloadOptions{}); !pipeline.IsPermanent(err) {
				t.Errorf("encode attachment of %d octets, %+d: error %v", size, off, err)
			}
		}
	}
	d := sinktest.Delivery("x\r\nX-Evil: 1")
	if _, err := w.Deliver(t.Context(), d); !pipeline.IsPermanent(err) {
		t.Errorf("error %v", err)
	}
}

func TestInternalAddressIsRefusedWhenDialled(t *testing.T) {
	t.Parallel()
	reached := false
	server := serve(t, func(http.ResponseWriter, *http.Request) { reached = true })
	reg := prometheus.NewRegistry()
	metrics, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	// A name, so that New cannot see the address; it resolves without a query.
	url := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	w, err := New(Options{Sink: "test", URL: url, Secrets: []string{testSecret}, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0GVARD0"))
	if !errors.Is(err, ErrInternalAddress) || pipeline.IsPermanent(err) || reached {
		t.Errorf("error %v, reached %v", err, reached)
	}
	if !strings.Contains(err.Error(), "allow_private") || !strings.Contains(err.Error(), "allow_networks") {
		t.Errorf("the error names no remedy: %v", err)
	}
	if n := testutil.ToFloat64(metrics.answers.WithLabelValues("test", "refused")); n != 1 {
		t.Errorf("%v refusals counted, want 1", n)
	}

	w, err = New(Options{
		URL: url, Secrets: []string{testSecret},
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err = w.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0GVARD0")); err != nil || !reached {
		t.Errorf("with allow_networks: error %v, reached %v", err, reached)
	}
}

func TestMetricsAreSharedByRegistrations(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	first, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	second, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	first.attempt("a", 1)
	second.attempt("a", 2)
	if n := testutil.ToFloat64(first.octets.WithLabelValues("a")); n != 3 {
		t.Errorf("%v octets, want 3", n)
	}
	if m, err := NewMetrics(nil); m != nil || err != nil {
		t.Errorf("without a registry: %v, %v", m, err)
	}
}
