package shape

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/itchyny/gojq"
)

const sample = `{"a": [{"b": 1, "c": "x"}, {"b": 2, "c": "yy"}, {"b": 3}], "i": 1, "s": "näive text, with a word",
 "o": {"k": "v", "n": null, "t": true}, "e": [], "f": 1.5, "date": 1700000000, "html": "<b>&'\"</b>"}`

// faithful are programs that must mean what they mean to gojq.
var faithful = []string{
	`.`, `.a`, `.a[0]`, `.a[-1].b`, `.a[.i].c`, `.a[.i:]`, `.a[:2][1]`, `.s[2:5]`, `.s[-4:]`, `.o["k"]`, `.o["k"]?`, `."o"."k"`, `.o."\("k")"`,
	`[.a[].b]`, `[.a[] | .b * 2]`, `.a | map(.b) | add`, `[.a[] | select(.c)]`, `.a | map(select(.b > 1)) | length`,
	`.i as $x | .a[$x]`, `. as {a: [{b: $x}]} | $x`, `. as {$i, s: $t} | "\($i): \($t)"`, `reduce .a[].b as $x (0; . + $x)`,
	`[foreach .a[].b as $x (0; . + $x; [$x, .])]`, `[limit(2; .a[])]`, `first(.a[])`, `[range(5)]`, `[range(0; 10; 3)]`, `[.a[] | .b] | sort | reverse`,
	`if .i == 1 then "one" elif .i == 2 then "two" else "many" end`, `.nothing // "else"`, `try error("x") catch .`, `[.a[].b?]`, `[.[]?]`, `.a[3]?`,
	`(.a | length) + 1`, `-(.i)`, `-.i + 3`, `7 % 4`, `1 - 2 - 3`, `8 / 4 / 2`, `.o + {z: 1}`, `.a + [1]`, `.e + null`, `[1,2,3] - [2]`,
	`.i == 1 and .f > 1 or false`, `[.a[] | .b >= 2]`, `"a" < "b"`, `.o.k |= ascii_upcase`, `.a[].b |= . + 1`, `.a[0].b += 10`, `.a[1:] |= map(.b)`, `.i -= 3`,
	`.i *= 4`, `.f /= 2`, `.o.n //= "d"`, `.x = .i`, `.a[1].c = "new"`, `.o | to_entries`, `.o | with_entries(select(.value != null))`, `.o | keys`,
	`del(.a, .s)`, `del(.a[0])`, `del(.a[] | select(.b > 1))`, `del(.o.k, .o.n)`, `.a | any(.b > 2)`, `.a | all(.b > 2)`, `any(.a[]; .b == 2)`, `[.e[]] | any, all`,
	`[..] | length`, `[.. | strings]`, `[recurse(if . < 3 then . + 1 else empty end)?]`, `1 | [recurse(if . < 3 then . + 1 else empty end)]`, `[.a[] | .c // "none"]`,
	`@html "x \(.html) y"`, `@uri "q=\(.s)"`, `@base64 "\(.s)"`, `.s | @base64 | @base64d`, `@json "v: \(.o)"`, `"\(.o) \(.i)"`, `[.i, .s] | @csv, @tsv`, `.s | @sh`, `@text "a\(.f)b"`,
	`.s | split(" ")`, `.s | split(", ")`, `.a | map(.b) | join("-")`, `["a", null, 1, true] | join(", ")`, `.s | ltrimstr("nä")`, `"  x " | trim`, `.s | test("WORD"; "i")`,
	`.s | [scan("[a-z]+")]`, `.s | [scan("(a)(.)")]`, `.s | sub("t"; "T")`, `.s | gsub("(?<x>[aeiou])"; "<\(.x)>")`, `.s | gsub("\\s+"; "_")`, `.s | capture("(?<first>\\w+),? (?<second>\\w+)")`,
	`.s | [splits(", *")]`, `.s | split("[ ,]+"; null)`, `.s | index("t"), rindex("t")`, `.s | contains("word")`, `.s | startswith("n")`, `.s | length, utf8bytelength`,
	`.o | has("k")`, `.o.k | type`, `[.[] | type]`, `.o | map_values(type)`, `tojson | fromjson`, `"12.5" | tonumber`, `.date | todate`, `.date | strftime("%Y")`,
	`.a | group_by(.b > 1)`, `.a | sort_by(-.b)`, `.a | min_by(.b), max_by(.b)`, `[3, 1, 3] | unique`, `.a | unique_by(.b > 1)`, `[[1, [2]], 3] | flatten`, `[[1, [2]]] | flatten(1)`,
	`def f(x): x * 2; f(.i)`, `def f($x; g): [g, $x]; f(.i; .f)`, `def fac: if . <= 1 then 1 else . * (. - 1 | fac) end; 5 | fac`, `label $out | .a[] | if .b == 2 then ., break $out else empty end`,
	`[.a[] as {b: $x, c: $y} | "\($x)\($y)"]`, `.a as [$x, $y] | [$y, $x]`, `[.a[] as [$x] ?// {b: $x} | $x]`, `{a: .i, "b": 2, (.s | .[0:1]): 3, "k\(.i)": 4, i, "s": (.s | length)}`, `{"x y": 1}`, `. as $d | {$d} | keys`,
	`walk(if type == "number" then . + 1 else . end)`, `[.a[] | [.b, .c] | first, last]`, `[1, 2] | IN([1, 2], [3])`, `[while(. < 10; . * 2)?] | length`, `[1 | while(. < 10; . * 2)]`, `1 | until(. > 100; . * 2)`,
	`[.a[] | tostring] | .[0]`, `.a | nth(1)`, `nth(1; .a[])`, `[skip(1; .a[].b)]`, `isempty(.e[])`, `.f | floor, round, ceil`, `-5 | abs`, `[.[] | numbers, booleans]`, `[.a[][]?]`, `.a[].b? // 1`,
	`[.a[] | .b] as [$x] | $x`, `.["a"][0]["b"]`, `.a | .[1:] | .[0]`, `[.a[0, 2].b]`, `.o | [.k, .t]`, `[.a | .[] | .b] | @json`, `(.a, .e) | length`, `.a | from_entries? // "x"`,
	`[{key: "x", value: 1}] | from_entries`, `[{name: "x", value: 1}] | map({key: .name, value}) | from_entries`,
}

