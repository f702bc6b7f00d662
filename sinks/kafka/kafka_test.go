package kafka

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
	"mxhook/sinks/sinktest/counterpart"
	"mxhook/sinks/stream"
	"mxhook/sinks/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "s3cret-of-the-broker"

func payload(d *pipeline.Delivery, linked bool) (int64, func() io.Reader, error) {
	o := webhook.PayloadOptions{}
	if linked {
		o = webhook.PayloadOptions{Raw: true, LinkAll: true, Link: func(_ *pipeline.Message, part string) string { return "https://links.example.com/" + part }}
	}
	return webhook.OpenPayload(d, o)
}

func newSink(t testing.TB, broker *counterpart.Kafka, o Options) *Kafka {
	t.Helper()
	if o.ClearText = o.CA == ""; o.Brokers == nil {
		o.Brokers = []string{broker.Address}
	}
	if o.Topic == "" {
		o.Topic = "mail"
	}
	o.Record.Payload = payload
	k, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// stored returns the records of a topic that has one partition.
func stored(t testing.TB, address, topic string) []*kgo.Record {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var all []*kgo.Record
	for {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		end := false
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			all = append(all, p.Records...)
			end = end || p.HighWatermark == 0 || len(all) > 0 && all[len(all)-1].Offset == p.HighWatermark-1
		})
		if end {
			return all
		}
	}
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// received is how many copies one holds who drops what has a delivery id that is there already.
func received(t testing.TB, address, id string) int {
	for _, r := range stored(t, address, "mail") {
		if header(r, stream.HeaderDelivery) == id {
			return 1
		}
	}
	return 0
}

func TestKafkaKeepsTheContract(t *testing.T) {
	broker := counterpart.StartKafka(t, "-topics", "mail:1,small:1", "-max", "1048588")
	sinktest.Run(t, func(t *testing.T, fault sinktest.Fault) *sinktest.Instance {
		o := Options{Brokers: []string{broker.Address}, Topic: "mail", Key: "{delivery}", ClearText: true, Record: stream.Options{Payload: payload}}
		end := func() {}
		switch fault {
		case sinktest.Failing:
			o.Topic = "none-of-that-name"
		case sinktest.Gone:
			o.Record.Payload = func(d *pipeline.Delivery, _ bool) (int64, func() io.Reader, error) {
				return payload(sinktest.Sized(2_000_000, 0), false)
			}
		case sinktest.Hanging:
			var address string
			address, end = counterpart.Hang(t)
			o.Brokers = []string{address}
		case sinktest.Busy:
			return nil
		}
		k, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return &sinktest.Instance{
			Sink: k, Copies: func(id string) int { return received(t, broker.Address, id) },
			Close: func() {
				k.Close()
				end()
			},
		}
	})
}

