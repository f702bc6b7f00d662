package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
	"mxhook/sinks/sinktest/counterpart"
	"mxhook/sinks/stream"
	"mxhook/sinks/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "s3cret-of-the-server"

func payload(d *pipeline.Delivery, linked bool) (int64, func() io.Reader, error) {
	o := webhook.PayloadOptions{}
	if linked {
		o = webhook.PayloadOptions{Raw: true, LinkAll: true, Link: func(_ *pipeline.Message, part string) string { return "https://links.example.com/" + part }}
	}
	return webhook.OpenPayload(d, o)
}

func newSink(t testing.TB, server *counterpart.NATS, o Options) *NATS {
	t.Helper()
	if o.URL == "" {
		o.URL = "nats://" + server.Address
	}
	if o.Subject == "" {
		o.Subject = "mail.{domain}"
	}
	return open(t, o)
}

func open(t testing.TB, o Options) *NATS {
	t.Helper()
	o.Record.Payload, o.Record.RawHeader = payload, webhook.RawHeader
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// admin is a client of the server besides the sink.
type admin struct {
	t  testing.TB
	nc *nats.Conn
	js jetstream.JetStream
}

func newAdmin(t testing.TB, server *counterpart.NATS, opts ...nats.Option) *admin {
	t.Helper()
	nc, err := nats.Connect("nats://"+server.Address, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &admin{t, nc, js}
}

func (a *admin) stream(c jetstream.StreamConfig) {
	a.t.Helper()
	if _, err := a.js.CreateOrUpdateStream(a.t.Context(), c); err != nil {
		a.t.Fatal(err)
	}
}

// stored returns the messages of a stream.
func (a *admin) stored(name string) []*jetstream.RawStreamMsg {
	a.t.Helper()
	s, err := a.js.Stream(context.Background(), name)
	if err != nil {
		a.t.Fatal(err)
	}
	info, err := s.Info(context.Background())
	if err != nil {
		a.t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(context.Background(), seq)
		if err != nil {
			a.t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func (a *admin) copies(name, id string) int {
	n := 0
	for _, m := range a.stored(name) {
		if m.Header.Get(stream.HeaderDelivery) == id {
			n++
		}
	}
	return n
}

func hang(t testing.TB) (url string, end func()) {
	address, end := counterpart.Hang(t)
	return "nats://" + address, end
}

func TestNATSKeepsTheContract(t *testing.T) {
	server := counterpart.StartNATS(t, fmt.Sprintf("max_payload: 1MB\nauthorization: {user: mx, password: %q}", password))
	a := newAdmin(t, server, nats.UserInfo("mx", password))
	a.stream(jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}, Storage: jetstream.FileStorage})
	small := counterpart.StartNATS(t, "max_payload: 300")
	sinktest.Run(t, func(t *testing.T, fault sinktest.Fault) *sinktest.Instance {
		o := Options{URL: "nats://" + server.Address, Subject: "mail.{domain}.{local}", Username: "mx", Password: password}
		o.Record.Payload = payload
		end := func() {}
		switch fault {
		case sinktest.Failing: // no stream has that
			o.Subject = "elsewhere.{domain}"
		case sinktest.Gone: // a record that is too large, and no links
			o.URL, o.Username, o.Password = "nats://"+small.Address, "", ""
		case sinktest.Hanging:
			o.URL, end = hang(t)
		case sinktest.Busy:
			return nil
		}
		n, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return &sinktest.Instance{
			Sink: n, Secrets: []string{password}, Copies: func(id string) int { return a.copies("MAIL", id) },
			Close: func() {
				n.Close()
				end()
			},
		}
	})
}

func TestCoreNATSKeepsTheContract(t *testing.T) {
	server := counterpart.StartNATS(t, fmt.Sprintf("authorization: {users: [{user: mx, password: %q, permissions: {publish: [\"mail.>\"]}}, {user: reader, password: %q}]}", password, password))
	a := newAdmin(t, server, nats.UserInfo("reader", password))
	var mu sync.Mutex
	got := map[string]map[string]bool{} // a subscriber that drops what it has
	_, err := a.nc.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if id := m.Header.Get(stream.HeaderDelivery); id != "" {
			got[id] = map[string]bool{m.Header.Get(nats.MsgIdHdr): true}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	sinktest.Run(t, func(t *testing.T, fault sinktest.Fault) *sinktest.Instance {
		o := Options{URL: "nats://" + server.Address, Subject: "mail.{domain}.{local}", Mode: Core, Username: "mx", Password: password}
		o.Record.Payload = payload
		end := func() {}
		switch fault {
		case sinktest.Failing: // the user may not
			o.Subject = "forbidden"
		case sinktest.Gone:
			o.MaxPayload = 1 << 10
		case sinktest.Hanging:
			o.URL, end = hang(t)
		case sinktest.Busy:
			return nil
		}
		n, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return &sinktest.Instance{
			Sink: n, Secrets: []string{password},
			Copies: func(id string) int {
				if err := a.nc.Flush(); err != nil { // what was published before is here now, and handed out soon
					t.Error(err)
				}
				for deadline := time.Now().Add(200 * time.Millisecond); time.Now().Before(deadline); <-time.After(time.Millisecond) {
					mu.Lock()
					n := len(got[id])
					mu.Unlock()
					if n > 0 {
						return n
					}
				}
				return 0
			},
			Close: func() {
				n.Close()
				end()
			},
		}
	})
}

func TestAStreamHasTheRecordUnderItsDeliveryID(t *testing.T) {
	server := counterpart.StartNATS(t, "")
	a := newAdmin(t, server)
	a.stream(jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}})
	n := newSink(t, server, Options{Subject: "mail.{domain}.{kind}", Stream: "MAIL", Record: stream.Options{Headers: []stream.Header{{Name: "Tenant", Value: "t-{domain}"}}}})
	d := sinktest.Samples()[1].Delivery
	for i, want := range []string{"stored", "stored before"} {
		d.Attempt = i + 1
		resp, err := n.Deliver(t.Context(), d)
		if err != nil || resp.Status != want || resp.Detail != "stream MAIL, sequence 1, subject mail.example_com.mail" {
			t.Fatalf("attempt %d: %+v, %v", i+1, resp, err)
		}
	}
	messages := a.stored("MAIL")
	if len(messages) != 1 {
		t.Fatalf("%d messages", len(messages))
	}
	want := nats.Header{
		"content-type": {"application/json"}, "mxhook-delivery": {d.ID}, "mxhook-message": {d.Message.Envelope.ID}, "mxhook-sink": {"test"},
		"mxhook-attempt": {"1"}, "mxhook-kind": {"mail"}, "Tenant": {"t-example.com"}, "Nats-Msg-Id": {d.ID}, "Nats-Expected-Stream": {"MAIL"},
	}
	if diff := cmp.Diff(want, messages[0].Header); diff != "" {
		t.Error(diff)
	}
	d.Attempt = 1
	_, reader, err := payload(d, false)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(reader()); string(body) != string(messages[0].Data) {
		t.Error("the body is not the payload")
	}
}

func TestWhatTheServerDoesNotTakeGoesOutWithLinks(t *testing.T) {
	server := counterpart.StartNATS(t, "max_payload: 8KB")
	a := newAdmin(t, server)
	a.stream(jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}})
	d := sinktest.Sized(100, 100_000)
	linked := newSink(t, server, Options{Record: stream.Options{Linked: true}})
	if _, err := linked.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	m := a.stored("MAIL")[0]
	var p struct {
		Data struct {
			Message struct {
				Attachments []struct{ Content, URL *string }
			}
			Raw struct{ URL string }
		}
	}
	if err := json.Unmarshal(m.Data, &p); err != nil {
		t.Fatal(err)
	}
	if m.Header.Get(stream.HeaderLinked) != "true" || p.Data.Raw.URL != "https://links.example.com/raw" || *p.Data.Message.Attachments[0].URL != "https://links.example.com/2" {
		t.Errorf("%v %s", m.Header, m.Data)
	}
	_, err := newSink(t, server, Options{}).Deliver(t.Context(), d)
	if !pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "max_payload allows 8192: set links.base_url") {
		t.Errorf("without links: %v", err)
	}
	// Just what the server allows, header included, is not refused by it.
	exact := newSink(t, server, Options{})
	for text := 6000; text < 7000; text += 7 {
		d := sinktest.Sized(text, 0)
		d.ID = fmt.Sprintf("exact-%d", text)
		if _, err := exact.Deliver(t.Context(), d); err != nil && !pipeline.IsPermanent(err) {
			t.Fatalf("text of %d octets: %v", text, err)
		}
	}
}