// plainly runs a program with gojq alone.
func plainly(t *testing.T, program string, in any) (any, error) {
	t.Helper()
	q, err := gojq.Parse(program)
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	iter := q.Run(in)
	out := []any{}
	for {
		v, ok := iter.Next()
		if !ok {
			return out, nil
		}
		if err, is := v.(error); is {
			return nil, err
		}
		out = append(out, v)
	}
}

func TestProgramsMeanWhatTheyMeanElsewhere(t *testing.T) {
	t.Parallel()
	for _, program := range faithful {
		var in any
		if err := json.Unmarshal([]byte(sample), &in); err != nil {
			t.Fatal(err)
		}
		want, wantErr := plainly(t, "["+program+"]", in)
		p, err := Compile("[" + program + "]")
		if err != nil {
			t.Errorf("%s: %v", program, err)
			continue
		}
		got, _, gotErr := p.Run(t.Context(), []byte(sample))
		if (wantErr != nil) != (gotErr != nil) {
			t.Errorf("%s: %v, elsewhere %v", program, gotErr, wantErr)
			continue
		}
		if wantErr != nil {
			continue
		}
		a, _ := Encode(want.([]any)[0])
		b, _ := Encode(got)
		if diff := cmp.Diff(string(a), string(b)); diff != "" {
			t.Errorf("%s: %s", program, diff)
		}
	}
}

