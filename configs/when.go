package configs

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// maxPlacedLine bounds the lines that are searched for conditions, in bytes: a file may have all of them in one line.
const maxPlacedLine = 8 << 10

// when is where the first character of a condition stands, for messages that point into it.
type when struct {
	file         string
	line, column int
}

// findWhens finds the place of each rule's condition. The line is 0 when characters of the condition do not stand one
// by one in the file, because of escapes or folded lines; the place of the whole value is shown then.
func findWhens(s *strict, cfg *Config) []when {
	whens := make([]when, len(cfg.Rules))
	lines := map[*source][][]byte{}
	for i := range whens {
		n := s.nodes[fmt.Sprintf("rules[%d].when", i)]
		if n == nil {
			whens[i].file = s.places[fmt.Sprintf("rules[%d]", i)].file
			continue
		}
		src := s.sourceOf(n)
		whens[i].file = src.file
		if !src.placed {
			continue
		}
		if lines[src] == nil {
			lines[src] = bytes.Split(src.data, []byte("\n"))
		}
		whens[i].line, whens[i].column = textStart(n, lines[src])
	}
	return whens
}

func textStart(n *yaml.Node, lines [][]byte) (line, column int) {
	if n.Line < 1 || n.Line > len(lines) || n.Column < 1 {
		return 0, 0
	}
	switch n.Style &^ yaml.TaggedStyle {
	case yaml.LiteralStyle:
		for _, text := range lines[n.Line:] {
			text = bytes.TrimRight(text, " \r")
			if len(text) == 0 {
				continue // a blank line in front belongs to the text
			}
			bare := bytes.TrimLeft(text, " ")
			if !bytes.HasPrefix(bytes.TrimLeft([]byte(n.Value), "\n"), bare) {
				return 0, 0
			}
			return n.Line + 1, len(text) - len(bare) + 1
		}
	case yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle, 0:
		column := n.Column
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			column++
		}
		if len(lines[n.Line-1]) > maxPlacedLine {
			break
		}
		if text := []rune(string(lines[n.Line-1])); column-1 <= len(text) && bytes.HasPrefix([]byte(string(text[column-1:])), []byte(n.Value)) {
			return n.Line, column
		}
	}
	return 0, 0
}
