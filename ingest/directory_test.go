package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

// testClock is moved by hand.
type testClock struct{ nanos atomic.Int64 }

func newTestClock() *testClock {
	c := &testClock{}
	c.nanos.Store(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *testClock) now() time.Time           { return time.Unix(0, c.nanos.Load()) }
func (c *testClock) advance(by time.Duration) { c.nanos.Add(int64(by)) }

func directoryFor(t *testing.T, clock *testClock, log *logBuffer, domains ...Domain) *Directory {
	t.Helper()
	d, err := NewDirectory(DirectoryOptions{
		Domains: domains, Log: slog.New(slog.NewTextHandler(log, nil)), Now: clock.now, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// ask returns "ok" or the reply.
func ask(t *testing.T, d Recipients, address string) string {
	t.Helper()
	_, err := d.Accepts(t.Context(), mustAddress(t, address))
	if err == nil {
		return "ok"
	}
	return err.Error()[:len("550 5.1.1")]
}

func TestDirectoryReadsItsFileAgain(t *testing.T) {
	t.Parallel()
	clock, log := newTestClock(), &logBuffer{}
	path := filepath.Join(t.TempDir(), "recipients")
	write := func(text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	start := clock.now()
	write("# ours\nalice\n\n  bob-*  \r\n/^c(?<n>[0-9])$/\n", start)
	d := directoryFor(t, clock, log, Domain{Name: "example.com", File: path, Recipients: []string{"support"}})
	expect := func(want map[string]string) {
		t.Helper()
		got := map[string]string{}
		for local := range want {
			got[local] = ask(t, d, local+"@example.com")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	expect(map[string]string{"support": "ok", "Alice+x": "ok", "bob-1": "ok", "c3": "ok", "carol": "550 5.1.1", "postmaster": "ok"})
	if r, _ := d.Accepts(t.Context(), mustAddress(t, "c3@example.com")); r.Captures["n"] != "3" {
		t.Errorf("captures %v", r.Captures)
	}

	write("carol\n", start.Add(time.Second))
	expect(map[string]string{"carol": "550 5.1.1"}) // not looked at again yet
	clock.advance(fileInterval)
	expect(map[string]string{"carol": "ok", "alice": "550 5.1.1", "support": "ok"})

	write("dave\n/(/\n", start.Add(2*time.Second))
	clock.advance(fileInterval)
	expect(map[string]string{"carol": "ok", "dave": "550 5.1.1"}) // the old ones stay
	if text := log.String(); !strings.Contains(text, "line 2") || !strings.Contains(text, "stay in force") {
		t.Errorf("log %s", text)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	clock.advance(fileInterval)
	expect(map[string]string{"carol": "ok"})
	write("erin\n*\n", start.Add(3*time.Second))
	clock.advance(fileInterval)
	expect(map[string]string{"carol": "ok", "anyone": "ok"})
}

func TestDirectoryRefusesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("a@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, domain := range map[string]Domain{
		"open the file of recipients": {Name: "example.com", File: bad + "-not-there"},
		`line 1, recipient "a@ex`:     {Name: "example.com", File: bad},
		"it is no URL":                {Name: "example.com", Callout: &Callout{URL: "app.example.com"}},
		`blocked recipient "a@b"`:     {Name: "example.com", Blocked: []string{"a@b"}},
	} {
		d, err := NewDirectory(DirectoryOptions{Domains: []Domain{domain}, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			d.Close()
			t.Errorf("%s: no error", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCaseSensitiveDomain(t *testing.T) {
	t.Parallel()
	d := mustDomains(t, Domain{Name: "example.com", CaseSensitive: true, Recipients: []string{"Support", "Re*", "/^Ticket$/"}})
	for address, want := range map[string]string{
		"Support@EXAMPLE.com": "ok", "support@example.com": "550 5.1.1", "Reply@example.com": "ok", "reply@example.com": "550 5.1.1",
		"Ticket@example.com": "ok", "ticket@example.com": "550 5.1.1", "POSTMASTER@example.com": "ok",
	} {
		if got := ask(t, d, address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// calloutServer answers with a status that the test sets, and counts.
type calloutServer struct {
	*httptest.Server
	status atomic.Int32
	asked  atomic.Int32
	last   atomic.Value // the last request's body, decoded
}

func newCalloutServer(t *testing.T) *calloutServer {
	s := &calloutServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		var body map[string]string
		_ = json.NewDecoder(r.Body).Decode(&body)
		body["authorization"] = r.Header.Get("Authorization")
		s.last.Store(body)
		if status := int(s.status.Load()); status == http.StatusFound {
			http.Redirect(w, r, "/elsewhere", status)
		} else {
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestCalloutAsksRemembersAndFails(t *testing.T) {
	t.Parallel()
	clock, log, server := newTestClock(), &logBuffer{}, newCalloutServer(t)
	d := directoryFor(t, clock, log, Domain{Name: "example.com", Recipients: []string{"listed"}, Callout: &Callout{
		URL: server.URL + "/?token=hunter2", Header: http.Header{"Authorization": {"Bearer x"}}, Cache: 10 * time.Minute, NegativeCache: time.Minute,
	}})
	step := func(status int, address, want string, asked int32) {
		t.Helper()
		server.status.Store(int32(status))
		before := server.asked.Load()
		if got := ask(t, d, address); got != want {
			t.Errorf("%d, %s: %s, want %s", status, address, got, want)
		}
		if got := server.asked.Load() - before; got != asked {
			t.Errorf("%d, %s: asked %d times, want %d", status, address, got, asked)
		}
	}
	step(500, "listed@example.com", "ok", 0)
	step(200, "alice+tag@example.com", "ok", 1)
	want := map[string]string{"address": "alice+tag@example.com", "local": "alice", "tag": "tag", "domain": "example.com", "authorization": "Bearer x"}
	if diff := cmp.Diff(want, server.last.Load()); diff != "" {
		t.Error(diff)
	}
	step(404, "alice+tag@example.com", "ok", 0) // remembered
	step(404, "bob@example.com", "550 5.1.1", 1)
	step(200, "bob@example.com", "550 5.1.1", 0)
	clock.advance(time.Minute)
	step(200, "bob@example.com", "ok", 1)
	step(403, "carol@example.com", "550 5.7.1", 1)
	step(500, "dave@example.com", "451 4.3.0", 1)
	step(302, "dave@example.com", "451 4.3.0", 1) // redirects are not followed
	clock.advance(10 * time.Minute)
	step(500, "alice+tag@example.com", "ok", 1) // too old, but better than nothing
	server.Server.Close()
	if got := ask(t, d, "erin@example.com"); got != "451 4.3.0" {
		t.Errorf("server gone: %s", got)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Error("the log has the URL's secret")
	}
}

// A request is signed as it is told, and goes to no address that is refused when it is dialled.
func TestCalloutIsSignedAndGuarded(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body) //nolint:errcheck // then the signature is wrong
		if r.Header.Get("webhook-signature") != fmt.Sprintf("%s %d %s", r.Header.Get("webhook-id"), len(body), "signed") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer server.Close()
	sign := func(h http.Header, id string, _ time.Time, body []byte) error {
		h.Set("webhook-id", id)
		h.Set("webhook-signature", fmt.Sprintf("%s %d %s", id, len(body), "signed"))
		return nil
	}
	for _, c := range []struct {
		refuse error
		sign   func(http.Header, string, time.Time, []byte) error
		want   string
		asked  int32
	}{
		{nil, sign, "ok", 1},
		{nil, nil, "451 4.3.0", 1},
		{errors.New("internal address"), sign, "451 4.3.0", 0},
	} {
		asked.Store(0)
		d := directoryFor(t, newTestClock(), &logBuffer{}, Domain{Name: "example.com", Callout: &Callout{
			URL: server.URL, Sign: c.sign, Control: func(string, string, syscall.RawConn) error { return c.refuse },
		}})
		if got := ask(t, d, "alice@example.com"); got != c.want || asked.Load() != c.asked {
			t.Errorf("refuse %v: %s after %d requests, want %s after %d", c.refuse, got, asked.Load(), c.want, c.asked)
		}
	}
}

func TestCalloutIsGivenUp(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	for accept, want := range map[bool]string{false: "451 4.3.0", true: "ok"} {
		d := directoryFor(t, newTestClock(), &logBuffer{}, Domain{Name: "example.com", Callout: &Callout{
			URL: server.URL, Timeout: 20 * time.Millisecond, AcceptOnFailure: accept,
		}})
		if got := ask(t, d, "alice@example.com"); got != want {
			t.Errorf("accept %v: %s", accept, got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := d.Accepts(ctx, mustAddress(t, "alice@example.com")); !errors.Is(err, error(replyCallout)) {
			t.Errorf("a session that is over: %v", err)
		}
	}
}

func TestQuotaAndGuardFillUpAgain(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	d := directoryFor(t, clock, &logBuffer{}, Domain{Name: "example.com", Quota: 2, Guard: &Guard{New: 3}})
	step := func(want string, addresses ...string) {
		t.Helper()
		for _, a := range addresses {
			if got := ask(t, d, a+"@example.com"); got != want {
				t.Errorf("%s: %s, want %s", a, got, want)
			} else if got == "ok" {
				r, _ := d.Accepts(t.Context(), mustAddress(t, a+"@example.com"))
				d.Stored(t.Context(), []pipeline.Recipient{r})
			}
		}
	}
	step("ok", "a", "a+tag", "b", "c")
	step("450 4.2.1", "A")
	step("450 4.7.1", "d")
	clock.advance(30 * time.Minute)
	step("ok", "a", "d")
	step("450 4.2.1", "a")
	step("450 4.7.1", "e")
	clock.advance(2 * time.Hour)
	step("ok", "a", "a", "e", "f", "g")
	step("450 4.7.1", "h")
}

func TestLimiterIsBounded(t *testing.T) {
	t.Parallel()
	l, now := newLimiter[int](1, time.Minute), time.Now()
	for i := range 3 * maxBuckets {
		l.allow(i, now)
	}
	if n := len(l.buckets.young) + len(l.buckets.old); n > maxBuckets {
		t.Errorf("%d buckets", n)
	}
	if l.allow(3*maxBuckets-1, now) {
		t.Error("the last key was forgotten")
	}
	if !l.allow(3*maxBuckets-1, now.Add(time.Minute)) {
		t.Error("the bucket is not full again")
	}
}

func TestGreylistLetsReturningClientsThrough(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	g := Greylist{Delay: 5 * time.Minute, Memory: newLocalMemory(clock.now)}.withDefaults()
	step := func(want bool, network, from, to string) {
		t.Helper()
		wait, err := g.wait(t.Context(), network, from, to, clock.now())
		if err != nil || wait != want {
			t.Errorf("%s %s %s: wait %v, %v", network, from, to, wait, err)
		}
	}
	step(true, "192.0.2.0/24", "alice@example.org", "bob@example.com")
	clock.advance(4 * time.Minute)
	step(true, "192.0.2.0/24", "Alice@example.org", "bob@example.com") // the first try counts
	step(true, "192.0.2.0/24", "alice@example.org", "carol@example.com")
	clock.advance(time.Minute)
	step(false, "192.0.2.0/24", "alice@example.org", "bob@example.com")
	step(false, "192.0.2.0/24", "mallory@example.org", "dave@example.com") // the network has passed
	step(true, "198.51.100.0/24", "alice@example.org", "bob@example.com")
	clock.advance(30 * 24 * time.Hour)
	step(false, "192.0.2.0/24", "alice@example.org", "bob@example.com")
	clock.advance(30 * 24 * time.Hour)
	step(false, "192.0.2.0/24", "alice@example.org", "bob@example.com") // kept by use
	clock.advance(37 * 24 * time.Hour)
	step(true, "192.0.2.0/24", "alice@example.org", "bob@example.com")
	step(true, "203.0.113.0/24", "alice@example.org", "bob@example.com")
	clock.advance(3 * 24 * time.Hour)
	step(true, "203.0.113.0/24", "alice@example.org", "bob@example.com") // out of the window: a first try again
}

// failingMemory fails.
type failingMemory struct{}

func (failingMemory) Get(context.Context, string) (time.Time, bool, error) {
	return time.Time{}, false, errors.New("no responders")
}

func (failingMemory) Put(context.Context, string, time.Time, time.Duration) error {
	return errors.New("no responders")
}

func TestGreylistFailsOpen(t *testing.T) {
	t.Parallel()
	s := serverFor(t, func(o *Options) {
		o.Policy.Greylist = Greylist{Delay: time.Hour, Memory: failingMemory{}}
	})
	s.transaction()
	waitFor(t, "the log says so", func() bool { return strings.Contains(s.log.String(), "memory failed") })
}

func TestRefusalsAreLoggedWithinReason(t *testing.T) {
	t.Parallel()
	var l refusalLog
	now := time.Unix(1000, 0)
	written := 0
	for range 1000 {
		if _, ok := l.admit("errors", now); ok {
			written++
		}
	}
	if written != refusalsPerSecond {
		t.Errorf("%d lines in a second", written)
	}
	if more, ok := l.admit("errors", now.Add(time.Second)); !ok || more != 1000-refusalsPerSecond {
		t.Errorf("%d unlogged, %v", more, ok)
	}
	if more, ok := l.admit("relay", now); !ok || more != 0 {
		t.Error("one reason silences another")
	}
}

// TestEveryRefusalHasAReason keeps the table honest: reasons are words, and only refusals have them.
func TestEveryRefusalHasAReason(t *testing.T) {
	t.Parallel()
	s := serverFor(t, func(o *Options) { o.Registerer = prometheus.NewRegistry() })
	p := s.transaction()
	p.send("RCPT TO:<nobody@example.com>", "RCPT TO:<a@elsewhere.example>", "FROB")
	p.expect("550 5.1.1 *", "550 5.7.1 *", "500 *")
	for _, reason := range []string{"unknown_recipient", "relay", "unknown_command"} {
		waitFor(t, reason, func() bool { return strings.Contains(s.log.String(), "reason="+reason) })
	}
	got := gathered(t, s.opts.Registerer.(*prometheus.Registry))
	for _, reason := range []string{"unknown_recipient", "relay", "unknown_command"} {
		if n := got[fmt.Sprintf("mxhook_smtp_refusals_total reason=%s", reason)]; n != 1 {
			t.Errorf("%s: %v; %v", reason, n, got)
		}
	}
}