// bombs are programs that would take memory or time without end.
var bombs = []string{
	`"a" * 1e9`, `[range(1e9)]`, `[limit(1e9; repeat(1))] | length`, `def f: f; f`, `def f: 1 + f; f`, `repeat(1) | empty`, `last(range(1e12))`,
	`reduce range(60) as $i ("a"; . + .)`, `reduce range(60) as $i ("a"; "\(.)\(.)")`, `reduce range(60) as $i ("a"; @html "\(.)\(.)")`, `reduce range(60) as $i ("a"; [., .] | join(""))`,
	`reduce range(60) as $i ("a"; [., .] | add)`, `reduce range(60) as $i ("<"; @html)`, `reduce range(60) as $i ("a"; . += .)`, `reduce range(60) as $i ("a"; gsub("a"; "aa"))`, `reduce range(60) as $i ("a"; replace("a"; "aa"))`,
	`reduce range(60) as $i (1; [., .]) | tojson`, `reduce range(60) as $i (1; [., .]) | tostring`, `reduce range(60) as $i (1; [., .])`, `reduce range(60) as $i (1; [., .]) | . == .`, `reduce range(60) as $i (1; {a: ., b: .}) | flatten? // 1`,
	`reduce range(60) as $i (1; [., .]) | flatten`, `reduce range(60) as $i (1; [., .]) | sort`, `reduce range(60) as $i (1; [., .]) | unique`, `reduce range(60) as $i (1; [., .]) | [..]`, `reduce range(60) as $i (1; [., .]) | del(.[0])`,
	`reduce range(60) as $i (1; [., .]) | .[0] = 1 | .[1] |= 2`, `reduce range(60) as $i (1; [., .]) | . - .`, `reduce range(60) as $i (1; [., .]) | walk(.)`, `reduce range(60) as $i (1; {a: ., b: .}) | "\(.)"`,
	`reduce range(60) as $i ([1]; . + .)`, `reduce range(60) as $i ([1]; . + . ) | length`, `.[100000000] = 1`, `[][536870910] |= 1`, `null | .[1e9:2e9] = [1]`, `[range(20000) | null | .[20000] = 1]`,
	`reduce range(1e6) as $i ({}; .["k\($i)"] = $i)`, `reduce range(1e6) as $i ([]; . + [$i])`, `reduce range(1000000) as $i (1; [.])`, `reduce range(100000) as $i ({}; {a: .}) | tojson`, `[range(30000)] | . as $x | def f: $x[] | f; f`,
	`.s * 100000 | length`, `[.s | range(100000) as $i | .[0:1]] | length`, `.big as $b | [range(100000) | $b | .[5:6]]`, `.big as $b | [range(100000) | $b | length]`, `.big as $b | [range(100000) | $b | test("x")]`, `.big | gsub(""; "yyyyyyyyyyyyyyyyyyyyyyyy")`,
	`.big | [scan(".")] | length`, `.big | [match("."; "g")] | length`, `.big | split("") | length`, `.big as $b | [range(1000) | $b] | join($b)`, `.big as $b | [range(1000) | $b] | add`, `.big as $b | [range(100000) | $b + "x"]`,
	`.big | test("(x+x+)+(x+x+)+y{1000}(.{1000})z")`, `.big as $b | [range(100000) | $b | index("zz")]`, `.big as $b | [range(100000) | $b[3]]?`, `.big as $b | [range(100000) | $b == $b]`, `.big as $b | [range(100000) | $b | @base64]`,
	`.big as $b | [range(200) | $b | ascii_upcase]`, `.big as $b | [range(100000) | $b | startswith($b)]`, `.big as $b | [range(10000) | {($b): 1}]`, `try (reduce range(60) as $i ("a"; . + .)) catch (try (reduce range(60) as $i ("a"; . + .)) catch 1)`,
	`[range(3000)] as $x | [$x[] | $x[] | $x[]]`, `[range(3000)] - [range(3000)] | [range(30000)] as $x | $x - $x`, `reduce range(100) as $i (10; . * .)`, `reduce range(4000) as $i ([]; [., .] | flatten)`, `[recurse(.)]`, `[1, [range(100000)]] | combinations`,
	`reduce range(30) as $i (9; tostring + tostring | tonumber)`, `[range(2000) | tostring | @json | @json | @json | @json | @json] | reduce range(20) as $i (.; map(tojson))`,
}

