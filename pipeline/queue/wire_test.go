package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

type frameCase struct {
	name   string
	kind   byte
	head   any
	empty  func() any
	octets []byte
}

func frameCases() []frameCase {
	env := newEnvelope("support", "sales")
	env.ID = "01KAK5Z3V8Q5W8S0R0J8N2X0AB"
	env.Recipients[0].Tag = "42"
	env.Recipients[0].Captures = map[string]string{"id": "42", "raw": "\xff\xfe"}
	env.ReversePath = "j\xf6rg@example.org"
	env.Size = 5
	sum := bytes.Repeat([]byte{0xab}, 32)
	d := sampleDelivery(&pipeline.Message{Envelope: env, Ref: "MXHOOK_MAIL_3/4711"}, "box")
	d.Attempt, d.ReplayOf = 2, "01KAK5Z3V8Q5W8S0R0J8N2X0AB.archive"
	d.History = []pipeline.AttemptRecord{{Attempt: 1, At: env.ReceivedAt, Took: time.Second, Status: "503 Service Unavailable", Reason: "503"}}
	replayed := env
	replayed.ReplayOf, replayed.ReplayTo = "01KAK5Z3V8Q5W8S0R0J8N2X0AA", "box"
	held := *d
	held.Tags, held.Held = []string{"vip"}, "the circuit breaker is open"
	kept := &pipeline.KeptDelivery{Delivery: d, At: env.ReceivedAt, Status: "200 OK", Took: time.Second}
	return []frameCase{
		{"mail-replayed", kindMail, &mailRecord{Envelope: recordEnvelope(replayed), Size: 5, SHA256: sum}, func() any { return new(mailRecord) }, []byte("hello")},
		{"delivered", kindLog, &logRecord{[]deliveredRecord{recordDelivered(kept)}}, func() any { return new(logRecord) }, nil},
		{"mail-inline", kindMail, &mailRecord{Envelope: recordEnvelope(env), Size: 5, SHA256: sum}, func() any { return new(mailRecord) }, []byte("hello")},
		{"mail-inspected", kindMail, &mailRecord{
			Envelope: recordEnvelope(env), Size: 5, SHA256: sum, Auth: d.Message.Auth, Problems: d.Message.Problems,
		}, func() any { return new(mailRecord) }, []byte("hello")},
		{"delivery-held", kindDelivery, ptr(recordDelivery(&held)), func() any { return new(deliveryRecord) }, nil},
		{"mail-parts", kindMail, &mailRecord{
			Envelope: recordEnvelope(env), Size: 1 << 20, SHA256: sum, PartKey: env.ID, Parts: []uint64{17, 18, 21},
		}, func() any { return new(mailRecord) }, nil},
		{"delivery", kindDelivery, ptr(recordDelivery(d)), func() any { return new(deliveryRecord) }, nil},
		{"dead-letter", kindDead, &deadRecordHead{
			Delivery: recordDelivery(d), Envelope: recordEnvelope(env), Reason: "410 Gone", At: env.ReceivedAt, Size: 5, SHA256: sum, Parts: 1,
		}, func() any { return new(deadRecordHead) }, nil},
	}
}

func ptr[T any](v T) *T { return &v }

// TestWireFormatIsPinned reads what an earlier mxhook stored, and writes the same. A change that fails here needs a
// new version of the frame, and a reader for both.
func TestWireFormatIsPinned(t *testing.T) {
	t.Parallel()
	for _, tc := range frameCases() {
		file := filepath.Join("testdata", tc.name+".frame")
		frame, err := encodeFrame(tc.kind, tc.head, tc.octets)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, frame, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(frame)); diff != "" {
			t.Errorf("%s (-pinned +written):\n%s", tc.name, diff)
		}
		got := tc.empty()
		octets, err := decodeFrame(tc.kind, want, got)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if diff := cmp.Diff(tc.head, got, addrs); diff != "" || !bytes.Equal(octets, tc.octets) {
			t.Errorf("%s (-pinned +read), octets %q:\n%s", tc.name, octets, diff)
		}
	}
}

func TestLargeHeadIsDeflated(t *testing.T) {
	t.Parallel()
	env := newEnvelope(strings.Split(strings.Repeat("someone ", 3000), " ")...)
	frame, err := encodeFrame(kindMail, mailRecord{Envelope: recordEnvelope(env)}, []byte("hello"))
	if err != nil || len(frame) > maxHeadStored || frame[5] != flagDeflated {
		t.Fatalf("%d bytes, %v", len(frame), err)
	}
	var got mailRecord
	octets, err := decodeFrame(kindMail, frame, &got)
	if err != nil || string(octets) != "hello" {
		t.Fatalf("octets %q, %v", octets, err)
	}
	if diff := cmp.Diff(env, got.Envelope.envelope(), addrs); diff != "" {
		t.Errorf("envelope (-before +after):\n%s", diff)
	}
}