func TestFailuresSayWhatToDo(t *testing.T) {
	server := counterpart.StartNATS(t, fmt.Sprintf(`authorization: {users: [{user: all, password: %q}, {user: mx, password: %q, permissions: {publish: ["mail.>"]}}]}`, password, password))
	a := newAdmin(t, server, nats.UserInfo("all", password))
	a.stream(jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}, MaxMsgSize: 4096})
	a.stream(jetstream.StreamConfig{Name: "FULL", Subjects: []string{"full"}, MaxMsgs: 1, Discard: jetstream.DiscardNew})
	if _, err := a.js.Publish(t.Context(), "full", nil); err != nil {
		t.Fatal(err)
	}
	all := Options{Username: "all", Password: password}
	with := func(change func(*Options)) Options {
		o := all
		change(&o)
		return o
	}
	large := sinktest.Sized(10_000, 0)
	for name, tt := range map[string]struct {
		o         Options
		d         *pipeline.Delivery
		permanent bool
		want      string
	}{
		"no stream":       {with(func(o *Options) { o.Subject = "elsewhere" }), nil, false, "publish to elsewhere: no stream takes the subject: add it"},
		"another stream":  {with(func(o *Options) { o.Stream = "FULL" }), nil, false, "the server said 400 (10060): expected stream does not match; correct stream or subject"},
		"a full stream":   {with(func(o *Options) { o.Subject = "full" }), nil, false, "the server said 503 (10077)"},
		"too large":       {all, large, true, "max_msg_size"},
		"wrong password":  {Options{Username: "all", Password: "wrong-" + password}, nil, false, "connect to the server: nats: Authorization Violation; correct credentials"},
		"no permission":   {Options{Username: "mx", Password: password, Subject: "forbidden", Mode: Core}, nil, false, `Permissions Violation for Publish to "forbidden"`},
		"no permission 2": {Options{Username: "mx", Password: password, Subject: "forbidden"}, nil, false, `Permissions Violation for Publish to "forbidden"`},
		"no TLS":          {with(func(o *Options) { o.URL = "tls://" + server.Address }), nil, false, "the server has no TLS; set it up there"},
		"nobody there":    {with(func(o *Options) { o.URL = "nats://127.0.0.1:1" }), nil, false, "connection refused"},
		"guarded":         {with(func(o *Options) { o.Control = webhook.DialControl(nil) }), nil, false, "internal address"},
	} {
		t.Run(name, func(t *testing.T) {
			d := tt.d
			if d == nil {
				d = sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0FA1L00")
			}
			_, err := newSink(t, server, tt.o).Deliver(t.Context(), d)
			if err == nil || pipeline.IsPermanent(err) != tt.permanent || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), password) {
				t.Errorf("permanent %v: %v, want %s", pipeline.IsPermanent(err), err, tt.want)
			}
		})
	}
}