// held is the memory that is reachable, at its highest, while f runs.
func held(f func()) uint64 {
	runtime.GC()
	var before, at runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&at)
	return at.TotalAlloc - before.TotalAlloc
}

func bigSample(size int) []byte {
	return []byte(`{"s": "short", "big": "` + strings.Repeat("x", size) + `"}`)
}

// TestBombsMeetABound is not parallel: it measures what is allocated.
func TestBombsMeetABound(t *testing.T) {
	in := bigSample(1 << 20)
	for _, program := range bombs {
		p, err := Compile(program)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%s: %v", program, err)
			}
			continue
		}
		var used int64
		allocated := held(func() { _, used, err = p.Run(t.Context(), in) })
		if allocated > 200<<20 {
			t.Errorf("%s: %d MB allocated", program, allocated>>20)
		}
		if used > maxWork+MaxValue*8 {
			t.Errorf("%s: %d octets of work", program, used)
		}
	}
}

func TestCustomaryProgramsCostLittle(t *testing.T) {
	t.Parallel()
	in := fmt.Appendf(nil, `{"timestamp": "2026-11-21T19:17:03.123Z", "data": {"auth": {"sender": {"verified": true}}, "envelope": {"recipients": [{"address": "a@example.com"}]},
 "message": {"subject": "s", "from": [], "attachments": [], "text": %q}}}`, strings.Repeat("a line of text\n", 20_000))
	for _, program := range []string{"slack", "discord", "teams", `.data.message.text | gsub("\\s+"; " ") | .[0:100]`} {
		p, err := Compile(program)
		if err != nil {
			t.Fatal(err)
		}
		if _, used, err := p.Run(t.Context(), in); program == `.data.message.text | gsub("\\s+"; " ") | .[0:100]` {
			if err == nil || !strings.Contains(err.Error(), "matches more than 10000 times") {
				t.Errorf("%s: %v", program, err)
			}
		} else if err != nil || used > 8<<20 {
			t.Errorf("%s: %d octets of work, %v", program, used, err)
		}
	}
}

func TestMistakesArePlaced(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ program, want string }{
		{"", `there is no program; "." is the one that changes nothing`},
		{"{a: 1,, b: 2}", `line 1, column 7: unexpected token ","`},
		{"{\n  a: .x\n  b: .y\n}", `line 3, column 3: unexpected token "b"`},
		{"{a: (1}", `line 1, column 7: unexpected token "}"`},
		{`"abc`, "unterminated string"},
		{".a |\n  frobnicate", "line 2, column 3: there is no function frobnicate in shapes; docs/shapes.md lists those that there are"},
		{`"frobnicate" | frobnicate`, "line 1, column 16: there is no function"},
		{".a\n| env.HOME", "line 2, column 3: there is no function env"},
		{"$ENV", "line 1, column 1: the environment"},
		{"{$ENV}", "line 1, column 2: the environment"},
		{". + $nowhere", "line 1, column 5: variable not defined: $nowhere"},
		{"cut", "line 1, column 1: cut takes 1 arguments, not 0"},
		{"split(1; 2; 3)", "line 1, column 1: split takes 1 or 2 arguments, not 3"},
		{`import "a" as a; .`, "there are no modules"},
		{"def _weigh: 1; .", "names of functions do not begin with _"},
		{"_weigh", "there is no function _weigh"},
		{"1 as $__1 | 2", "names of variables do not begin with __"},
		{"input", "there is no function input"},
		{"[inputs]", "there is no function inputs"},
		{"now", "there is no function now"},
		{"debug", "there is no function debug"},
		{"halt", "there is no function halt"},
		{"getpath([])", "there is no function getpath"},
		{"setpath([]; 1)", "there is no function setpath"},
		{"input_line_number", "there is no function"},
		{"explode", "there is no function explode"},
		{"localtime", "there is no function localtime"},
		{"builtins", "there is no function builtins"},
		{"$__prog_args", "there is no variable"},
		{"1" + strings.Repeat("0", 40), "the number has more than 32 digits"},
		{strings.Repeat(" ", MaxText+1), "longer than"},
	} {
		_, err := Compile(c.program)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %s", c.program, err, c.want)
		}
	}
}

