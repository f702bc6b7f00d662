package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/sinks/sinktest/counterpart"
)

// storage is a sink of a kind that stores, and what is behind it.
type storage struct {
	// sink is its kind and options, as YAML.
	sink string
	// fail takes away what is behind it, heal brings it back with all that it had.
	fail, heal func()
	// copies returns how many copies of each delivery are stored.
	copies func() map[string]int
}

// storageMails is how many mails go through each kind; MXHOOK_STORAGE says how many (10000 is what is promised).
func storageMails(t *testing.T) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("MXHOOK_STORAGE")); err == nil && n > 0 {
		return n
	}
	return 300
}

// What is stored is exactly what was answered with 250, once each, though the store goes away twice in the middle of it.
func TestStoresLoseAndDoubleNothingWhenTheyGoAway(t *testing.T) {
	for kind, start := range map[string]func(*testing.T) storage{
		"s3": bucketStorage, "postgres": tableStorage, "file": folderStorage, "nats": subjectStorage, "kafka": topicStorage,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s, mails := start(t), storageMails(t)
			i := apptest.Start(t, apptest.Options{Config: strings.NewReplacer(
				`webhook: {url: "{{.Endpoint}}/hook", secret: "{{.Secret}}", allow_private: true}`, s.sink,
			).Replace(apptest.BasicConfig)})
			var accepted ledger
			marks := []int{mails / 3, 2 * mails / 3}
			var answered atomic.Int32
			reached := []chan struct{}{make(chan struct{}), make(chan struct{})}
			back := []chan struct{}{make(chan struct{}), make(chan struct{})}
			load := apptest.Load{
				Addr: i.SMTP(), Connections: 32,
				Make: func(n int) apptest.Mail {
					return apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: apptest.Text(fmt.Sprintf("mail %d", n), 200<<(n%8))}
				},
				Accepted: func(_ int, id string) {
					accepted.add(id)
					n := int(answered.Add(1))
					for k, mark := range marks {
						switch n {
						case mark:
							close(reached[k])
						case mark + mails/6:
							close(back[k])
						}
					}
				},
			}
			started := time.Now()
			ended := make(chan error, 1)
			go func() { ended <- load.Run(t.Context(), mails) }()
			for k := range marks {
				<-reached[k]
				s.fail()
				<-back[k]
				s.heal()
			}
			if err := <-ended; err != nil {
				t.Fatalf("the load: %v", err)
			}
			lost, doubled, foreign := compare(s.copies(), accepted.all(), "hook")
			for deadline := time.Now().Add(5 * time.Minute); lost > 0 && time.Now().Before(deadline); {
				<-time.After(200 * time.Millisecond)
				lost, doubled, foreign = compare(s.copies(), accepted.all(), "hook")
			}
			took := time.Since(started)
			t.Logf("%s: accepted %d mails at 32 in flight, store gone %d times, stored %d, lost %d, doubled %d; %.0f mails a second",
				kind, accepted.count(), len(marks), accepted.count()-lost, lost, doubled, float64(mails)/took.Seconds())
			if lost+doubled+foreign > 0 || accepted.count() != mails {
				t.Errorf("of %d mails %d lost, %d doubled, %d stored that nobody sent", mails, lost, doubled, foreign)
			}
			if dead := i.Dead(t); len(dead) > 0 {
				t.Errorf("%d dead letters, the first: %+v", len(dead), dead[0])
			}
		})
	}
}

// compare holds what is stored against what was accepted.
func compare(copies map[string]int, accepted []string, sink string) (lost, doubled, foreign int) {
	expected := map[string]bool{}
	for _, id := range accepted {
		expected[id+"."+sink] = true
		if copies[id+"."+sink] == 0 {
			lost++
		}
	}
	for id, n := range copies {
		if n > 1 {
			doubled++
		}
		if !expected[id] {
			foreign++
		}
	}
	return lost, doubled, foreign
}

// filesBelow counts the files below a folder by what name makes of their names; "" is not counted.
func filesBelow(dir string, name func(base string) string) map[string]int {
	copies := map[string]int{}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			if id := name(filepath.Base(path)); id != "" {
				copies[id]++
			}
		}
		return nil
	})
	return copies
}

func bucketStorage(t *testing.T) storage {
	store := counterpart.StartS3(t)
	return storage{
		sink: fmt.Sprintf(`s3: {endpoint: "http://%s", bucket: %s, access_key: %s, secret_key: %s, prefix: "{date}/", allow_private: true}`,
			store.Address, store.Bucket, store.AccessKey, store.SecretKey),
		fail: store.Kill, heal: store.Restart,
		copies: func() map[string]int {
			return filesBelow(store.Dir, func(base string) string {
				id, isJSON := strings.CutSuffix(base, ".json")
				if !isJSON {
					return ""
				}
				return id
			})
		},
	}
}

func tableStorage(t *testing.T) storage {
	db := counterpart.StartPostgres(t)
	return storage{
		sink: fmt.Sprintf(`postgres: {url: "%s?sslmode=disable", password: "%s", allow_private: true}`, db.URL, db.Password),
		fail: db.Kill, heal: db.Restart,
		copies: func() map[string]int {
			config, err := pgx.ParseConfig(db.URL + "?sslmode=disable")
			if err != nil {
				t.Fatal(err)
			}
			config.Password = db.Password
			conn, err := pgx.ConnectConfig(t.Context(), config)
			if err != nil {
				return nil
			}
			defer conn.Close(t.Context())
			copies := map[string]int{}
			// By recipients, of which every mail has one: a row of each table, or the delivery does not count.
			rows, _ := conn.Query(t.Context(), "SELECT delivery_id, count(*) FROM mxhook.messages JOIN mxhook.recipients USING (delivery_id) GROUP BY 1")
			var id string
			var n int
			if _, err := pgx.ForEachRow(rows, []any{&id, &n}, func() error { copies[id] = n; return nil }); err != nil {
				return nil // the first delivery makes the tables
			}
			return copies
		},
	}
}

