package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
	"mxhook/sinks/sinktest/counterpart"
	"mxhook/sinks/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func encode(w io.Writer, d *pipeline.Delivery) error {
	return webhook.EncodePayload(w, d, webhook.PayloadOptions{OmitAttachments: "in the table attachments"})
}

func open(t *testing.T, db *counterpart.Postgres, o Options) *Postgres {
	t.Helper()
	o.URL, o.Password, o.Encode = db.URL+"?sslmode=disable", db.Password, encode
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// owner is a connection of the database's owner.
func owner(t *testing.T, db *counterpart.Postgres) *pgx.Conn {
	t.Helper()
	c, err := pgx.ParseConfig(db.URL + "?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	c.Password = db.Password
	conn, err := pgx.ConnectConfig(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func run(t *testing.T, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func ask[T any](t *testing.T, c *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := c.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// refuse makes the table refuse every row with this SQLSTATE.
func refuse(t *testing.T, c *pgx.Conn, schema, state string) {
	t.Helper()
	run(t, c, fmt.Sprintf(`CREATE FUNCTION %[1]s.refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '%[2]s'; END $$`, schema, state))
	run(t, c, fmt.Sprintf(`CREATE TRIGGER refuse BEFORE INSERT ON %[1]s.attachments FOR EACH ROW EXECUTE FUNCTION %[1]s.refuse();
		CREATE TRIGGER refuse BEFORE INSERT ON %[1]s.recipients FOR EACH ROW EXECUTE FUNCTION %[1]s.refuse()`, schema))
}

func TestPostgresKeepsTheContract(t *testing.T) {
	db := counterpart.StartPostgres(t)
	n := 0
	sinktest.Run(t, func(t *testing.T, fault sinktest.Fault) *sinktest.Instance {
		if fault == sinktest.Busy {
			return nil // the protocol has no such answer
		}
		n++
		schema := fmt.Sprintf("test%d", n)
		p, c := open(t, db, Options{Schema: schema}), owner(t, db)
		if _, err := p.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0F1RST0")); err != nil {
			t.Fatal(err)
		}
		var lock pgx.Tx
		switch fault {
		case sinktest.Failing:
			refuse(t, c, schema, "53100")
		case sinktest.Gone:
			refuse(t, c, schema, "23514")
		case sinktest.Hanging:
			var err error
			if lock, err = c.Begin(context.Background()); err != nil {
				t.Fatal(err)
			}
			if _, err := lock.Exec(context.Background(), "LOCK TABLE "+schema+".messages"); err != nil {
				t.Fatal(err)
			}
		}
		return &sinktest.Instance{
			Sink: p, Secrets: []string{db.Password},
			Copies: func(id string) int {
				return ask[int](t, c, "SELECT count(*) FROM "+schema+".messages WHERE delivery_id = $1", id)
			},
			Close: func() {
				p.Close()
				c.Close(context.Background())
			},
		}
	})
}

func TestADeliveryIsInAllTables(t *testing.T) {
	db := counterpart.StartPostgres(t)
	c := owner(t, db)
	p := open(t, db, Options{})
	for _, s := range sinktest.Samples() {
		if _, err := p.Deliver(t.Context(), s.Delivery); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	d := sinktest.Samples()[1].Delivery
	if resp, err := p.Deliver(t.Context(), d); err != nil || resp.Status != "stored before" {
		t.Errorf("a repeat: %+v, %v", resp, err)
	}
	type message struct {
		Subject, From, Text, Domain, IP string
		Verified                        bool
		Raw, Sum                        []byte
	}
	var got message
	err := c.QueryRow(t.Context(), `SELECT subject, from_address, text, sender_domain, host(client_ip), sender_verified, raw, sha256
		FROM mxhook.messages WHERE delivery_id = $1`, d.ID).
		Scan(&got.Subject, &got.From, &got.Text, &got.Domain, &got.IP, &got.Verified, &got.Raw, &got.Sum)
	if err != nil {
		t.Fatal(err)
	}
	want := message{"Printer on fire", "alice@example.org", "It burns.\r\n", "example.org", "192.0.2.1", true, d.Message.Raw, d.Message.SHA256[:]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, a := range d.Message.Content.Attachments {
		octets, _ := io.ReadAll(a.Open())
		if got := ask[[]byte](t, c, "SELECT content FROM mxhook.attachments WHERE delivery_id = $1 AND position = $2 AND filename = $3", d.ID, i+1, a.Filename); string(got) != string(octets) {
			t.Errorf("attachment %s is %q, want %q", a.ID, got, octets)
		}
	}
	replay := sinktest.Samples()[5].Delivery
	for sql, want := range map[string]string{
		"SELECT count(*)::text FROM mxhook.messages":                                                                                            "7",
		"SELECT count(*)::text FROM mxhook.messages WHERE search @@ plainto_tsquery('simple', 'fire burns')":                                    "3",
		"SELECT value FROM mxhook.headers WHERE delivery_id LIKE '%PLAIN%' AND name = 'Subject'":                                                "Printer on fire",
		"SELECT string_agg(captures->>'id', ',' ORDER BY position) FROM mxhook.recipients WHERE tag = '' AND delivery_id = '" + replay.ID + "'": "0,1,2",
		"SELECT payload->'data'->'message'->'from'->0->>'name' FROM mxhook.messages WHERE delivery_id LIKE '%PLAIN%'":                           "Alice",
		"SELECT subject FROM mxhook.messages WHERE delivery_id LIKE '%H0STIL%'":                                                                 "not \uFFFD UTF-8, \uFFFD and \x1b[31m",
		"SELECT payload->'data'->'message'->>'subject' FROM mxhook.messages WHERE delivery_id LIKE '%H0STIL%'":                                  "not \uFFFD UTF-8, \uFFFD and \x1b[31m",
		"SELECT version::text FROM mxhook.mxhook_version":                                                                                       "1",
	} {
		if got := ask[string](t, c, sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	lean := open(t, db, Options{Schema: "lean", OmitRaw: true, OmitAttachments: true})
	if _, err := lean.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if n := ask[int](t, c, "SELECT count(raw) + (SELECT count(content) FROM lean.attachments) FROM lean.messages"); n != 0 {
		t.Errorf("%d octets are there that were to be left out", n)
	}
	huge := sinktest.Sized(4<<20, 0)
	huge.ID += "-huge"
	var words strings.Builder
	for i := range 300_000 {
		fmt.Fprintf(&words, "wörd%d ", i)
	}
	huge.Message.Content.Text = words.String()
	if _, err := p.Deliver(t.Context(), huge); err != nil {
		t.Errorf("a text with more words than an index holds: %v", err)
	}
}

// An index or a column of ours must not refuse what a sender may write.
func TestIndexesTakeWhateverMailSays(t *testing.T) {
	db := counterpart.StartPostgres(t)
	p := open(t, db, Options{})
	random := rand.New(rand.NewPCG(1, 2))
	many := func(n int, next func(i int) rune) string {
		var b strings.Builder
		for i := range n {
			b.WriteRune(next(i))
		}
		return b.String()
	}
	hex := func(int) rune { return rune("0123456789abcdef"[random.IntN(16)]) }
	for name, change := range map[string]func(c *pipeline.Content){
		"author": func(c *pipeline.Content) { c.From = []pipeline.Address{{Address: many(20_000, hex) + "@example.com"}} },
		"hyphens": func(c *pipeline.Content) { // each word counts as a whole and part by part
			c.Text = many(300_000, func(i int) rune {
				switch {
				case i%40 == 39:
					return ' '
				case i%3 == 2:
					return '-'
				}
				return 0x20000 + random.Int32N(40_000)
			})
			c.Subject = c.Text
		},
		"addresses": func(c *pipeline.Content) {
			c.Text = many(300_000, func(i int) rune {
				if i%60 >= 50 {
					return rune(".example/ "[i%60-50])
				}
				return hex(i)
			})
		},
	} {
		d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0F1RST0." + name)
		m, c := *d.Message, *d.Message.Content
		change(&c)
		m.Content, d.Message = &c, &m
		if _, err := p.Deliver(t.Context(), d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTablesAreMadeOnceAndAgainWhenTheyAreGone(t *testing.T) {
	db := counterpart.StartPostgres(t)
	c := owner(t, db)
	errs := make(chan error, 8)
	for i := range cap(errs) { // processes that start together
		p := open(t, db, Options{})
		go func() {
			_, err := p.Deliver(t.Context(), sinktest.Delivery(fmt.Sprintf("01KAK5ZV3QW8E6T4Y2N0START%d", i)))
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	p, d := open(t, db, Options{}), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0AGA1N0")
	if _, err := p.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	run(t, c, "DROP SCHEMA mxhook CASCADE")
	if _, err := p.Deliver(t.Context(), d); err == nil || pipeline.IsPermanent(err) {
		t.Errorf("without tables: %v, want a transient error", err)
	}
	if _, err := p.Deliver(t.Context(), d); err != nil {
		t.Errorf("the tables were not made again: %v", err)
	}
	run(t, c, "UPDATE mxhook.mxhook_version SET version = 99")
	if _, err := open(t, db, Options{}).Deliver(t.Context(), d); err == nil || pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "update it") {
		t.Errorf("with tables of the future: %v", err)
	}
	given := open(t, db, Options{Schema: "given", Given: true})
	if _, err := given.Deliver(t.Context(), d); err == nil || pipeline.IsPermanent(err) {
		t.Errorf("tables to be given that are not there: %v, want a transient error", err)
	}
	run(t, c, "CREATE SCHEMA given")
	run(t, c, Schema("given"))
	if _, err := given.Deliver(t.Context(), d); err != nil {
		t.Errorf("with tables given: %v", err)
	}
}

func TestAKilledServerAndAWrongPasswordAreTransient(t *testing.T) {
	db := counterpart.StartPostgres(t)
	p, d := open(t, db, Options{}), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0K1LL00")
	wrong, err := New(Options{URL: strings.Replace(db.URL, "mxhook@", "mxhook:wr0ng%2Fpass@", 1) + "?sslmode=disable", Encode: encode})
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if _, err := wrong.Deliver(t.Context(), d); err == nil || pipeline.IsPermanent(err) || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("a wrong password: %v", err)
	}
	if _, err := p.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	db.Kill()
	if _, err := p.Deliver(t.Context(), d); err == nil || pipeline.IsPermanent(err) {
		t.Errorf("a dead server: %v, want a transient error", err)
	}
	db.Restart()
	if resp, err := p.Deliver(t.Context(), d); err != nil || resp.Status != "stored before" {
		t.Errorf("after the restart: %+v, %v", resp, err)
	}
}

func TestNothingIsLeftOfAttemptsThatBeginAfterClose(t *testing.T) {
	db := counterpart.StartPostgres(t)
	before := goleak.IgnoreCurrent()
	p := open(t, db, Options{})
	for i := range 3 {
		if _, err := p.Deliver(t.Context(), sinktest.Samples()[0].Delivery); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			p.Close()
		}
	}
	goleak.VerifyNone(t, before)
}

func TestAServerWithoutACertificateIsRefusedUnlessTheURLSaysOtherwise(t *testing.T) {
	db := counterpart.StartPostgres(t)
	p, err := New(Options{URL: db.URL, Password: db.Password, Encode: encode})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Deliver(t.Context(), sinktest.Samples()[0].Delivery); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("%v, want that TLS is refused", err)
	}
	guarded := open(t, db, Options{Control: webhook.DialControl(nil)})
	if _, err := guarded.Deliver(t.Context(), sinktest.Samples()[0].Delivery); err == nil || !strings.Contains(err.Error(), "internal address") {
		t.Errorf("%v, want that the address is refused", err)
	}
}

func TestNewRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		o    Options
		want string
	}{
		"no URL":      {Options{}, "url is missing"},
		"another":     {Options{URL: "mysql://a:secret@b/c"}, "url is missing or no URL"},
		"no host":     {Options{URL: "postgres:///mail"}, "url has no host"},
		"no database": {Options{URL: "postgres://u:secret@db.example.com"}, "url names no database"},
		"option":      {Options{URL: "postgres://u:secret@db.example.com/mail?sslmode=maybe"}, "url: an option"},
		"schema":      {Options{URL: "postgres://db.example.com/mail", Schema: "a;b"}, `schema "a;b"`},
		"authorities": {Options{URL: "postgres://db.example.com/mail", CA: "x"}, "tls.ca has no certificate"},
	} {
		tt.o.Encode = encode
		if _, err := New(tt.o); err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}

func FuzzWithoutNUL(f *testing.F) {
	for _, s := range []string{"a\x00b", `\u0000`, `\\u0000`, "\\", "\u2028\x00\\\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, _ := json.Marshal(s)
		var before, after string
		if err := json.Unmarshal(text, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(withoutNUL(text), &after); err != nil {
			t.Fatalf("%s became %s: %v", text, withoutNUL(text), err)
		}
		if want := strings.ReplaceAll(before, "\x00", "\uFFFD"); after != want {
			t.Errorf("%q became %q", before, after)
		}
	})
}