func TestFailuresOfARunSayWhy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ program, want string }{
		{"empty", "has no result"},
		{"1, 2", "more than one result"},
		{`error("no ticket here")`, "no ticket here"},
		{".s.x", "expected an object"},
		{`error("` + strings.Repeat("x", 1000) + `")`, "xxx..."},
		{"1 / 0", "have no result"},
		{"[] * 2", "cannot be multiplied"},
		{`"a" / "b"`, "use split"},
		{"[limit(300000; repeat(1))]", "more than 200000 steps"},
		{`reduce range(40) as $i ("ab"; . + .)`, "more than 4 MiB"},
		{"reduce range(1000) as $i (1; [.])", "nested more than"},
		{"reduce range(100) as $i (null; [range(5000)] | tojson)", "more than"},
	} {
		p, err := Compile(c.program)
		if err != nil {
			t.Errorf("%s: %v", c.program, err)
			continue
		}
		if _, _, err := p.Run(t.Context(), []byte(sample)); err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 400 {
			t.Errorf("%s: %v, want %s", c.program, err, c.want)
		}
	}
	p, err := Compile(".")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Run(t.Context(), bigSample(MaxInput)); err == nil || !strings.Contains(err.Error(), "a shape takes") {
		t.Errorf("an input that is too large: %v", err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.Run(done, []byte(sample)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestAProgramRunsManyTimesAtOnce(t *testing.T) {
	t.Parallel()
	p, err := Compile(`.a | map(.b + 1) | add`)
	if err != nil {
		t.Fatal(err)
	}
	bomb, err := Compile(`reduce range(60) as $i ("a"; . + .)`)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if v, _, err := p.Run(t.Context(), []byte(sample)); err != nil || v != 9.0 {
					t.Errorf("%v, %v", v, err)
				}
				if _, _, err := bomb.Run(t.Context(), []byte(sample)); err == nil {
					t.Error("a bomb went through")
				}
			}
		})
	}
	wg.Wait()
}

// TestEveryWordIsDescribed holds docs/shapes.md to the functions that there are.
func TestEveryWordIsDescribed(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "shapes.md"))
	if err != nil {
		t.Fatal(err)
	}
	common, err := gojq.Parse(words + " .")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, def := range common.FuncDefs {
		names[def.Name] = true
	}
	for name := range builtins() {
		names[name] = true
	}
	for name := range names {
		if !strings.HasPrefix(name, "_") && !strings.Contains(string(docs), "`"+name+"`") {
			t.Errorf("docs/shapes.md does not have `%s`", name)
		}
	}
}

func FuzzProgramsStayWithinBounds(f *testing.F) {
	for _, p := range faithful {
		f.Add(p)
	}
	for _, p := range bombs {
		f.Add(p)
	}
	in := bigSample(64 << 10)
	f.Fuzz(func(t *testing.T, program string) {
		p, err := Compile(program)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 0 || e.Text == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		_, used, err := p.Run(t.Context(), in)
		if used > maxWork+MaxValue*8 {
			t.Fatalf("%d octets of work, %v", used, err)
		}
	})
}
