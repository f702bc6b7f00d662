package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// schemaFile is JSON Schema 2020-12 of the payload, made from the wire structs.
var schemaFile = filepath.Join("..", "..", "docs", "payload.schema.json")

// enums and formats say what the Go types cannot. A null beside an enum's members is added where the type has one.
var (
	results = []any{"none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"}
	enums   = map[string][]any{
		"type": {"mail.received"}, "data.version": {1},
		"data.kind":           {"mail", "auto_reply", "bounce", "complaint", "dmarc_report", "tls_report"},
		"data.auth.sender.by": {"dmarc", "arc"}, "data.auth.spf.identity": {"mailfrom", "helo"},
		"data.auth.spf.result": results, "data.auth.dkim[].result": results, "data.auth.dmarc.result": results,
		"data.auth.arc.result": results, "data.auth.iprev.result": results,
		"data.message.text_from": {"text", "html"}, "data.message.reply.method": {"none", "marks", "attribution", "header", "separator"},
		"data.message.calendar[].component": {"event", "todo", "journal"}, "data.bounce.method": {"rfc3464", "text"},
		"data.auth.dmarc.policy": {"none", "quarantine", "reject"}, "data.message.attachments[].disposition": {"attachment", "inline"},
	}
	formats = map[string]string{
		"timestamp": "date-time", "data.envelope.received_at": "date-time", "data.message.date": "date-time",
		"data.bounce.original.date": "date-time", "data.complaint.original.date": "date-time", "data.complaint.arrival_date": "date-time",
		"data.dmarc_report.begin": "date-time", "data.dmarc_report.end": "date-time", "data.tls_report.begin": "date-time", "data.tls_report.end": "date-time",
		"data.message.attachments[].message.date": "date-time", "data.message.calendar[].start.utc": "date-time",
		"data.message.calendar[].end.utc": "date-time", "data.message.calendar[].recurrence_id.utc": "date-time",
		"data.message.attachments[].url": "uri", "data.raw.url": "uri",
	}
)

// fieldDocs returns what stands above each field of the wire structs, by "type.Field".
func fieldDocs(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, name := range []string{"payload.go", "payloadreport.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok && strings.HasPrefix(spec.Name.Name, "payload") {
				for _, f := range s.Fields.List {
					text := strings.Join(strings.Fields(f.Doc.Text()), " ")
					doc, ok := strings.CutPrefix(text, f.Names[0].Name+": ")
					if !ok || doc == "." {
						t.Errorf("%s.%s: say above it what it is, behind its name and a colon", spec.Name, f.Names[0])
					}
					docs[spec.Name.Name+"."+f.Names[0].Name] = strings.TrimSuffix(doc, ".")
				}
			}
			return false
		})
	}
	return docs
}

// schemaOf returns the schema of a wire type. Unknown properties are allowed: version 1 may grow.
func schemaOf(docs map[string]string, t reflect.Type, path string) map[string]any {
	if t == reflect.TypeFor[*octets]() {
		return map[string]any{"type": []any{"string", "null"}, "contentEncoding": "base64"}
	}
	s := map[string]any{}
	switch t.Kind() {
	case reflect.Pointer:
		s = schemaOf(docs, t.Elem(), path)
		s["type"] = []any{s["type"], "null"}
		if enum, ok := s["enum"]; ok {
			s["enum"] = append(slices.Clone(enum.([]any)), nil)
		}
		return s
	case reflect.Struct:
		properties, required := map[string]any{}, []any{}
		for field := range t.Fields() {
			name := field.Tag.Get("json")
			property := schemaOf(docs, field.Type, strings.TrimPrefix(path+"."+name, "."))
			property["description"] = docs[t.Name()+"."+field.Name]
			properties[name] = property
			required = append(required, name)
		}
		s["type"], s["properties"], s["required"] = "object", properties, required
	case reflect.Slice:
		s["type"], s["items"] = "array", schemaOf(docs, t.Elem(), path+"[]")
	case reflect.Map:
		s["type"], s["additionalProperties"] = "object", schemaOf(docs, t.Elem(), path+"{}")
	case reflect.String:
		s["type"] = "string"
	case reflect.Bool:
		s["type"] = "boolean"
	case reflect.Int, reflect.Int64:
		s["type"] = "integer"
	default:
		panic("no schema for " + t.String())
	}
	if enum, ok := enums[path]; ok {
		s["enum"] = enum
	}
	if format, ok := formats[path]; ok {
		s["format"] = format
	}
	return s
}

func payloadSchema(t *testing.T) (schema map[string]any, text []byte) {
	t.Helper()
	schema = schemaOf(fieldDocs(t), reflect.TypeFor[payload](), "")
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "mxhook payload, version 1"
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		t.Fatal(err)
	}
	// Through JSON, so that what is checked below is what is published.
	schema = nil
	if err := json.Unmarshal(b.Bytes(), &schema); err != nil {
		t.Fatal(err)
	}
	return schema, b.Bytes()
}

// conforms checks a document against the part of JSON Schema that schemaOf uses.
func conforms(schema map[string]any, doc any, path string) error {
	types, ok := schema["type"].([]any)
	if !ok {
		types = []any{schema["type"]}
	}
	if !slices.Contains(types, any(typeOf(doc))) {
		return fmt.Errorf("%s is %s, want %v", path, typeOf(doc), types)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, doc) {
		return fmt.Errorf("%s is %v, want one of %v", path, doc, enum)
	}
	switch doc := doc.(type) {
	case []any:
		for i, member := range doc {
			if err := conforms(schema["items"].(map[string]any), member, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := doc[name.(string)]; !ok {
				return fmt.Errorf("%s.%s is missing", path, name)
			}
		}
		properties, _ := schema["properties"].(map[string]any)
		for name, member := range doc {
			of, ok := properties[name].(map[string]any)
			if !ok {
				if of, ok = schema["additionalProperties"].(map[string]any); !ok {
					return fmt.Errorf("%s.%s is not in the schema", path, name)
				}
			}
			if err := conforms(of, member, path+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
	}
	return "number"
}

func TestPublishedSchemaIsThatOfTheTypes(t *testing.T) {
	t.Parallel()
	_, want := payloadSchema(t)
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the types say: go test ./sinks/webhook -update", schemaFile)
	}
}

func TestSamplesConformToTheSchema(t *testing.T) {
	t.Parallel()
	schema, _ := payloadSchema(t)
	for name, encode := range goldenCases() {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		if err := conforms(schema, doc, "$"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		delete(doc["data"].(map[string]any), "raw")
		if err := conforms(schema, doc, "$"); err == nil {
			t.Errorf("%s: a payload without raw conforms too", name)
		}
	}
}

// TestDocumentationIsOfThisPayload checks the samples in docs/payload.md, and that it has every field.
func TestDocumentationIsOfThisPayload(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "payload.md"))
	if err != nil {
		t.Fatal(err)
	}
	schema, _ := payloadSchema(t)
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Error("there is no sample")
	}
	for i, block := range blocks {
		var doc any
		if err := json.Unmarshal(block[1], &doc); err != nil {
			t.Errorf("sample %d: %v", i+1, err)
		} else if err := conforms(schema, doc, "$"); err != nil {
			t.Errorf("sample %d: %v", i+1, err)
		}
	}
	for _, field := range contractFields {
		if of, ok := strings.CutPrefix(field, "data."); ok {
			field = of
		}
		if !bytes.Contains(text, []byte("`"+field+"`")) {
			t.Errorf("%s is not explained", field)
		}
	}
}
