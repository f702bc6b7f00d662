// Package file is the sink that writes deliveries into a local folder, as a maildir or as pairs of mail and JSON.
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
	// Dir is the folder, or a template of it (pipeline.Template). It is made when it is missing; the parent of what stands
	// before the first field must exist, so that a disk that is not mounted is an error and not a folder below the mount
	// point.
	Dir string
	// Layout is Maildir or EML (default Maildir).
	Layout string
	// Name is a template of the names of files in the layout EML, with {delivery} in it; "" is "{delivery}".
	Name string
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
	// base is the folder that is there or can be made; the whole one when dir is fixed.
	base   string
	dir    *pipeline.Template
	name   *pipeline.Template // nil: the delivery id
	layout func(dir string) layout
	now    func() time.Time
	create func(dir, pattern string) (tempFile, error)

	mu    sync.Mutex
	ready map[string]bool // guarded by mu: these folders exist and left-overs are gone
}

// maxReady bounds the folders that are remembered; beyond it they are looked at again.
const maxReady = 4096

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
	f := &File{now: o.Now, create: createTemp, ready: map[string]bool{}}
	if f.now == nil {
		f.now = time.Now
	}
	if err := f.readDir(o.Dir); err != nil {
		return nil, fmt.Errorf("dir: %w", err)
	}
	switch o.Layout {
	case Maildir, "":
		f.layout = func(dir string) layout { return maildir{dir} }
		if o.Name != "" {
			return nil, errors.New("name is for the layout eml: the names in a maildir are given; remove it")
		}
	case EML:
		if o.Encode == nil {
			return nil, errors.New("layout eml needs an encoder for the JSON")
		}
		f.layout = func(dir string) layout { return pairs{dir, f.name, o.Encode} }
		if err := f.readName(o.Name); err != nil {
			return nil, fmt.Errorf("name: %w", err)
		}
	default:
		return nil, fmt.Errorf("layout %q is unknown: use %s or %s", o.Layout, Maildir, EML)
	}
	return f, nil
}

// readDir takes the folder apart: what is fixed, and what deliveries fill in.
func (f *File) readDir(text string) (err error) {
	if f.dir, err = pipeline.ParseTemplate(text, pipeline.InFile); err != nil {
		return err
	}
	first := text
	if !f.dir.Fixed() {
		first = f.dir.Literals()[0]
		if strings.HasPrefix(text, "{") {
			first = ""
		}
		first = first[:strings.LastIndexByte(first, '/')+1] + "."
	} else {
		first = f.dir.Expand(nil)
	}
	f.base, err = filepath.Abs(first)
	return err
}

func (f *File) readName(text string) (err error) {
	if text == "" {
		return nil
	}
	if f.name, err = pipeline.ParseTemplate(text, pipeline.InFile); err != nil {
		return err
	}
	switch {
	case strings.Contains(text, "/"):
		return errors.New("a name has no /; folders belong into dir")
	case strings.HasPrefix(text, "."):
		return errors.New("a name that begins with a dot is hidden; begin it otherwise")
	case !f.name.Uses("delivery"):
		return errors.New("the name must have {delivery}, or mails would take the place of others")
	}
	return nil
}

// Templates implements pipeline.Templated.
func (f *File) Templates() []pipeline.TemplateOption {
	return []pipeline.TemplateOption{{Option: "dir", Template: f.dir}, {Option: "name", Template: f.name}}
}

// folder is where the delivery belongs.
func (f *File) folder(d *pipeline.Delivery) (string, error) {
	if f.dir.Fixed() {
		return f.base, nil
	}
	dir, err := filepath.Abs(f.dir.Expand(d))
	if err != nil {
		return "", fmt.Errorf("find the folder: %w", err)
	}
	if dir != f.base && !strings.HasPrefix(dir, strings.TrimSuffix(f.base, "/")+"/") { // templates have no way there
		return "", pipeline.Permanent(fmt.Errorf("the folder %s is not below %s", dir, f.base))
	}
	return dir, nil
}

// Deliver implements pipeline.Sink. When it returns nil the files are on disk under their final names, synced, with
// their folder. What is there already under the same delivery id is left as it is.
func (f *File) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	dir, err := f.folder(d)
	if err != nil {
		return pipeline.Response{}, err
	}
	if err := ctx.Err(); err != nil {
		return pipeline.Response{}, fmt.Errorf("write into %s: %w", dir, err)
	}
	l := f.layout(dir)
	if err := f.prepare(dir, l); err != nil {
		return pipeline.Response{}, err
	}
	resp, err := l.deliver(ctx, f, d)
	if errors.Is(err, os.ErrNotExist) { // somebody removed a folder; the next attempt makes it again
		f.mu.Lock()
		delete(f.ready, dir)
		f.mu.Unlock()
	}
	return resp, err
}

// leftOver is the age from which a temporary file is taken to be left over from a crash; what maildir readers use too.
const leftOver = 36 * time.Hour

// prepare makes the folders and removes left-over temporary files, once for each folder.
func (f *File) prepare(dir string, l layout) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ready[dir] {
		return nil
	}
	for _, dir := range append(f.way(dir), l.folders()...) {
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
	if err := removeLeftOvers(l.temporary(), f.now().Add(-leftOver)); err != nil {
		return err
	}
	if len(f.ready) >= maxReady {
		clear(f.ready)
	}
	f.ready[dir] = true
	return nil
}

// way are the folders from the fixed one to above dir.
func (f *File) way(dir string) []string {
	var way []string
	for dir != f.base {
		dir = filepath.Dir(dir)
		way = append(way, dir)
	}
	slices.Reverse(way)
	return way
}
