package console

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	"mxhook/pipeline"
)

// Bounds of what links cost: downloads at once, each of which holds its message in memory, how long one may take, and how
// long another waits for it.
const (
	maxDownloads    = 4
	downloadTimeout = 10 * time.Minute
	downloadWait    = 10 * time.Second
	// maxRanges bounds the ranges of one request: each that goes back decodes the attachment from its beginning.
	maxRanges = 8
)

// ContentOptions are the inputs of NewContent; all are required.
type ContentOptions struct {
	Links *Links
	// Load returns a kept message by its Ref, read into parts; pipeline.ErrNotFound when it is kept no longer.
	Load func(ctx context.Context, ref string) (*pipeline.Message, error)
	Log  *slog.Logger
}

// Content serves what links lead to. Safe for concurrent use.
type Content struct {
	opts  ContentOptions
	slots chan struct{}
}

// NewContent returns a handler for "GET PATH{id}/{part}".
func NewContent(o ContentOptions) *Content {
	return &Content{opts: o, slots: make(chan struct{}, maxDownloads)}
}

// ServeHTTP implements http.Handler. It answers ranges and conditions (RFC 9110 13 and 14), and never with something that
// a browser would show or run.
func (c *Content) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k, err := c.opts.Links.check(r.PathValue("id"), r.PathValue("part"), r.URL.Query())
	switch {
	case errors.Is(err, errLinkExpired):
		fail(w, http.StatusGone, err.Error())
		return
	case err != nil:
		fail(w, http.StatusForbidden, err.Error())
		return
	}
	if !c.acquire(r.Context()) {
		w.Header().Set("Retry-After", "10")
		fail(w, http.StatusServiceUnavailable, "too many downloads at once: try again soon")
		return
	}
	defer func() { <-c.slots }()
	m, err := c.opts.Load(r.Context(), k.ref)
	switch {
	case errors.Is(err, pipeline.ErrNotFound) || err == nil && m.Envelope.ID != k.message:
		fail(w, http.StatusGone, "the message is not kept any more: its time (queue.retention) is over")
		return
	case err != nil:
		c.opts.Log.Error("link: cannot read the message", "message", k.message, "error", err)
		w.Header().Set("Retry-After", "10")
		fail(w, http.StatusServiceUnavailable, "the message cannot be read now: try again soon")
		return
	}
	f, ok := fileOf(m, k.part)
	if !ok {
		fail(w, http.StatusNotFound, "the message has no such part")
		return
	}
	// Where deadlines are not supported there are none. The next request on the connection begins without.
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(downloadTimeout))
	f.serve(w, r)
	_ = rc.SetWriteDeadline(time.Time{})
}

// acquire takes a slot; false when none becomes free in time.
func (c *Content) acquire(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, downloadWait)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// file is what a link leads to.
type file struct {
	name, contentType, sha256 string
	size                      int64
	open                      func() io.Reader
}

func fileOf(m *pipeline.Message, part string) (file, bool) {
	if part == RawPart {
		return file{
			m.Envelope.ID + ".eml", "message/rfc822", hex.EncodeToString(m.SHA256[:]), int64(len(m.Raw)), func() io.Reader { return bytes.NewReader(m.Raw) },
		}, true
	}
	if m.Content != nil {
		for _, a := range m.Content.Attachments {
			if a.ID == part {
				return file{a.Filename, a.ContentType, hex.EncodeToString(a.SHA256[:]), a.Size, a.Open}, true
			}
		}
	}
	return file{}, false
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if _, _, err := mime.ParseMediaType(f.contentType); err != nil {
		f.contentType = "application/octet-stream"
	}
	h.Set("Content-Type", f.contentType)
	disposition := mime.FormatMediaType("attachment", map[string]string{"filename": f.name})
	if disposition == "" {
		disposition = "attachment"
	}
	h.Set("Content-Disposition", disposition)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "private, no-store")
	h.Set("ETag", `"`+f.sha256+`"`)
	if strings.Count(r.Header.Get("Range"), ",") >= maxRanges {
		r.Header.Del("Range") // which is for us to ignore (RFC 9110 14.2)
	}
	http.ServeContent(w, r, "", time.Time{}, &seeker{open: f.open, size: f.size})
}

// seeker makes a io.ReadSeeker of octets that can only be read from their beginning: it skips, and opens again to go back.
type seeker struct {
	open func() io.Reader
	size int64
	// pos is where the caller is, at where r is; r is nil before the first reading.
	pos, at int64
	r       io.Reader
}

// Seek implements io.Seeker.
func (s *seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	s.pos = offset
	return offset, nil
}

// Read implements io.Reader.
func (s *seeker) Read(p []byte) (int, error) {
	if s.r == nil || s.at > s.pos {
		s.r, s.at = s.open(), 0
	}
	if s.at < s.pos {
		n, err := io.CopyN(io.Discard, s.r, s.pos-s.at)
		if s.at += n; err != nil {
			return 0, err
		}
	}
	n, err := s.r.Read(p)
	s.pos, s.at = s.pos+int64(n), s.at+int64(n)
	return n, err
}