// subjectStorage counts the messages of a stream.
func subjectStorage(t *testing.T) storage {
	server := counterpart.StartNATS(t, "")
	client := func() (jetstream.JetStream, func()) {
		nc, err := nats.Connect("nats://" + server.Address)
		if err != nil {
			return nil, func() {}
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		return js, nc.Close
	}
	js, end := client()
	defer end()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "MAIL", Subjects: []string{"mail.>"}, Storage: jetstream.FileStorage, Duplicates: time.Hour,
	}); err != nil {
		t.Fatal(err)
	}
	return storage{
		sink: fmt.Sprintf(`nats: {url: "nats://%s", subject: "mail.{sink}", allow_private: true}`, server.Address),
		fail: server.Kill, heal: server.Restart,
		copies: func() map[string]int {
			js, end := client()
			defer end()
			if js == nil {
				return nil
			}
			c, err := js.OrderedConsumer(t.Context(), "MAIL", jetstream.OrderedConsumerConfig{HeadersOnly: true})
			if err != nil {
				return nil
			}
			copies := map[string]int{}
			for {
				batch, err := c.FetchNoWait(500)
				if err != nil {
					return copies
				}
				got := 0
				for m := range batch.Messages() {
					copies[m.Headers().Get("mxhook-delivery")]++
					got++
				}
				if got == 0 {
					return copies
				}
			}
		},
	}
}

// topicStorage counts as a receiver that keeps to the contract does: it drops what has a delivery id that it knows. How many
// records there are besides is printed.
func topicStorage(t *testing.T) storage {
	broker := counterpart.StartKafka(t, "-topics", "mail:4")
	copies, records := map[string]int{}, 0
	c, err := kgo.NewClient(kgo.SeedBrokers(broker.Address), kgo.ConsumeTopics("mail"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		t.Logf("kafka: %d records for %d delivery ids", records, len(copies))
	})
	return storage{
		sink: fmt.Sprintf(`kafka: {brokers: [%q], topic: mail, allow_private: true, tls: {enabled: false}}`, broker.Address),
		fail: broker.Kill, heal: broker.Restart,
		copies: func() map[string]int {
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				fetches := c.PollFetches(ctx)
				cancel()
				if fetches.NumRecords() == 0 {
					return copies
				}
				fetches.EachRecord(func(r *kgo.Record) {
					records++
					for _, h := range r.Headers {
						if h.Key == "mxhook-delivery" {
							copies[string(h.Value)] = 1
						}
					}
				})
			}
		},
	}
}

// What a server does not take as a whole is a record of it with links, and they lead to the mail.
func TestALargeMailOnAStreamIsFoundByItsLink(t *testing.T) {
	t.Parallel()
	server := counterpart.StartNATS(t, "max_payload: 16KB")
	nc, err := nats.Connect("nats://" + server.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	published, err := nc.SubscribeSync("mail.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	sink := fmt.Sprintf(`nats: {url: "nats://%s", subject: "mail.{domain}", mode: core, format: raw, allow_private: true}`, server.Address)
	i := apptest.Start(t, apptest.Options{Config: strings.NewReplacer(
		`webhook: {url: "{{.Endpoint}}/hook", secret: "{{.Secret}}", allow_private: true}`, sink,
	).Replace(apptest.BasicConfig) + "links: {base_url: \"http://localhost:1\", valid: 1h}\n"})
	for _, size := range []int{1_000, 100_000} {
		mail := attachmentMail(size)
		id := send(t, i, apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: mail})
		m, err := published.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != "mail.example_com" || m.Header.Get("mxhook-message") != id || m.Header.Get(nats.MsgIdHdr) != m.Header.Get("mxhook-delivery") {
			t.Errorf("%s: %v", m.Subject, m.Header)
		}
		body := m.Data
		if size > 16_000 {
			var p linkPayload
			if err := json.Unmarshal(m.Data, &p); err != nil || m.Header.Get("content-type") != "application/json" || m.Header.Get("mxhook-linked") != "true" {
				t.Fatalf("%v: %v", m.Header, err)
			}
			resp, err := http.Get(i.Ops() + strings.TrimPrefix(*p.Data.Raw.URL, "http://localhost:1"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err = io.ReadAll(resp.Body); err != nil {
				t.Fatal(err)
			}
		}
		if string(body) != string(mail) {
			t.Errorf("%d octets came, %d were sent", len(body), len(mail))
		}
	}
}

// folderStorage goes away as a disk that is not mounted does: something else is in its place. (That a disk is full is
// tested beside the sink: root can always write.)
func folderStorage(t *testing.T) storage {
	dir := filepath.Join(t.TempDir(), "mail")
	aside := dir + ".aside"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	return storage{
		sink: fmt.Sprintf(`file: {dir: %q}`, dir),
		fail: func() {
			must(os.Rename(dir, aside))
			must(os.WriteFile(dir, nil, 0o600))
		},
		heal: func() {
			must(os.Remove(dir))
			must(os.Rename(aside, dir))
		},
		copies: func() map[string]int {
			return filesBelow(filepath.Join(dir, "new"), func(base string) string {
				_, rest, _ := strings.Cut(base, ".")
				return strings.TrimSuffix(rest, ".mx.example.com")
			})
		},
	}
}
