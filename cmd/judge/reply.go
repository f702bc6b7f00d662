package main

import (
	"os"
	"path/filepath"
	"strings"
)

// playReply judges what of a reply is new, in plain texts and in whole messages.
func playReply(dir string, b *board) error {
	r, err := newReader()
	if err != nil {
		return err
	}
	return walk(dir, "reply", ".reply.txt", func(path, corpus, name string) error {
		base := strings.TrimSuffix(path, ".reply.txt")
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		source, err := os.ReadFile(base + ".eml")
		if os.IsNotExist(err) {
			source, err = os.ReadFile(base + ".txt")
			source = append([]byte("Content-Type: text/plain; charset=utf-8\n\n"), source...)
		}
		if err != nil {
			return err
		}
		m, err := r.read(toCRLF(source), "")
		if err != nil {
			return err
		}
		got := ""
		if r := m.Content.Reply(); r != nil {
			got = r.Text
		}
		b.judge("reply", corpus, filepath.ToSlash(name), "text", fold(got) == fold(string(want)), "got %.200q, want %.200q", got, want)
		return nil
	})
}
