// Package file is the sink that writes deliveries into a local folder, as a maildir or as pairs of mail and JSON.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mxhook/pipeline"
)

// Layouts of the folder.
const (
	// Maildir is a folder with new, cur and tmp, one file per delivery, as mail readers know it.
	Maildir = "maildir"
	// EML is one folder with <delivery id>.eml and <delivery id>.json; the JSON appears last.
	EML = "eml"
)

// Options configures one file sink.
type Options struct {
	// Dir is the folder. It is made when it is missing; its parent must exist, so that a disk that is not mounted is an
	// error and not a folder below the mount point.
	Dir string
	// Layout is Maildir or EML (default Maildir).
	Layout string
	// Encode writes the JSON beside a mail; needed for EML.
	Encode func(w io.Writer, d *pipeline.Delivery) error
	// Now is the clock, for the age of left-over temporary files (default time.Now).
	Now func() time.Time
}

// File is a pipeline.Sink on a local folder. Safe for concurrent use, also by several processes on one folder.
//
// Every failure is transient: a full disk, a missing mount and wrong permissions are cured on this machine, and the
// deliveries wait until they are.
type File struct {
	dir    string
	layout layout
	now    func() time.Time
	create func(dir, pattern string) (tempFile, error)

	mu    sync.Mutex
	ready bool // guarded by mu: the folders exist and left-overs are gone
}

// layout is one way to lay out the folder.
type layout interface {
	// folders are those that must exist, parents first.
	folders() []string
	// temporary is the folder that temporary files are in.
	temporary() string
	deliver(ctx context.Context, f *File, d *pipeline.Delivery) (pipeline.Response, error)
}

// New checks the options and returns the sink; it touches no file.
func New(o Options) (*File, error) {
	if o.Dir == "" {
		return nil, errors.New("dir is missing: set it to the folder to write into")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("dir: %w", err)
	}
	f := &File{dir: dir, now: o.Now, create: createTemp}
	if f.now == nil {
		f.now = time.Now
	}
	switch o.Layout {
	case Maildir, "":
		f.layout = maildir{dir}
	case EML:
		if o.Encode == nil {
			return nil, errors.New("layout eml needs an encoder for the JSON")
		}
		f.layout = pairs{dir, o.Encode}
	default:
		return nil, fmt.Errorf("layout %q is unknown: use %s or %s", o.Layout, Maildir, EML)
	}
	return f, nil
}

// Deliver implements pipeline.Sink. When it returns nil the files are on disk under their final names, synced, with
// their folder. What is there already under the same delivery id is left as it is.
func (f *File) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Response{}, fmt.Errorf("write into %s: %w", f.dir, err)
	}
	if err := f.prepare(); err != nil {
		return pipeline.Response{}, err
	}
	resp, err := f.layout.deliver(ctx, f, d)
	if errors.Is(err, os.ErrNotExist) { // somebody removed a folder; the next attempt makes it again
		f.mu.Lock()
		f.ready = false
		f.mu.Unlock()
	}
	return resp, err
}

// leftOver is the age from which a temporary file is taken to be left over from a crash; what maildir readers use too.
const leftOver = 36 * time.Hour

// prepare makes the folders and removes left-over temporary files, once.
func (f *File) prepare() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ready {
		return nil
	}
	for _, dir := range f.layout.folders() {
		switch err := os.Mkdir(dir, 0o700); {
		case errors.Is(err, os.ErrExist):
			continue
		case err != nil:
			return fmt.Errorf("make folder: %w", err)
		}
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	if err := removeLeftOvers(f.layout.temporary(), f.now().Add(-leftOver)); err != nil {
		return err
	}
	f.ready = true
	return nil
}