func TestWhatOneMayNotPublishFailsThatDeliveryOnly(t *testing.T) {
	server := counterpart.StartNATS(t, fmt.Sprintf(`authorization: {users: [{user: mx, password: %q, permissions: {publish: ["mail.good"]}}]}`, password))
	n := newSink(t, server, Options{Username: "mx", Password: password, Mode: Core, Subject: "mail.{local}"})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			d := sinktest.Delivery(fmt.Sprintf("01KAK5ZV3QW8E6T4Y2N0BETW%02d", i))
			local := []string{"good", "bad"}[i%2]
			d.Recipients = []pipeline.Recipient{{Address: local + "@example.com", Local: local, Domain: "example.com"}}
			if _, err := n.Deliver(t.Context(), d); (err != nil) != (local == "bad") {
				t.Errorf("%s: %v", local, err)
			}
		})
	}
	wg.Wait()
}

func TestAServerThatDiesIsTransientAndFoundAgain(t *testing.T) {
	server := counterpart.StartNATS(t, "")
	a := newAdmin(t, server, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	a.stream(jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}})
	n := newSink(t, server, Options{})
	if _, err := n.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0BEF0RE")); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0D1ES00")
	if _, err := n.Deliver(t.Context(), d); err == nil || pipeline.IsPermanent(err) {
		t.Fatalf("%v, want a transient error", err)
	}
	server.Restart()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) { // the stream comes back
		if _, err = n.Deliver(t.Context(), d); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := a.copies("MAIL", d.ID); got != 1 {
		t.Errorf("%d copies", got)
	}
}

func TestAServerThatHangsIsLeftInTime(t *testing.T) {
	server := counterpart.StartNATS(t, "")
	a := newAdmin(t, server)
	a.stream(jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}})
	for _, mode := range []string{JetStream, Core} {
		n := newSink(t, server, Options{Mode: mode})
		if _, err := n.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0BEF0RE")); err != nil {
			t.Fatal(err)
		}
		server.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := n.Deliver(ctx, sinktest.Sized(500_000, 0)) // more than the socket holds
		cancel()
		server.Resume()
		if !errors.Is(err, context.DeadlineExceeded) || pipeline.IsPermanent(err) {
			t.Errorf("%s: %v, want the deadline", mode, err)
		}
		if _, err := n.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0AFTER0")); err != nil {
			t.Errorf("%s: afterwards: %v", mode, err)
		}
	}
}