// TestOthersReadWhatWasProduced reads with librdkafka, under each compression.
func TestOthersReadWhatWasProduced(t *testing.T) {
	var topics []string
	for _, c := range Compressions() {
		topics = append(topics, "in-"+c+":1")
	}
	broker := counterpart.StartKafka(t, "-topics", strings.Join(topics, ","))
	for _, compression := range Compressions() {
		t.Run(compression, func(t *testing.T) {
			k := newSink(t, broker, Options{
				Topic: "in-" + compression, Key: "{domain}", Compression: compression,
				Record: stream.Options{Headers: []stream.Header{{Name: "tenant", Value: "t-{local}"}}},
			})
			d := sinktest.Samples()[1].Delivery
			resp, err := k.Deliver(t.Context(), d)
			if err != nil || resp.Status != "stored" || resp.Detail != "topic in-"+compression+", partition 0, offset 0" {
				t.Fatalf("%+v, %v", resp, err)
			}
			out, err := exec.Command("kcat", "-b", broker.Address, "-C", "-t", "in-"+compression, "-o", "beginning", "-e", "-q", "-J").Output()
			if err != nil {
				t.Fatalf("kcat: %v", err)
			}
			var got struct {
				Key, Payload string
				Headers      []string
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			want := []string{
				"content-type", "application/json", "mxhook-delivery", d.ID, "mxhook-message", d.Message.Envelope.ID, "mxhook-sink", "test",
				"mxhook-attempt", "1", "mxhook-kind", "mail", "tenant", "t-support",
			}
			if diff := cmp.Diff(want, got.Headers); diff != "" {
				t.Error(diff)
			}
			_, open, err := payload(d, false)
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(open()); string(body) != got.Payload || got.Key != "example.com" {
				t.Errorf("key %q, payload %s", got.Key, got.Payload)
			}
		})
	}
}

// TestABrokerOfAnotherMakeTakesRecords produces to the broker that librdkafka has for its own tests, which reads them back.
func TestABrokerOfAnotherMakeTakesRecords(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kcat", "-b", "none", "-C", "-t", "mail", "-o", "beginning", "-X", "test.mock.num.brokers=1", "-d", "mock", "-u", "-J")
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}()
	address := ""
	lines := bufio.NewScanner(said)
	for address == "" && lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), "bootstrap.servers="); ok {
			address = strings.TrimSpace(after)
		}
	}
	var rest sync.WaitGroup
	defer rest.Wait()
	defer cancel()
	rest.Go(func() { _, _ = io.Copy(io.Discard, said) }) // until it ends
	read := json.NewDecoder(out)
	for i, compression := range Compressions() {
		k, err := New(Options{
			Brokers: []string{address}, ClearText: true, Topic: "mail", Key: "{delivery}", Compression: compression, Record: stream.Options{Payload: payload},
		})
		if err != nil {
			t.Fatal(err)
		}
		// Its answer to newer questions for versions breaks off (librdkafka 2.0).
		k.client.opts = append(k.client.opts, kgo.MaxVersions(kversion.V2_3_0()))
		d := sinktest.Delivery(fmt.Sprintf("01KAK5ZV3QW8E6T4Y2N00THER%d", i))
		_, err = k.Deliver(ctx, d)
		k.Close()
		if err != nil {
			t.Fatalf("%s: %v", compression, err)
		}
		var got struct{ Key, Payload string }
		if err := read.Decode(&got); err != nil || got.Key != d.ID || !strings.Contains(got.Payload, d.ID) {
			t.Errorf("%s: %v: %+v", compression, err, got)
		}
	}
}

func TestWhatIsTooLargeGoesOutWithLinks(t *testing.T) {
	broker := counterpart.StartKafka(t, "-topics", "mail:1", "-max", "20000")
	d := sinktest.Sized(100, 100_000)
	if _, err := newSink(t, broker, Options{MaxMessageBytes: 16 << 10, Record: stream.Options{Linked: true}}).Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	r := stored(t, broker.Address, "mail")[0]
	if header(r, stream.HeaderLinked) != "true" || !strings.Contains(string(r.Value), "https://links.example.com/raw") || len(r.Value) > 16<<10 {
		t.Errorf("%d octets: %s", len(r.Value), r.Value)
	}
	_, err := newSink(t, broker, Options{MaxMessageBytes: 16 << 10}).Deliver(t.Context(), d)
	if !pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "max_message_bytes allows") || !strings.Contains(err.Error(), "set links.base_url") {
		t.Errorf("without links: %v", err)
	}
	// The broker allows less than we do.
	_, err = newSink(t, broker, Options{Compression: "none"}).Deliver(t.Context(), d)
	if !pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "MESSAGE_TOO_LARGE") || !strings.Contains(err.Error(), "set max_message_bytes") {
		t.Errorf("beyond the broker's limit: %v", err)
	}
	// Just what the client allows, keys and header included, is not refused by it.
	exact := newSink(t, broker, Options{MaxMessageBytes: 8 << 10, Key: "{delivery}"})
	for text := 5000; text < 6500; text += 7 {
		d := sinktest.Sized(text, 0)
		if _, err := exact.Deliver(t.Context(), d); err != nil && !strings.Contains(err.Error(), "max_message_bytes allows") {
			t.Fatalf("text of %d octets: %v", text, err)
		}
	}
}

