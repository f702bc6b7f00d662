package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file, and files with secrets, in bytes.
const maxFile = 16 << 20

// delimiter is between keys for viper; its default, a dot, splits keys that hold one.
const delimiter = "::"

// document is a file as a tree of nodes with places.
type document struct {
	root *yaml.Node // nil for an empty file
	// placed says whether the nodes' lines and columns are those of the file.
	placed bool
}

// read parses the file by its extension: .toml, else YAML, of which JSON is a part.
func read(file string, data []byte) (document, *Mistake) {
	if len(data) > maxFile {
		return document{}, &Mistake{File: file, Line: 1, Column: 1, Text: fmt.Sprintf("the file is larger than %d MiB", maxFile>>20)}
	}
	if strings.EqualFold(filepath.Ext(file), ".toml") {
		return readTOML(file, data)
	}
	return readYAML(file, data)
}

func readYAML(file string, data []byte) (document, *Mistake) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return document{placed: true}, nil
	}
	if err != nil {
		return document{}, syntaxMistake(file, data, err)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return document{}, &Mistake{File: file, Line: second.Line, Column: max(1, second.Column), Text: "the file holds a second document; remove the line --- and what follows"}
	case !errors.Is(err, io.EOF):
		return document{}, syntaxMistake(file, data, err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return document{placed: true}, nil
	}
	return document{root: doc.Content[0], placed: true}, nil
}

// yamlError is how the YAML reader words its errors; the line is not always there.
var yamlError = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(?:.*line (\d+): )?(.*)$`)

// syntaxMistake gives an error of the YAML reader a place and, for what people do most, advice.
func syntaxMistake(file string, data []byte, err error) *Mistake {
	m := &Mistake{File: file, Line: 1, Column: 1, Text: err.Error()}
	if parts := yamlError.FindStringSubmatch(err.Error()); parts != nil {
		m.Text = parts[3]
		for _, line := range parts[1:3] {
			if n, err := strconv.Atoi(line); err == nil && n > 0 {
				m.Line = n
			}
		}
	}
	lines := bytes.Split(data, []byte("\n"))
	advice := ""
	switch {
	case strings.Contains(m.Text, "cannot start any token") && tabbed(lines, &m.Line):
		advice = "; indent with blanks, YAML allows no tabs"
	case strings.Contains(m.Text, "mapping values are not allowed"):
		advice = "; is the line indented like its neighbours? a text with a colon and a blank needs quotes"
	case strings.Contains(m.Text, "did not find expected key"):
		m.Line = firstLine(data, m.Text, m.Line)
		advice = "; is a quote or bracket missing, or the indentation not that of its neighbours?"
		if quotedStart.Match(lines[min(m.Line, len(lines))-1]) {
			advice = "; a text that begins with a quote ends with the next one: put all of it into single quotes"
		}
	case strings.Contains(m.Text, "unexpected end of stream"), strings.Contains(m.Text, "did not find expected ',' or"):
		advice = "; is a closing quote or bracket missing?"
	}
	m.Text = "this is not YAML: " + m.Text + advice
	m.Line = min(m.Line, max(1, len(lines)))
	m.Column = 1 + len(lines[m.Line-1]) - len(bytes.TrimLeft(lines[m.Line-1], " \t"))
	return m
}

// quotedStart is a value like "alice@example.org" in from.
var quotedStart = regexp.MustCompile(`:\s+(?:"[^"]*"|'[^']*')\s+[^\s#]`)

// firstLine finds the line that the YAML reader stumbles over, when it names the one that the group began in: the
// end of the shortest beginning of the file that has the same error.
func firstLine(data []byte, text string, from int) int {
	ends := []int{0}
	for i, b := range data {
		if b == '\n' {
			ends = append(ends, i+1)
		}
	}
	ends = append(ends, len(data))
	from = min(max(0, from-1), len(ends)-1)
	n := sort.Search(len(ends)-1-from, func(i int) bool {
		var node yaml.Node
		err := yaml.Unmarshal(data[:ends[from+i]], &node)
		return err != nil && strings.Contains(err.Error(), text)
	})
	return max(1, from+n)
}

// tabbed moves line to the first line from there on, or the one before, that is indented with a tab.
func tabbed(lines [][]byte, line *int) bool {
	for n := max(1, *line-1); n <= min(*line+1, len(lines)); n++ {
		text := lines[n-1]
		if bytes.IndexByte(text[:len(text)-len(bytes.TrimLeft(text, " \t"))], '\t') >= 0 {
			*line = n
			return true
		}
	}
	return false
}

// readTOML lets viper read the file. It gives no places.
func readTOML(file string, data []byte) (document, *Mistake) {
	v := viper.NewWithOptions(viper.KeyDelimiter(delimiter))
	v.SetConfigType("toml")
	if err := v.ReadConfig(bytes.NewReader(data)); err != nil {
		m := &Mistake{File: file, Text: "this is not TOML: " + strings.TrimPrefix(err.Error(), "While parsing config: toml: ")}
		var at interface{ Position() (line, column int) }
		if errors.As(err, &at) {
			m.Line, m.Column = at.Position()
		}
		return document{}, m
	}
	var root yaml.Node
	if err := root.Encode(v.AllSettings()); err != nil {
		return document{}, &Mistake{File: file, Text: fmt.Sprintf("the file cannot be read: %v", err)}
	}
	return document{root: &root}, nil
}
