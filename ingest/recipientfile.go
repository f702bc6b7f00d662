package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// recipientFile is a file of patterns that is read again when it has changed.
type recipientFile struct {
	path      string
	sensitive bool
	patterns  atomic.Pointer[localPatterns]

	mu      sync.Mutex // of what follows; whoever cannot have it goes on with the patterns there are
	checked time.Time
	size    int64
	changed time.Time
}

const (
	// fileInterval is how often the file is looked at, while recipients are asked for.
	fileInterval = 2 * time.Second
	// maxRecipientFile bounds the file in bytes.
	maxRecipientFile = 256 << 20
)

// match asks the patterns of the file, after a look whether it has changed. A changed file that cannot be used leaves the
// old patterns in force.
func (f *recipientFile) match(whole, base string, now time.Time, d *Directory) (map[string]string, bool) {
	if f.mu.TryLock() {
		if now.Sub(f.checked) >= fileInterval {
			if err := f.reload(now); err != nil {
				d.files.Inc()
				d.log.Error("read the file of recipients; the patterns before stay in force", "error", err)
			}
		}
		f.mu.Unlock()
	}
	patterns := f.patterns.Load()
	if captures, ok := patterns.match(whole, base); ok {
		return captures, true
	}
	return nil, patterns.all
}

// load reads the file for the first time.
func (f *recipientFile) load(now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reload(now)
}

// reload reads the file when its time or size differ from those of what was read, or of what could not be used.
func (f *recipientFile) reload(now time.Time) error {
	f.checked = now
	file, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("open the file of recipients: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("look at the file of recipients: %w", err)
	}
	if f.patterns.Load() != nil && info.Size() == f.size && info.ModTime().Equal(f.changed) {
		return nil
	}
	f.size, f.changed = info.Size(), info.ModTime()
	if info.Size() > maxRecipientFile {
		return fmt.Errorf("%s is larger than %d MiB", f.path, maxRecipientFile>>20)
	}
	patterns, err := readPatterns(io.LimitReader(file, maxRecipientFile), f.sensitive)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.patterns.Store(patterns)
	return nil
}

// maxFileMistakes bounds the mistakes that one error lists.
const maxFileMistakes = 20

// readPatterns reads one pattern a line.
func readPatterns(r io.Reader, sensitive bool) (*localPatterns, error) {
	patterns := newLocalPatterns(sensitive, 0)
	var errs []error
	in := bufio.NewScanner(r)
	for number := 1; in.Scan(); number++ {
		line := string(bytes.TrimSpace(in.Bytes()))
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := patterns.add(line); err != nil && len(errs) < maxFileMistakes {
			errs = append(errs, fmt.Errorf("line %d, recipient %q: %w", number, line, err))
		}
	}
	if err := in.Err(); err != nil {
		errs = append(errs, err)
	}
	return patterns, errors.Join(errs...)
}
