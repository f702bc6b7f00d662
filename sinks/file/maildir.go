package file

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"mxhook/pipeline"
)

// maildir is the layout of that name, as described at cr.yp.to/proto/maildir.html.
type maildir struct{ dir string }

func (m maildir) folders() []string {
	return []string{m.dir, filepath.Join(m.dir, "tmp"), filepath.Join(m.dir, "new"), filepath.Join(m.dir, "cur")}
}

func (m maildir) temporary() string { return filepath.Join(m.dir, "tmp") }

func (m maildir) deliver(ctx context.Context, f *File, d *pipeline.Delivery) (pipeline.Response, error) {
	name := maildirName(d)
	fresh := filepath.Join(m.dir, "new", name)
	before, err := m.has(name)
	if err != nil {
		return pipeline.Response{}, err
	}
	if before {
		// The attempt that wrote it may have died before it was durable.
		if err := syncDir(filepath.Dir(fresh)); err != nil {
			return pipeline.Response{}, err
		}
		return pipeline.Response{Status: "written before", Detail: name}, nil
	}
	err = f.write(ctx, m.temporary(), fresh, func(w io.Writer) error {
		_, err := io.Copy(w, io.MultiReader(strings.NewReader(deliveredTo(d)), d.Message.Mail()))
		return err
	})
	if err != nil {
		return pipeline.Response{}, err
	}
	return pipeline.Response{Status: "written", Detail: filepath.Join("new", name)}, nil
}

// maildirName is the unique name of a delivery's file: seconds, delivery id, host. All three are the same at every
// attempt, and mail readers sort by the first.
func maildirName(d *pipeline.Delivery) string {
	env := d.Message.Envelope
	host := "localhost"
	if env.Hostname != "" {
		host = safeName(env.Hostname)
	}
	return fmt.Sprintf("%d.%s.%s", env.ReceivedAt.Unix(), safeName(d.ID), host)
}

// standardFlags are the flags of a name in cur, in the order that names have them.
const standardFlags = "DFPRST"

// has reports whether the mail was written before: it is in new, or a reader moved it to cur under one of the 64
// combinations of standard flags. Trying those takes the same short time in a folder of any size. A mail that a reader
// filed elsewhere, tagged with its own flags or removed cannot be seen.
func (m maildir) has(name string) (bool, error) {
	if found, err := exists(filepath.Join(m.dir, "new", name)); found || err != nil {
		return found, err
	}
	cur := filepath.Join(m.dir, "cur", name)
	if found, err := exists(cur); found || err != nil {
		return found, err
	}
	for set := range 1 << len(standardFlags) {
		flags := []byte(":2,")
		for i := range len(standardFlags) {
			if set&(1<<i) != 0 {
				flags = append(flags, standardFlags[i])
			}
		}
		if found, err := exists(cur + string(flags)); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// deliveredTo returns a Delivered-To field for each recipient of the delivery, to stand above the trace block: the
// only place where a mail file says whom the envelope named.
func deliveredTo(d *pipeline.Delivery) string {
	var b strings.Builder
	for _, r := range d.Recipients {
		b.WriteString("Delivered-To: ")
		b.WriteString(strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f { // an accepted address never has them; a header field must not break on one
				return -1
			}
			return r
		}, r.Address))
		b.WriteString("\r\n")
	}
	return b.String()
}
