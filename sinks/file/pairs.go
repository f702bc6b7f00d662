package file

import (
	"context"
	"io"
	"path/filepath"

	"mxhook/pipeline"
)

// pairs is the layout EML. The mail is written first: who waits for the JSON finds both.
type pairs struct {
	dir    string
	name   *pipeline.Template // nil: the delivery id
	encode func(w io.Writer, d *pipeline.Delivery) error
}

func (p pairs) folders() []string { return []string{p.dir} }

func (p pairs) temporary() string { return p.dir }

func (p pairs) deliver(ctx context.Context, f *File, d *pipeline.Delivery) (pipeline.Response, error) {
	name := safeName(d.ID)
	if p.name != nil {
		name = p.name.Expand(d)
	}
	mail, meta := filepath.Join(p.dir, name+".eml"), filepath.Join(p.dir, name+".json")
	hasMail, err := exists(mail)
	if err != nil {
		return pipeline.Response{}, err
	}
	hasMeta, err := exists(meta)
	if err != nil {
		return pipeline.Response{}, err
	}
	if hasMail && hasMeta {
		// The attempt that wrote them may have died before they were durable.
		if err := syncDir(p.dir); err != nil {
			return pipeline.Response{}, err
		}
		return pipeline.Response{Status: "written before", Detail: name + ".eml"}, nil
	}
	if !hasMail {
		err := f.write(ctx, p.dir, mail, func(w io.Writer) error {
			_, err := io.Copy(w, d.Message.Mail())
			return err
		})
		if err != nil {
			return pipeline.Response{}, err
		}
	}
	err = f.write(ctx, p.dir, meta, func(w io.Writer) error { return p.encode(w, d) })
	if err != nil {
		return pipeline.Response{}, err
	}
	return pipeline.Response{Status: "written", Detail: name + ".eml"}, nil
}
