package configs

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"mxhook/pipeline"
)

// envPrefix is in front of the variables that override keys.
const envPrefix = "MXHOOK_"

// Load reads a configuration file and checks all of it. environ has the form of os.Environ: variables MXHOOK_... override
// scalars and lists of scalars outside of lists (MXHOOK_SMTP_HOSTNAME is smtp.hostname), and ${NAME} in a value is
// replaced; empty MXHOOK_ variables count as not set. Relative paths in the file are relative to the working directory, those
// of include to the file that includes.
//
// The error joins a *Mistake for everything that is wrong, in the order of the file; without one, the second result has
// warnings. Load keeps no state and may be called again for a reload.
func Load(path string, environ []string) (*Config, []*Mistake, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the configuration: %w", err)
	}
	return parse(path, data, environ, readBounded)
}

// parse is Load for a file that has been read; readFile reads the files of secrets.
func parse(file string, data []byte, environ []string, readFile func(string) ([]byte, error)) (*Config, []*Mistake, error) {
	doc, mistake := read(file, data)
	if mistake != nil {
		return nil, nil, mistake
	}
	s := &strict{
		readFile: readFile, env: variables(environ), sources: map[*yaml.Node]*source{},
		used: map[string]bool{}, wrong: map[string]bool{}, around: map[string]bool{}, places: map[string]place{}, nodes: map[string]*yaml.Node{}, textFiles: map[string]string{},
	}
	s.main = s.take(file, data, doc)
	settings := map[string]any{}
	if doc.root != nil {
		s.assemble(doc.root, []string{filepath.Clean(file)})
		if v, ok := s.walk("", doc.root, reflect.TypeFor[Config]()).(map[string]any); ok {
			settings = v
		}
	}
	overrides := s.overrides()
	cfg, err := decode(settings, overrides)
	if err != nil {
		// The strict pass has let through what viper cannot read: say so rather than run on half a configuration.
		s.complain("", &yaml.Node{}, "the file cannot be read: %v", err)
		cfg = &Config{}
	}
	cfg.whens = findWhens(s, cfg)
	cfg.files = append([]string{file}, s.files...)
	cfg.origins = s.origins()
	c := &checker{strict: s, cfg: cfg}
	if !slices.ContainsFunc(s.mistakes, func(m *Mistake) bool { return m.Key == "" && !m.Warning }) {
		c.check()
	}
	return c.result()
}

// decode lets viper put defaults, file and variables together.
func decode(settings map[string]any, overrides map[string]any) (*Config, error) {
	v := viper.NewWithOptions(viper.KeyDelimiter(delimiter))
	if err := v.MergeConfigMap(tree(reflect.ValueOf(Default())).(map[string]any)); err != nil {
		return nil, err
	}
	if err := v.MergeConfigMap(settings); err != nil {
		return nil, err
	}
	for key, value := range overrides {
		v.Set(strings.ReplaceAll(key, ".", delimiter), value)
	}
	cfg := &Config{}
	err := v.UnmarshalExact(cfg, func(c *mapstructure.DecoderConfig) {
		c.TagName = "yaml"
		c.WeaklyTypedInput = false
		c.DecodeHook = mapstructure.TextUnmarshallerHookFunc()
	})
	return cfg, err
}

// variables takes the last value of each variable, as the operating system does not promise that there is one only.
func variables(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			env[name] = value
		}
	}
	return env
}

// overrides are the values of MXHOOK_ variables by key. A variable that names no key is a warning: other programs'
// settings may begin like ours.
func (s *strict) overrides() map[string]any {
	keys := envKeys(reflect.TypeFor[Config](), "")
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(s.env)) {
		if !strings.HasPrefix(name, envPrefix) || s.env[name] == "" {
			continue
		}
		k, known := keys[name]
		if !known {
			if !s.used[name] {
				advice := "; variables that set a key are listed in mxhook.yaml"
				if near, ok := pipeline.Nearest(name, slices.Sorted(maps.Keys(keys))); ok {
					advice = "; did you mean " + near + "?"
				}
				s.note(&Mistake{Warning: true, Env: name, Text: "the variable sets no key" + advice})
			}
			continue
		}
		s.places[k.path] = place{env: name}
		v, err := parseVariable(s.env[name], k.typ)
		if err != nil {
			s.note(&Mistake{Env: name, Key: k.path, Text: err.Error()})
			continue
		}
		out[k.path] = v
	}
	return out
}

type envKey struct {
	path string
	typ  reflect.Type
}

// envKeys lists the keys that variables can set: scalars and lists of scalars outside of lists.
func envKeys(typ reflect.Type, prefix string) map[string]envKey {
	keys := map[string]envKey{}
	for f := range typ.Fields() {
		if !f.IsExported() {
			continue
		}
		path := join(prefix, f.Tag.Get("yaml"))
		switch {
		case path == "include": // files are put together before variables are looked at
		case isScalar(f.Type), f.Type.Kind() == reflect.Slice && isScalar(f.Type.Elem()):
			keys[envPrefix+strings.ToUpper(strings.ReplaceAll(path, ".", "_"))] = envKey{path, f.Type}
		case f.Type.Kind() == reflect.Struct:
			maps.Copy(keys, envKeys(f.Type, path))
		}
	}
	return keys
}

func parseVariable(text string, typ reflect.Type) (any, error) {
	if isScalar(typ) {
		return parseScalar(text, typ)
	}
	out := []any{}
	for _, e := range strings.Split(text, ",") {
		if e = strings.TrimSpace(e); e == "" {
			continue
		}
		v, err := parseScalar(e, typ.Elem())
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// result sorts what was found and decides.
func (c *checker) result() (*Config, []*Mistake, error) {
	var warnings []*Mistake
	var errs []error
	for _, m := range inOrder(c.mistakes, c.rank) {
		if m.Warning {
			warnings = append(warnings, m)
		} else {
			errs = append(errs, m)
		}
	}
	if len(errs) > 0 {
		return nil, warnings, errors.Join(errs...)
	}
	return c.cfg, warnings, nil
}
