package configs

import (
	"encoding"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// origins remembers where the values of a configuration came from.
type origins struct {
	places map[string]place
	// written are values with references to the environment, as they stand in the file, by key.
	written map[string]string
}

func (s *strict) origins() origins {
	o := origins{places: s.places, written: map[string]string{}}
	for key, n := range s.nodes {
		if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "${") && s.places[key].env == "" {
			o.written[key] = n.Value
		}
	}
	return o
}

// of names the origin of a value: the place in the file, the variable, or the default.
func (o *origins) of(key string) string {
	p, ok := o.places[key]
	switch {
	case !ok:
		return "default"
	case p.env != "":
		return p.env
	case p.line > 0:
		return fmt.Sprintf("%s:%d", p.file, p.line)
	}
	return p.file
}

// Show writes the configuration in force as YAML, with the origin of each value behind it. Secrets are cut out: values of
// their type, passwords in URLs, and whatever came from the environment, for which the reference is shown.
func (c *Config) Show(w io.Writer) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(c.origins.node("", reflect.ValueOf(*c))); err != nil {
		return fmt.Errorf("show the configuration: %w", err)
	}
	return enc.Close()
}

func (o *origins) node(key string, v reflect.Value) *yaml.Node {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch {
	case isScalar(v.Type()):
		n := &yaml.Node{}
		n.SetString(o.text(key, v))
		if k := v.Kind(); k == reflect.Bool || k == reflect.Float64 || k == reflect.Int && v.Type() == reflect.TypeFor[int]() {
			n.Tag, n.Style = "", 0
		}
		n.LineComment = o.of(key)
		return n
	case v.Kind() == reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, o.node(fmt.Sprintf("%s[%d]", key, i), v.Index(i)))
		}
		if v.Len() == 0 || isScalar(v.Type().Elem()) {
			n.Style = yaml.FlowStyle
			for _, e := range n.Content {
				e.LineComment = ""
			}
			n.LineComment = o.of(key)
		}
		return n
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i, f := range reflect.VisibleFields(v.Type()) {
		if !f.IsExported() || f.Type.Kind() == reflect.Pointer && v.Field(i).IsNil() {
			continue
		}
		name := &yaml.Node{}
		name.SetString(f.Tag.Get("yaml"))
		n.Content = append(n.Content, name, o.node(join(key, f.Tag.Get("yaml")), v.Field(i)))
	}
	return n
}

// text is a scalar without what nobody should see.
func (o *origins) text(key string, v reflect.Value) string {
	if secret, ok := v.Interface().(Secret); ok {
		return secret.String()
	}
	if written, ok := o.written[key]; ok {
		return withoutPasswords(written)
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, _ := m.MarshalText() // those of ours do not fail
		return string(text)
	}
	return withoutPasswords(fmt.Sprint(v.Interface()))
}

// standIn is a value that is nothing but a reference to the environment or a field of a template.
var standIn = regexp.MustCompile(`^\$?\{[A-Za-z0-9_.]+\}$`)

// withoutPasswords cuts the user information out of a URL, or of several with commas in between, and out of the query of one
// the values, which are often tokens: all but references to the environment and fields of templates.
func withoutPasswords(text string) string {
	scheme, _, ok := strings.Cut(text, "://")
	if !ok {
		return text
	}
	if address, query, ok := strings.Cut(text, "?"); ok && !strings.ContainsAny(scheme, " \"'(") {
		pairs := strings.Split(query, "&")
		for i, pair := range pairs {
			name, value, named := strings.Cut(pair, "=")
			switch {
			case standIn.MatchString(value) || pair == "" || named && value == "":
			case named:
				pairs[i] = name + "=[secret]"
			case !standIn.MatchString(pair):
				pairs[i] = "[secret]"
			}
		}
		return withoutPasswords(address) + "?" + strings.Join(pairs, "&")
	}
	parts := strings.Split(text, ",")
	for i, p := range parts {
		scheme, rest, ok := strings.Cut(p, "://")
		if !ok {
			continue
		}
		authority, path := rest, ""
		if slash := strings.IndexAny(rest, "/?#"); slash >= 0 {
			authority, path = rest[:slash], rest[slash:]
		}
		if at := strings.LastIndexByte(authority, '@'); at >= 0 {
			parts[i] = scheme + "://" + "[secret]@" + authority[at+1:] + path
		}
	}
	return strings.Join(parts, ",")
}