func TestBadFramesAreRefused(t *testing.T) {
	t.Parallel()
	good, err := encodeFrame(kindMail, mailRecord{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb, err := deflate(make([]byte, maxHead+1))
	if err != nil {
		t.Fatal(err)
	}
	lead := func(flags byte, n int, rest []byte) []byte {
		return append([]byte{'M', 'X', 'Q', kindMail, frameVersion, flags, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, rest...)
	}
	newer := bytes.Clone(good)
	newer[4]++
	for name, tc := range map[string]struct {
		frame []byte
		want  string
	}{
		"empty":         {nil, "not a record"},
		"another kind":  {append([]byte("MXQD"), good[4:]...), "not a record"},
		"newer":         {newer, "newer mxhook"},
		"cut short":     {good[:len(good)-1], "cut short"},
		"no JSON":       {lead(0, 3, []byte("abc")), "invalid character"},
		"not deflated":  {lead(flagDeflated, 3, []byte("abc")), "unexpected EOF"},
		"deflated bomb": {lead(flagDeflated, len(bomb), bomb), "more than"},
	} {
		_, err := decodeFrame(kindMail, tc.frame, new(mailRecord))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		if name == "newer" && !errors.Is(err, errNewer) {
			t.Errorf("newer: %v", err)
		}
	}
}

func TestTokensAreSafeAndReversible(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": "=", "box": "box", "01KAK5.help_desk-2": "01KAK5=2Ehelp_desk-2", "a=b": "a=3Db", "*>\x00 ü": "=2A=3E=00=20=C3=BC",
	} {
		if got := token(s); got != want {
			t.Errorf("token(%q) = %q, want %q", s, got, want)
		}
		if back, err := untoken(want); err != nil || back != s {
			t.Errorf("untoken(%q) = %q, %v", want, back, err)
		}
	}
	for _, bad := range []string{"=2", "a=G0", "a=="} {
		if s, err := untoken(bad); err == nil {
			t.Errorf("untoken(%q) = %q", bad, s)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, tc := range frameCases() {
		frame, err := encodeFrame(tc.kind, tc.head, tc.octets)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeMail(0, 1, b); err == nil {
			again, err := encodeFrame(kindMail, s.mailRecord, s.inline)
			if err != nil {
				return // grown beyond what is stored
			}
			back, err := decodeMail(0, 1, again)
			if err != nil {
				t.Fatalf("what was read cannot be written and read: %v", err)
			}
			if diff := cmp.Diff(s.Envelope.envelope(), back.Envelope.envelope(), addrs); diff != "" {
				t.Errorf("it changed on the way:\n%s", diff)
			}
		}
		var rec deliveryRecord
		if _, err := decodeFrame(kindDelivery, b, &rec); err == nil {
			rec.delivery()
		}
		if d, _, err := decodeDead(b); err == nil && d.Delivery.Message == nil {
			t.Error("a dead letter without a message")
		}
	})
}

func TestTagsOfADeliveryAreKept(t *testing.T) {
	t.Parallel()
	d := &pipeline.Delivery{ID: "a.b", Sink: "b", Tags: []string{"vip"}, Message: &pipeline.Message{}}
	if got := recordDelivery(d).delivery(); !slices.Equal(got.Tags, d.Tags) {
		t.Errorf("tags are %v", got.Tags)
	}
}

// TestEarlierRecordsCanBeRead reads what earlier mxhooks stored; files in testdata/earlier are never rewritten.
func TestEarlierRecordsCanBeRead(t *testing.T) {
	t.Parallel()
	for _, tc := range frameCases() {
		frame, err := os.ReadFile(filepath.Join("testdata", "earlier", tc.name+".frame"))
		if errors.Is(err, os.ErrNotExist) {
			continue // there was none
		}
		if err != nil {
			t.Fatal(err)
		}
		got := tc.empty()
		octets, err := decodeFrame(tc.kind, frame, got)
		if err != nil || !bytes.Equal(octets, tc.octets) {
			t.Errorf("%s: octets %q, %v", tc.name, octets, err)
		}
		text, err := encodeFrame(tc.kind, got, nil)
		if err != nil || !bytes.Contains(text, []byte("01KAK5Z3V8Q5W8S0R0J8N2X0AB")) {
			t.Errorf("%s lost its id: %s, %v", tc.name, text, err)
		}
	}
}

// TestPlainOctetsAreWrittenLikeOthers: what takes the short way is, octet for octet, what encoding/json makes of it.
func TestPlainOctetsAreWrittenLikeOthers(t *testing.T) {
	t.Parallel()
	short := 0
	for c := range 256 {
		for _, s := range []string{string([]byte{byte(c)}), "a" + string(rune(c)) + "b", "a" + string([]byte{byte(c)}), ""} {
			if !utf8.ValidString(s) {
				if plain(octets(s)) {
					t.Errorf("%q is plain", s)
				}
				continue
			}
			want, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			got, err := octets(s).MarshalJSON()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q is written %s, want %s (%v)", s, got, want, err)
			}
			var back octets
			if err := back.UnmarshalJSON(got); err != nil || string(back) != s {
				t.Errorf("%s is read %q (%v)", got, back, err)
			}
			if plain(octets(s)) {
				short++
			}
		}
	}
	if short < 200 {
		t.Errorf("%d texts took the short way", short)
	}
}
