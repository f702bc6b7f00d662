package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tempPrefix starts the names of temporary files: hidden, and told apart from those of others in the same folder.
const tempPrefix = ".mxhook-"

// tempFile is the part of *os.File that a write needs.
type tempFile interface {
	io.Writer
	Name() string
	Sync() error
	Close() error
}

// createTemp makes a new file of mode 0600 with a name of its own.
func createTemp(dir, pattern string) (tempFile, error) { return os.CreateTemp(dir, pattern) }

// write makes the file path with what fill writes: temporary name in tmp, sync, rename, sync of the folder. The file
// appears whole or not at all; on failure nothing of it is left.
func (f *File) write(ctx context.Context, tmp, path string, fill func(io.Writer) error) (err error) {
	t, err := f.create(tmp, tempPrefix+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	open := true
	defer func() {
		if err == nil {
			return
		}
		if open {
			t.Close()
		}
		os.Remove(t.Name())
	}()
	if err := fill(ctxWriter{ctx, t}); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := t.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	open = false
	if err := t.Close(); err != nil {
		return fmt.Errorf("close %s: %w", path, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(t.Name(), path); err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	// From here on the file is complete; should the sync fail, the repeat finds it and syncs again.
	return syncDir(filepath.Dir(path))
}

// ctxWriter stops writing when its context is done.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

// Write implements io.Writer.
func (w ctxWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

// exists reports whether path is a name in its folder.
func exists(path string) (bool, error) {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look for an earlier copy: %w", err)
	}
}

// removeLeftOvers removes our temporary files in dir that were last written before then.
func removeLeftOvers(dir string, then time.Time) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("look for left-over files: %w", err)
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), tempPrefix) {
				continue
			}
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.ModTime().Before(then) {
				os.Remove(filepath.Join(dir, e.Name()))
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for left-over files: %w", err)
		}
	}
}

// safeName makes a file name of a delivery id or host name. What has only letters, digits, dots, hyphens and
// underscores, does not start with a dot or hyphen and is not long stays as it is; all else becomes a hash. The same id
// has the same name always, and no name leads out of its folder.
func safeName(id string) string {
	if id != "" && len(id) <= 128 && id[0] != '.' && id[0] != '-' && strings.IndexFunc(id, unsafeRune) < 0 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "x" + hex.EncodeToString(sum[:])
}

func unsafeRune(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '_')
}
