package configs

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Schema returns the JSON Schema (2020-12) of a configuration file, for editors. Keys and types are those of Config; what
// they mean is taken from the comments of mxhook.yaml.
func Schema() ([]byte, error) {
	text, err := Examples.ReadFile("mxhook.yaml")
	if err != nil {
		return nil, fmt.Errorf("make the schema: %w", err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("make the schema: %w", err)
	}
	meanings := map[string]string{}
	collectComments(meanings, "", root.Content[0])
	schema := schemaOf("", reflect.TypeFor[Config](), meanings)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "Configuration of mxhook"
	delete(schema, "description") // the comment on top of the file
	out, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("make the schema: %w", err)
	}
	return append(out, '\n'), nil
}

// collectComments finds the comments above or behind each key; the elements of a list share their keys.
func collectComments(meanings map[string]string, key string, n *yaml.Node) {
	switch n.Kind {
	case yaml.SequenceNode:
		for _, e := range n.Content {
			collectComments(meanings, key, e)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			at := join(key, k.Value)
			for _, comment := range []string{k.HeadComment, k.LineComment, v.LineComment} {
				if text := plainComment(comment); text != "" && meanings[at] == "" {
					meanings[at] = text
				}
			}
			collectComments(meanings, at, v)
		}
	}
}

// plainComment takes the signs and the ruler lines off; of several paragraphs the last belongs to the key.
func plainComment(comment string) string {
	paragraphs := strings.Split(comment, "\n\n")
	var words []string
	for line := range strings.Lines(paragraphs[len(paragraphs)-1]) {
		line = strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(line), "#"))
		if strings.HasPrefix(line, "-----") {
			continue
		}
		words = append(words, strings.Fields(line)...)
	}
	return strings.Join(words, " ")
}

func schemaOf(key string, typ reflect.Type, meanings map[string]string) map[string]any {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	s := map[string]any{}
	if m := meanings[key]; m != "" {
		s["description"] = m
	}
	switch {
	case typ == reflect.TypeFor[Size](), typ == reflect.TypeFor[Duration]():
		s["type"] = []string{"string", "integer"}
	case isScalar(typ):
		s["type"] = scalarTypes(typ)
	case typ.Kind() == reflect.Slice:
		s["type"], s["items"] = []string{"array", "null"}, schemaOf(key, typ.Elem(), meanings)
		delete(s["items"].(map[string]any), "description")
	default:
		properties := map[string]any{}
		for f := range typ.Fields() {
			if f.IsExported() {
				name := f.Tag.Get("yaml")
				properties[name] = schemaOf(join(key, name), f.Type, meanings)
			}
		}
		s["type"], s["properties"], s["additionalProperties"] = []string{"object", "null"}, properties, false
	}
	return s
}

// scalarTypes allows texts everywhere, because ${NAME} may stand there.
func scalarTypes(typ reflect.Type) []string {
	switch typ.Kind() {
	case reflect.Bool:
		return []string{"boolean", "string"}
	case reflect.Int:
		return []string{"integer", "string"}
	case reflect.Float64:
		return []string{"number", "string"}
	}
	return []string{"string", "number", "boolean", "null"}
}
