package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// encodeID stands for the payload: the files beside the mail are told apart by it.
func encodeID(w io.Writer, d *pipeline.Delivery) error {
	_, err := fmt.Fprintf(w, "{%q:%d}", d.ID, d.Attempt)
	return err
}

func newFile(t *testing.T, o Options) *File {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "in")
	}
	if o.Layout == EML && o.Encode == nil {
		o.Encode = encodeID
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func deliver(t *testing.T, f *File, d *pipeline.Delivery) pipeline.Response {
	t.Helper()
	resp, err := f.Deliver(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// files returns the regular files below dir, relative to it, sorted.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// faultyFile is a temporary file on a bad disk.
type faultyFile struct {
	tempFile
	writeErr, syncErr, closeErr error
	left                        int
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if f.writeErr != nil && len(p) > f.left {
		n, _ := f.tempFile.Write(p[:f.left])
		f.left -= n
		return n, f.writeErr
	}
	f.left -= len(p)
	return f.tempFile.Write(p)
}

func (f *faultyFile) Sync() error { return errors.Join(f.tempFile.Sync(), f.syncErr) }

func (f *faultyFile) Close() error { return errors.Join(f.tempFile.Close(), f.closeErr) }

func TestFileKeepsTheContract(t *testing.T) {
	for _, layout := range []string{Maildir, EML} {
		t.Run(layout, func(t *testing.T) {
			sinktest.Run(t, func(t *testing.T, fault sinktest.Fault) *sinktest.Instance {
				f := newFile(t, Options{Layout: layout})
				switch fault {
				case sinktest.Healthy:
				case sinktest.Failing:
					f.create = func(dir, pattern string) (tempFile, error) {
						t, err := createTemp(dir, pattern)
						return &faultyFile{tempFile: t, writeErr: syscall.ENOSPC}, err
					}
				default:
					return nil // a folder does not answer
				}
				return &sinktest.Instance{
					Sink: f, Close: func() {},
					Copies: func(id string) int {
						n := 0
						for _, name := range files(t, f.base) {
							if strings.Contains(name, safeName(id)+".") && !strings.HasSuffix(name, ".json") {
								n++
							}
						}
						return n
					},
				}
			})
		})
	}
}

func TestMaildirHoldsMailBelowItsRecipients(t *testing.T) {
	t.Parallel()
	f := newFile(t, Options{})
	d := sinktest.Samples()[0].Delivery
	d.Recipients = d.Message.Envelope.Recipients
	resp := deliver(t, f, d)
	name := "1795288623.01KAK5ZV3QW8E6T4Y2N0PLAIN0.test.mx.example.com"
	if diff := cmp.Diff([]string{"new/" + name}, files(t, f.base)); diff != "" {
		t.Fatal(diff)
	}
	if want := (pipeline.Response{Status: "written", Detail: "new/" + name}); resp != want {
		t.Errorf("response %+v, want %+v", resp, want)
	}
	got, err := os.ReadFile(filepath.Join(f.base, "new", name))
	if err != nil {
		t.Fatal(err)
	}
	mail, _ := io.ReadAll(d.Message.Mail())
	want := "Delivered-To: support+42@example.com\r\nDelivered-To: boss@example.com\r\n" + string(mail)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestMaildirRepeatFindsMailThatAReaderMoved(t *testing.T) {
	t.Parallel()
	for _, flags := range []string{"", ":2,", ":2,S", ":2,FRS", ":2,DFPRST"} {
		f := newFile(t, Options{})
		d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0M0VED0")
		deliver(t, f, d)
		name := maildirName(d)
		if err := os.Rename(filepath.Join(f.base, "new", name), filepath.Join(f.base, "cur", name+flags)); err != nil {
			t.Fatal(err)
		}
		if resp := deliver(t, f, d); resp.Status != "written before" {
			t.Errorf("flags %q: status %q", flags, resp.Status)
		}
		if diff := cmp.Diff([]string{"cur/" + name + flags}, files(t, f.base)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestEMLWritesMailAndPayload(t *testing.T) {
	t.Parallel()
	f := newFile(t, Options{Layout: EML})
	d := sinktest.Samples()[0].Delivery
	deliver(t, f, d)
	if diff := cmp.Diff([]string{d.ID + ".eml", d.ID + ".json"}, files(t, f.base)); diff != "" {
		t.Fatal(diff)
	}
	got, err := os.ReadFile(filepath.Join(f.base, d.ID+".eml"))
	want, _ := io.ReadAll(d.Message.Mail())
	if err != nil || string(got) != string(want) {
		t.Errorf("mail is %q, %v", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(f.base, d.ID+".json")); err != nil || string(got) != `{"`+d.ID+`":1}` {
		t.Errorf("JSON is %q, %v", got, err)
	}
}

func TestEMLRepeatCompletesAPairThatACrashLeftHalf(t *testing.T) {
	t.Parallel()
	f := newFile(t, Options{Layout: EML})
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0HALF00")
	deliver(t, f, d)
	if err := os.Remove(filepath.Join(f.base, d.ID+".json")); err != nil {
		t.Fatal(err)
	}
	d.Attempt = 2
	deliver(t, f, d)
	if got, err := os.ReadFile(filepath.Join(f.base, d.ID+".json")); err != nil || string(got) != `{"`+d.ID+`":2}` {
		t.Errorf("JSON is %q, %v", got, err)
	}
}

func TestDiskFaultIsTransientAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faultyFile{
		"full at once":   {writeErr: syscall.ENOSPC},
		"full in the mi": {writeErr: syscall.ENOSPC, left: 100},
		"quota":          {writeErr: syscall.EDQUOT},
		"sync fails":     {syncErr: syscall.EIO, left: 1 << 20},
		"close fails":    {closeErr: syscall.EIO, left: 1 << 20},
	} {
		for _, layout := range []string{Maildir, EML} {
			f := newFile(t, Options{Layout: layout})
			healthy := f.create
			f.create = func(dir, pattern string) (tempFile, error) {
				t, err := createTemp(dir, pattern)
				faulty := fault
				faulty.tempFile = t
				return &faulty, err
			}
			d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0FAVLT0")
			_, err := f.Deliver(t.Context(), d)
			want := errors.Join(fault.writeErr, fault.syncErr, fault.closeErr).(interface{ Unwrap() []error }).Unwrap()[0]
			if !errors.Is(err, want) || pipeline.IsPermanent(err) {
				t.Errorf("%s, %s: error %v (permanent: %v), want transient %v", layout, name, err, pipeline.IsPermanent(err), want)
			}
			if left := files(t, f.base); len(left) != 0 {
				t.Errorf("%s, %s: left %q", layout, name, left)
			}
			f.create = healthy
			if resp := deliver(t, f, d); resp.Status != "written" {
				t.Errorf("%s, %s: once the disk is well: %+v", layout, name, resp)
			}
		}
	}
}

func TestCancellationWhileWritingLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := newFile(t, Options{Layout: EML, Encode: func(w io.Writer, _ *pipeline.Delivery) error {
		if _, err := w.Write([]byte("{")); err != nil {
			return err
		}
		cancel()
		_, err := w.Write([]byte("}"))
		return err
	}})
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0CANCEL")
	if _, err := f.Deliver(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{d.ID + ".eml"}, files(t, f.base)); diff != "" {
		t.Errorf("there should be the whole mail and no JSON: %s", diff)
	}
}

func TestFilesAndFoldersAreOurs(t *testing.T) {
	t.Parallel()
	f := newFile(t, Options{})
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0M0DES0")
	deliver(t, f, d)
	for path, want := range map[string]os.FileMode{
		"": 0o700, "tmp": 0o700, "cur": 0o700, "new": 0o700, "new/" + maildirName(d): 0o600,
	} {
		info, err := os.Stat(filepath.Join(f.base, path))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%q has mode %o, want %o", path, got, want)
		}
	}
}

func TestMissingParentIsAnErrorUntilItIsThere(t *testing.T) {
	t.Parallel()
	parent := filepath.Join(t.TempDir(), "mount")
	f := newFile(t, Options{Dir: filepath.Join(parent, "in")})
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0M0VNT0")
	if _, err := f.Deliver(t.Context(), d); !errors.Is(err, os.ErrNotExist) || pipeline.IsPermanent(err) {
		t.Fatalf("error %v", err)
	}
	if err := os.Mkdir(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	deliver(t, f, d)
}

func TestFolderRemovedWhileRunningIsMadeAgain(t *testing.T) {
	t.Parallel()
	f := newFile(t, Options{})
	d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N0REM0VE")
	deliver(t, f, d)
	if err := os.RemoveAll(f.base); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Deliver(t.Context(), d); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v", err)
	}
	deliver(t, f, d)
}

func TestLeftOverTemporaryFilesAreRemoved(t *testing.T) {
	t.Parallel()
	for _, layout := range []string{Maildir, EML} {
		f := newFile(t, Options{Layout: layout})
		deliver(t, f, sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N00LD000"))
		before := files(t, f.base)
		tmp := f.layout(f.base).temporary()
		for name, age := range map[string]time.Duration{
			tempPrefix + "old.1": 37 * time.Hour, tempPrefix + "young.1": time.Hour, "of-somebody-else": 37 * time.Hour,
		} {
			path := filepath.Join(tmp, name)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			at := time.Now().Add(-age)
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
		again := newFile(t, Options{Layout: layout, Dir: f.base})
		deliver(t, again, sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N00LD000"))
		rel, _ := filepath.Rel(f.base, tmp)
		want := append(before, filepath.Join(rel, tempPrefix+"young.1"), filepath.Join(rel, "of-somebody-else"))
		slices.Sort(want)
		if diff := cmp.Diff(want, files(t, f.base)); diff != "" {
			t.Errorf("%s: %s", layout, diff)
		}
	}
}

func TestNewRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		o    Options
		want string
	}{
		"no dir":         {Options{}, "dir is missing"},
		"unknown layout": {Options{Dir: "x", Layout: "mbox"}, `layout "mbox" is unknown: use maildir or eml`},
		"no encoder":     {Options{Dir: "x", Layout: EML}, "needs an encoder"},
	} {
		if _, err := New(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
}

// hostileIDs are ids that must not lead out of the folder.
var hostileIDs = []string{
	"", ".", "..", "../x", "/etc/passwd", "a/../../b", `..\x`, "-rf", ".hidden", "a\x00b", "a:2,S", "ü", "a b",
	strings.Repeat("a", 129), "\xff", "new/../../x", "a\nb",
}

func TestNoIDLeadsOutOfTheFolder(t *testing.T) {
	t.Parallel()
	for _, layout := range []string{Maildir, EML} {
		for _, id := range hostileIDs {
			parent := t.TempDir()
			f := newFile(t, Options{Layout: layout, Dir: filepath.Join(parent, "in")})
			d := sinktest.Delivery("x")
			d.ID, d.Message.Envelope.Hostname = id, "../"+id
			deliver(t, f, d)
			if resp := deliver(t, f, d); resp.Status != "written before" {
				t.Errorf("%s, id %q: the repeat is %q", layout, id, resp.Status)
			}
			for _, name := range files(t, parent) {
				if !strings.HasPrefix(name, "in/") {
					t.Errorf("%s, id %q: wrote %q", layout, id, name)
				}
			}
		}
	}
}

func FuzzSafeName(f *testing.F) {
	for _, id := range hostileIDs {
		f.Add(id)
	}
	f.Add("01KAK5ZV3QW8E6T4Y2N0PLAIN0.helpdesk")
	f.Fuzz(func(t *testing.T, id string) {
		name := safeName(id)
		if name == "" || len(name) > 128 || filepath.Base(name) != name || name[0] == '.' || strings.ContainsAny(name, "/\\:\x00\n") {
			t.Errorf("safeName(%q) = %q", id, name)
		}
		if name != safeName(id) {
			t.Errorf("safeName(%q) changes", id)
		}
	})
}

func TestDeliveredToCannotBreakTheHeader(t *testing.T) {
	t.Parallel()
	f := newFile(t, Options{})
	samples := sinktest.Samples()
	d := samples[len(samples)-1].Delivery
	deliver(t, f, d)
	got, err := os.ReadFile(filepath.Join(f.base, "new", maildirName(d)))
	if err != nil {
		t.Fatal(err)
	}
	if want := "Delivered-To: \"aX-Evil: 1\"@example.com\r\nReturn-Path: <"; !strings.HasPrefix(string(got), want) {
		t.Errorf("mail starts %.80q, want %q", got, want)
	}
}
