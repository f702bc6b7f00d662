package rules

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestVocabularyIsTheEnvironment holds the table of words and the struct that conditions see together.
func TestVocabularyIsTheEnvironment(t *testing.T) {
	t.Parallel()
	var inTable []string
	for _, w := range Vocabulary() {
		inTable = append(inTable, w.Name)
	}
	inType := fields("", reflect.TypeFor[environment]())
	slices.Sort(inTable)
	slices.Sort(inType)
	if diff := cmp.Diff(inType, inTable); diff != "" {
		t.Errorf("-type +table:\n%s", diff)
	}
}

// fields names the words that a struct type gives to conditions.
func fields(prefix string, typ reflect.Type) []string {
	var names []string
	for f := range typ.Fields() {
		name := f.Tag.Get("expr")
		if name == "tick()" {
			continue
		}
		name = prefix + name
		names = append(names, name)
		switch {
		case f.Type.PkgPath() == "time":
		case f.Type.Kind() == reflect.Struct:
			names = append(names, fields(name+".", f.Type)...)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			names = append(names, fields(name+"[].", f.Type.Elem())...)
		}
	}
	return names
}

func TestEveryExampleCompilesAndRuns(t *testing.T) {
	t.Parallel()
	for _, w := range append(Vocabulary(), Functions()...) {
		if w.Example == "" || w.Meaning == "" || strings.HasSuffix(w.Meaning, ".") {
			t.Errorf("%s: meaning %q, example %q", w.Name, w.Meaning, w.Example)
		}
		holds(t, w.Example, sample())
	}
}

// TestExamplesShowTheirWord keeps an example from drifting away from what it is an example of.
func TestExamplesShowTheirWord(t *testing.T) {
	t.Parallel()
	for _, w := range append(Vocabulary(), Functions()...) {
		name := w.Name
		if i := strings.LastIndex(name, "[]."); i >= 0 {
			name = name[i+2:]
		}
		if !strings.Contains(w.Example, name) {
			t.Errorf("%s is not in %s", name, w.Example)
		}
	}
}

// TestDocumentation compares the tables of docs/rules.md with the vocabulary; -update rewrites them. Everything
// outside of the markers is written by hand; its conditions are compiled too.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "docs", "rules.md")
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := doc
	for name, words := range map[string][]Word{"vocabulary": Vocabulary(), "functions": Functions()} {
		want = replaceBetween(t, want, name, wordTable(words))
	}
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		doc = want
	}
	if diff := cmp.Diff(string(want), string(doc)); diff != "" {
		t.Errorf("run go test ./rules -run TestDocumentation -update (-want +got):\n%s", diff)
	}
	n := 0
	for line := range strings.Lines(string(doc)) {
		line = strings.TrimSpace(line)
		if when, ok := strings.CutPrefix(line, "when: '"); ok {
			holds(t, strings.ReplaceAll(strings.TrimSuffix(when, "'"), "''", "'"), sample())
			n++
		}
	}
	if n < 5 {
		t.Errorf("only %d conditions found in the text", n)
	}
}

func replaceBetween(t *testing.T, doc []byte, name, text string) []byte {
	t.Helper()
	begin, end := []byte("<!-- "+name+" -->\n"), []byte("<!-- end -->")
	i := bytes.Index(doc, begin)
	if i < 0 {
		t.Fatalf("no marker %s", begin)
	}
	i += len(begin)
	j := bytes.Index(doc[i:], end)
	if j < 0 {
		t.Fatalf("no end marker after %s", begin)
	}
	return slices.Concat(doc[:i], []byte(text), doc[i+j:])
}

func wordTable(words []Word) string {
	var b strings.Builder
	b.WriteString("| word | type | meaning | example |\n|---|---|---|---|\n")
	cell := strings.NewReplacer("|", "\\|")
	for _, w := range words {
		typ, meaning := w.Type, w.Meaning
		if strings.Contains(typ, "(") {
			typ = "`" + typ + "`"
		}
		if w.Lower {
			typ += ", lower case"
		}
		if w.Values != nil {
			var vs []string
			for _, v := range w.Values {
				vs = append(vs, "`"+fmt.Sprintf("%q", v)+"`")
			}
			meaning += ": " + strings.Join(vs, ", ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` |\n", w.Name, cell.Replace(typ), cell.Replace(meaning), cell.Replace(w.Example))
	}
	return b.String()
}
