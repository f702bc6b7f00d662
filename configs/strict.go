package configs

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"mxhook/pipeline"
)

// maxNodes bounds the values of a file after aliases are followed.
const maxNodes = 1_000_000

// place is where a value comes from: file, line and column, or a variable. Line 0: the file's format gives no lines.
type place struct {
	file         string
	line, column int
	env          string
}

// strict goes through the nodes of a file along the configuration's type. It finds every key that is unknown or there
// twice and every value of the wrong type, remembers where each value stands, and makes the plain tree that viper gets.
type strict struct {
	// main is the file that was asked for; read are all that are made of keys, in order; sources tells them by their nodes.
	main     *source
	read     []*source
	sources  map[*yaml.Node]*source
	readFile func(path string) ([]byte, error)
	env      map[string]string
	used     map[string]bool // variables that references named
	mistakes []*Mistake
	// wrong are the keys of the mistakes (warnings are none), around those of the groups around them.
	wrong, around map[string]bool
	places        map[string]place
	nodes         map[string]*yaml.Node
	files         []string // that were read, besides main
	visited       int
	literal       bool // the value under way has no references
	template      bool // the value under way, or a group around it, is a template: what references bring in is no part of that
	// textFiles are the files that programs were read from, by key.
	textFiles map[string]string
}

// note keeps a mistake or warning.
func (s *strict) note(m *Mistake) {
	s.mistakes = append(s.mistakes, m)
	if m.Warning || m.Key == "" {
		return
	}
	s.wrong[m.Key] = true
	for group := parentOf(m.Key); group != ""; group = parentOf(group) {
		s.around[group] = true
	}
}

// parentOf cuts the last name or index off a key: a[0].b, a[0], a, "".
func parentOf(key string) string {
	return key[:max(0, strings.LastIndexAny(key, ".["))]
}

// broken reports whether there is a mistake at the key or at a group around it; with inside, also at anything in it.
func (s *strict) broken(key string, inside bool) bool {
	if inside && s.around[key] {
		return true
	}
	for ; key != ""; key = parentOf(key) {
		if s.wrong[key] {
			return true
		}
	}
	return false
}

func (s *strict) complain(key string, n *yaml.Node, format string, args ...any) {
	src := s.sourceOf(n)
	m := &Mistake{File: src.file, Key: key, Text: fmt.Sprintf(format, args...)}
	if src.placed {
		m.Line, m.Column = max(1, n.Line), max(1, n.Column)
	}
	s.note(m)
}

// walk returns the value of n as a plain tree for typ; nil means that there is none, and the default stays.
func (s *strict) walk(key string, n *yaml.Node, typ reflect.Type) any {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if s.visited++; s.visited > maxNodes {
		if s.visited == maxNodes+1 {
			s.complain(key, n, "the file has more than %d values", maxNodes)
		}
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil
	}
	src := s.sourceOf(n)
	s.places[key] = place{file: src.file}
	if src.placed {
		s.places[key] = place{file: src.file, line: max(1, n.Line), column: max(1, n.Column)}
	}
	s.nodes[key] = n
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case isScalar(typ):
		if n.Kind != yaml.ScalarNode {
			s.complain(key, n, "here stands %s, but this is %s", kindOf(n), nameOf(typ))
			return nil
		}
		return s.scalar(key, n, typ)
	case typ.Kind() == reflect.Slice:
		return s.list(key, n, typ.Elem())
	}
	return s.group(key, n, typ)
}

// isScalar says whether values of the type are written as one text or number.
func isScalar(typ reflect.Type) bool {
	if reflect.PointerTo(typ).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return true
	}
	switch typ.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Float64:
		return true
	}
	return false
}

func (s *strict) list(key string, n *yaml.Node, elem reflect.Type) any {
	if n.Kind != yaml.SequenceNode {
		if n.Kind == yaml.ScalarNode && isScalar(elem) {
			s.complain(key, n, "this is a list; write [%s]", n.Value)
		} else {
			s.complain(key, n, "here stands %s, but this is a list; %s", kindOf(n), element(elem))
		}
		return nil
	}
	out := make([]any, 0, len(n.Content))
	for i, e := range n.Content {
		at := fmt.Sprintf("%s[%d]", key, i)
		v := s.walk(at, e, elem)
		if v == nil {
			if e.Kind == yaml.ScalarNode && e.ShortTag() == "!!null" {
				s.complain(at, e, "the list has an empty element; remove it")
			}
			v = tree(reflect.Zero(elem))
		}
		out = append(out, v)
	}
	return out
}

func (s *strict) group(key string, n *yaml.Node, typ reflect.Type) any {
	if n.Kind != yaml.MappingNode {
		if n.Kind == yaml.ScalarNode && strings.HasSuffix(key, "]") {
			s.complain(key, n, "here stands %s, but this is a group of keys; write %s: %s", kindOf(n), keysOf(typ)[0], n.Value)
			return nil
		}
		s.complain(key, n, "here stands %s, but this is a group of keys: %s", kindOf(n), strings.Join(keysOf(typ), ", "))
		return nil
	}
	out := map[string]any{}
	if d, ok := reflect.Zero(typ).Interface().(interface{ defaulted() any }); ok {
		out = tree(reflect.ValueOf(d.defaulted())).(map[string]any)
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := join(key, k.Value)
		field, known := fieldOf(typ, k.Value)
		switch {
		case k.ShortTag() == "!!merge":
			s.complain(key, k, "merge keys (<<) are not read; write the keys out, or use an alias for a whole value")
		case k.Kind != yaml.ScalarNode:
			s.complain(key, k, "a key must be a word")
		case seen[k.Value] > 0:
			s.complain(at, k, "the key is there twice, before in line %d; remove one", seen[k.Value])
		case !known:
			s.complain(at, k, "unknown key%s", suggestKey(k.Value, typ))
		default:
			seen[k.Value] = max(1, k.Line)
			s.literal, s.template = field.Tag.Get("references") == "no", field.Tag.Get("template") == "yes"
			if value := s.walk(at, v, field.Type); value != nil {
				out[k.Value] = over(out[k.Value], value)
			}
			s.literal, s.template = false, false
		}
	}
	return out
}

