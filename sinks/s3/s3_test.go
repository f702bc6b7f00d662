package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
	"mxhook/sinks/sinktest/counterpart"
	"mxhook/sinks/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func payload(d *pipeline.Delivery, link func(string) string) (int64, func() io.Reader, error) {
	return webhook.OpenPayload(d, webhook.PayloadOptions{LinkAll: true, Link: func(_ *pipeline.Message, part string) string { return link(part) }})
}

func newSink(t *testing.T, store *counterpart.S3, o Options) *S3 {
	t.Helper()
	o.Endpoint, o.Bucket, o.AccessKey, o.SecretKey, o.Payload = "http://"+store.Address, store.Bucket, store.AccessKey, store.SecretKey, payload
	return open(t, o)
}

func open(t *testing.T, o Options) *S3 {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// stored returns the objects of the store by key.
func stored(t *testing.T, store *counterpart.S3) map[string][]byte {
	t.Helper()
	objects := map[string][]byte{}
	err := filepath.WalkDir(store.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		key, _ := filepath.Rel(store.Dir, path)
		objects[key], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// front stands before a store and answers in its place.
type front struct {
	mu       sync.Mutex
	attempts map[string]int
	done     chan struct{}
	answer   func(http.ResponseWriter)
}

func newFront(fault sinktest.Fault) *front {
	f := &front{attempts: map[string]int{}, done: make(chan struct{})}
	say := func(status int, code string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>about %s and s3cret-of-the-store</Message></Error>", code, code)
		}
	}
	switch fault {
	case sinktest.Failing:
		f.answer = say(503, "SlowDown")
	case sinktest.Gone:
		f.answer = say(400, "EntityTooLarge")
	case sinktest.Busy:
		f.answer = func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", fmt.Sprint(int(sinktest.AskedDelay.Seconds())))
			say(503, "SlowDown")(w)
		}
	case sinktest.Hanging:
		f.answer = func(http.ResponseWriter) { <-f.done }
	}
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	f.mu.Lock()
	f.attempts[strings.TrimSuffix(filepath.Base(r.URL.Path), ".eml")]++
	f.mu.Unlock()
	f.answer(w)
}

func TestS3KeepsTheContract(t *testing.T) {
	store := counterpart.StartS3(t)
	sinktest.Run(t, func(t *testing.T, fault sinktest.Fault) *sinktest.Instance {
		if fault == sinktest.Healthy {
			s := newSink(t, store, Options{Prefix: "{date}/"})
			return &sinktest.Instance{
				Sink: s, Close: func() { s.Close() }, Secrets: []string{store.SecretKey},
				Copies: func(id string) int {
					n := 0
					for key := range stored(t, store) {
						if filepath.Base(key) == id+".json" {
							n++
						}
					}
					return n
				},
			}
		}
		f := newFront(fault)
		server := httptest.NewServer(f)
		s, err := New(Options{Endpoint: server.URL, Bucket: "mail", AccessKey: "k", SecretKey: store.SecretKey, Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		return &sinktest.Instance{
			Sink: s, Secrets: []string{store.SecretKey}, Copies: func(string) int { return 0 },
			Attempts: func(id string) int {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.attempts[id]
			},
			Close: func() {
				close(f.done)
				s.Close()
				server.Close()
			},
		}
	})
}

// TestStoreKeepsWhatWasDelivered also goes through a delivery that is uploaded in parts, under each way to check it, and
// holds the memory to a part, not the object.
func TestStoreKeepsWhatWasDelivered(t *testing.T) {
	store := counterpart.StartS3(t)
	t.Run("objects", func(t *testing.T) {
		s := newSink(t, store, Options{Prefix: "in/{domain}/{date}-"})
		d := sinktest.Samples()[1].Delivery
		resp, err := s.Deliver(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		base := "in/example.com/2026-11-21-" + d.ID
		if want := (pipeline.Response{Status: "stored", Detail: base + ".json"}); resp != want {
			t.Errorf("response %+v, want %+v", resp, want)
		}
		mail, _ := io.ReadAll(d.Message.Mail())
		want := map[string][]byte{base + ".eml": mail}
		urls := map[string]string{}
		for i, a := range d.Message.Content.Attachments {
			octets, _ := io.ReadAll(a.Open())
			key := fmt.Sprintf("%s/%d-%s", base, i+1, a.Filename)
			want[key], urls[a.ID] = octets, "s3://mail/"+key
		}
		got := stored(t, store)
		var p struct {
			Data struct {
				Message struct {
					Attachments []struct{ ID, URL string }
				}
			}
		}
		if err := json.Unmarshal(got[base+".json"], &p); err != nil {
			t.Fatal(err)
		}
		delete(got, base+".json")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for _, a := range p.Data.Message.Attachments {
			if a.URL != urls[a.ID] {
				t.Errorf("attachment %s is said to be at %q, want %q", a.ID, a.URL, urls[a.ID])
			}
		}
	})
	octets := make([]byte, 24<<20)
	rand.Read(octets)
	for _, checksum := range []string{ChecksumCRC32C, ChecksumSHA256, ChecksumMD5, ChecksumNone} {
		t.Run("in parts checked by "+checksum, func(t *testing.T) {
			s := newSink(t, store, Options{PartSize: MinPartSize, Checksum: checksum, Prefix: checksum + "/"})
			d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0PARTS0")
			d.Message.Content.Attachments = []pipeline.Attachment{sinktest.Attachment("2", "big.bin", "application/octet-stream", octets)}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := s.Deliver(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			t.Logf("%d octets of memory for an object of %d", after.TotalAlloc-before.TotalAlloc, len(octets))
			// All that was allocated, not what was held at once: a part and little else, more under the race detector.
			if got := after.TotalAlloc - before.TotalAlloc; got > uint64(len(octets))*2/3 {
				t.Errorf("allocated %d octets", got)
			}
			if !bytes.Equal(stored(t, store)[checksum+"/"+d.ID+"/1-big.bin"], octets) {
				t.Error("the store has other octets")
			}
		})
	}
	t.Run("nothing of hostile names leads elsewhere", func(t *testing.T) {
		s := newSink(t, store, Options{Prefix: "hostile/{recipient}/{captures.x}/"})
		for _, sample := range sinktest.Samples() {
			d := sample.Delivery
			d.Recipients[0].Captures = map[string]string{"x": "../../../x"}
			if _, err := s.Deliver(t.Context(), d); err != nil {
				t.Errorf("%s: %v", sample.Name, err)
			}
		}
		for key := range stored(t, store) {
			if strings.Contains(key, "passwd") && (!strings.HasPrefix(key, "hostile/") || strings.Count(key, "/") != 4) {
				t.Errorf("an object at %s", key)
			}
		}
	})
}

func TestAStoreThatDiesInAnUploadIsTransientAndLeavesNoTask(t *testing.T) {
	store := counterpart.StartS3(t)
	s := newSink(t, store, Options{})
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0D1ES00")
	store.Kill()
	if _, err := s.Deliver(t.Context(), d); err == nil || pipeline.IsPermanent(err) {
		t.Fatalf("%v, want a transient error", err)
	}
	store.Restart()
	if _, err := s.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func TestCancellationEndsAnUploadInParts(t *testing.T) {
	t.Parallel()
	var deletes int
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		switch {
		case r.Method == http.MethodDelete:
			mu.Lock()
			deletes++
			mu.Unlock()
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Query().Has("uploads"):
			fmt.Fprint(w, "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
		case r.URL.Query().Has("partNumber"):
			cancel()
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	s := open(t, Options{Endpoint: server.URL, Bucket: "mail", AccessKey: "k", SecretKey: "secret", PartSize: MinPartSize, Payload: payload})
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0CANCEL")
	d.Message.Content.Attachments = []pipeline.Attachment{sinktest.Attachment("2", "b", "a/b", make([]byte, MinPartSize+1))}
	if _, err := s.Deliver(ctx, d); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want one that wraps context.Canceled", err)
	}
	s.Close()
	mu.Lock()
	defer mu.Unlock()
	if deletes != 1 {
		t.Errorf("the parts were removed %d times, want 1", deletes)
	}
}

func TestEncryptionAndStorageClassAreAskedFor(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		o    Options
		want map[string]string
	}{
		"keys of the store": {Options{Encryption: EncryptS3, StorageClass: "STANDARD_IA"}, map[string]string{
			"X-Amz-Server-Side-Encryption": "AES256", "X-Amz-Storage-Class": "STANDARD_IA",
		}},
		"a key of ours": {Options{Encryption: EncryptKMS, KMSKey: "key-1"}, map[string]string{
			"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "key-1",
		}},
	} {
		var mu sync.Mutex
		var headers []http.Header
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			mu.Lock()
			defer mu.Unlock()
			headers = append(headers, r.Header)
		}))
		tt.o.Endpoint, tt.o.Bucket, tt.o.AccessKey, tt.o.SecretKey, tt.o.Payload = server.URL, "mail", "k", "secret", payload
		s := open(t, tt.o)
		if _, err := s.Deliver(t.Context(), sinktest.Samples()[1].Delivery); err != nil {
			t.Fatal(err)
		}
		s.Close()
		server.Close()
		if len(headers) != 6 {
			t.Errorf("%s: %d objects, want mail, four attachments and JSON", name, len(headers))
		}
		for _, h := range headers {
			for field, want := range tt.want {
				if h.Get(field) != want {
					t.Errorf("%s: %s is %q, want %q", name, field, h.Get(field), want)
				}
			}
		}
	}
}

func TestCredentialsComeFromTheEnvironmentOrTheSharedFile(t *testing.T) {
	store := counterpart.StartS3(t)
	o := Options{Endpoint: "http://" + store.Address, Bucket: store.Bucket, Payload: payload}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "none"))
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0CREDS0")
	if _, err := open(t, o).Deliver(t.Context(), d); err == nil || pipeline.IsPermanent(err) || !strings.Contains(err.Error(), "there are no credentials: set access_key") {
		t.Errorf("without any: %v", err)
	}
	file := filepath.Join(dir, "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong-too\n[mail]\naws_access_key_id = %s\naws_secret_access_key = %s\n", store.AccessKey, store.SecretKey)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	if _, err := open(t, o).Deliver(t.Context(), d); err == nil || pipeline.IsPermanent(err) || strings.Contains(err.Error(), "wrong-too") {
		t.Errorf("with wrong ones: %v", err)
	}
	o.Profile = "mail"
	if _, err := open(t, o).Deliver(t.Context(), d); err != nil {
		t.Errorf("with a profile: %v", err)
	}
	o.Profile = ""
	t.Setenv("AWS_ACCESS_KEY_ID", store.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", store.SecretKey)
	if _, err := open(t, o).Deliver(t.Context(), d); err != nil {
		t.Errorf("with the environment: %v", err)
	}
}

func TestInternalAddressesAreRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the store was asked") }))
	defer server.Close()
	o := Options{Endpoint: server.URL, Bucket: "mail", AccessKey: "k", SecretKey: "secret", Payload: payload, Control: webhook.DialControl(nil)}
	if _, err := New(o); !errors.Is(err, webhook.ErrInternalAddress) {
		t.Errorf("an address: %v", err)
	}
	o.Endpoint = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	if _, err := open(t, o).Deliver(t.Context(), sinktest.Samples()[0].Delivery); !errors.Is(err, webhook.ErrInternalAddress) {
		t.Errorf("a name: %v", err)
	}
	o.Endpoint, o.Control = server.URL, webhook.DialControl([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	if _, err := New(o); err != nil {
		t.Errorf("an address that is allowed: %v", err)
	}
}

func TestNewRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no bucket":      {func(o *Options) { o.Bucket = "" }, "bucket is missing"},
		"no URL":         {func(o *Options) { o.Endpoint = "s3.example.com" }, "endpoint is no URL"},
		"user":           {func(o *Options) { o.Endpoint = "https://a:b@example.com" }, "endpoint has a user name"},
		"path":           {func(o *Options) { o.Endpoint = "https://example.com/mail" }, "endpoint has a path"},
		"half a key":     {func(o *Options) { o.SecretKey = "" }, "access_key and secret_key belong together"},
		"checksum":       {func(o *Options) { o.Checksum = "crc" }, `checksum "crc" is unknown`},
		"encryption":     {func(o *Options) { o.Encryption = "aes" }, `encryption "aes" is unknown`},
		"key alone":      {func(o *Options) { o.KMSKey = "k" }, "kms_key is for encryption: kms"},
		"part size":      {func(o *Options) { o.PartSize = 1 }, "part_size 1: set it to 5242880"},
		"prefix":         {func(o *Options) { o.Prefix = "{dat}/" }, "prefix: column 1: there is no field {dat}"},
		"prefix with ..": {func(o *Options) { o.Prefix = "../" }, "prefix: column 1: the path goes by way of .."},
		"prefix with /":  {func(o *Options) { o.Prefix = "/mail/" }, "prefix: keys do not begin with /"},
		"authorities":    {func(o *Options) { o.CA = "x" }, "tls.ca has no certificate"},
	} {
		o := Options{Bucket: "mail", AccessKey: "k", SecretKey: "s", Payload: payload}
		tt.change(&o)
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}

func FuzzAttachmentName(f *testing.F) {
	for _, name := range []string{"a.pdf", "../../etc/passwd\r\n", strings.Repeat("ü", 200) + ".pdf", "\xff", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := attachmentName(0, pipeline.Attachment{Filename: name})
		if len(got) > maxName+10 || strings.ContainsAny(got, "/\\\r\n\x00") || strings.ToValidUTF8(got, "") != got {
			t.Errorf("%q became %q", name, got)
		}
	})
}
