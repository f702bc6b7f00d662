package main

import (
	"strings"
)

// playMIME judges every message of the collections: that it gives content at all, and what it says.
func playMIME(dir string, b *board) error {
	r, err := newReader()
	if err != nil {
		return err
	}
	for _, sub := range []string{"mime", "dsn"} {
		err := walk(dir, sub, ".eml", func(path, corpus, name string) error { return judgeMail(r, b, path, corpus, name) })
		if err != nil {
			return err
		}
	}
	return nil
}

func judgeMail(r *reader, b *board, path, corpus, name string) error {
	m, err := r.file(path, "sender@example.org")
	if err != nil {
		return err
	}
	read := m.Content != nil
	for _, p := range m.Problems {
		read = read && p.Code != "parse-failed"
	}
	b.judge("read", corpus, name, "content", read, "problems %v", m.Problems)
	if !read {
		return nil
	}
	for _, kind := range []string{"gold", "consensus"} {
		e, ok, err := readExpected(strings.TrimSuffix(path, ".eml") + "." + kind + ".json")
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		f, err := flatten(r, m, 0)
		if err != nil {
			return err
		}
		for field, difference := range compare(e, f, kind == "gold") {
			b.judge(kind, corpus, name, field, difference == "", "%s", difference)
		}
	}
	return nil
}