// over puts a value over its default: groups key by key, everything else whole.
func over(value, by any) any {
	old, isGroup := value.(map[string]any)
	group, alsoGroup := by.(map[string]any)
	if !isGroup || !alsoGroup {
		return by
	}
	for k, v := range group {
		old[k] = over(old[k], v)
	}
	return old
}

func (s *strict) scalar(key string, n *yaml.Node, typ reflect.Type) any {
	text, ok := n.Value, true
	path, isFile := strings.CutPrefix(text, "file:")
	switch {
	case typ == reflect.TypeFor[Secret]() && isFile:
		text, ok = s.textFile(key, n, path, "secret")
	case typ == reflect.TypeFor[Program]() && isFile:
		text, ok = s.textFile(key, n, path, "program")
		s.textFiles[key] = path
	case strings.Contains(text, "${") && !s.literal:
		text, ok = s.expand(key, n)
	}
	if !ok {
		return nil
	}
	v, err := parseScalar(text, typ)
	if err != nil {
		s.complain(key, n, "%v", err)
		return nil
	}
	return v
}

// parseScalar reads a text as the type. It checks what has a type of ours and leaves it a text.
func parseScalar(text string, typ reflect.Type) (any, error) {
	if u, ok := reflect.New(typ).Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
		return text, nil
	}
	switch typ.Kind() {
	case reflect.Bool:
		switch text {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, fmt.Errorf("%q is neither true nor false; write one of them", text)
	case reflect.Int:
		v, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", text)
		}
		return v, nil
	case reflect.Float64:
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || v != v || v-v != 0 {
			return nil, fmt.Errorf("%q is not a number", text)
		}
		return v, nil
	}
	return text, nil
}

// tree turns a value of the configuration into what viper merges: maps, lists, scalars. Nil pointers are left out.
func tree(v reflect.Value) any {
	if isScalar(v.Type()) {
		switch x := v.Interface().(type) {
		case Secret:
			return x.Reveal()
		case encoding.TextMarshaler:
			text, _ := x.MarshalText() // those of ours do not fail
			return string(text)
		}
		return v.Interface()
	}
	switch v.Kind() {
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = tree(v.Index(i))
		}
		return out
	case reflect.Struct:
		out := map[string]any{}
		for i, f := range reflect.VisibleFields(v.Type()) {
			if !f.IsExported() || f.Type.Kind() == reflect.Pointer && v.Field(i).IsNil() || f.Type.Kind() == reflect.Slice && v.Field(i).IsNil() {
				continue
			}
			out[f.Tag.Get("yaml")] = tree(v.Field(i))
		}
		return out
	case reflect.Pointer:
		return tree(v.Elem())
	}
	return nil
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func fieldOf(typ reflect.Type, key string) (reflect.StructField, bool) {
	for f := range typ.Fields() {
		if f.IsExported() && f.Tag.Get("yaml") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func keysOf(typ reflect.Type) []string {
	var keys []string
	for f := range typ.Fields() {
		if f.IsExported() {
			keys = append(keys, f.Tag.Get("yaml"))
		}
	}
	return keys
}

// suggestKey is the end of the message about an unknown key: the nearest one here, the group where it belongs, or all.
func suggestKey(key string, typ reflect.Type) string {
	keys := keysOf(typ)
	if near, ok := pipeline.Nearest(key, keys); ok {
		return "; did you mean " + near + "?"
	}
	if homes := homesOf(key, reflect.TypeFor[Config](), ""); len(homes) == 1 {
		return "; did you mean " + homes[0] + "?"
	}
	return "; here are known: " + strings.Join(keys, ", ")
}

// homesOf finds the paths of all keys of that name.
func homesOf(key string, typ reflect.Type, prefix string) []string {
	var homes []string
	for f := range typ.Fields() {
		if !f.IsExported() {
			continue
		}
		path, t := join(prefix, f.Tag.Get("yaml")), f.Type
		if strings.EqualFold(f.Tag.Get("yaml"), key) {
			homes = append(homes, path)
		}
		if t.Kind() == reflect.Slice && !isScalar(t) {
			t, path = t.Elem(), path+"[]"
		}
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() == reflect.Struct && !isScalar(t) {
			homes = append(homes, homesOf(key, t, path)...)
		}
	}
	return slices.Compact(homes)
}

// element says how an element of a list is written.
func element(elem reflect.Type) string {
	if isScalar(elem) {
		return "write [a, b]"
	}
	return "begin each element with a dash: - " + keysOf(elem)[0] + ": ..."
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of keys"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", n.Value)
}

func nameOf(typ reflect.Type) string {
	switch typ {
	case reflect.TypeFor[Size]():
		return "a size, like 50MB"
	case reflect.TypeFor[Duration]():
		return "a length of time, like 15s or 7d"
	}
	switch typ.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a text"
}
