package file

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

func TestFoldersAndNamesAreFilledInForEachDelivery(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	f := newFile(t, Options{Dir: base + "/mail/{domain}/{captures.tenant}", Layout: EML, Name: "{date}-{delivery}", Encode: func(w io.Writer, _ *pipeline.Delivery) error {
		_, err := io.WriteString(w, "{}")
		return err
	}})
	for _, tenant := range []string{"acme", "../../../outside", ""} {
		d := sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N00TPL00")
		d.Recipients[0].Captures = map[string]string{"tenant": tenant}
		for range 2 {
			deliver(t, f, d)
		}
	}
	got := files(t, base)
	if len(got) != 6 {
		t.Fatalf("files %q, want a pair for each of three tenants", got)
	}
	name := "mail/example.com/acme/2026-11-21-01KAK5ZV3QW8E6T4Y2N00TPL00.test.eml"
	if !slices.Contains(got, name) {
		t.Errorf("no %s in %q", name, got)
	}
	for _, name := range got {
		if !strings.HasPrefix(name, "mail/example.com/") || strings.Count(name, "/") != 3 {
			t.Errorf("a file at %s", name)
		}
	}
}

func TestAMissingParentOfATemplateIsNotMade(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	f := newFile(t, Options{Dir: filepath.Join(base, "disk", "mail", "{domain}")})
	if _, err := f.Deliver(t.Context(), sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N00TPL00")); err == nil || pipeline.IsPermanent(err) {
		t.Fatalf("%v, want a transient error: the disk may not be mounted", err)
	}
	if err := os.Mkdir(filepath.Join(base, "disk"), 0o700); err != nil {
		t.Fatal(err)
	}
	deliver(t, f, sinktest.Delivery("01KAK5ZV3QW8E6T4Y2N00TPL00"))
}

func TestNamesThatWouldMixMailsAreRefused(t *testing.T) {
	t.Parallel()
	encode := func(io.Writer, *pipeline.Delivery) error { return nil }
	for name, want := range map[string]string{
		"{date}":       "name: the name must have {delivery}, or mails would take the place of others",
		"a/{delivery}": "name: a name has no /; folders belong into dir",
		".{delivery}":  "name: a name that begins with a dot is hidden; begin it otherwise",
		"{delivry}":    "name: column 1: there is no field {delivry}; did you mean {delivery}?",
	} {
		if _, err := New(Options{Dir: "/mail", Layout: EML, Name: name, Encode: encode}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if _, err := New(Options{Dir: "/mail", Name: "{delivery}"}); err == nil {
		t.Error("a maildir takes names")
	}
}
