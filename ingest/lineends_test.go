package ingest

import (
	"strings"
	"testing"
)

// lineEndsNaive is the rule in its plainest form.
func lineEndsNaive(message string, refuseLF, refuseCR bool) *Reply {
	for _, c := range strings.ReplaceAll(message, "\r\n", "x") {
		switch {
		case c == '\n' && refuseLF:
			return replyMessageBareLF
		case c == '\r' && refuseCR:
			return replyMessageBareCR
		}
	}
	return nil
}

// checkIn feeds a message in two pieces.
func checkIn(message string, cut int, refuseLF, refuseCR bool) *Reply {
	l := lineEnds{refuseLF: refuseLF, refuseCR: refuseCR}
	for _, piece := range []string{message[:cut], message[cut:]} {
		if r := l.check([]byte(piece)); r != nil {
			return r
		}
	}
	return l.end()
}

func TestLineEnds(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"":               "",
		"a\r\nb\r\n":     "",
		"no end":         "",
		"a\nb\r\n":       "LF",
		"\n":             "LF",
		"\r\n\n":         "LF",
		"a\rb\r\n":       "CR",
		"a\r\r\n":        "CR",
		"a\r":            "CR",
		"\r":             "CR",
		"a\r\n.\r\r\nb":  "CR",
		"a\n\r":          "LF CR",
		"\r\r\n\n":       "LF CR",
		"\r\n\r\n\r\n":   "",
		"\x00\r\n\xff\t": "",
	} {
		for cut := range len(message) + 1 {
			if got := checkIn(message, cut, true, false); (got != nil) != strings.Contains(want, "LF") {
				t.Errorf("%q cut at %d: %v", message, cut, got)
			}
			if got := checkIn(message, cut, false, true); (got != nil) != strings.Contains(want, "CR") {
				t.Errorf("%q cut at %d: %v", message, cut, got)
			}
			if got := checkIn(message, cut, false, false); got != nil {
				t.Errorf("%q cut at %d: %v", message, cut, got)
			}
		}
	}
}

func FuzzLineEnds(f *testing.F) {
	f.Add("a\r\nb\nc\r\r\n", uint(3))
	f.Add("\r\n\n\r\r", uint(1))
	f.Add("\nef89\r\r\n", uint(2)) // the reply depended on where the packets ended
	f.Fuzz(func(t *testing.T, message string, cut uint) {
		at := int(cut % uint(len(message)+1))
		for _, refuse := range [][2]bool{{true, false}, {false, true}, {true, true}} {
			got, want := checkIn(message, at, refuse[0], refuse[1]), lineEndsNaive(message, refuse[0], refuse[1])
			if got != want {
				t.Errorf("%q cut at %d, refuse LF, CR %v: %v, want %v", message, at, refuse, got, want)
			}
		}
	})
}
