package configs

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reference is ${NAME}; a second dollar sign in front makes it plain text.
var reference = regexp.MustCompile(`\$?\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces ${NAME}. It reports false, after complaining, when that is not possible.
func (s *strict) expand(key string, n *yaml.Node) (string, bool) {
	ok := true
	out := reference.ReplaceAllStringFunc(n.Value, func(ref string) string {
		if strings.HasPrefix(ref, "$$") {
			return ref[1:]
		}
		name := ref[2 : len(ref)-1]
		s.used[name] = true
		value, set := s.env[name]
		switch {
		case !set:
			s.complain(key, n, "the environment variable %s is not set; set it where mxhook is started", name)
			ok = false
		case value == "":
			s.complain(key, n, "the environment variable %s is empty; give it a value where mxhook is started", name)
			ok = false
		}
		return s.brought(value)
	})
	if strings.Contains(reference.ReplaceAllString(n.Value, ""), "${") {
		s.complain(key, n, "${ begins a reference to an environment variable; write ${NAME} with letters, digits and _")
		ok = false
	}
	return out, ok
}

// brought is a value that a reference brings in. In a template it is taken as it is: braces in it are no fields.
func (s *strict) brought(value string) string {
	if !s.template {
		return value
	}
	return strings.NewReplacer("{", "{{", "}", "}}").Replace(value)
}

// textFile reads a secret or a program from a file, without the line end that editors leave.
func (s *strict) textFile(key string, n *yaml.Node, path, what string) (string, bool) {
	data, err := s.readFile(path)
	s.files = append(s.files, path)
	text := strings.TrimRight(string(data), "\r\n")
	switch {
	case err != nil:
		s.complain(key, n, "the %s cannot be read: %v; name a file that this user may read", what, err)
	case text == "":
		s.complain(key, n, "the file %s is empty; write the %s into it", path, what)
	default:
		return s.brought(text), true
	}
	return "", false
}

// readBounded reads a whole file of at most maxFile bytes.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxFile>>20)
	}
	return data, err
}
