package main

import (
	"strings"

	"mxhook/pipeline"
)

// expectedRecipient is one recipient of a *.dsn.json.
type expectedRecipient struct {
	Action            string `json:"action"`
	Diagnostic        string `json:"diagnostic"`
	FinalRecipient    string `json:"final_recipient"`
	OriginalRecipient string `json:"original_recipient"`
	Status            string `json:"status"`
}

// playDSN judges the fields of delivery status notifications, and the kind of every message of the collection.
func playDSN(dir string, b *board) error {
	r, err := newReader()
	if err != nil {
		return err
	}
	return walk(dir, "dsn", ".eml", func(path, corpus, name string) error {
		m, err := r.file(path, "")
		if err != nil {
			return err
		}
		base := strings.TrimSuffix(path, ".eml")
		var dsn struct {
			Recipients []expectedRecipient `json:"recipients"`
		}
		ok, err := readJSON(base+".dsn.json", &dsn)
		if err != nil {
			return err
		}
		if ok {
			judgeDSN(b, corpus, name, m.Content.Bounce, dsn.Recipients)
		}
		var kinds []struct {
			Reason string `json:"reason"`
			Status string `json:"status"`
		}
		if ok, err = readJSON(base+".expect.json", &kinds); err != nil || !ok || len(kinds) == 0 {
			return err
		}
		want := pipeline.KindBounce
		switch kinds[0].Reason {
		case "feedback":
			want = pipeline.KindComplaint
		case "vacation":
			want = pipeline.KindAutoReply
		}
		b.judge("kinds", corpus, name, "kind", m.Content.Kind == want, "got %s, want %s", m.Content.Kind, want)
		if bounce := m.Content.Bounce; want == pipeline.KindBounce && bounce != nil && bounce.Method == "text" {
			b.judge("kinds", corpus, name, "text recipients", len(bounce.Recipients) == len(kinds), "got %q, want %d", bounce.Recipients, len(kinds))
		}
		return nil
	})
}

func judgeDSN(b *board, corpus, name string, got *pipeline.Bounce, want []expectedRecipient) {
	for i, w := range want {
		var g pipeline.BounceRecipient
		if got != nil && i < len(got.Recipients) {
			g = got.Recipients[i]
		}
		for _, f := range []struct{ field, got, want string }{
			{"action", g.Action, w.Action},
			{"diagnostic", g.Diagnostic, w.Diagnostic},
			{"final_recipient", g.Address, w.FinalRecipient},
			{"original_recipient", g.OriginalAddress, w.OriginalRecipient},
			{"status", g.Status, w.Status},
		} {
			same := fold(f.got) == fold(f.want)
			if strings.HasSuffix(f.field, "_recipient") {
				// The collection has its addresses in lower case.
				same = strings.EqualFold(f.got, f.want)
			}
			b.judge("dsn", corpus, name, f.field, same, "got %q, want %q", f.got, f.want)
		}
	}
	n := 0
	if got != nil && got.Method == "rfc3464" {
		n = len(got.Recipients)
	}
	b.judge("dsn", corpus, name, "recipients", n == len(want), "got %d, want %d", n, len(want))
}
