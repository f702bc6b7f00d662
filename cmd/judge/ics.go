package main

import (
	"bytes"
	"encoding/base64"
	"io"
	"os"
	"strings"
)

// playICS judges that every calendar comes out as it was sent, and that each of its entries is described. A calendar
// with a problem counts when it is passed on.
func playICS(dir string, b *board) error {
	r, err := newReader()
	if err != nil {
		return err
	}
	return walk(dir, "ics", ".ics", func(path, corpus, name string) error {
		octets, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		head := "Content-Type: text/calendar\r\nContent-Transfer-Encoding: base64\r\n\r\n"
		m, err := r.read([]byte(head+base64.StdEncoding.EncodeToString(octets)), "")
		if err != nil {
			return err
		}
		c := m.Content
		passed := len(c.Attachments) == 1
		if passed {
			got, err := io.ReadAll(c.Attachments[0].Open())
			if err != nil {
				return err
			}
			passed = bytes.Equal(got, octets)
		}
		b.judge("ics", corpus, name, "passed on", passed, "%d attachments", len(c.Attachments))
		want := 0
		for l := range strings.Lines(strings.ReplaceAll(string(octets), "\r", "\n")) {
			switch strings.ToUpper(strings.TrimSpace(l)) {
			case "BEGIN:VEVENT", "BEGIN:VTODO", "BEGIN:VJOURNAL":
				want++
			}
		}
		b.judge("ics", corpus, name, "entries", len(c.Calendar) == want, "%d entries, want %d; problems %v", len(c.Calendar), want, m.Problems)
		return nil
	})
}
