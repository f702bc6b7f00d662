package shape

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// options are gojq's with our functions. Names that begin with _ are for confiner and words.jq alone.
func (m *meter) options() []gojq.CompilerOption {
	define := func(name string, arity int, f func(v any, args []any) any) gojq.CompilerOption {
		return gojq.WithFunction(name, arity, arity, func(v any, args []any) any {
			if m.err != nil {
				return m.err
			}
			out := f(v, args)
			if m.err != nil {
				return m.err
			}
			return out
		})
	}
	return []gojq.CompilerOption{
		// _weigh is put around what gojq does in one instruction with all of a value, _each in front of .[], _open in front of
		// an index that is no name, _key behind the index. All return their input: they may stand in paths.
		define("_weigh", 0, func(v any, _ []any) any { m.weigh(v); return v }),
		define("_each", 0, func(v any, _ []any) any { m.charge(2 * shallow(v)); return v }),
		define("_open", 0, func(v any, _ []any) any {
			if s, is := v.(string); is {
				m.charge(int64(len(s)))
			}
			return v
		}),
		define("_key", 0, func(v any, _ []any) any { return m.key(v) }),
		define("_plus", 2, func(_ any, args []any) any { return m.plus(args[0], args[1]) }),
		define("_minus", 2, func(_ any, args []any) any { return m.minus(args[0], args[1]) }),
		define("_times", 2, func(_ any, args []any) any {
			return numbers("multiplied", args, func(a, b float64) float64 { return a * b })
		}),
		define("_over", 2, func(_ any, args []any) any {
			return numbers("divided (strings: use split)", args, func(a, b float64) float64 { return a / b })
		}),
		define("_number", 0, toNumber),
		define("_cut", 1, func(v any, args []any) any { return m.cut(v, args[0]) }),
		define("_split", 1, func(v any, args []any) any { return m.split(v, args[0]) }),
		define("_join", 1, func(v any, args []any) any { return m.join(v, args[0]) }),
		define("_replace", 2, func(v any, args []any) any { return m.replace(v, args[0], args[1]) }),
		define("_index_of", 2, func(v any, args []any) any { return m.indexOf(v, args[0], args[1] == true) }),
		define("_has_text", 1, func(v any, args []any) any { return m.contains(v, args[0]) }),
		define("_matches", 2, func(v any, args []any) any { return m.matches(v, args[0], args[1]) }),
		define("_is_match", 2, func(v any, args []any) any { return m.isMatch(v, args[0], args[1]) }),
	}
}

// shallow is what a list or object costs without what is in it.
func shallow(v any) int64 {
	switch v := v.(type) {
	case []any:
		return int64(len(v)) * perElement
	case map[string]any:
		return int64(len(v)) * perMember
	}
	return 8
}

// key lets the names and numbers pass that an index may be. A number may make a list that long.
func (m *meter) key(v any) any {
	switch k := v.(type) {
	case string, nil:
		return v
	case []any, map[string]any, bool:
		return errors.New("an index is a name or a number")
	default:
		n, _ := gojq.ToFloat64(k)
		if !(math.Abs(n) <= MaxValue/perElement) {
			return fmt.Errorf("the index %v is too large", n)
		}
		m.charge(int64(math.Abs(n)) * perElement)
		return v
	}
}

func (m *meter) plus(l, r any) any {
	if l == nil {
		return r
	}
	if r == nil {
		return l
	}
	switch a := l.(type) {
	case string:
		if b, is := r.(string); is {
			if !m.fits(int64(len(a)) + int64(len(b))) {
				return m.err
			}
			return a + b
		}
	case []any:
		if b, is := r.([]any); is {
			if !m.fits(shallow(a) + shallow(b)) {
				return m.err
			}
			return append(append(make([]any, 0, len(a)+len(b)), a...), b...)
		}
	case map[string]any:
		if b, is := r.(map[string]any); is {
			if !m.fits(shallow(a) + shallow(b)) {
				return m.err
			}
			sum := make(map[string]any, len(a)+len(b))
			maps.Copy(sum, a)
			maps.Copy(sum, b)
			return sum
		}
	}
	return numbers("added", []any{l, r}, func(a, b float64) float64 { return a + b })
}

func (m *meter) minus(l, r any) any {
	a, isA := l.([]any)
	b, isB := r.([]any)
	if !isA || !isB {
		return numbers("subtracted", []any{l, r}, func(a, b float64) float64 { return a - b })
	}
	// Each element of one is compared with each of the other.
	if !m.weigh(l) || !m.weigh(r) || !m.charge(int64(len(a))*int64(len(b))*perElement) {
		return m.err
	}
	out := make([]any, 0, len(a))
next:
	for _, x := range a {
		for _, y := range b {
			if gojq.Compare(x, y) == 0 {
				continue next
			}
		}
		out = append(out, x)
	}
	return out
}

