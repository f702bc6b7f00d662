package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mxhook/console"
	"mxhook/pipeline"
	"mxhook/pipeline/parse"
	"mxhook/pipeline/queue"
)

// linkKeyFile is where the key of this instance's links is kept, in data_dir.
const linkKeyFile = "links.key"

// newLinks returns what makes and checks links; nil when there are none.
func newLinks(o Options) (*console.Links, error) {
	l := o.Config.Links
	if l.BaseURL == "" {
		return nil, nil
	}
	key := []byte(l.Key.Reveal())
	if len(key) == 0 {
		var err error
		if key, err = keptKey(o.Config.DataDir); err != nil {
			return nil, fmt.Errorf("key of links: %w", err)
		}
	}
	return console.NewLinks(console.LinkOptions{BaseURL: l.BaseURL, Path: l.Path, Key: key, Valid: time.Duration(l.Valid), Now: o.Now}), nil
}

// keptKey reads the key in dir, or makes one. A file that is no key is an error: another key would break all links that
// are out.
func keptKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, linkKeyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		key := make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		text = []byte(hex.EncodeToString(key) + "\n")
		// Two starts side by side must not use two keys: the second finds the first one's file.
		part := fmt.Sprintf("%s.%d", path, os.Getpid())
		defer os.Remove(part)
		if err := os.WriteFile(part, text, 0o600); err != nil {
			return nil, err
		}
		if err := os.Link(part, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%s is damaged: remove it, and a new one is made; links made so far end with that", path)
	}
	return key, nil
}

// newContent serves what links lead to, out of the queue. It reads each message anew, uncounted.
func newContent(links *console.Links, q *queue.Queue, log *slog.Logger) (*console.Content, error) {
	stage, err := parse.New(parse.Options{Log: log})
	if err != nil {
		return nil, err
	}
	return console.NewContent(console.ContentOptions{Links: links, Log: log, Load: func(ctx context.Context, ref string) (*pipeline.Message, error) {
		m, err := q.Kept(ctx, ref)
		if err != nil {
			return nil, err
		}
		return m, stage.Run(ctx, m)
	}}), nil
}

// serveLinks opens the links on the queue.
func (a *App) serveLinks(q *queue.Queue) error {
	if a.opts.links == nil {
		return nil
	}
	content, err := newContent(a.opts.links, q, a.opts.Log)
	if err != nil {
		return fmt.Errorf("serve links: %w", err)
	}
	a.ops.content.Store(content)
	return nil
}
