package configs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"mxhook/pipeline"
)

// TestSchemaFileIsThatOfTheTypes compares mxhook.schema.json with the types and the annotated file; -update rewrites it.
func TestSchemaFileIsThatOfTheTypes(t *testing.T) {
	t.Parallel()
	want, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("mxhook.schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("mxhook.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("run go test ./configs -run Schema -update (-want +got):\n%s", diff)
	}
}

// TestExamplesFitTheSchema walks every example along the schema.
func TestExamplesFitTheSchema(t *testing.T) {
	t.Parallel()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("*.yaml")
	examples, _ := filepath.Glob(filepath.Join("examples", "*.yaml"))
	if files = append(files, examples...); len(files) < 14 {
		t.Fatal(files)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := yaml.Unmarshal(data, &value); err != nil {
			t.Fatal(err)
		}
		fit(t, file, schema, value)
	}
	var bad any = map[string]any{"smtp": map[string]any{"hostnme": "x"}}
	if mistakes(schema, bad, "") == nil {
		t.Error("an unknown key fits")
	}
}

func fit(t *testing.T, where string, schema map[string]any, value any) {
	t.Helper()
	for _, m := range mistakes(schema, value, where) {
		t.Error(m)
	}
}

// mistakes knows the few words of JSON Schema that Schema uses.
func mistakes(schema map[string]any, value any, where string) []string {
	var types []string
	for _, typ := range schema["type"].([]any) {
		types = append(types, typ.(string))
	}
	var out []string
	kind := ""
	switch v := value.(type) {
	case map[string]any:
		kind = "object"
		properties, _ := schema["properties"].(map[string]any)
		for k, e := range v {
			p, ok := properties[k].(map[string]any)
			if !ok {
				out = append(out, where+"."+k+" is not in the schema")
				continue
			}
			out = append(out, mistakes(p, e, where+"."+k)...)
		}
	case []any:
		kind = "array"
		items, _ := schema["items"].(map[string]any)
		for i, e := range v {
			if items != nil {
				out = append(out, mistakes(items, e, fmt.Sprint(where, "[", i, "]"))...)
			}
		}
	case nil:
		kind = "null"
	case bool:
		kind = "boolean"
	case int:
		kind = "integer"
		if slices.Contains(types, "number") {
			kind = "number"
		}
	case float64:
		kind = "number"
	default:
		kind = "string" // times too, which YAML knows and JSON does not
	}
	if !slices.Contains(types, kind) {
		out = append(out, fmt.Sprintf("%s is %s, the schema has %v", where, kind, types))
	}
	return out
}

// TestFieldsAreDocumented compares the table of docs/configuration.md with the fields; -update rewrites it.
func TestFieldsAreDocumented(t *testing.T) {
	t.Parallel()
	const path, head = "../docs/configuration.md", "| Field | Meaning | Example |\n|---|---|---|\n"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), head)
	_, after, ok2 := strings.Cut(rest, "\n- **A field")
	if !ok || !ok2 {
		t.Fatalf("%s has no table of fields", path)
	}
	var table strings.Builder
	for _, f := range pipeline.TemplateFields() {
		fmt.Fprintf(&table, "| `{%s}` | %s | `%s` |\n", f.Name, f.Meaning, f.Example)
	}
	want := before + head + table.String() + "\n- **A field" + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(want, string(doc)); diff != "" {
		t.Errorf("run go test ./configs -run Documented -update (-want +got):\n%s", diff)
	}
}
