package queue

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testKey = "3Tz8bq0v1Yh6Jc5Rk2Wm9Xn4Pd7Ls0Ga"

// grep reports the files below dir that hold one of the texts.
func grep(t *testing.T, dir string, texts ...string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, text := range texts {
			if bytes.Contains(b, []byte(text)) {
				files = append(files, path+": "+text)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// prints is a fingerprint of all files below dir.
func prints(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEncryptedStoreHoldsNoPlainText(t *testing.T) {
	t.Parallel()
	secret := "Subject: the merger\r\n\r\nnobody may know of it\r\n"
	words := []string{"the merger", "nobody may know", "alice@example.org", "support@example.com"}
	fill := func(change ...func(*Config)) (string, opener) {
		dir := t.TempDir()
		open := embedded(t, dir)
		q := mustOpen(t, open, change...)
		d := succeeded(t, q, taken(t, q, []byte(secret)), "box")
		large := strings.Repeat(secret, 1300*kib/len(secret))
		succeeded(t, q, taken(t, q, []byte(large)), "box")
		bury(t, q, d)
		closeQueue(t, q)
		return dir, open
	}
	dir, _ := fill()
	if found := grep(t, dir, words...); len(found) == 0 {
		t.Fatal("the plain text is not found in a plain store: the search is no good")
	}
	key := func(c *Config) { c.EncryptionKey = testKey }
	dir, open := fill(key)
	if found := grep(t, dir, words...); len(found) > 0 {
		t.Errorf("plain text in an encrypted store: %v", found)
	}
	if found := grep(t, dir, testKey); len(found) > 0 {
		t.Errorf("the key lies in the store: %v", found)
	}

	before := prints(t, dir)
	for _, wrong := range []string{"", "4" + testKey[1:]} {
		q, err := open(func(c *Config) { c.EncryptionKey = wrong })
		if err == nil {
			closeQueue(t, q)
			t.Fatalf("opened with the key %q", wrong)
		}
		if !strings.Contains(err.Error(), "queue.encryption_key") || strings.Contains(err.Error(), testKey) {
			t.Errorf("error %v", err)
		}
	}
	after := prints(t, dir)
	for file, sum := range before {
		if after[file] != sum {
			t.Errorf("a wrong key has changed %s", file)
		}
	}
	q := mustOpen(t, open, key)
	list, err := q.Messages(t.Context(), all, 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	m, err := q.Message(t.Context(), list[1].Message.Envelope.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	checkBody(t, m.Message, []byte(secret))
}

func TestPlainStoreRefusesAKey(t *testing.T) {
	t.Parallel()
	open := embedded(t, t.TempDir())
	q := mustOpen(t, open)
	taken(t, q, []byte("hello"))
	closeQueue(t, q)
	if _, err := open(func(c *Config) { c.EncryptionKey = testKey }); err == nil || !strings.Contains(err.Error(), "not encrypted") {
		t.Errorf("error %v", err)
	}
	mustOpen(t, open)
}

func TestCompressionMayChange(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, open opener) {
		body := []byte("Subject: hello\r\n\r\n" + strings.Repeat("the same again\r\n", 1000))
		for _, on := range []bool{false, true, false} {
			q := mustOpen(t, open, func(c *Config) { c.Compress = on })
			checkBody(t, taken(t, q, body), body)
			list, err := q.Messages(t.Context(), all, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range list {
				m, err := q.Message(t.Context(), k.Message.Envelope.ID, true)
				if err != nil {
					t.Fatal(err)
				}
				checkBody(t, m.Message, body)
			}
			closeQueue(t, q)
		}
	})
}
