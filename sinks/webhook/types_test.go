package webhook

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// wireType is a struct of the payload as other languages see it, made from the schema's own tables.
type wireType struct {
	name   string
	fields []wireField
}

type wireField struct {
	doc      string
	name     string
	typ      reflect.Type
	enum     []any
	nullable bool
	list     bool
}

// wireTypes returns all structs below the payload, each behind those that it uses.
func wireTypes(docs map[string]string) []wireType {
	var types []wireType
	done := map[reflect.Type]bool{}
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		if done[t] {
			return
		}
		done[t] = true
		w := wireType{name: wireName(t)}
		for field := range t.Fields() {
			name := field.Tag.Get("json")
			at := strings.TrimPrefix(path+"."+name, ".")
			f := wireField{doc: docs[t.Name()+"."+field.Name], name: name, typ: field.Type, enum: enums[at]}
			if f.typ.Kind() == reflect.Pointer {
				f.nullable, f.typ = true, f.typ.Elem()
			}
			if f.typ.Kind() == reflect.Slice {
				f.list, f.typ, at = true, f.typ.Elem(), at+"[]"
			}
			if f.typ.Kind() == reflect.Struct && f.typ != reflect.TypeFor[octets]() {
				walk(f.typ, at)
			}
			w.fields = append(w.fields, f)
		}
		types = append(types, w)
	}
	walk(reflect.TypeFor[payload](), "")
	return types
}

func wireName(t reflect.Type) string {
	n := strings.TrimPrefix(t.Name(), "payload")
	if n == "" {
		return "Payload"
	}
	return n
}

// language is how a language writes types.
type language struct {
	text, number, boolean, null, dict string
	list                              func(string) string
	enum                              func([]any) string
}

func (l language) of(f wireField) string {
	s := ""
	switch {
	case f.enum != nil:
		s = l.enum(f.enum)
	case f.typ == reflect.TypeFor[octets]():
		s = l.text
	case f.typ.Kind() == reflect.Struct:
		s = wireName(f.typ)
	case f.typ.Kind() == reflect.Map:
		s = l.dict
	case f.typ.Kind() == reflect.String:
		s = l.text
	case f.typ.Kind() == reflect.Bool:
		s = l.boolean
	default:
		s = l.number
	}
	if f.list {
		s = l.list(s)
	}
	if f.nullable {
		s += " | " + l.null
	}
	return s
}

func literals(vs []any, sep string) string {
	var out []string
	for _, v := range vs {
		out = append(out, fmt.Sprintf("%#v", v))
	}
	return strings.Join(out, sep)
}

func typeScript(docs map[string]string) string {
	l := language{
		text: "string", number: "number", boolean: "boolean", null: "null", dict: "Record<string, string>",
		list: func(s string) string { return s + "[]" },
		enum: func(vs []any) string { return literals(vs, " | ") },
	}
	var b strings.Builder
	b.WriteString("// The body of an mxhook webhook, version 1. Made from payload.schema.json: do not edit.\n// Fields may be added within version 1.\n")
	for _, t := range wireTypes(docs) {
		fmt.Fprintf(&b, "\nexport interface %s {\n", t.name)
		for _, f := range t.fields {
			fmt.Fprintf(&b, "  /** %s */\n  %s: %s;\n", f.doc, f.name, l.of(f))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func python(docs map[string]string) string {
	l := language{
		text: "str", number: "int", boolean: "bool", null: "None", dict: "dict[str, str]",
		list: func(s string) string { return "list[" + s + "]" },
		enum: func(vs []any) string { return "Literal[" + literals(vs, ", ") + "]" },
	}
	var b strings.Builder
	b.WriteString("\"\"\"The body of an mxhook webhook, version 1. Made from payload.schema.json: do not edit.\n\nFields may be added within version 1.\n\"\"\"\n\nfrom typing import Literal, TypedDict\n")
	for _, t := range wireTypes(docs) {
		fmt.Fprintf(&b, "\n%s = TypedDict(%q, {\n", t.name, t.name)
		for _, f := range t.fields {
			fmt.Fprintf(&b, "    # %s\n    %q: %s,\n", f.doc, f.name, l.of(f))
		}
		b.WriteString("})\n")
	}
	return b.String()
}

func TestPublishedTypesAreThoseOfTheSchema(t *testing.T) {
	t.Parallel()
	docs := fieldDocs(t)
	for name, want := range map[string]string{"payload.ts": typeScript(docs), "payload.py": python(docs)} {
		path := filepath.Join("..", "..", "docs", name)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the types say: go test ./sinks/webhook -update", path)
		}
	}
}
