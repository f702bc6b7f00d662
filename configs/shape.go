package configs

import (
	"bytes"
	"errors"

	"mxhook/sinks/webhook"
)

// Program is the text of a program, written in the configuration or as "file:/path" of a file that has it.
type Program string

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Program) UnmarshalText(text []byte) error {
	*p = Program(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (p Program) MarshalText() ([]byte, error) { return []byte(p), nil }

// shape tells mistakes of a program where they stand: in its file, or in the lines of the configuration.
func (c *checker) shape(key string, w *Webhook) {
	if w.Shape == "" || c.broken(key+".shape", true) {
		return
	}
	err := webhook.CheckShape(string(w.Shape))
	var at *webhook.ShapeError
	if !errors.As(err, &at) {
		return
	}
	m := &Mistake{Key: key + ".shape", Text: at.Error()}
	place := c.places[m.Key]
	m.File, m.Line, m.Column = place.file, place.line, place.column
	switch n := c.nodes[m.Key]; {
	case c.textFiles[m.Key] != "" && at.Line > 0:
		m.File, m.Line, m.Column, m.Text = c.textFiles[m.Key], at.Line, at.Column, at.Text
	case c.textFiles[m.Key] != "":
		m.File, m.Line, m.Column = c.textFiles[m.Key], 1, 1
	case n != nil && at.Line > 0 && place.line > 0:
		if line, column := textStart(n, bytes.Split(c.sourceOf(n).data, []byte("\n"))); line > 0 {
			m.Line, m.Column, m.Text = line+at.Line-1, column+at.Column-1, at.Text
		}
	}
	c.note(m)
}