// fits charges a value in the making, before it is made.
func (m *meter) fits(size int64) bool {
	if size > MaxValue {
		m.fail(fmt.Errorf("the program makes or uses a value of more than %d MiB", MaxValue>>20))
	}
	return m.charge(size)
}

func numbers(what string, args []any, f func(a, b float64) float64) any {
	a, isA := gojq.ToFloat64(args[0])
	b, isB := gojq.ToFloat64(args[1])
	if !isA || !isB {
		return fmt.Errorf("%s and %s cannot be %s", gojq.TypeOf(args[0]), gojq.TypeOf(args[1]), what)
	}
	n := f(a, b)
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return fmt.Errorf("%v and %v have no result when %s", a, b, what)
	}
	return n
}

func toNumber(v any, _ []any) any {
	s, is := v.(string)
	if !is {
		if n, ok := gojq.ToFloat64(v); ok {
			return n
		}
		return fmt.Errorf("%s is no number", gojq.TypeOf(v))
	}
	n, err := strconv.ParseFloat(s, 64)
	if len(s) > 32 || err != nil || strings.ContainsAny(s, "_xXpPnN") {
		return errors.New("the string is no number")
	}
	return n
}

// texts takes the input and the arguments for strings, and charges them.
func (m *meter) texts(v any, args ...any) ([]string, error) {
	out := make([]string, 0, 1+len(args))
	for _, a := range append([]any{v}, args...) {
		s, is := a.(string)
		if !is {
			return nil, fmt.Errorf("a string is needed here, and this is %s", gojq.TypeOf(a))
		}
		if !m.fits(int64(len(s))) {
			return nil, m.err
		}
		out = append(out, s)
	}
	return out, nil
}

// cut shortens a text to n UTF-16 units, with an ellipsis at its end: how JavaScript, and with it most services, count. It
// is then no longer than n characters either.
func (m *meter) cut(v, n any) any {
	s, err := m.texts(v)
	limit, is := gojq.ToFloat64(n)
	if err != nil {
		return err
	}
	if !is || limit < 1 {
		return errors.New("cut needs a length")
	}
	units, end := 0.0, 0
	for i, r := range s[0] {
		if units <= limit-1 {
			end = i
		}
		if units++; r > 0xffff {
			units++
		}
		if units > limit {
			return strings.ToValidUTF8(s[0][:end], "") + "…"
		}
	}
	return s[0]
}

func (m *meter) split(v, by any) any {
	s, err := m.texts(v, by)
	if err != nil {
		return err
	}
	if s[0] == "" {
		return []any{}
	}
	count := strings.Count(s[0], s[1])
	if !m.fits(int64(count+1) * 2 * perElement) {
		return m.err
	}
	out := make([]any, 0, count+1)
	for part := range strings.SplitSeq(s[0], s[1]) {
		out = append(out, part)
	}
	return out
}

func (m *meter) join(v, with any) any {
	list, is := v.([]any)
	between, isText := with.(string)
	if !is || !isText {
		return errors.New("join needs a list, and a string to put between its elements")
	}
	if !m.weigh(v) || !m.fits(int64(len(list))*int64(len(between))) {
		return m.err
	}
	var b strings.Builder
	for i, e := range list {
		if i > 0 {
			b.WriteString(between)
		}
		switch e := e.(type) {
		case nil:
		case string:
			b.WriteString(e)
		case []any, map[string]any:
			return errors.New("join takes strings, numbers and booleans")
		default:
			text, _ := gojq.Marshal(e)
			b.Write(text)
		}
	}
	return b.String()
}

func (m *meter) replace(v, old, by any) any {
	s, err := m.texts(v, old, by)
	if err != nil {
		return err
	}
	n := int64(strings.Count(s[0], s[1]))
	if !m.fits(int64(len(s[0])) + n*int64(len(s[2]))) {
		return m.err
	}
	return strings.ReplaceAll(s[0], s[1], s[2])
}

func (m *meter) indexOf(v, x any, last bool) any {
	s, err := m.texts(v, x)
	if err != nil {
		return err
	}
	i := strings.Index(s[0], s[1])
	if last {
		i = strings.LastIndex(s[0], s[1])
	}
	if i < 0 || s[1] == "" {
		return nil
	}
	return utf8.RuneCountInString(s[0][:i])
}

func (m *meter) contains(v, x any) any {
	s, err := m.texts(v, x)
	if err != nil {
		return err
	}
	return strings.Contains(s[0], s[1])
}