func TestMistakesAreTold(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"url":         {func(o *Options) { o.URL = "" }, "url is missing"},
		"scheme":      {func(o *Options) { o.URL = "ws://x" }, "url: number 1 is none of a NATS server"},
		"user":        {func(o *Options) { o.URL = "nats://u:" + password + "@x" }, "url: it has a user name"},
		"mixed":       {func(o *Options) { o.URL = "tls://a,nats://b" }, "url: some servers are tls://"},
		"subject":     {func(o *Options) { o.Subject = "" }, "subject is missing"},
		"wildcard":    {func(o *Options) { o.Subject = "mail.*" }, "subject: column 1: the subject has a space, a wildcard"},
		"mode":        {func(o *Options) { o.Mode = "x" }, `mode: "x" is unknown; use jetstream or core`},
		"stream":      {func(o *Options) { o.Mode, o.Stream = Core, "MAIL" }, "stream: it is for mode: jetstream"},
		"stream name": {func(o *Options) { o.Stream = "a b" }, `stream: "a b" is no name`},
		"payload":     {func(o *Options) { o.MaxPayload = 1 }, "max_payload: 1: set it to 1024"},
		"two":         {func(o *Options) { o.Token, o.NKeySeed = "t", "s" }, "there is more than one of credentials"},
		"credentials": {func(o *Options) { o.Credentials = "/run/secrets/x.creds" }, "credentials: this is not the content of a .creds file"},
		"seed":        {func(o *Options) { o.NKeySeed = password }, "nkey_seed: this is no seed"},
		"password":    {func(o *Options) { o.Password = password }, "password without username"},
		"authorities": {func(o *Options) { o.URL, o.CA = "tls://x", "x" }, "tls.ca has no certificate"},
		"clear":       {func(o *Options) { o.HandshakeFirst = true }, "tls.first is for tls:// URLs"},
		"pair":        {func(o *Options) { o.URL, o.Certificate = "tls://x", "x" }, "tls.certificate and tls.key are no pair"},
		"format":      {func(o *Options) { o.Record.Format = "x" }, `format: "x" is unknown; use mxhook or raw`},
		"raw": {func(o *Options) {
			o.Record.Format, o.Record.WithRaw, o.Record.RawHeader = "raw", true, webhook.RawHeader
		}, "raw, reply and omit_attachments are for format: mxhook"},
		"header": {func(o *Options) { o.Record.Headers = []stream.Header{{Name: "Nats-Msg-Id"}} }, "headers: number 1: Nats-Msg-Id is set by mxhook"},
		"inbox":  {func(o *Options) { o.InboxPrefix = "a.>" }, "inbox_prefix: "},
	} {
		o := Options{URL: "nats://127.0.0.1", Subject: "mail", Record: stream.Options{Payload: payload}}
		tt.change(&o)
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}

// TestEveryIdentityIsTaken goes through the ways to say who we are, and TLS with a certificate of ours.
func TestEveryIdentityIsTaken(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	public, _ := user.PublicKey()
	dir := t.TempDir()
	pems := counterpart.Certificates(t, dir)
	for name, tt := range map[string]struct {
		server string
		o      Options
	}{
		"token": {fmt.Sprintf("authorization: {token: %q}", password), Options{Token: password}},
		"nkey":  {fmt.Sprintf("authorization: {users: [{nkey: %s}]}", public), Options{NKeySeed: string(seed)}},
		"tls": {
			fmt.Sprintf("tls: {cert_file: %q, key_file: %q, ca_file: %q, verify: true}", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")),
			Options{URL: "tls", CA: pems.CA, Certificate: pems.Certificate, Key: pems.Key},
		},
		"tls first": {
			fmt.Sprintf("tls: {cert_file: %q, key_file: %q, handshake_first: true}", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")),
			Options{URL: "tls", CA: pems.CA, HandshakeFirst: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := counterpart.StartNATS(t, tt.server)
			o, wrong := tt.o, tt.o
			o.Subject, o.Mode = "mail", Core
			o.URL = "nats://" + server.Address
			wrong.Token, wrong.NKeySeed = "", ""
			if tt.o.URL == "tls" {
				o.URL = "tls://" + server.Address
				wrong.CA = "" // the system's authorities do not know it
			}
			wrong.Subject, wrong.Mode, wrong.URL = o.Subject, o.Mode, o.URL
			if _, err := open(t, o).Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0WH0AM1")); err != nil {
				t.Error(err)
			}
			if _, err := open(t, wrong).Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0WH0AM2")); err == nil || pipeline.IsPermanent(err) {
				t.Errorf("a stranger: %v, want a transient error", err)
			}
		})
	}
}