// clearText is a server that answers everything with what is no TLS.
func clearText(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("this is no TLS\n"))
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func TestFailuresSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	pems := counterpart.Certificates(t, dir)
	pair := filepath.Join(dir, "cert.pem") + "," + filepath.Join(dir, "key.pem")
	users := "SCRAM-SHA-256:root:" + password + ",SCRAM-SHA-256:mx:" + password + ",PLAIN:mx:" + password + ",SCRAM-SHA-512:mx:" + password
	broker := counterpart.StartKafka(t, "-topics", "mail:1", "-users", users, "-acls", "-tls", pair)
	root := Options{CA: pems.CA, Mechanism: ScramSHA256, Username: "root", Password: password}
	if _, err := newSink(t, broker, root).Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0F1NE00")); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*Options)) Options {
		o := root
		change(&o)
		return o
	}
	for name, tt := range map[string]struct {
		o    Options
		want string
	}{
		"no topic":         {with(func(o *Options) { o.Topic = "other" }), "produce to other: the topic does not exist"},
		"wrong password":   {with(func(o *Options) { o.Password = "wrong-" + password }), "correct sasl"},
		"no permission":    {with(func(o *Options) { o.Username = "mx" }), "TOPIC_AUTHORIZATION_FAILED"},
		"no permission 2":  {with(func(o *Options) { o.Username, o.Mechanism = "mx", Plain }), "TOPIC_AUTHORIZATION_FAILED"},
		"no permission 3":  {with(func(o *Options) { o.Username, o.Mechanism = "mx", ScramSHA512 }), "TOPIC_AUTHORIZATION_FAILED"},
		"other mechanism":  {with(func(o *Options) { o.Mechanism = Plain }), "correct sasl"},
		"clear text":       {with(func(o *Options) { o.CA = "" }), "tls.enabled"},
		"stranger's name":  {with(func(o *Options) { o.CA = counterpart.Certificates(t, t.TempDir()).CA }), "certificate"},
		"no TLS there":     {with(func(o *Options) { o.Brokers = []string{clearText(t)} }), "has it TLS on that port?"},
		"internal address": {with(func(o *Options) { o.Control = webhook.DialControl(nil) }), "internal address"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newSink(t, broker, tt.o).Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0FA1L00"))
			if err == nil || pipeline.IsPermanent(err) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), password) {
				t.Errorf("permanent %v: %v, want %s", pipeline.IsPermanent(err), err, tt.want)
			}
		})
	}
}

func TestABrokerThatDiesOrHangsIsTransientAndFoundAgain(t *testing.T) {
	broker := counterpart.StartKafka(t, "-topics", "mail:1")
	k := newSink(t, broker, Options{})
	deliver := func(id string, within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		_, err := k.Deliver(ctx, sinktest.Delivery(id))
		return err
	}
	if err := deliver("01KAK5ZV3QW8E6T4Y2N0BEF0RE", time.Minute); err != nil {
		t.Fatal(err)
	}
	broker.Kill()
	if err := deliver("01KAK5ZV3QW8E6T4Y2N0D1ES00", time.Minute); err == nil || pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "connection refused") {
		t.Fatalf("%v, want a transient error that says why", err)
	}
	broker.Restart()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		if err = deliver("01KAK5ZV3QW8E6T4Y2N0D1ES00", 10*time.Second); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	broker.Pause()
	err = deliver("01KAK5ZV3QW8E6T4Y2N0HANGS0", 300*time.Millisecond)
	broker.Resume()
	if !errors.Is(err, context.DeadlineExceeded) || pipeline.IsPermanent(err) {
		t.Errorf("a broker that hangs: %v", err)
	}
	// The client may put a record into the batch of the one that hung, and gives up both.
	after := ""
	for i := range 5 {
		after = fmt.Sprintf("AFTER%d", i)
		if err = deliver("01KAK5ZV3QW8E6T4Y2N0"+after, time.Minute); err == nil || !strings.Contains(err.Error(), "given up together") {
			break
		}
	}
	if err != nil {
		t.Error(err)
	}
	for _, id := range []string{"BEF0RE", "D1ES00", after} {
		if n := received(t, broker.Address, "01KAK5ZV3QW8E6T4Y2N0"+id+".test"); n != 1 {
			t.Errorf("%s: %d copies", id, n)
		}
	}
}

