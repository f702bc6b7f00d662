package shape

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// finds returns what find says and what package regexp says, for one text.
func finds(t *testing.T, expr, text string) (ours, theirs [][]int, bound bool) {
	t.Helper()
	m := &meter{}
	m.reset(t.Context())
	p, err := m.pattern(text, expr, "g")
	if err != nil {
		return nil, nil, true
	}
	if ours, err = p.find(); err != nil {
		return nil, nil, true
	}
	return ours, p.FindAllStringSubmatchIndex(text, maxMatches+1), false
}

var expressions = []string{
	`a`, `a*`, `a*?`, ``, `^`, `$`, `^a`, `a$`, `\b`, `\B`, `\ba`, `a\b`, `(?m)^`, `(?m)$`, `(?m)^(\w+)$`, `(a)|(b)`, `(?i)A(?P<x>b)?`, `\Aa`, `a\z`, `.`,
	`(?s).`, `é|\s`, `a|`, `|a`, `(a|ab)(c|bcd)`, `(?U)a+`, `\x{FFFD}`, `a.*b|a`, `(\w)(\w)?`,
}

func TestMatchesAreThoseOfPackageRegexp(t *testing.T) {
	t.Parallel()
	for _, expr := range expressions {
		for _, text := range []string{"", "a", "aa", "ba", "abcd", "a b\na\nb", "éaé", "a\xffa\xff", "\n\n", "abab aab ABab", "a\r\na", "\u2028a"} {
			ours, theirs, bound := finds(t, expr, text)
			if diff := cmp.Diff(theirs, ours); bound || diff != "" {
				t.Errorf("%q in %q (-regexp +ours):\n%s", expr, text, diff)
			}
		}
	}
}

func FuzzMatches(f *testing.F) {
	for _, expr := range expressions {
		f.Add(expr, "a b\nab\xffé")
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		ours, theirs, bound := finds(t, expr, text)
		if diff := cmp.Diff(theirs, ours); diff != "" && !bound {
			t.Errorf("%q in %q (-regexp +ours):\n%s", expr, text, diff)
		}
	})
}

func TestExpressionsThatLookFarMeetABound(t *testing.T) {
	t.Parallel()
	in := bigSample(512 << 10)
	for _, program := range []string{
		`.big | [scan("\\w+@|\\w")]`, `.big | gsub("x.*y|x"; "z")`, `.big | [match("(?s)x.*?--|x"; "g")]`, `.big | [splits("x+!|x")]`,
		`.big[0:2000] | [match("` + strings.Repeat("()", 200) + strings.Repeat("(.?){1000}", 30) + `"; "g")]`,
		`.big[0:2000] | test("` + strings.Repeat("()", 200) + strings.Repeat("(.?){1000}", 30) + `")`,
	} {
		p, err := Compile(program)
		if err != nil {
			t.Fatal(err)
		}
		if _, used, err := p.Run(t.Context(), in); err == nil || !strings.Contains(err.Error(), "MiB") || used > maxWork+MaxValue {
			t.Errorf("%s: %d octets of work, %v", program, used, err)
		}
	}
}

func TestAnEndedRunEndsASearch(t *testing.T) {
	t.Parallel()
	m := &meter{}
	ctx, cancel := context.WithCancel(t.Context())
	m.reset(ctx)
	p, err := m.pattern(strings.Repeat("x", 4096), "x", "g")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if found, err := p.find(); err == nil {
		t.Errorf("%d matches, and no error", len(found))
	}
}

func TestArgumentsCannotStandForTheMeter(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"_weigh", "$_weigh", "_each"} {
		_, err := Compile(fmt.Sprintf(`def f(%s): reduce range(60) as $i (1; [., .]) | tojson; f(.)`, arg))
		if err == nil || !strings.Contains(err.Error(), "do not begin with _") {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

func BenchmarkGsub(b *testing.B) {
	p, err := Compile(`.big | gsub("[a-z]+@[a-z.]+"; "(address)") | gsub("\\s+"; " ") | length`)
	if err != nil {
		b.Fatal(err)
	}
	in := fmt.Appendf(nil, `{"big": %q}`, strings.Repeat("write to alice@example.org for more\n", 300))
	for b.Loop() {
		if _, _, err := p.Run(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}
