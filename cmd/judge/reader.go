package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"mxhook/pipeline"
	"mxhook/pipeline/parse"
)

// reader reads messages as the pipeline does.
type reader struct{ stage *parse.Stage }

func newReader() (*reader, error) {
	s, err := parse.New(parse.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return &reader{s}, nil
}

// read parses a message under the null reverse-path or another.
func (r *reader) read(raw []byte, reversePath string) (*pipeline.Message, error) {
	m := &pipeline.Message{Raw: raw, Envelope: pipeline.Envelope{ReversePath: reversePath}}
	if err := r.stage.Run(context.Background(), m); err != nil {
		return nil, err
	}
	return m, nil
}

// file reads a message from a file; its lines end in CRLF, as they would after SMTP.
func (r *reader) file(path, reversePath string) (*pipeline.Message, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return r.read(toCRLF(b), reversePath)
}

func toCRLF(b []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
}

// walk calls f for every file below DIR/SUB with that extension; nothing when the folder is absent. The corpus is the
// folder of the file, the name its path, both from DIR.
func walk(dir, sub, ext string, f func(path, corpus, name string) error) error {
	root := filepath.Join(dir, sub)
	if _, err := os.Stat(root); os.IsNotExist(err) {
		return nil
	}
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ext) {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return f(path, filepath.Dir(name), name)
	})
}

// readJSON reads an expectation into v. It returns false when there is no such file.
func readJSON(path string, v any) (bool, error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return true, nil
}

func fold(s string) string { return strings.Join(strings.Fields(s), " ") }

// squash removes all white space.
func squash(s string) string { return strings.Join(strings.Fields(s), "") }
