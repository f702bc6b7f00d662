package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"os"
	"slices"
	"strings"

	"mxhook/pipeline"
)

// interfaces are the ids that stand before an embedded object in its property, and nothing. The gold files keep them; for
// who opens the file they are 16 octets of noise, so we cut them off. See docs/decisions/0011-tnef.md.
func interfaces() [][]byte {
	storage := []byte{0x0b, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46}
	message := []byte{0x07, 0x03, 0x02, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46}
	return [][]byte{nil, storage, message}
}

// playTNEF judges the files that come out of winmail.dat containers.
func playTNEF(dir string, b *board) error {
	r, err := newReader()
	if err != nil {
		return err
	}
	return walk(dir, "tnef", ".tnef", func(path, corpus, name string) error {
		octets, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		head := "Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n"
		m, err := r.read([]byte(head+base64.StdEncoding.EncodeToString(octets)), "")
		if err != nil {
			return err
		}
		var want struct {
			Files []struct {
				Name, SHA256, NoWS string
			} `json:"files"`
		}
		if ok, err := readJSON(strings.TrimSuffix(path, ".tnef")+".gold.json", &want); err != nil || !ok {
			return err
		}
		var files []pipeline.Attachment
		for _, a := range m.Content.Attachments {
			if a.Container != "" {
				files = append(files, a)
			}
		}
		b.judge("tnef", corpus, name, "count", len(files) == len(want.Files), "got %d files, want %d; problems %v", len(files), len(want.Files), m.Problems)
		for _, w := range want.Files {
			found := false
			for _, a := range files {
				octets, err := io.ReadAll(a.Open())
				if err != nil {
					return err
				}
				for _, id := range interfaces() {
					h := sha256.Sum256(slices.Concat(id, octets))
					found = found || hex.EncodeToString(h[:]) == w.SHA256
				}
				found = found || noWSHash(octets) == w.NoWS
			}
			b.judge("tnef", corpus, name, "file", found, "no %s", w.Name)
		}
		return nil
	})
}