// What strangers write into the names of topics must not pile up in the client, nor stand in the way of others.
func TestTopicsThatDoNotExistAreForgotten(t *testing.T) {
	broker := counterpart.StartKafka(t, "-topics", "to-good:1")
	k := newSink(t, broker, Options{Topic: "to-{local}"})
	asked := make(questions, 1)
	k.client.opts = append(k.client.opts, kgo.WithHooks(asked))
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			d := sinktest.Delivery(fmt.Sprintf("01KAK5ZV3QW8E6T4Y2N0T0P0%02d", i))
			local := "good"
			if i%2 == 1 {
				local = fmt.Sprint(strings.Repeat("bad", 25), i)
			}
			d.Recipients = []pipeline.Recipient{{Address: local + "@example.com", Local: local, Domain: "example.com"}}
			if _, err := k.Deliver(t.Context(), d); (err == nil) != (local == "good") || pipeline.IsPermanent(err) {
				t.Errorf("%s: %v", local, err)
			}
		})
	}
	wg.Wait()
	c, err := k.client.acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer k.client.release(c)
	var size int
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); { // one that was under way may still have them
		c.ForceMetadataRefresh()
		select {
		case size = <-asked:
		case <-time.After(time.Second):
		}
		if size > 0 && size < 200 {
			return
		}
	}
	t.Errorf("the client still asks for topics in %d octets", size)
}

// questions has the size of the newest question for topics.
type questions chan int

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (q questions) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, n int, _, _ time.Duration, _ error) {
	if key != 3 {
		return
	}
	select {
	case <-q:
	default:
	}
	select {
	case q <- n:
	default: // another was faster
	}
}

func TestCloseWaitsForNoAttemptAndDisturbsNone(t *testing.T) {
	broker := counterpart.StartKafka(t, "-topics", "mail:1")
	k := newSink(t, broker, Options{})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			if _, err := k.Deliver(t.Context(), sinktest.Delivery(fmt.Sprintf("01KAK5ZV3QW8E6T4Y2N0CL0S%02d", i))); err != nil {
				t.Error(err)
			}
		})
		if i%8 == 7 {
			k.Close()
		}
	}
	wg.Wait()
}

func TestNothingIsLeftOfAttemptsThatBeginAfterClose(t *testing.T) {
	broker := counterpart.StartKafka(t, "-topics", "mail:1")
	before := goleak.IgnoreCurrent()
	k := newSink(t, broker, Options{})
	for i := range 3 {
		if _, err := k.Deliver(t.Context(), sinktest.Delivery(fmt.Sprintf("01KAK5ZV3QW8E6T4Y2N0LATE%02d", i))); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			k.Close()
		}
	}
	goleak.VerifyNone(t, before)
}

func TestMistakesAreTold(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"brokers":     {func(o *Options) { o.Brokers = nil }, "brokers is missing"},
		"port":        {func(o *Options) { o.Brokers = []string{"kafka"} }, `brokers: "kafka" is no address`},
		"url":         {func(o *Options) { o.Brokers = []string{"kafka://x:1"} }, `brokers: "kafka://x:1" is no address`},
		"topic":       {func(o *Options) { o.Topic = "" }, "topic is missing"},
		"topic name":  {func(o *Options) { o.Topic = "a b" }, "topic: column 1: names of topics have"},
		"key":         {func(o *Options) { o.Key = "{dat}" }, "key: column 1: there is no field {dat}"},
		"compression": {func(o *Options) { o.Compression = "x" }, `compression: "x" is unknown; use one of none, gzip`},
		"size":        {func(o *Options) { o.MaxMessageBytes = 1 }, "max_message_bytes: 1: set it to 4096"},
		"mechanism":   {func(o *Options) { o.Username = "x" }, "sasl.mechanism is missing"},
		"mechanism 2": {func(o *Options) { o.Mechanism, o.Username, o.Password = "x", "u", password }, `sasl.mechanism: "x" is unknown`},
		"password":    {func(o *Options) { o.Mechanism = Plain }, "sasl.username and sasl.password belong"},
		"clear":       {func(o *Options) { o.CA, o.ClearText = "x", true }, "tls.enabled is false"},
		"authorities": {func(o *Options) { o.CA = "x" }, "tls.ca has no certificate"},
		"pair":        {func(o *Options) { o.Certificate = "x" }, "tls.certificate and tls.key are no pair"},
		"header":      {func(o *Options) { o.Record.Headers = []stream.Header{{Name: "mxhook-x"}} }, "headers: number 1: mxhook-x: names that begin"},
	} {
		o := Options{Brokers: []string{"127.0.0.1:9092"}, Topic: "mail", Record: stream.Options{Payload: payload}}
		tt.change(&o)
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}
